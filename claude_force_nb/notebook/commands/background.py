"""One run of a batch in the notebook: in the cell until it ends or is stopped, or in the background as a `BackgroundRun`."""

from __future__ import annotations

import _thread
import asyncio
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Dict, Generator, List, Mapping, Optional, Sequence, Union

from claude_force_nb.errors import ClaudeForceError, RunInterrupted
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.batches import bundle_of
from claude_force_nb.notebook.display.progress import LiveLine, Progress
from claude_force_nb.notebook.display.render import line_bundle
from claude_force_nb.notebook.display.stop_button import StopButton
from claude_force_nb.notebook.magics.awaiting import interruptible
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.results import BatchResult, BatchSummary
from claude_force_nb.rows.retry import retry_rows
from claude_force_nb.rows.run import OnResult, ResultCollector
from claude_force_nb.rows.sources import Source

if TYPE_CHECKING:
    from claude_force_nb.notebook.session import NotebookSession

__all__ = ["BackgroundRun", "BatchRun", "Plan"]

# What a batch gives: its rows, or of rows that went to a file their sums.
BatchOutcome = Union[BatchResult, BatchSummary]

logger = logging.getLogger("claude_force_nb")


@dataclass(frozen=True)
class Plan:
    """What a batch is to do, all of it checked.

    Attributes
    ----------
    orchestrator : AsyncAgentOrchestrator
    source : Source
    arguments : mapping
        Of `AsyncAgentOrchestrator.run_stream`.
    into : str or None
        Variable that receives the result.
    more : callable or None
        See `BatchResult`.
    path : str or None
        File that receives the rows instead of memory.
    """

    orchestrator: AsyncAgentOrchestrator
    source: Source
    arguments: Mapping[str, Any] = field(default_factory=dict)
    into: Optional[str] = None
    more: Optional[Callable[[ClaudeResult], Mapping[str, Any]]] = None
    path: Optional[str] = None


