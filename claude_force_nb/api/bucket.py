"""A client's model of one rate limit: a local token bucket, corrected by the API's headers. Pure."""

from __future__ import annotations

__all__ = ["TokenBucket"]

# Calls sent within this time may arrive in another order.
_OVERTAKING_SECONDS = 0.1


class TokenBucket:
    """An estimate of one rate limit: a bucket of unknown capacity that refills continuously.

    Parameters
    ----------
    limit : float
        Units per minute, >= 0.
    level : float
        Units available at `now`; below 0 if more were used than there were.
    capacity : float
        Units that the bucket is known to hold; raised when a header shows more, never assumed.
    now : float
        Monotonic seconds.
    """

    __slots__ = (
        "capacity",
        "correction",
        "largest",
        "level",
        "limit",
        "reported_remaining",
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
        # The remaining units according to the last header.
        self.reported_remaining = 0.0
        # Sum of all corrections so far. A level remembered before a correction is adjusted by it before it is compared.
        self.correction = 0.0
        # About the most units that a recent call needed. The level may have been higher by this much between two calls.
        self.largest = 1.0
        self._since, self._latest, self._sooner = now, 0.0, 0.0

    def take(self, amount: float) -> float:
        """Take `amount` out; return the sum taken just before, by calls that may arrive at the API later than this one."""
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
        """Refill the bucket up to `now`."""
        if now > self.updated:
            if self.level < self.capacity:
                self.level = min(self.capacity, self.level + (now - self.updated) * self.limit / 60.0)
            self.updated = now

    def wait_seconds(self, amount: float) -> float:
        """Return the seconds until `amount` can be taken; for more than the capacity, until the bucket is full."""
        missing = min(amount, self.capacity) - self.level
        if missing <= 1e-9:
            return 0.0
        return missing * 60.0 / self.limit if self.limit > 0 else 60.0

    def correct(self, remaining: float, *, lowest: float, highest: float, below: float, above: float) -> None:
        """Correct the level by a header of the API, if the header contradicts our estimate.

        The API wrote the header at some time between sending and now, when our estimate was between `lowest` and
        `highest`. A value within this range tells nothing new. A value outside means that others use the key too, or
        that the API has reset its counters.

        Parameters
        ----------
        remaining : float
            Value of the header.
        lowest, highest : float
            Range of our estimate.
        below, above : float
            How far the true level may be below and above `remaining`, which the API rounds.
        """
        if remaining > 0 and highest < remaining - below:
            self._shift(remaining - below - highest)
        elif lowest > remaining + above:
            self._shift(remaining + above - lowest)

    def lower(self, level: float) -> None:
        """Lower the level to `level` if it is higher."""
        if level < self.level:
            self._shift(level - self.level)

    def _shift(self, by: float) -> None:
        by = min(by, max(0.0, self.capacity - self.level))
        self.level += by
        self.correction += by
