"""One rate limit as a client can know it: a token bucket kept here and corrected by what the API says of it. Pure."""

from __future__ import annotations

__all__ = ["TokenBucket"]

# Calls that left within this time may arrive in another order.
_OVERTAKING_SECONDS = 0.1


class TokenBucket:
    """One limit: a bucket of unknown size that refills continuously, as far as it can be known from here.

    Parameters
    ----------
    limit : float
        Units a minute, >= 0.
    level : float
        Units that are there at `now`, below 0 if more was used than there was.
    capacity : float
        Units it is known to hold; learned upwards, never taken to be more than was seen.
    now : float
        Monotonic seconds.
    """

    __slots__ = (
        "capacity",
        "correction",
        "largest",
        "level",
        "limit",
        "said",
        "updated",
        "_latest",
        "_since",
        "_sooner",
    )

    def __init__(self, limit: float, level: float, capacity: float, now: float) -> None:
        self.limit = limit
        self.level = level
        self.capacity = capacity
        self.updated = now
        # What the last header said was left.
        self.said = 0.0
        # Sum of all corrections so far: levels remembered before one are compared in today's terms.
        self.correction = 0.0
        # About the most that a call of late needed: so much higher the level may have been between two looks at it.
        self.largest = 1.0
        self._since, self._latest, self._sooner = now, 0.0, 0.0

    def take(self, amount: float) -> float:
        """Take `amount` out; return what was taken so shortly before that it may arrive later than this."""
        now = self.updated
        if now - self._since > _OVERTAKING_SECONDS:
            self._sooner = self._latest if now - self._since <= 2 * _OVERTAKING_SECONDS else 0.0
            self._since, self._latest = now, 0.0
        before = self._latest + self._sooner
        self._latest += amount
        self.level -= amount
        self.largest = max(1.0, amount, 0.99 * self.largest)
        return before

    def refill(self, now: float) -> None:
        """Bring the level up to `now`."""
        if now > self.updated:
            if self.level < self.capacity:
                self.level = min(self.capacity, self.level + (now - self.updated) * self.limit / 60.0)
            self.updated = now

    def wait_seconds(self, amount: float) -> float:
        """Return how long until `amount` can be taken; more than it holds needs it full."""
        missing = min(amount, self.capacity) - self.level
        if missing <= 1e-9:
            return 0.0
        return missing * 60.0 / self.limit if self.limit > 0 else 60.0

    def correct(self, remaining: float, *, lowest: float, highest: float, below: float, above: float) -> None:
        """Compare with what the API said.

        The header was written at some moment between sending and now, when the level was somewhere from `lowest` to `highest`
        by our own books. Only what lies outside is news: other users of the key, or a restart of the API's books.

        Parameters
        ----------
        remaining : float
            The header's value.
        lowest, highest : float
            Range of the own level.
        below, above : float
            How far the true level may lie below and above `remaining`: it is rounded.
        """
        if remaining > 0 and highest < remaining - below:
            self._shift(remaining - below - highest)
        elif lowest > remaining + above:
            self._shift(remaining + above - lowest)

    def lower(self, level: float) -> None:
        """Take the level to be `level` at most."""
        if level < self.level:
            self._shift(level - self.level)

    def _shift(self, by: float) -> None:
        by = min(by, max(0.0, self.capacity - self.level))
        self.level += by
        self.correction += by
