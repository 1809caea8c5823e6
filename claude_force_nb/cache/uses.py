"""When entries were last used, kept in memory until that decides an eviction."""

from __future__ import annotations

from itertools import islice
from typing import Dict, List, Optional, Tuple

__all__ = ["MAX_NOTES", "UseLog"]

MAX_NOTES = 4096
"""Uses kept in memory before some are recorded: each takes about 200 bytes here, and about 20 µs to write."""


class UseLog:
    """Fingerprint to moment of last use, the oldest first. The owner has the lock.

    Attributes
    ----------
    times : dict of str to float
        Seconds since 1970 UTC.
    """

    def __init__(self) -> None:
        self.times: Dict[str, float] = {}
        self._last = 0.0

    def next_moment(self, now: float) -> float:
        """Return `now`, adjusted to be later than every previous moment: clocks can be coarse, stand still or go back."""
        last = self._last
        self._last = now = now if now > last else last + 1e-6
        return now

    def note(self, fingerprint: str, now: float) -> None:
        """Record in memory that an entry was used."""
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
