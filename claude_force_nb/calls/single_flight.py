"""Do identical work in flight only once, across event loops and threads."""

from __future__ import annotations

import asyncio
import logging
from threading import Lock
from typing import Any, Awaitable, Callable, Dict, Generic, List, Optional, Set, Tuple, TypeVar

from .grace import wait_for_moment

__all__ = ["SingleFlight"]

logger = logging.getLogger("claude_force_nb.api")

T = TypeVar("T")
# How often a waiter for another loop's work checks whether that loop still runs.
_POLL_SECONDS = 0.5
_CANCEL_GRACE_SECONDS = 0.25
_Waiter = Tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class _Flight(Generic[T]):
    """One piece of work and its waiters."""

    def __init__(self, loop: asyncio.AbstractEventLoop, note: Any, grace: Callable[[], float]) -> None:
        self.loop = loop
        self.note = note
        self.grace = grace
        self.waiters: List[_Waiter] = []
        self.task: asyncio.Task[T]
        self.ended: Optional[Callable[[], BaseException]] = None

    def lives_for(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether a waiter on `loop` can still get the result."""
        return self.loop is loop or (not self.loop.is_closed() and self.loop.is_running())


class SingleFlight(Generic[T]):
    """Runs at most one piece of work for a key at a time.

    Cancelling one waiter, even the first, does not affect the others. When the last one leaves, the work is cancelled
    after its grace period. A failure reaches every waiter and is not remembered.
    """

    def __init__(self) -> None:
        self._flights: Dict[str, _Flight[T]] = {}
        self._loops: Set[asyncio.AbstractEventLoop] = set()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._flights)

    async def run(
        self,
        key: str,
        work: Callable[[], Awaitable[T]],
        *,
        note: Any = None,
        joining: Optional[Callable[[Any], None]] = None,
        grace: Callable[[], float] = lambda: 0.0,
    ) -> Tuple[T, bool]:
        """Return the result of `work`, and whether the caller joined equal work already in flight instead.

        Parameters
        ----------
        key : str
        work : callable
        note : object
            Passed to callers that join `work`.
        joining : callable, optional
            Called with the note of the work to join, before waiting for it.
        grace : callable
            Called when nobody waits for `work` any more; returns the seconds, >= 0, that it may still take.
        """
        loop = asyncio.get_running_loop()
        if len(self._loops) != 1 or loop not in self._loops:
            self._drop_flights_of_closed_loop(loop)
        while True:
            with self._lock:
                flight = self._flights.get(key)
                joined = flight is not None and flight.lives_for(loop)
                if flight is None or not joined:
                    flight = self._flights[key] = _Flight(loop, note, grace)
                    flight.task = loop.create_task(_call(work))
                    flight.task.add_done_callback(self._remove_when_done(key, flight))
                waiter = (loop, loop.create_future())
                flight.waiters.append(waiter)
            try:
                if joined and joining is not None:
                    joining(flight.note)
                ended = await _wait_for_end(flight, waiter)
            except asyncio.CancelledError:
                await self._give_up(key, flight, waiter)
                raise
            if ended and not flight.task.cancelled():
                return flight.task.result(), joined
            if flight.ended is not None:
                raise flight.ended()
            if not joined:
                raise asyncio.CancelledError
            # The loop of that work ended while we were waiting, so do the work here.
            self._abandon(key, flight, waiter)

    def end_all(self, error: Callable[[], BaseException]) -> int:
        """Cancel all work in flight, each after its grace period; return how many there were. Callable from any thread.

        Parameters
        ----------
        error : callable
            Creates the error to raise for each waiter.
        """
        with self._lock:
            flights = [flight for flight in self._flights.values() if not flight.task.done()]
            for flight in flights:
                flight.ended = error
            # Nobody may join work that is about to be cancelled.
            self._flights.clear()
        for flight in flights:
            try:
                flight.loop.call_soon_threadsafe(_cancel_after_grace, flight)
            except RuntimeError:  # its loop is closed: it was cancelled there
                pass
        return len(flights)

    def _drop_flights_of_closed_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the work of closed loops: nothing else would release what it holds."""
        with self._lock:
            closed = {each for each in self._loops if each.is_closed()}
            self._loops = (self._loops - closed) | {loop}
            dead = [(key, flight) for key, flight in self._flights.items() if flight.loop in closed]
            for key, _ in dead:
                del self._flights[key]
        for _, flight in dead:
            try:
                flight.task.get_coro().close()
            except Exception as error:  # cleaning up may need to await, which is impossible without the loop
                logger.debug("a call of a closed event loop did not end well: %r", error)

    def _abandon(self, key: str, flight: _Flight[T], waiter: _Waiter) -> None:
        with self._lock:
            if waiter in flight.waiters:
                flight.waiters.remove(waiter)
            if self._flights.get(key) is flight:
                del self._flights[key]

    def _remove_when_done(self, key: str, flight: _Flight[T]) -> Callable[[Any], None]:
        def remove(task: asyncio.Task[T]) -> None:
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                waiters, flight.waiters = flight.waiters, []
            if not task.cancelled():
                task.exception()  # mark it as retrieved, even if the last waiter has just left
            for loop, waiter in waiters:
                if loop is flight.loop:
                    _wake(waiter)
                else:
                    try:
                        loop.call_soon_threadsafe(_wake, waiter)
                    except RuntimeError:  # that loop is closed
                        pass

        return remove

    async def _give_up(self, key: str, flight: _Flight[T], waiter: _Waiter) -> None:
        """Stop waiting; if nobody else is waiting, end the work and wait until it has ended."""
        try:
            if flight.waiters == [waiter] and flight.loop is waiter[0]:
                seconds = flight.grace()
                if seconds > 0:
                    await wait_for_moment([flight.task], seconds)
        finally:
            cancelled = self._leave(key, flight, waiter)
        if cancelled:
            # Let the work clean up, but do not wait for work that ignores its cancellation.
            await asyncio.wait([flight.task], timeout=_CANCEL_GRACE_SECONDS)

    def _leave(self, key: str, flight: _Flight[T], waiter: _Waiter) -> bool:
        """Stop waiting; return True if the work was cancelled and ends on the running loop."""
        with self._lock:
            if waiter in flight.waiters:
                flight.waiters.remove(waiter)
            if flight.waiters or flight.task.done():
                return False
            # Nobody may join work that is about to be cancelled.
            if self._flights.get(key) is flight:
                del self._flights[key]
        try:
            if flight.loop is asyncio.get_running_loop():
                flight.task.cancel()
                return True
            flight.loop.call_soon_threadsafe(_cancel_after_grace, flight)
        except RuntimeError:  # its loop is closed: it was cancelled there
            pass
        return False


async def _wait_for_end(flight: _Flight[T], waiter: _Waiter) -> bool:
    """Wait for the result; return False if the work's own event loop no longer runs."""
    if flight.loop is waiter[0]:
        await waiter[1]
        return True
    while True:
        await asyncio.wait([waiter[1]], timeout=_POLL_SECONDS)
        if waiter[1].done():
            return True
        if not flight.lives_for(waiter[0]):
            return False


def _cancel_after_grace(flight: _Flight[Any]) -> None:
    seconds = flight.grace()
    if seconds > 0:
        flight.loop.call_later(seconds, flight.task.cancel)
    else:
        flight.task.cancel()


async def _call(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
