"""Lets Stop (SIGINT) end what a cell is waiting for, with a message of one line."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, contextmanager
from typing import Any, AsyncIterator, Callable, Coroutine, Iterator, TypeVar

from claude_force_nb.errors import RunInterrupted

from .waker import signals_wake

__all__ = ["ending_on_stop", "interruptible"]

T = TypeVar("T")

# Iterations of the event loop until a Stop arrives, as the kernel passes it through two futures before it cancels the cell.
_TURNS_OF_A_STOP = 5


@contextmanager
def _on_sigint(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the loop upon SIGINT, even if the loop sleeps (the kernel's own handler does not wake it)."""
    remove: Callable[[], Any] = lambda: None  # noqa: E731
    try:
        previous = signal.getsignal(signal.SIGINT)
        # The loop's own signal handler would remove the wakeup socket for the rest of the cell, and is slow to set.
        if signals_wake():
            signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(stop))
        else:
            try:
                loop.add_signal_handler(signal.SIGINT, stop)
                remove = lambda: loop.remove_signal_handler(signal.SIGINT)  # noqa: E731
            except (NotImplementedError, RuntimeError):  # Windows
                signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(stop))
    except ValueError:  # not the main thread, which alone receives signals
        yield
        return
    try:
        yield
    finally:
        remove()
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


async def _stop_came() -> bool:
    """Return whether Stop was pressed since the cell last awaited; the kernel reports that in the next loop iterations."""
    try:
        for _ in range(_TURNS_OF_A_STOP):
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        return True
    return False


@asynccontextmanager
async def ending_on_stop(line: str) -> AsyncIterator[None]:
    """Let Stop interrupt user code that does not await; the kernel's handler only takes effect at the next await.

    Raises
    ------
    RunInterrupted
        With `line`, on SIGINT.
    """
    if await _stop_came():
        raise RunInterrupted(line)
    try:
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # not the main thread, which alone receives signals
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
        Returns a line that says how far the work got and what to do next; called after the work has ended.

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
