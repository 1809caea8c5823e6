"""Stop: ends what a cell is waiting for, with one line."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, contextmanager
from typing import Any, AsyncIterator, Callable, Coroutine, Iterator, TypeVar

from claude_force_nb.errors import RunInterrupted

from .waker import signals_wake

__all__ = ["ending_on_stop", "interruptible"]

T = TypeVar("T")

# The kernel passes a signal on through two futures before it cancels the cell.
_TURNS_OF_A_STOP = 5


@contextmanager
def _on_sigint(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the loop when SIGINT comes, even if the loop sleeps (the kernel's own handler does not wake it)."""
    remove: Callable[[], Any] = lambda: None  # noqa: E731
    try:
        previous = signal.getsignal(signal.SIGINT)
        # A handler of the loop's own takes away what wakes the loop for the rest of the cell, and is slow to set.
        if signals_wake():
            signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(stop))
        else:
            try:
                loop.add_signal_handler(signal.SIGINT, stop)
                remove = lambda: loop.remove_signal_handler(signal.SIGINT)  # noqa: E731
            except (NotImplementedError, RuntimeError):  # Windows
                signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(stop))
    except ValueError:  # not the main thread: signals do not come here
        yield
        return
    try:
        yield
    finally:
        remove()
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


async def _stop_came() -> bool:
    """Return whether Stop came since the cell last awaited: the kernel tells it in the next turns of the loop."""
    try:
        for _ in range(_TURNS_OF_A_STOP):
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        return True
    return False


@asynccontextmanager
async def ending_on_stop(line: str) -> AsyncIterator[None]:
    """Let Stop end code of the user's that does not await, which the handler of a cell that awaits waits for.

    Raises
    ------
    RunInterrupted
        With `line`, on SIGINT.
    """
    if await _stop_came():
        raise RunInterrupted(line)
    try:
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # not the main thread: signals do not come here
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        raise RunInterrupted(line) from None
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


async def interruptible(work: Coroutine[Any, Any, T], describe: Callable[[], str]) -> T:
    """Await `work` so that Stop ends it at once.

    Parameters
    ----------
    work : coroutine
    describe : callable
        Gives the line that says how far the work got and what to do next; called after it has ended.

    Raises
    ------
    RunInterrupted
        On SIGINT, once the work has cleaned up.
    """
    loop = asyncio.get_running_loop()
    if await _stop_came():
        work.close()
        raise RunInterrupted(describe())
    task = loop.create_task(work)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    with _on_sigint(loop, stop):
        try:
            return await task
        except (asyncio.CancelledError, KeyboardInterrupt):
            if stopped:
                raise RunInterrupted(describe()) from None
            raise
