"""How often to ask the API about a message batch. Pure, except for sleeping."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, replace
from typing import Awaitable, Callable, Optional, TypeVar

from claude_force_nb.errors import (
    ApiError,
    AuthenticationError,
    InvalidRequestError,
    JobError,
    NotFoundError,
    PermissionDeniedError,
)

__all__ = ["Backoff", "PollSchedule", "retry_until_answered"]

logger = logging.getLogger("claude_force_nb.batches")

T = TypeVar("T")
# A single refusal may be an error of a gateway; this many in a row are taken seriously.
_REFUSALS = 3
_LOCAL_SECONDS = 2.0


@dataclass(frozen=True)
class PollSchedule:
    """Timing of message batches, in seconds.

    Attributes
    ----------
    first_seconds, longest_seconds : float
        First and longest wait between two polls; the wait doubles in between.
    lookup_seconds : float
        How long to look for a batch in the list after the answer to its create request was lost, since the server may
        still be creating it. After that it counts as never created.
    """

    first_seconds: float = 1.0
    longest_seconds: float = 60.0
    lookup_seconds: float = 60.0

    @property
    def local(self) -> PollSchedule:
        """The schedule for watching another kernel on this machine, without asking the API."""
        return replace(self, longest_seconds=min(self.longest_seconds, _LOCAL_SECONDS))


class Backoff:
    """Growing waits with jitter (M. Brooker, "Exponential Backoff And Jitter", 2015), each at least a tenth of its cap."""

    def __init__(self, schedule: PollSchedule, *, draw: Callable[[], float] = random.random) -> None:
        self._longest_seconds = schedule.longest_seconds
        self._draw = draw
        self._cap = schedule.first_seconds

    def seconds(self, retry_after_seconds: Optional[float] = None) -> float:
        """Return the next wait in seconds, which is never shorter than the API asked for."""
        cap, self._cap = self._cap, min(self._longest_seconds, self._cap * 2)
        jitter = cap * (0.1 + 0.9 * self._draw())
        if retry_after_seconds is None:
            return jitter
        return retry_after_seconds + min(1.0, 0.1 * jitter)

    async def wait(self, retry_after_seconds: Optional[float] = None) -> None:
        """Sleep for the next wait."""
        await asyncio.sleep(self.seconds(retry_after_seconds))


async def retry_until_answered(
    call: Callable[[], Awaitable[T]], schedule: PollSchedule, what: str, *, remedy: str = ""
) -> T:
    """Repeat a free call until it succeeds, since no failure to look at a batch is final while it is in progress.

    Parameters
    ----------
    call : callable
    schedule : PollSchedule
    what : str
        Purpose of the call, at the beginning of the error message.
    remedy : str
        What to do about a refusal, at the end of the error message.

    Raises
    ------
    JobError
        If the API refuses the call several times in a row, as for a batch of another workspace or with a revoked key.
    """
    backoff = Backoff(schedule)
    refusals = 0
    while True:
        try:
            return await call()
        except ApiError as error:
            refused = isinstance(
                error, (AuthenticationError, PermissionDeniedError, NotFoundError, InvalidRequestError)
            )
            refusals = refusals + 1 if refused else 0
            if refusals >= _REFUSALS:
                raise JobError(f"{what}: {error}{remedy}") from error
            logger.warning("%s failed and is tried again: %s", what, error)
            await backoff.wait(error.retry_after_seconds)
