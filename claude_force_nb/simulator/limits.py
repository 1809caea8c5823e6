"""Rate limits: token buckets that refill continuously, one set per model family. Pure; the clock is an argument."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from .options import SimulatorOptions

__all__ = ["Bucket", "RateLimits", "Refusal"]


@dataclass
class Bucket:
    """A bucket that holds up to `capacity` units and gains `per_second`.

    It may go below 0: what a call turned out to cost is taken even where it was not there, and later calls wait for it.
    """

    name: str
    limit: int
    capacity: float
    per_second: float
    level: float = field(init=False)
    updated: Optional[float] = None

    def __post_init__(self) -> None:
        self.level = self.capacity

    def refill(self, now: float) -> None:
        """Bring the level up to `now` (monotonic seconds)."""
        if self.updated is not None and now > self.updated:
            self.level = min(self.capacity, self.level + (now - self.updated) * self.per_second)
        self.updated = now

    def wait_for(self, amount: float) -> float:
        """Return the seconds until `amount` can be taken; what is larger than the bucket needs a full one."""
        missing = min(amount, self.capacity) - self.level
        # Below a millionth of a unit the difference is rounding, not a wait.
        return missing / self.per_second if missing > 1e-6 else 0.0

    def headers(self, wall: float) -> List[Tuple[str, str]]:
        """Return the three headers; `wall` is the time of day in seconds since 1970."""
        remaining = max(0, math.floor(self.level + 1e-6))
        if self.name != "requests":
            remaining = int(round(remaining, -3))
        full = wall + max(0.0, (self.capacity - self.level) / self.per_second)
        prefix = f"anthropic-ratelimit-{self.name}-"
        return [
            (prefix + "limit", str(self.limit)),
            (prefix + "remaining", str(remaining)),
            (prefix + "reset", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(full)))),
        ]


@dataclass(frozen=True)
class Refusal:
    """A bucket is empty: which (`name`), its per-minute `limit`, and whole seconds to wait."""

    name: str
    limit: int
    retry_after_seconds: int


class RateLimits:
    """The buckets of every model family."""

    def __init__(self, options: SimulatorOptions) -> None:
        self._limits = [
            (name, limit, limit * options.burst_seconds / 60.0)
            for name, limit in (
                ("requests", options.requests_per_minute),
                ("input-tokens", options.input_tokens_per_minute),
                ("output-tokens", options.output_tokens_per_minute),
            )
            if limit is not None
        ]
        self._pools: Dict[str, Dict[str, Bucket]] = {}

    def __bool__(self) -> bool:
        return bool(self._limits)

    def _pool(self, family: str, now: float) -> Dict[str, Bucket]:
        pool = self._pools.get(family)
        if pool is None:
            # A bucket smaller than one request could never admit one.
            pool = {
                name: Bucket(name, limit, max(1.0, capacity), limit / 60.0) for name, limit, capacity in self._limits
            }
            self._pools[family] = pool
        for bucket in pool.values():
            bucket.refill(now)
        return pool

    def admit(self, family: str, input_tokens: int, now: float) -> Optional[Refusal]:
        """Take a request and its input tokens, or say which bucket is empty; nothing is taken then.

        The API counts output tokens as they are produced and not from ``max_tokens``, so a call needs one to be left.
        """
        pool = self._pool(family, now)
        needed = {"requests": 1, "input-tokens": input_tokens, "output-tokens": 1}
        waits = [(bucket.wait_for(needed[name]), bucket) for name, bucket in pool.items()]
        longest, tightest = max(waits, key=lambda item: item[0])
        if longest > 0:
            return Refusal(tightest.name, tightest.limit, max(1, math.ceil(longest)))
        for name in ("requests", "input-tokens"):
            if name in pool:
                pool[name].level -= needed[name]
        return None

    def produced(self, family: str, output_tokens: int, now: float) -> None:
        """Take the output tokens that were produced."""
        bucket = self._pool(family, now).get("output-tokens")
        if bucket is not None:
            bucket.level -= output_tokens

    def headers(self, family: str, now: float, wall: float) -> List[Tuple[str, str]]:
        """Return the rate-limit headers of `family`; `now` is monotonic, `wall` the time of day."""
        return [header for bucket in self._pool(family, now).values() for header in bucket.headers(wall)]

    def reset(self) -> None:
        """Fill every bucket."""
        self._pools.clear()
