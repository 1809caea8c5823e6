"""How often to ask the API about a message batch. Pure but for the sleeping."""

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
# A refusal may be a slip of a gateway; so many in a row are meant.
_REFUSALS = 3
_LOCAL_SECONDS = 2.0


@dataclass(frozen=True)
class PollSchedule:
    """Times of message batches, in seconds.

    Attributes
    ----------
    first_seconds, longest_seconds : float
        Bounds of the wait between two polls, which doubles from one to the other.
    lookup_seconds : float
        How long a create whose answer was lost is looked for in the list before it counts as never made: the server may
        still be at it.
    """

    first_seconds: float = 1.0
    longest_seconds: float = 60.0
    lookup_seconds: float = 60.0

    @property
    def local(self) -> PollSchedule:
        """The schedule for watching another kernel of this machine, which asks the API nothing."""
        return replace(self, longest_seconds=min(self.longest_seconds, _LOCAL_SECONDS))


class Backoff:
    """Waits that grow, with jitter (M. Brooker, "Exponential Backoff And Jitter", 2015), a tenth of their cap at the least."""

    def __init__(self, schedule: PollSchedule, *, draw: Callable[[], float] = random.random) -> None:
        self._longest_seconds = schedule.longest_seconds
        self._draw = draw
        self._cap = schedule.first_seconds

    def seconds(self, retry_after_seconds: Optional[float] = None) -> float:
        """Return the next wait; never shorter than the API asked for."""
        cap, self._cap = self._cap, min(self._longest_seconds, self._cap * 2)
        jitter = cap * (0.1 + 0.9 * self._draw())
        if retry_after_seconds is None:
            return jitter
        return retry_after_seconds + min(1.0, 0.1 * jitter)

    async def wait(self, retry_after_seconds: Optional[float] = None) -> None:
        """Wait this long."""
        await asyncio.sleep(self.seconds(retry_after_seconds))


async def retry_until_answered(
    call: Callable[[], Awaitable[T]], schedule: PollSchedule, what: str, *, remedy: str = ""
) -> T:
    """Repeat a free call until it works: while a batch is in progress, no failure to look at it is final.

    Parameters
    ----------
    call : callable
    schedule : PollSchedule
    what : str
        Begins the error's line: what the call is for.
    remedy : str
        Ends it: what to do about a refusal.

    Raises
    ------
    JobError
        If the API refuses it several times in a row, as for a batch of another workspace or a key that was revoked.
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
