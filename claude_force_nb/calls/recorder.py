"""Write answers that arrive together to disk together: one transaction for the cache, one for the ledger."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from claude_force_nb.cache import ResponseCache
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult

__all__ = ["Recorder"]

# Iterations of the event loop before answers are written: in the first, other answers arrive; in the second, the calls
# that take their slots start; in the third, these are sent. A transaction takes longer than all of that.
_ROUNDS = 3


class _Entry(NamedTuple):
    request: ClaudeRequest
    result: ClaudeResult
    cache: Optional[ResponseCache]
    cell: Optional[str]
    written: asyncio.Future[None]


class Recorder:
    """Writes answers to cache and ledger; those of a few iterations of the event loop share a transaction (group commit).

    Parameters
    ----------
    ledger : Ledger or None
    notebook : str, optional
        Name for the ledger.
    """

    def __init__(self, ledger: Optional[Ledger], notebook: Optional[str]) -> None:
        self._ledger = ledger
        self._notebook = notebook
        self._waiting: Dict[asyncio.AbstractEventLoop, List[_Entry]] = {}

    async def record(
        self, request: ClaudeRequest, result: ClaudeResult, *, cache: Optional[ResponseCache], cell: Optional[str]
    ) -> None:
        """Write the answer to the ledger and, if there is one, the cache; return once it is there.

        If the caller is cancelled meanwhile, the answer is still written before the cancellation is raised, since it is
        paid for.
        """
        loop = asyncio.get_running_loop()
        entry = _Entry(request, result, cache, cell, loop.create_future())
        waiting = self._waiting.get(loop)
        if waiting is None:
            self._waiting[loop] = [entry]
            self._commit_after(_ROUNDS, loop)
        else:
            waiting.append(entry)
        try:
            await entry.written
        except asyncio.CancelledError:
            self._commit(loop)
            raise

    def flush(self) -> None:
        """Write pending records, except those of event loops running in other threads, which write their own."""
        try:
            here: Optional[asyncio.AbstractEventLoop] = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        for loop in list(self._waiting):
            if loop.is_closed():
                self._write(self._waiting.pop(loop, []))
            elif loop is here or not loop.is_running():
                self._commit(loop)

    def _commit_after(self, rounds: int, loop: asyncio.AbstractEventLoop) -> None:
        if rounds:
            loop.call_soon(self._commit_after, rounds - 1, loop)
        else:
            self._commit(loop)

    def _commit(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            # Interrupted just after a transaction, we could not know whether it was committed.
            with _without_ctrl_c():
                self._commit_now(loop)
        except BaseException:
            if self._waiting.get(loop):
                loop.call_soon(self._commit, loop)
            raise

    def _commit_now(self, loop: asyncio.AbstractEventLoop) -> None:
        entries = self._waiting.pop(loop, [])
        problem: Optional[BaseException] = None
        try:
            self._write(entries)
        except Exception as error:  # a warning that the user's settings turn into an error
            problem = error
        except BaseException:  # such as SystemExit of a signal handler: put the answers back, to be written later
            self._waiting[loop] = entries + self._waiting.get(loop, [])
            raise
        for entry in entries:
            if entry.written.done():
                continue
            if problem is None:
                entry.written.set_result(None)
            else:
                entry.written.set_exception(problem)

    def _write(self, entries: List[_Entry]) -> None:
        caches = {id(entry.cache): entry.cache for entry in entries if entry.cache is not None}
        problem: Optional[Exception] = None
        try:
            for cache in caches.values():
                cache.put_many((entry.request, entry.result) for entry in entries if entry.cache is cache)
        except Exception as error:
            problem = error
        if self._ledger is not None:
            for cell in dict.fromkeys(entry.cell for entry in entries):
                results = [entry.result for entry in entries if entry.cell == cell]
                self._ledger.append_many(results, notebook=self._notebook, cell=cell)
        if problem is not None:
            raise problem


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Delay the handling of SIGINT, such as a KeyboardInterrupt, until the body has ended."""
    came: List[Any] = []
    previous = signal.getsignal(signal.SIGINT)
    # Only the main thread handles signals. There may be no handler of Python.
    if not callable(previous) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda *arguments: came.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if came:
            previous(*came[0])
