"""Warnings of a cache: one per topic, issued only while no operation is half done."""

from __future__ import annotations

from pathlib import Path
from typing import List, NamedTuple, Set, Type

from claude_force_nb.errors import CacheIntegrityWarning, CacheWarning
from claude_force_nb.warn import warn

__all__ = ["Notices"]


class _Notice(NamedTuple):
    message: str
    category: Type[Warning]


class Notices:
    """Warnings held back until `emit`: the user may have turned warnings into errors, which would interrupt an operation."""

    def __init__(self) -> None:
        self._topics: Set[str] = set()
        self._pending: List[_Notice] = []

    def add(self, topic: str, message: str, category: Type[Warning] = CacheWarning) -> None:
        """Add a warning if it is the first of its topic."""
        if topic not in self._topics:
            self._topics.add(topic)
            self._pending.append(_Notice(message, category))

    def add_corrupt_entry(self, directory: Path) -> None:
        """Add the warning that an entry of this machine's cache failed its check."""
        message = f"an entry of the response cache in {directory} failed its check and was evicted"
        self.add("integrity", message + "; further ones are only counted", CacheIntegrityWarning)

    def emit(self) -> None:
        """Issue the pending warnings."""
        while self._pending:
            try:
                notice = self._pending.pop(0)
            except IndexError:
                break  # another thread issued it
            warn(notice.message, notice.category)
