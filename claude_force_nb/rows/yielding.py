"""Cooperative yielding for work that never waits."""

from __future__ import annotations

import asyncio
import time

__all__ = ["LoopYielder"]

# How long a run that finds every answer in the cache may keep the event loop to itself.
_YIELD_SECONDS = 0.02


class LoopYielder:
    """Yields to other tasks once the event loop has been busy for 20 ms with the tasks that share this object."""

    def __init__(self) -> None:
        self._turned_at = time.perf_counter()
        self._turning = False

    @property
    def is_due(self) -> bool:
        """True if the event loop has been kept busy for too long."""
        return time.perf_counter() - self._turned_at > _YIELD_SECONDS

    async def turn(self) -> None:
        """Yield to the event loop once."""
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turned)
        await asyncio.sleep(0)

    def _turned(self) -> None:
        self._turned_at, self._turning = time.perf_counter(), False
