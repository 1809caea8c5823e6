"""When a call may leave: slots across loops and threads, and pauses of a model family."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from threading import Lock
from typing import Callable, Deque, Dict, Tuple

__all__ = ["Pacer", "SlotGate", "model_family"]


def model_family(model: str) -> str:
    """Return the family whose rate limits a model shares: ``claude-sonnet-5-5`` and ``claude-sonnet-4-6`` are ``sonnet``.

    Source: API documentation, "Rate limits": limits are pooled by model family.
    """
    words = [word for word in re.split(r"[^a-z]+", model.lower()) if word not in ("", "claude", "latest", "v")]
    return words[0] if words else model


class SlotGate:
    """At most `limit` holders at once, however many event loops and threads take part.

    asyncio's own semaphores belong to one loop. Waiters are served first come, first served.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lock = Lock()
        self._waiters: Deque[Tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def acquire(self) -> None:
        """Wait for a slot."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append((loop, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            with self._lock:
                try:
                    self._waiters.remove((loop, waiter))
                    given = False
                except ValueError:
                    given = True
            if given:  # the slot was on its way when the wait was cancelled: it goes to the next
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back, to the longest waiter if there is one."""
        while True:
            with self._lock:
                if not self._waiters:
                    self._free += 1
                    return
                loop, waiter = self._waiters.popleft()
            try:
                loop.call_soon_threadsafe(_wake, waiter)
                return
            except RuntimeError:  # that loop is closed, and nobody waits there any more
                continue


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


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
