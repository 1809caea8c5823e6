"""How work that never waits leaves the event loop to others."""

from __future__ import annotations

import asyncio
import time

__all__ = ["LoopYielder"]

# How long a run that finds every answer in the cache may keep the event loop to itself.
_YIELD_SECONDS = 0.02


class LoopYielder:
    """Lets other tasks run as soon as the event loop was kept for 20 ms, by any number of tasks that share this object."""

    def __init__(self) -> None:
        self._turned_at = time.perf_counter()
        self._turning = False

    @property
    def is_due(self) -> bool:
        """True where the loop has not turned for too long."""
        return time.perf_counter() - self._turned_at > _YIELD_SECONDS

    async def turn(self) -> None:
        """Let the loop turn once."""
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turned)
        await asyncio.sleep(0)

    def _turned(self) -> None:
        self._turned_at, self._turning = time.perf_counter(), False
