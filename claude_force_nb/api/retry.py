"""When to try again, and how long to wait first. Pure."""

from __future__ import annotations

from typing import Callable

from claude_force_nb.errors import ApiError

__all__ = ["BASE_DELAY_SECONDS", "MAX_DELAY_SECONDS", "delay_seconds"]

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
        Gives a float in [0, 1).

    Returns
    -------
    float
        Seconds: full jitter, ``random · min(30, 0.5 · 2^(attempt-1))`` (M. Brooker, "Exponential Backoff And Jitter", 2015), on
        top of ``retry-after`` a tenth of it at most, so that waiters do not return all at once.
    """
    backoff = min(MAX_DELAY_SECONDS, BASE_DELAY_SECONDS * 2.0 ** min(attempt - 1, 16))
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds + random() * min(1.0, 0.1 * backoff + 0.1 * error.retry_after_seconds)
    return random() * backoff
