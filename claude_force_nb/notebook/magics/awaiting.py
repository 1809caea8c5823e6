"""Runs a magic to its end when it cannot be awaited."""

from __future__ import annotations

import asyncio
from typing import Awaitable, Callable, Optional, Tuple, TypeVar, cast

from claude_force_nb.errors import ClaudeForceError

__all__ = ["run_blocking"]

T = TypeVar("T")
_POLL_SECONDS = 0.1


def run_blocking(work: Callable[[], Awaitable[T]], held: Callable[[], bool] = lambda: False) -> T:
    """Run to the end where awaiting is not possible: in a function, or from ``ipython -c``.

    Patches asyncio through nest-asyncio, but only where a loop runs already.

    Parameters
    ----------
    work : callable
        Gives the awaitable.
    held : callable, optional
        Says whether the work waits for Resume to be pressed.

    Raises
    ------
    ClaudeForceError
        If it does: as long as something blocks here, the kernel hears no button.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_call(work, held))
    try:
        import nest_asyncio2 as nest_asyncio  # ipykernel from 7.2 on brings it; the two must not be mixed
    except ImportError:
        import nest_asyncio
    nest_asyncio.apply(loop)
    task = loop.create_task(_call(work, held))
    try:
        result: T = loop.run_until_complete(task)
    except BaseException:
        # Stop leaves the loop as KeyboardInterrupt does, and would be reported under a later cell as never seen.
        if task.done() and not task.cancelled():
            task.exception()
        raise
    return result


async def _call(work: Callable[[], Awaitable[T]], held: Callable[[], bool]) -> T:
    task = asyncio.ensure_future(_outcome(work))
    try:
        while not (await asyncio.wait([task], timeout=_POLL_SECONDS))[0]:
            if held():
                raise ClaudeForceError(
                    "calls are paused, and Resume would not be heard while this waits: press Resume first, then run it again"
                )
        result, error = task.result()
        if error is not None:
            raise error
        return cast("T", result)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


async def _outcome(work: Callable[[], Awaitable[T]]) -> Tuple[Optional[T], Optional[BaseException]]:
    """Return what the work gives or raises.

    Stop is a KeyboardInterrupt, which a task raises out of its loop as well: whoever waits for the task would not be told,
    and would raise it a second time out of the kernel's own loop, which ends the kernel.
    """
    try:
        return await work(), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error
