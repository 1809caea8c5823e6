"""When entries were last used: kept in memory until it is needed to decide what to evict."""

from __future__ import annotations

from itertools import islice
from typing import Dict, List, Optional, Tuple

__all__ = ["MAX_NOTES", "UseLog"]

MAX_NOTES = 4096
"""Number of uses kept in memory before some are written to disk. Each takes about 200 bytes, and about 20 µs to write."""


class UseLog:
    """The time of last use by fingerprint, oldest first. The owner does the locking.

    Attributes
    ----------
    times : dict of str to float
        Seconds since 1970 UTC.
    """

    def __init__(self) -> None:
        self.times: Dict[str, float] = {}
        self._last = 0.0

    def next_moment(self, now: float) -> float:
        """Return `now`, moved forward if necessary to be later than every earlier result: clocks can be coarse or go back."""
        last = self._last
        self._last = now = now if now > last else last + 1e-6
        return now

    def note(self, fingerprint: str, now: float) -> None:
        """Note in memory that an entry was used."""
        times = self.times
        if fingerprint in times:
            del times[fingerprint]
        last = self._last
        self._last = times[fingerprint] = now if now > last else last + 1e-6

    @property
    def is_full(self) -> bool:
        """Whether some should be written to disk."""
        return len(self.times) >= MAX_NOTES

    def oldest(self, limit: Optional[int]) -> List[Tuple[str, float]]:
        """Return up to `limit` uses, the oldest first."""
        return list(islice(self.times.items(), limit))

    def forget(self, notes: List[Tuple[str, float]]) -> None:
        """Drop uses that were written to disk."""
        for fingerprint, _ in notes:
            self.times.pop(fingerprint, None)
