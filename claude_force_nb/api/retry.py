"""Decide whether to try again, and how long to wait first. Pure."""

from __future__ import annotations

import time
from threading import Lock
from typing import Callable

from claude_force_nb.errors import ApiError

__all__ = ["BASE_DELAY_SECONDS", "MAX_DELAY_SECONDS", "RetryBudget", "delay_seconds"]

BASE_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 30.0


def delay_seconds(error: ApiError, attempt: int, *, random: Callable[[], float]) -> float:
    """Return how long to wait after a failed attempt.

    Parameters
    ----------
    error : ApiError
        Why it failed; its ``retry_after_seconds`` is obeyed, however long.
    attempt : int
        Number of the failed attempt, >= 1.
    random : callable
        Returns a float in [0, 1).

    Returns
    -------
    float
        Seconds, with full jitter: ``random · min(30, 0.5 · 2^(attempt-1))`` (M. Brooker, "Exponential Backoff And
        Jitter", 2015). If the API sent ``retry-after``, that time plus at most a tenth of it, so that waiters do not
        all return at once. A ``retry-after`` of 0, such as a date that has passed by our clock, is ignored.
    """
    backoff = min(MAX_DELAY_SECONDS, BASE_DELAY_SECONDS * 2.0 ** min(attempt - 1, 16))
    if error.retry_after_seconds:
        return error.retry_after_seconds + random() * min(1.0, 0.1 * backoff + 0.1 * error.retry_after_seconds)
    return random() * backoff


class RetryBudget:
    """Limits the retries of a whole run, so that they do not make an outage worse: a token bucket, one token per retry.

    Each call adds a fifth of a token, so that retries can add up to 20 % to the calls of a long run. Ten tokens per
    second are added over time, so that a run continues after an outage. The bucket starts full, so that a short run has
    all its retries.

    Parameters
    ----------
    reserve : float
        Tokens in the full bucket, > 0.
    clock : callable
        Monotonic seconds.

    Notes
    -----
    Sources: Twitter Finagle, ``RetryBudget`` (20 % of the calls and 10 retries a second by default); gRFC A6, "Client
    Retries", "Throttling Retry Attempts and Hedged RPCs" (a bounded bucket that successes refill).
    """

    SHARE = 0.2
    PER_SECOND = 10.0

    def __init__(self, reserve: float = 100.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.reserve = reserve
        self._clock = clock
        self._tokens = reserve
        self._updated = clock()
        self._lock = Lock()

    def called(self) -> None:
        """Add tokens for a call that is sent for the first time."""
        with self._lock:
            self._tokens = min(self.reserve, self._tokens + self.SHARE)

    def allows(self) -> bool:
        """Take a token for a retry; False if none is left, which makes the failure final."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self.reserve, self._tokens + max(0.0, now - self._updated) * self.PER_SECOND)
            self._updated = now
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True
