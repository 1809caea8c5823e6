"""Waiting for what may come, for a moment in which this process really runs."""

from __future__ import annotations

import asyncio
from typing import Any, Iterable

__all__ = ["wait_for_moment"]

_STEPS = 5


async def wait_for_moment(tasks: Iterable[asyncio.Task[Any]], seconds: float) -> None:
    """Wait until all tasks have ended, for `seconds` at the most.

    In steps: an answer that lies in a socket takes the event loop some turns to be read, and where the machine is busy a single
    timer would be over before the first of them.
    """
    left = set(tasks)
    for _ in range(_STEPS):
        if left:
            _, left = await asyncio.wait(left, timeout=seconds / _STEPS)
