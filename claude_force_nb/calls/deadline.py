"""The bound on a call with its retries."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, List, Optional, Tuple, Type

from claude_force_nb.errors import CallTimeoutError

__all__ = ["Deadline"]


class Deadline:
    """Cancels its task when its time is up, and remembers that it did; the time runs from the first `start`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.passed = False
        self._ends: Optional[float] = None
        self._handle: Optional[asyncio.TimerHandle] = None
        self._over = False
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

    def error(self) -> CallTimeoutError:
        """Return what is raised when the time is up."""
        return CallTimeoutError(f"no complete answer within {self.seconds:g} s; raise timeout= or try again")

    def allows(self, delay_seconds: float) -> bool:
        """Return whether there is still time after a wait."""
        return self._ends is None or time.monotonic() + delay_seconds < self._ends

    def start(self) -> float:
        """Let the time run, if it does not yet; return the seconds that are left."""
        if self._ends is None:
            self._begin(asyncio.get_running_loop(), _current_task())
        assert self._ends is not None
        return max(0.001, self._ends - time.monotonic())

    def follow(self, other: Deadline) -> None:
        """Let the time run as soon as that of `other` does, which may be another loop's."""
        loop, task = asyncio.get_running_loop(), _current_task()
        other._followers.append((self, loop, task))
        if other._ends is not None:
            self._begin(loop, task)

    def stop(self) -> None:
        """Let the time run no further: there is an answer, which is not to be lost while it is put away."""
        if self._handle is not None:
            self._handle.cancel()

    def forgives(self) -> bool:
        """Take back the cancellation of the task where it was this deadline's; return whether it was nobody else's too."""
        if not self.passed or self._task is None:
            return False
        self.passed = False
        # Python 3.11 counts; before, nobody can tell.
        return not hasattr(self._task, "uncancel") or self._task.uncancel() <= self._cancelling

    def _begin(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        if self._over or self._ends is not None:
            return
        self._ends = time.monotonic() + self.seconds
        self._task = task
        self._cancelling = task.cancelling() if hasattr(task, "cancelling") else 0
        self._handle = loop.call_later(self.seconds, self._expire, task)
        for follower, its_loop, its_task in self._followers:
            try:
                its_loop.call_soon_threadsafe(follower._begin, its_loop, its_task)
            except RuntimeError:  # that loop is closed
                pass

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self.passed = True
        task.cancel()


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
