"""Wait a short time for tasks, in a way that works on a busy machine too."""

from __future__ import annotations

import asyncio
from typing import Any, Iterable

__all__ = ["wait_for_moment"]

_STEPS = 5


async def wait_for_moment(tasks: Iterable[asyncio.Task[Any]], seconds: float) -> None:
    """Wait until all tasks have ended, for at most `seconds`.

    The time is split into steps, because the event loop needs several iterations to read an answer from a socket. On a
    busy machine, a single timer could expire before the first of them.
    """
    left = set(tasks)
    for _ in range(_STEPS):
        if left:
            _, left = await asyncio.wait(left, timeout=seconds / _STEPS)
