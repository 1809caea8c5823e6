"""Runs a magic to its end when it cannot be awaited."""

from __future__ import annotations

import asyncio
from typing import Awaitable, Callable, Optional, Tuple, TypeVar, cast

from claude_force_nb.errors import ClaudeForceError

__all__ = ["run_blocking"]

T = TypeVar("T")
_POLL_SECONDS = 0.1


def run_blocking(work: Callable[[], Awaitable[T]], held: Callable[[], bool] = lambda: False) -> T:
    """Run an awaitable to its end where awaiting is impossible: in a function, or from ``ipython -c``.

    If a loop is already running, asyncio is patched by nest-asyncio; otherwise not.

    Parameters
    ----------
    work : callable
        Returns the awaitable.
    held : callable, optional
        Returns whether the work is waiting for Resume to be pressed.

    Raises
    ------
    ClaudeForceError
        If `held` returns True: while this function blocks, the kernel cannot handle a click on the button.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_call(work, held))
    try:
        import nest_asyncio2 as nest_asyncio  # ipykernel 7.2 and later depend on it; the two must not be mixed
    except ImportError:
        import nest_asyncio
    nest_asyncio.apply(loop)
    task = loop.create_task(_call(work, held))
    try:
        result: T = loop.run_until_complete(task)
    except BaseException:
        # Stop leaves the loop like KeyboardInterrupt. Retrieve the task's exception, or asyncio would report it below a
        # later cell as never retrieved.
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
                    "calls are paused, and the Resume button cannot work while this cell waits; press Resume first, then run it again"
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
    """Return the result or the exception of the work.

    Stop raises KeyboardInterrupt, which a task raises out of its event loop as well. The code that waits for the task would
    not be told, and would raise it a second time out of the kernel's own loop, which ends the kernel.
    """
    try:
        return await work(), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error
