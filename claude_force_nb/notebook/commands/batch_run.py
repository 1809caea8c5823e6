"""One run of a batch, and its display."""

from __future__ import annotations

import _thread
import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Mapping, Optional, Sequence, Union

from claude_force_nb.errors import RunInterrupted
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.batch_results import bundle_of
from claude_force_nb.notebook.display.bundles import line_bundle
from claude_force_nb.notebook.display.progress import LiveLine, Progress
from claude_force_nb.notebook.display.stop_button import StopButton
from claude_force_nb.notebook.kernel.stopping import interruptible
from claude_force_nb.notebook.kernel.updates import Live
from claude_force_nb.notebook.session.front_end import FrontEnd
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.results import BatchResult, BatchSummary, Tell
from claude_force_nb.rows.retry import retry_notice, retry_rows
from claude_force_nb.rows.run import ResultCollector
from claude_force_nb.rows.sources import Source
from claude_force_nb.vocabulary import counted

from .call_arguments import how_to_continue
from .cluster_route import ClusterRoute

__all__ = ["BatchOutcome", "BatchRun", "Plan"]

# The value of a batch: its rows, or a summary if the rows went to a file.
BatchOutcome = Union[BatchResult, BatchSummary]


@dataclass(frozen=True)
class Plan:
    """A checked plan of a batch.

    Attributes
    ----------
    orchestrator : AsyncAgentOrchestrator
    source : Source
    arguments : mapping
        Arguments of `AsyncAgentOrchestrator.run_stream`.
    into : str or None
        Variable that receives the result.
    more : callable or None
        See `BatchResult`.
    path : str or None
        File that receives the rows instead of memory.
    live : str
        Value of ``live=``, whether progress is shown during the run: auto, on or off.
    server_note : callable
        Returns a note about which server answers, or "".
    cluster : ClusterRoute or None
        The cluster that answers the rows instead of this process.
    """

    orchestrator: AsyncAgentOrchestrator
    source: Source
    arguments: Mapping[str, Any] = field(default_factory=dict)
    into: Optional[str] = None
    more: Optional[Callable[[ClaudeResult], Mapping[str, Any]]] = None
    path: Optional[str] = None
    live: str = "auto"
    server_note: Callable[..., str] = field(default=lambda base_url, asked: "")
    cluster: Optional[ClusterRoute] = None


