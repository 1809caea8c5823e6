"""A batch that runs in the background."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Awaitable, Generator, List, Optional

from claude_force_nb.errors import ClaudeForceError, RunInterrupted
from claude_force_nb.notebook.display.batch_results import bundle_of
from claude_force_nb.notebook.display.bundles import Bundle, line_bundle
from claude_force_nb.notebook.display.progress import Progress
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.text_tables import one_line

from .batch_run import BatchOutcome, BatchRun

__all__ = ["BackgroundRun"]

logger = logging.getLogger("claude_force_nb")


class BackgroundRun:
    """A batch that runs in the background; created by ``--background``.

    ``await run`` waits for its `BatchResult`, and raises if the run failed. Stop ends the waiting, not the run. The result of
    a cancelled run contains the rows that were done.
    """

    def __init__(self, run: BatchRun) -> None:
        self._run = run
        self.loop = asyncio.get_running_loop()
        self._batch: Optional[BatchOutcome] = None
        self._error: Optional[BaseException] = None
        self._cancelled = False
        run.on_stop(self.cancel)
        run.line.begin()
        self.task: asyncio.Task[None] = self.loop.create_task(self._work())

    async def _work(self) -> None:
        try:
            self._batch = await self._run.work()
            self._run.keep(self._batch)
        except asyncio.CancelledError:
            self._cancelled = True
            stopped = RunInterrupted(f"cancelled, {self._run.describe()}")
            self._batch = self._run.batch(stopped=stopped)
            self._run.keep(self._batch, "cancelled")
        except Exception as error:
            self._error = error
            if self._run.progress.ended_rows:
                self._run.keep(self._run.batch(stopped=error))
            self._run.line.finish(self.bundle())
            # The user may never look at the run again, so the error must appear somewhere.
            logger.error("the batch in the background failed: %s: %s", type(error).__name__, error)

    def __await__(self) -> Generator[Any, None, BatchOutcome]:
        return self._wait().__await__()

    async def _wait(self) -> BatchOutcome:
        try:
            if asyncio.get_running_loop() is self.loop:
                await asyncio.wait([self.task])
            else:  # the cell runs in another thread
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_ended(self.task), self.loop))
        except asyncio.CancelledError:
            line = f"Interrupted: {self.progress.share()}; the run continues, await it again"
            raise _WaitingEnded(line) from None
        self._run.line.repeat()
        return self.result()

    @property
    def status(self) -> str:
        """``running``, ``done``, ``cancelled`` or ``failed``."""
        if self._error is not None:
            return "failed"
        if self._batch is None:
            return "running"
        return "cancelled" if self._cancelled else "done"

    @property
    def progress(self) -> Progress:
        """Progress: ``.done``, ``.total``, ``.counts``, ``.cost``, ``.projected_cost``; as text, the live line."""
        return self._run.progress

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """The orchestrator that answers the rows."""
        return self._run.orchestrator

    def cancel(self) -> None:
        """Cancel the run; finished rows are kept, and their answers are in the cache. May be called from any thread.

        If the rows were sent as message batches, the API is asked to cancel them, and the answers so far are collected.
        """
        if not self.task.done() and not self.loop.is_closed():
            self._cancelled = True
            self.loop.call_soon_threadsafe(self.orchestrator.cancel_run, self.task)

    def leave(self) -> None:
        """Stop waiting for the run; message batches at the API keep running. May be called from any thread."""
        if not self.task.done() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.task.cancel)

    def result(self) -> BatchOutcome:
        """Return the result without waiting; for a cancelled run, the rows that were done.

        Raises
        ------
        ClaudeForceError
            If the run has not ended.
        Exception
            The error that ended it, if it affected all rows.
        """
        if self._error is not None:
            raise self._error
        if self._batch is None:
            raise ClaudeForceError(f"the batch is still running: {self.progress.share()}; await the run")
        return self._batch

    def bundle(self) -> Bundle:
        """Return the state of the run, as a display bundle."""
        if self._error is not None:
            line = f"failed: {type(self._error).__name__}: {one_line(self._error)}"
            return line_bundle(f"{line} · {self.progress.share()}")
        return self.progress.bundle() if self._batch is None else bundle_of(self._batch)

    def __repr__(self) -> str:
        return f"BackgroundRun({self.status}, {self.progress.share()})"


class _WaitingEnded(asyncio.CancelledError):
    """A cancellation that a notebook shows as one line."""

    def _render_traceback_(self) -> List[str]:
        return [str(self)]


async def _ended(task: Awaitable[None]) -> None:
    await asyncio.wait([asyncio.ensure_future(task)])
