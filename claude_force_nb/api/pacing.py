"""When a call may leave: slots across loops and threads, and pauses of a model family."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from threading import RLock
from typing import Callable, Deque, Dict

__all__ = ["Pacer", "SlotGate", "model_family"]


def model_family(model: str) -> str:
    """Return the family whose rate limits a model shares: ``claude-sonnet-5-5`` and ``claude-sonnet-4-6`` are ``sonnet``.

    A model that is no Claude is a family of its own. Source: API documentation, "Rate limits": limits are pooled by family.
    """
    _, is_claude, rest = model.lower().rpartition("claude")
    words = re.findall(r"[a-z]{3,}", rest) if is_claude else []
    return words[0] if words else model


class SlotGate:
    """At most `limit` holders at once, however many event loops and threads take part.

    asyncio's own semaphores belong to one loop. Waiters are served first come, first served.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        # Reentrant: the garbage collector may end an abandoned holder while this very thread is inside.
        self._lock = RLock()
        self._waiters: Deque[_Waiter] = deque()

    async def acquire(self) -> None:
        """Wait for a slot."""
        waiter = _Waiter(asyncio.get_running_loop())
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            self._waiters.append(waiter)
        try:
            await waiter.woken
        except BaseException:  # cancelled, or its loop is gone
            with self._lock:
                if waiter.has_slot:  # it was on its way when the wait ended: it goes to the next
                    self.release()
                elif waiter in self._waiters:
                    self._waiters.remove(waiter)
            raise

    def release(self) -> None:
        """Give a slot back, to the longest waiter if there is one."""
        with self._lock:
            while self._waiters:
                waiter = self._waiters.popleft()
                waiter.has_slot = True
                try:
                    waiter.loop.call_soon_threadsafe(waiter.wake)
                    return
                except RuntimeError:  # that loop is closed, and nobody waits there any more
                    waiter.has_slot = False
            self._free += 1


class _Waiter:
    __slots__ = ("has_slot", "loop", "woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.woken: asyncio.Future[None] = loop.create_future()
        self.has_slot = False

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class Pacer:
    """Keeps a model family quiet after a 429 until the API's ``retry-after`` has passed.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: Dict[str, float] = {}

    def pause(self, model: str, seconds: float) -> None:
        """Hold every call of the model's family for `seconds` from now; never shortens a pause."""
        family = model_family(model)
        self._until[family] = max(self._until.get(family, 0.0), self._clock() + seconds)

    def paused_seconds(self, model: str) -> float:
        """Return how long the model's family still pauses, 0.0 if it does not."""
        until = self._until.get(model_family(model)) if self._until else None
        return 0.0 if until is None else max(0.0, until - self._clock())

    async def ready(self, model: str) -> None:
        """Wait until the model's family is not paused."""
        while True:
            seconds = self.paused_seconds(model)
            if seconds <= 0:
                return
            await asyncio.sleep(seconds)
