"""Requests that a frozen answer file could not answer."""

from __future__ import annotations

from typing import Iterable, List, Optional

from claude_force_nb.messages.request import ClaudeRequest

from .lines import KnownAnswer
from .nearest import describe_nearest

__all__ = ["Misses"]

# Number of misses to describe, since finding the most similar entry reads the whole file.
_MOST_DESCRIBED = 20


class Misses:
    """Counts misses, and keeps the descriptions of the first ones.

    Attributes
    ----------
    count : int
    lines : list of str
        The descriptions, one line each.
    """

    def __init__(self) -> None:
        self.count = 0
        self.lines: List[str] = []

    def describe(self, request: ClaudeRequest, entries: Iterable[Optional[KnownAnswer]]) -> str:
        """Count a miss; return how the request differs from the most similar one in `entries`, "" if unknown."""
        self.count += 1
        if self.count > _MOST_DESCRIBED:
            return ""
        return describe_nearest(request, [entry for entry in entries if entry is not None])

    def note(self, line: str) -> None:
        """Keep the description of a miss."""
        if len(self.lines) < _MOST_DESCRIBED:
            self.lines.append(line)