class BatchRun:
    """The execution of a plan.

    Parameters
    ----------
    front_end : FrontEnd
    plan : Plan
    numbers : sequence of int, optional
        The rows to run; all of them by default.
    background : bool
        True if no cell waits for the run.
    """

    def __init__(
        self,
        front_end: FrontEnd,
        plan: Plan,
        numbers: Optional[Sequence[int]] = None,
        *,
        background: bool = False,
    ) -> None:
        self._front_end = front_end
        self._plan = plan
        self._background = background
        source = self._source = plan.source if numbers is None else plan.source.only(numbers)
        source.taken = 0
        self.progress = Progress(
            total=lambda: source.total,
            taken=lambda: source.taken,
            clock=time.monotonic,
            # Rows in message batches are answered at the API: this process has none of them in flight.
            calls=None if plan.arguments.get("via") == "batches" else plan.orchestrator.snapshot,
        )
        self.collected = ResultCollector(
            source, lambda row, result: self.progress.ended(result), keep=plan.path is None
        )
        self._stop: Optional[Callable[[], None]] = None
        button = StopButton(
            self._clicked, kernel=front_end.kernel if front_end.hears_clicks else None, waiting=not background
        )
        live = front_end.live(plan.live)
        if background and live is Live.TEXT:
            live = Live.AT_END  # text would interfere with the user's typing
        self.line = LiveLine(self.progress, live, in_kernel=front_end.in_kernel, button=button)
        self._started = time.monotonic()

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """The orchestrator that answers the rows."""
        return self._plan.orchestrator

    def _clicked(self) -> None:
        """Stop the run as the notebook's Stop button does, or cancel its `BackgroundRun`."""
        (self._stop or _thread.interrupt_main)()

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Set the function that the Stop button calls, for a run that no cell waits for."""
        self._stop = stop

    def describe(self) -> str:
        """Return the message shown when the run is stopped."""
        billed = self.collected.may_be_billed
        calls = counted(billed, "call") + (" was in flight and" if billed == 1 else " were in flight and")
        to_file = self._plan.path is not None
        parts = [
            self.progress.share(),
            f"{calls} may be billed" if billed else "",
            self.orchestrator.batches_left
            or how_to_continue(self._plan.arguments, "run again to continue", kept_in_file=to_file),
        ]
        return "; ".join(part for part in parts if part)

    async def work(self) -> BatchOutcome:
        """Run to the end, showing progress."""
        loop = asyncio.get_running_loop()
        follower = loop.create_task(self.line.follow())
        if self._source.total is None:
            # Counts the rows of a file in a thread; the run itself reports any problem with the file.
            loop.run_in_executor(None, self._source.count).add_done_callback(_look_away)
        try:
            arguments, path = self._plan.arguments, self._plan.path
            if self._plan.cluster is not None:
                await self._plan.cluster.answer(self._source, arguments, self.collected)
                return self.batch()
            summary = await self.orchestrator.run_stream(self._source, on_result=self.collected, into=path, **arguments)
            if path is not None:
                return summary
        finally:
            follower.cancel()
            if self.orchestrator.ledger is not None:
                self.orchestrator.ledger.flush()
        return self.batch()

    def batch(self, stopped: Optional[BaseException] = None) -> BatchOutcome:
        """Return the results so far; see `ResultCollector.batch`."""
        seconds = time.monotonic() - self._started
        if self._plan.path is not None:
            return BatchSummary.of(self.progress.tally, duration_seconds=seconds)
        return self.collected.batch(stopped=stopped, again=self._again, duration_seconds=seconds, more=self._plan.more)

    async def _again(self, numbers: Sequence[int], tell: Tell) -> Mapping[int, ClaudeResult]:
        plan = self._plan
        line = await self._retry_line(numbers)
        if tell is None:
            self._front_end.show(line_bundle(line), about_the_run=True)
        else:
            tell(line)

        async def run(route: str, part: Sequence[int], budget: Any) -> Mapping[int, ClaudeResult]:
            arguments = dict(plan.arguments, via=route, budget=budget)
            cluster = plan.cluster if route == "api" else None
            again = BatchRun(self._front_end, replace(plan, arguments=arguments, cluster=cluster), part)
            try:
                await interruptible(again.work(), again.describe)
            finally:
                again.show(again.batch())
            return again.collected.results

        via, budget = plan.arguments.get("via", "api"), plan.arguments.get("budget")
        return await retry_rows(numbers, self.collected.results, via=via, budget=budget, run=run)

    async def _retry_line(self, numbers: Sequence[int]) -> str:
        orchestrator, arguments = self.orchestrator, self._plan.arguments
        options = {name: value for name, value in arguments.items() if name not in ("cell", "via", "max_concurrent")}
        reads_cache = options.get("cache") not in ("off", "refresh")
        return await retry_notice(
            orchestrator.requests(self._source.only(numbers), **options),
            self.collected.results,
            via=arguments.get("via", "api"),
            cache=orchestrator.cache if reads_cache else None,
            prices=orchestrator.prices,
        )

    async def foreground(self) -> BatchOutcome:
        """Run in the cell; Stop ends it, and finished rows are kept."""
        try:
            batch = await interruptible(self.work(), self.describe)
        except (RunInterrupted, Exception) as error:
            if self.progress.ended_rows or isinstance(error, RunInterrupted):
                self.keep(self.batch(stopped=error), "stopped")
            raise
        self.keep(batch)
        self._front_end.mark_shown(batch)
        return batch

    def keep(self, batch: BatchOutcome, note: Optional[str] = None) -> None:
        """Store the result in ``into=``, and show it in place of the progress line."""
        if self._plan.into:
            self._front_end.names[self._plan.into] = batch
        self.show(batch, note)

    def show(self, batch: BatchOutcome, note: Optional[str] = None) -> None:
        """Show the results so far in place of the progress line."""
        where = None if self._plan.path is None else f"in {self._plan.path}"
        # Answers from the cache or a file do not count as asking this server.
        asked = any(batch.counts.get(status, 0) for status in ("ok", "cut_off", "refused"))
        server = self._plan.server_note(self.orchestrator.transport.base_url, asked=asked)
        if isinstance(batch, BatchResult):
            batch.notice = server  # said again wherever the batch is shown
        cluster = None if self._plan.cluster is None else self._plan.cluster.note
        note = " · ".join(part for part in (note, where, cluster, server) if part) or None
        shown = bundle_of(batch, note=note)
        # When a background run ends, other cells have started, and a table would appear below one of them.
        table = None if self._background else self._front_end.batch_table(batch, note)
        self.line.finish(shown if table is None else table.static(shown))
        if table is not None:
            table.show()


def _look_away(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()
