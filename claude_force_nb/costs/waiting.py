"""A queue of callers that wait for a budget: first come, first served, across event loops and threads."""

from __future__ import annotations

import asyncio
from collections import deque
from threading import Lock
from typing import Deque

__all__ = ["Waiter", "WaitingQueue"]


class Waiter:
    """A waiting caller: an event on the caller's own event loop that any thread can set."""

    __slots__ = ("_event", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        """End the caller's `wait`; may be called from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # its loop is closed, so nobody waits there any more
            pass

    @property
    def lives(self) -> bool:
        """Whether the caller's event loop is still open."""
        return not self._loop.is_closed()

    async def wait(self) -> None:
        """Wait until `wake` is called; return at once if it was called since the last wait."""
        await self._event.wait()
        self._event.clear()


class WaitingQueue:
    """The waiters of one budget, in order of arrival."""

    def __init__(self) -> None:
        self._waiters: Deque[Waiter] = deque()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._waiters)

    def join(self) -> Waiter:
        """Join the end of the queue."""
        waiter = Waiter()
        with self._lock:
            self._waiters.append(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Leave the queue; this wakes the next waiter, for which there may be enough money too."""
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        self.wake_first()

    def is_first(self, waiter: Waiter) -> bool:
        """Return whether `waiter` is first in the queue."""
        with self._lock:
            self._drop_dead()
            return bool(self._waiters) and self._waiters[0] is waiter

    def wake_first(self) -> None:
        """Wake the first waiter to check again, because money was released or the limit has changed."""
        if not self._waiters:
            return
        with self._lock:
            self._drop_dead()
            if self._waiters:
                self._waiters[0].wake()

    def _drop_dead(self) -> None:
        while self._waiters and not self._waiters[0].lives:
            self._waiters.popleft()
