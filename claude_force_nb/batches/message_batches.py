"""Runs rows through Message Batches, at half price and answered after a while: submits, resumes, collects."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Callable, Dict, List, Mapping, Optional, Set

from claude_force_nb.api.batches import ApiBatches
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.cache import ResponseCache
from claude_force_nb.calls.events import EventEmitter
from claude_force_nb.calls.settings import Accounts
from claude_force_nb.costs.budget import Budget
from claude_force_nb.errors import ClaudeForceError, OptionError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.results import BatchResult, BatchSummary
from claude_force_nb.rows.run import Rows

from .collector import Collector
from .context import BatchContext, BatchLimits
from .polling import PollSchedule
from .registry import JobRegistry, JobState
from .reservations import BatchReservations
from .run import BatchRun, LookUp, LookUpShared
from .sender import Sender
from .store import JobStore, default_jobs_path
from .waiting_rows import CheckAnswer, RowAnswers, ShareAnswer

__all__ = ["MessageBatches", "open_message_batches"]


logger = logging.getLogger("claude_force_nb.batches")


class MessageBatches:
    """Runs and manages the message batches of an orchestrator.

    Parameters
    ----------
    api : ApiBatches
    store : JobStore
    accounts : Accounts
        The orchestrator's ledger, cache, prices and budgets.
    emitter : EventEmitter
    max_retries : int
        Maximum number of retries of a create request that certainly failed, >= 0.

    Attributes
    ----------
    schedule : PollSchedule
        May be assigned.
    limits : BatchLimits
        May be assigned.
    left_running : str
        After a stopped run, one line about the batches that keep running at the API and how to collect them; else "".
    """

    def __init__(
        self,
        api: ApiBatches,
        store: JobStore,
        accounts: Accounts,
        *,
        emitter: EventEmitter,
        max_retries: int,
    ) -> None:
        self.store = store
        self.schedule = PollSchedule()
        self.limits = BatchLimits()
        self.left_running = ""
        self._api = api
        self._accounts = accounts
        self._reservations = BatchReservations(str(store.path), accounts.budgets)
        self._emitter = emitter
        self._max_retries = max_retries
        self._jobs_by_task: Dict[asyncio.Task[Any], str] = {}
        # Kept here because an event loop has only weak references to its tasks.
        self._cancelling: Set[asyncio.Task[None]] = set()

    def _context(self) -> BatchContext:
        accounts = self._accounts
        return BatchContext(
            store=self.store,
            sender=Sender(self._api, self.store, self.schedule, max_retries=self._max_retries),
            collector=Collector(self._api, self.store, accounts.prices, accounts.ledger, self.schedule),
            reservations=self._reservations,
            prices=accounts.prices,
            emitter=self._emitter,
            notebook=accounts.notebook,
            server=self._api.server,
            schedule=self.schedule,
            limits=self.limits,
        )

    @property
    def registry(self) -> JobRegistry:
        """The registry of all jobs."""
        context = self._context()
        return JobRegistry(context.store, context.sender, context.collector, context.schedule)

    def all(self) -> List[JobState]:
        """Return the jobs of all kernels, newest first, as stored on disk; the API is not asked."""
        return self.registry.all()

    async def attach(self, name: str, *, on_result: Optional[Callable[[ClaudeResult], None]] = None) -> BatchResult:
        """Wait for a job whose kernel is gone, and collect its results; see `JobRegistry.attach`.

        They are also recorded in the answer file, if one is recording.
        """
        recorded = self._accounts.answers

        def take(result: ClaudeResult) -> None:
            if recorded is not None:
                recorded.keep_unasked(result)
            if on_result is not None:
                on_result(result)

        return await self.registry.attach(
            name,
            self._accounts.cache,
            on_result=take,
            settle=self._reservations.settle,
            release=self._reservations.release,
        )

    async def cancel(self, name: str) -> JobState:
        """Ask the API to end a job; see `JobRegistry.cancel`."""
        return await self.registry.cancel(name)

    def forget(self, name: str) -> JobState:
        """Remove a job from the list; see `JobRegistry.forget`."""
        return self.registry.forget(name)

    async def run(
        self,
        rows: Rows,
        *,
        cache: Optional[ResponseCache],
        look_up: LookUp,
        look_up_shared: Optional[LookUpShared],
        share: ShareAnswer,
        check: CheckAnswer,
        budget: Optional[Budget],
        cell: Optional[str],
    ) -> BatchSummary:
        """Answer rows: cached ones at once, the others through batches, each distinct request once.

        Parameters
        ----------
        rows : Rows
        cache : ResponseCache, optional
            Where answers are kept.
        look_up : callable
            Returns the result of a cached row, else None; raises if the row may not be sent.
        look_up_shared : callable, optional
            Returns answers shared by other machines, for requests that `look_up` did not find.
        share : callable
            Makes a row's result from the answer to another row with the same request.
        check : callable
            Checks an answer against the requested schema.
        budget : Budget, optional
            Budget of this run.
        cell : str, optional

        Raises
        ------
        BudgetExceededError
            If the maximum cost of all requests exceeds a budget; nothing was sent.
        JobError
            If the state cannot be saved; nothing was sent.
        """
        task = asyncio.current_task()
        assert task is not None

        def remember(job: str) -> None:
            self._jobs_by_task[task] = job

        run = BatchRun(
            self._context(),
            rows,
            cache=cache,
            answers=RowAnswers(share, check),
            budget=budget,
            cell=cell,
            on_job=remember,
        )
        self.left_running = ""
        try:
            return await run.answer(look_up, look_up_shared)
        finally:
            self._jobs_by_task.pop(task, None)
            run.end()
            self.left_running = run.left_running

    def cancel_run(self, task: asyncio.Task[Any]) -> bool:
        """Ask the API to cancel the batches that a task waits for; return False if it has not sent any yet.

        The task then ends with the answers so far. Must be called on the task's event loop.
        """
        job = self._jobs_by_task.get(task)
        if job is None:
            return False
        cancelling = asyncio.ensure_future(self._cancel_quietly(job))
        self._cancelling.add(cancelling)
        cancelling.add_done_callback(self._cancelling.discard)
        return True

    async def _cancel_quietly(self, job: str) -> None:
        try:
            await self.cancel(job)
        except ClaudeForceError as error:
            logger.warning("job %s was not cancelled: %s", job, error)


def open_message_batches(
    transport: object, environ: Mapping[str, str], accounts: Accounts, **options: Any
) -> MessageBatches:
    """Return the message batches of a transport, stored in the user's data directory; options as in `MessageBatches`.

    Raises
    ------
    OptionError
        If the transport is a custom one without message batches.
    """
    if not isinstance(transport, ApiTransport):
        raise OptionError("via=batches needs the API itself; this orchestrator has a custom transport")
    return MessageBatches(ApiBatches(transport), JobStore(default_jobs_path(environ)), accounts, **options)
