"""The bound on a call with its retries."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, Optional, Type

from claude_force_nb.errors import CallTimeoutError

__all__ = ["Deadline"]


class Deadline:
    """Cancels its task when its time is up, and remembers that it did; the time runs from the first `start`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.passed = False
        self._ends: Optional[float] = None
        self._handle: Optional[asyncio.TimerHandle] = None

    def __enter__(self) -> Deadline:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self.passed and kind is asyncio.CancelledError:
            raise self.error() from None

    def error(self) -> CallTimeoutError:
        """Return what is raised when the time is up."""
        return CallTimeoutError("no complete answer within {:g} s; raise timeout= or try again".format(self.seconds))

    def allows(self, delay_seconds: float) -> bool:
        """Return whether there is still time after a wait."""
        return self._ends is None or time.monotonic() + delay_seconds < self._ends

    def start(self) -> float:
        """Let the time run, if it does not yet; return the seconds that are left."""
        now = time.monotonic()
        if self._ends is None:
            task = asyncio.current_task()
            assert task is not None
            self._ends = now + self.seconds
            self._handle = asyncio.get_running_loop().call_later(self.seconds, self._expire, task)
        return max(0.001, self._ends - now)

    def stop(self) -> None:
        """Let the time run no further: there is an answer, which is not to be lost while it is put away."""
        if self._handle is not None:
            self._handle.cancel()

    def forgives(self, task: asyncio.Task[Any]) -> bool:
        """Take back the cancellation of `task` where it was this deadline's; return whether it was."""
        if not self.passed:
            return False
        if hasattr(task, "uncancel"):  # Python 3.11 counts
            task.uncancel()
        return True

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self.passed = True
        task.cancel()
