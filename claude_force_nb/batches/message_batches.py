"""Message Batches: a run's rows at half price, answered after a while; submit, resume, collect."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Union

from claude_force_nb.api.batches import SdkBatches
from claude_force_nb.api.transport import SdkTransport
from claude_force_nb.cache import ResponseCache
from claude_force_nb.calls.events import EventEmitter
from claude_force_nb.costs.budget import Budget, DailyBudget
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.errors import ClaudeForceError, OptionError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.results import BatchResult, BatchSummary
from claude_force_nb.rows.run import Rows

from .collector import Collector
from .polling import Pace
from .registry import JobState, Registry
from .reserves import Reserves
from .run import BatchContext, BatchRun, Check, Limits, Look, Share
from .sender import Sender
from .store import JobStore, default_jobs_path

__all__ = ["MessageBatches", "Limits", "Pace", "open_message_batches"]


logger = logging.getLogger("claude_force_nb")


class MessageBatches:
    """The batch jobs of an orchestrator.

    Parameters
    ----------
    api : SdkBatches
    store : JobStore
    prices : PriceTable
    ledger : Ledger, optional
    cache : ResponseCache, optional
    budgets : sequence of Budget, DailyBudget or None
        Of the orchestrator.
    emitter : EventEmitter
    notebook : str, optional
        For the list of jobs and the ledger.
    max_retries : int
        Most further creates after one that failed for sure, >= 0.
    pace : Pace, optional
    limits : Limits, optional

    Attributes
    ----------
    left_running : str
        After a run that was stopped: one line that says which batches go on at the API, and how to collect them; else "".
    """

    def __init__(
        self,
        api: SdkBatches,
        store: JobStore,
        *,
        prices: PriceTable,
        ledger: Optional[Ledger],
        cache: Optional[ResponseCache],
        budgets: Sequence[Union[Budget, DailyBudget, None]],
        emitter: EventEmitter,
        notebook: Optional[str],
        max_retries: int,
        pace: Optional[Pace] = None,
        limits: Optional[Limits] = None,
    ) -> None:
        self.store = store
        self.pace = pace or Pace()
        self.limits = limits or Limits()
        self.left_running = ""
        self._api = api
        self._prices = prices
        self._ledger = ledger
        self._cache = cache
        self._reserves = Reserves(str(store.path), budgets)
        self._emitter = emitter
        self._notebook = notebook
        self._max_retries = max_retries
        self._jobs_of: Dict[asyncio.Task[Any], str] = {}
        # A loop keeps only weak references to its tasks.
        self._asking: Set[asyncio.Task[None]] = set()

    @property
    def _desk(self) -> BatchContext:
        return BatchContext(
            store=self.store,
            sender=Sender(self._api, self.store, self.pace, max_retries=self._max_retries),
            collector=Collector(self._api, self.store, self._prices, self._ledger, self.pace),
            reserves=self._reserves,
            prices=self._prices,
            emitter=self._emitter,
            notebook=self._notebook,
            pace=self.pace,
            limits=self.limits,
        )

    @property
    def registry(self) -> Registry:
        """Jobs by their id."""
        desk = self._desk
        return Registry(desk.store, desk.sender, desk.collector, desk.pace)

    def all(self) -> List[JobState]:
        """Return the jobs of all kernels, newest first; asks the file and not the API."""
        return self.registry.all()

    async def attach(self, name: str, *, on_result: Optional[Callable[[ClaudeResult], None]] = None) -> BatchResult:
        """Wait for a job whose kernel is gone and take its results in; see `Registry.attach`."""
        return await self.registry.attach(name, self._cache, on_result=on_result, settle=self._reserves.settle)

    async def cancel(self, name: str) -> JobState:
        """Ask the API to end a job; see `Registry.cancel`."""
        return await self.registry.cancel(name)

    def forget(self, name: str) -> JobState:
        """Remove a job from the list; see `Registry.forget`."""
        return self.registry.forget(name)

    async def run(
        self,
        rows: Rows,
        *,
        cache: Optional[ResponseCache],
        look: Look,
        share: Share,
        check: Check,
        budget: Optional[Budget],
        cell: Optional[str],
    ) -> BatchSummary:
        """Answer rows: cached ones at once, the others through batches, each distinct request once.

        Parameters
        ----------
        rows : Rows
        cache : ResponseCache, optional
            Where answers are kept.
        look : callable
            Gives the result of a cached row, else None; raises where the row may not be sent.
        share : callable
            Makes the result of a row out of another's.
        check : callable
            Holds an answer against the schema that was asked for.
        budget : Budget, optional
            Of this run.
        cell : str, optional

        Raises
        ------
        BudgetExceededError
            Where the worst case of what is to be sent does not fit; nothing was sent.
        JobError
            Where the state cannot be kept; nothing was sent.
        """
        task = asyncio.current_task()
        assert task is not None

        def made(job: str) -> None:
            self._jobs_of[task] = job

        run = BatchRun(self._desk, rows, cache=cache, share=share, check=check, budget=budget, cell=cell, on_job=made)
        self.left_running = ""
        try:
            return await run.answer(look)
        finally:
            self._jobs_of.pop(task, None)
            run.end()
            self.left_running = run.left_running

    def cancel_run(self, task: asyncio.Task[Any]) -> bool:
        """Ask the API to end the batches that a task waits for; False where it has sent none yet.

        The task then ends by itself, with what was answered. To be called on its loop.
        """
        job = self._jobs_of.get(task)
        if job is None:
            return False
        asking = asyncio.ensure_future(self._cancel_quietly(job))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        return True

    async def _cancel_quietly(self, job: str) -> None:
        try:
            await self.cancel(job)
        except ClaudeForceError as error:
            logger.warning("job %s was not cancelled: %s", job, error)


def open_message_batches(transport: object, environ: Mapping[str, str], **parts: Any) -> MessageBatches:
    """Return the batch jobs of a transport, with their file in the user's data directory; `parts` as in `MessageBatches`.

    Raises
    ------
    OptionError
        Where the transport is of the user's own and has no batches.
    """
    if not isinstance(transport, SdkTransport):
        raise OptionError("via=batches needs the API itself; this orchestrator has a transport of its own")
    return MessageBatches(SdkBatches(transport), JobStore(default_jobs_path(environ)), **parts)