class BatchRun:
    """A plan being carried out.

    Parameters
    ----------
    session : NotebookSession
    plan : Plan
    numbers : sequence of int, optional
        The rows to run; all of them by default.
    background : bool
        True where no cell waits for it.
    """

    def __init__(
        self,
        session: NotebookSession,
        plan: Plan,
        numbers: Optional[Sequence[int]] = None,
        *,
        background: bool = False,
    ) -> None:
        self._session = session
        self._plan = plan
        source = self._source = plan.source if numbers is None else plan.source.only(numbers)
        source.taken = 0
        self.progress = Progress(
            total=lambda: source.total,
            taken=lambda: source.taken,
            clock=time.monotonic,
            paused=lambda: max((seconds for _, seconds in plan.orchestrator.snapshot().paused_families), default=0.0),
        )
        self.collected = ResultCollector(source, lambda row, result: self.progress.ended(result))
        self._stop: Optional[Callable[[], None]] = None
        kernel = getattr(session.shell, "kernel", None)
        button = StopButton(self._clicked, kernel=kernel, waiting=not background)
        self.line = LiveLine(self.progress, in_kernel=session.in_kernel, button=button)
        self._started = time.monotonic()

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """What carries it out."""
        return self._plan.orchestrator

    def _clicked(self) -> None:
        """End the run as the Stop of the notebook does, or as its job."""
        (self._stop or _thread.interrupt_main)()

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Say what the Stop button does, for a run that no cell waits for."""
        self._stop = stop

    def describe(self) -> str:
        """Return what is said when the run is stopped."""
        return "{}; {}".format(self.progress.share(), self.orchestrator.batches_left or "run again to continue")

    async def work(self) -> BatchOutcome:
        """Run to the end, showing how far it is."""
        loop = asyncio.get_running_loop()
        follower = loop.create_task(self.line.follow())
        if self._source.total is None:
            # Reads a file once, in a thread; what is wrong with it, the run itself will meet.
            loop.run_in_executor(None, self._source.count).add_done_callback(_look_away)
        try:
            if self._plan.path is not None:
                tell: OnResult = lambda row, result: self.progress.ended(result)  # noqa: E731
                return await self.orchestrator.run_stream(
                    self._source, on_result=tell, into=self._plan.path, **self._plan.arguments
                )
            await self.orchestrator.run_stream(self._source, on_result=self.collected, **self._plan.arguments)
        finally:
            follower.cancel()
            if self.orchestrator.ledger is not None:
                self.orchestrator.ledger.flush()
        return self.batch()

    def batch(self, stopped: Optional[BaseException] = None) -> BatchOutcome:
        """Return what there is; see `ResultCollector.batch`."""
        seconds = time.monotonic() - self._started
        if self._plan.path is not None:
            progress = self.progress
            return BatchSummary(
                counts=dict(progress.counts),
                cost=progress.cost if progress.price_known else None,
                saved=progress.saved,
                input_tokens=progress.input_tokens,
                output_tokens=progress.output_tokens,
                duration_seconds=seconds,
            )
        return self.collected.batch(stopped=stopped, again=self._again, duration_seconds=seconds, more=self._plan.more)

    async def _again(self, numbers: Sequence[int]) -> Mapping[int, ClaudeResult]:
        plan = self._plan

        async def run(route: str, part: Sequence[int], budget: Any) -> Mapping[int, ClaudeResult]:
            arguments = dict(plan.arguments, via=route, budget=budget)
            again = BatchRun(self._session, replace(plan, arguments=arguments), part)
            try:
                await interruptible(again.work(), again.describe)
            finally:
                again.show(again.batch())
            return again.collected.results

        via, budget = plan.arguments.get("via", "api"), plan.arguments.get("budget")
        return await retry_rows(numbers, self.collected.results, via=via, budget=budget, run=run)

    async def foreground(self) -> BatchOutcome:
        """Run in the cell; Stop ends it, and what it has is kept."""
        try:
            batch = await interruptible(self.work(), self.describe)
        except (RunInterrupted, Exception) as error:
            if self.progress.ended_rows or isinstance(error, RunInterrupted):
                self.keep(self.batch(stopped=error), "stopped")
            raise
        self.keep(batch)
        self._session.mark_shown(batch)
        return batch

    def keep(self, batch: BatchOutcome, note: Optional[str] = None) -> None:
        """Put the result where it was asked for, and show it instead of the line."""
        if self._plan.into:
            self._session.shell.user_ns[self._plan.into] = batch
        self.show(batch, note)

    def show(self, batch: BatchOutcome, note: Optional[str] = None) -> None:
        """Show what there is instead of the line."""
        where = None if self._plan.path is None else f"in {self._plan.path}"
        self.line.finish(bundle_of(batch, note=" · ".join(part for part in (note, where) if part) or None))


class BackgroundRun:
    """A batch that runs while the notebook is used; made by ``--background``.

    ``await job`` waits for its `BatchResult`, and raises what went wrong. Stop ends the waiting, not the job. Of a job that was
    cancelled the result is what it had.
    """

    def __init__(self, run: BatchRun) -> None:
        self._run = run
        self.loop = asyncio.get_running_loop()
        self._batch: Optional[BatchOutcome] = None
        self._error: Optional[BaseException] = None
        self._cancelled = False
        run.on_stop(self.cancel)
        run.line.update()
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
            # Somebody may never look at the job again.
            logger.error("the batch in the background failed: %s: %s", type(error).__name__, error)

    def __await__(self) -> Generator[Any, None, BatchOutcome]:
        return self._wait().__await__()

    async def _wait(self) -> BatchOutcome:
        try:
            if asyncio.get_running_loop() is self.loop:
                await asyncio.wait([self.task])
            else:  # a cell in another thread
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_ended(self.task), self.loop))
        except asyncio.CancelledError:
            line = "Interrupted: {}; the job goes on, await it again"
            raise _WaitingEnded(line.format(self.progress.share())) from None
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
        """How far it is: ``.done``, ``.total``, ``.counts``, ``.cost``, ``.projected_cost``; as text, the live line."""
        return self._run.progress

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """What carries it out."""
        return self._run.orchestrator

    def cancel(self) -> None:
        """End it soon, from any thread; rows that are done are kept, and their answers are in the cache.

        Of a batch that is at the API already the API is asked to end it, and what it has answered by then is collected.
        """
        if not self.task.done() and not self.loop.is_closed():
            self._cancelled = True
            self.loop.call_soon_threadsafe(self.orchestrator.cancel_run, self.task)

    def leave(self) -> None:
        """End the waiting, from any thread; a batch that is at the API already goes on there."""
        if not self.task.done() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.task.cancel)

    def result(self) -> BatchOutcome:
        """Return the result without waiting; of a cancelled job what it had.

        Raises
        ------
        ClaudeForceError
            If it is still running.
        Exception
            What ended it, where something went wrong for all rows.
        """
        if self._error is not None:
            raise self._error
        if self._batch is None:
            raise ClaudeForceError(f"the batch is still running: {self.progress.share()}; await the job")
        return self._batch

    def bundle(self) -> Dict[str, str]:
        """Return how the job stands, as a display bundle."""
        if self._error is not None:
            line = "failed: {}: {}".format(type(self._error).__name__, " ".join(str(self._error).split()))
            return line_bundle(f"{line} · {self.progress.share()}")
        return self.progress.bundle() if self._batch is None else bundle_of(self._batch)

    def __repr__(self) -> str:
        return f"BackgroundRun({self.status}, {self.progress.share()})"


class _WaitingEnded(asyncio.CancelledError):
    """A cancellation as any other, which a notebook shows as one line."""

    def _render_traceback_(self) -> List[str]:
        return [str(self)]


def _look_away(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()


async def _ended(task: Awaitable[None]) -> None:
    await asyncio.wait([asyncio.ensure_future(task)])
