"""The time limit of a call, including its retries."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, Callable, List, Optional, Tuple, Type

from claude_force_nb.errors import ApiError, CallTimeoutError

__all__ = ["Deadline"]


class Deadline:
    """Cancels its task when the time is up, and remembers that it did. The time runs from the first `start`.

    Parameters
    ----------
    seconds : float
        Time limit, > 0.
    ends_at : float, optional
        When the time is up, in monotonic seconds, if it is already running.
    explain : callable, optional
        Called with `seconds` when the time is up; returns a more specific error, or None.
    """

    def __init__(
        self,
        seconds: float,
        *,
        ends_at: Optional[float] = None,
        explain: Optional[Callable[[float], Optional[ApiError]]] = None,
    ) -> None:
        self.seconds = seconds
        self.passed = False
        self._ends_at = ends_at
        self._explain = explain
        self._explained: Optional[ApiError] = None
        self._ends: Optional[float] = None
        self._handle: Optional[asyncio.TimerHandle] = None
        self._over = False
        self._has_left = False
        self._task: Optional[asyncio.Task[Any]] = None
        self._cancelling = 0
        self._followers: List[Tuple[Deadline, asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    def __enter__(self) -> Deadline:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self._over = True
        self.stop()
        if self.forgives() and kind is asyncio.CancelledError:
            raise self.error() from None

    def error(self) -> ApiError:
        """Return the error to raise when the time is up."""
        return self._explained or CallTimeoutError(
            f"no complete answer within {self.seconds:g} s; raise timeout= or try again"
        )

    def allows(self, delay_seconds: float) -> bool:
        """Return whether any time would be left after a wait."""
        return self._ends is None or time.monotonic() + delay_seconds < self._ends

    def start(self) -> float:
        """Start the clock unless it is already running; return the seconds left."""
        if self._ends is None:
            self._begin(asyncio.get_running_loop(), _current_task())
        assert self._ends is not None
        return max(0.001, self._ends - time.monotonic())

    def follow(self, other: Deadline) -> None:
        """Start the clock when the call of `other`, possibly on another event loop, is sent."""
        loop, task = asyncio.get_running_loop(), _current_task()
        if self._explain is None:
            self._explain = other._explain
        other._followers.append((self, loop, task))
        if other._has_left:
            self._begin(loop, task)

    def leave(self) -> float:
        """Start the clock because the call is being sent, also for deadlines that follow this one; return the seconds left."""
        left = self.start()
        if not self._has_left:
            self._has_left = True
            for follower, its_loop, its_task in self._followers:
                try:
                    its_loop.call_soon_threadsafe(follower._begin, its_loop, its_task)
                except RuntimeError:  # that loop is closed
                    pass
        return left

    def stop(self) -> None:
        """Stop the clock: an answer has arrived and must not be lost while it is recorded."""
        if self._handle is not None:
            self._handle.cancel()

    def forgives(self) -> bool:
        """Undo the cancellation of the task if this deadline caused it; return whether the task may go on.

        It may not if something else has cancelled it too.
        """
        if not self.passed or self._task is None:
            return False
        self.passed = False
        # Python 3.11 counts cancellations; older versions cannot tell.
        return not hasattr(self._task, "uncancel") or self._task.uncancel() <= self._cancelling

    def _begin(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        if self._over or self._ends is not None:
            return
        now = time.monotonic()
        self._ends = now + self.seconds if self._ends_at is None else self._ends_at
        self._task = task
        self._cancelling = task.cancelling() if hasattr(task, "cancelling") else 0
        self._handle = loop.call_later(max(0.0, self._ends - now), self._expire, task)

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self.passed = True
        self._explained = None if self._explain is None else self._explain(self.seconds)
        task.cancel()


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
