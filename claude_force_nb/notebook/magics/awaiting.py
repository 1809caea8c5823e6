"""Runs a magic to its end where it cannot be awaited."""

from __future__ import annotations

import asyncio
from typing import Awaitable, Callable, TypeVar

__all__ = ["run_blocking"]

T = TypeVar("T")


def run_blocking(work: Callable[[], Awaitable[T]]) -> T:
    """Run to the end where awaiting is not possible: in a function, or from ``ipython -c``.

    Patches asyncio through nest-asyncio, but only where a loop runs already.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_call(work))
    try:
        import nest_asyncio2 as nest_asyncio  # ipykernel from 7.2 on brings it; the two must not be mixed
    except ImportError:
        import nest_asyncio
    nest_asyncio.apply(loop)
    task = loop.create_task(_call(work))
    try:
        result: T = loop.run_until_complete(task)
    except BaseException:
        # Stop leaves the loop as KeyboardInterrupt does, and would be reported under a later cell as never seen.
        if task.done() and not task.cancelled():
            task.exception()
        raise
    return result


async def _call(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
