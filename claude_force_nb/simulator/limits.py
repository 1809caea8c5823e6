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

    It may go below 0: the actual cost of a call is taken even if the bucket has less, and later calls wait for it.
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
        """Return the seconds until `amount` can be taken; an amount above the capacity needs a full bucket."""
        missing = min(amount, self.capacity) - self.level
        # A difference below a millionth of a unit is a rounding error.
        return missing / self.per_second if missing > 1e-6 else 0.0

    def headers(self, wall: float) -> List[Tuple[str, str]]:
        """Return the three rate-limit headers; `wall` is the current time in Unix seconds."""
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
    """The bucket that is empty (`name`), its `limit` per minute, and whole seconds to wait."""

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
            # A bucket smaller than one request would never admit any.
            pool = {
                name: Bucket(name, limit, max(1.0, capacity), limit / 60.0) for name, limit, capacity in self._limits
            }
            self._pools[family] = pool
        for bucket in pool.values():
            bucket.refill(now)
        return pool

    def admit(self, family: str, input_tokens: int, now: float) -> Optional[Refusal]:
        """Take a request and its input tokens; if a bucket is empty, take nothing and return a `Refusal`.

        The API counts output tokens as they are produced, not ``max_tokens``, so one token of output must be available.
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
        """Return the rate-limit headers of `family`; `now` is in monotonic seconds, `wall` in Unix seconds."""
        return [header for bucket in self._pool(family, now).values() for header in bucket.headers(wall)]

    def reset(self) -> None:
        """Fill every bucket."""
        self._pools.clear()
