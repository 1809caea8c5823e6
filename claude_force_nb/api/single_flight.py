"""Identical work in flight is done once, across event loops and threads."""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import Any, Awaitable, Callable, Dict, Generic, List, Tuple, TypeVar

__all__ = ["SingleFlight"]

T = TypeVar("T")
_Waiter = Tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class _Flight(Generic[T]):
    """One piece of work and those who wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiters: List[_Waiter] = []
        self.task: asyncio.Task[T]


class SingleFlight(Generic[T]):
    """Runs at most one piece of work for a key at a time.

    A cancelled waiter, even the first, leaves the others their outcome; when the last one leaves, the work is cancelled. A
    failure reaches all who wait and is not remembered.
    """

    def __init__(self) -> None:
        self._flights: Dict[str, _Flight[T]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._flights)

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> Tuple[T, bool]:
        """Return the outcome of `work`, and whether somebody else's was joined instead of starting it."""
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                flight = self._flights.get(key)
                joined = flight is not None and not flight.loop.is_closed()
                if flight is None or not joined:
                    flight = self._flights[key] = _Flight(loop)
                    flight.task = loop.create_task(_call(work))
                    flight.task.add_done_callback(self._landing(key, flight))
                waiter = (loop, loop.create_future())
                flight.waiters.append(waiter)
            try:
                await waiter[1]
            except asyncio.CancelledError:
                self._leave(key, flight, waiter)
                raise
            if flight.task.cancelled():
                # Its loop ended while we still wait: the work is ours to do.
                continue
            return flight.task.result(), joined

    def _landing(self, key: str, flight: _Flight[T]) -> Callable[[Any], None]:
        def land(task: asyncio.Task[T]) -> None:
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                waiters, flight.waiters = flight.waiters, []
            if not task.cancelled():
                task.exception()  # seen, even if the last waiter has just gone
            for loop, waiter in waiters:
                if loop is flight.loop:
                    _wake(waiter)
                else:
                    try:
                        loop.call_soon_threadsafe(_wake, waiter)
                    except RuntimeError:  # that loop is closed
                        pass

        return land

    def _leave(self, key: str, flight: _Flight[T], waiter: _Waiter) -> None:
        with self._lock:
            if waiter in flight.waiters:
                flight.waiters.remove(waiter)
            if flight.waiters or flight.task.done():
                return
            # Nobody may join work that is about to be cancelled.
            if self._flights.get(key) is flight:
                del self._flights[key]
        try:
            if flight.loop is asyncio.get_running_loop():
                flight.task.cancel()
            else:
                flight.loop.call_soon_threadsafe(flight.task.cancel)
        except RuntimeError:  # its loop is closed: it was cancelled there
            pass


async def _call(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
