"""One run on one worker: an orchestrator on an event loop of its own, for all partitions that the worker receives."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import threading
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Awaitable, Dict, Iterator, List, Optional, Sequence, Tuple

from distributed import get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.results import BatchResult

from .coordinator import handler_name
from .leases import DollarLease
from .settings import RunSetup
from .worker_side import ForwardingLedger, LeasedBudget, SharedTransport

__all__ = ["RunOnWorker", "rows_topic", "run_here", "topic"]

# Interval of reports to the coordinator.
_REPORT_SECONDS = 0.1
# Time limit for an answer of the coordinator. A lost scheduler ends the worker in any case.
_ANSWER_SECONDS = 30.0
# Time limits for stopped rows to end, and for closing connections after that.
_END_SECONDS = 3.0
_CLOSE_SECONDS = 5.0
_TURN_SECONDS = 0.01

NumberedResults = List[Tuple[int, ClaudeResult]]


def topic(run: str) -> str:
    """Return the topic of the events that carry the answers of a run to the client."""
    return f"claude-force-{run}"


def rows_topic(run: str) -> str:
    """Return the topic of the events that carry the ended rows of a run to the client."""
    return f"claude-force-{run}-rows"


def run_here(run: str) -> RunOnWorker:
    """Return the run with this id on the worker that executes this task."""
    plugin: RunOnWorker = get_worker().plugins[handler_name(run)]
    return plugin


class RunOnWorker(WorkerPlugin):  # type: ignore[misc]
    """A worker plugin that answers the rows that the worker receives.

    Parameters
    ----------
    setup : RunSetup
    """

    def __init__(self, setup: RunSetup) -> None:
        self.name = handler_name(setup.run)
        self._setup = setup

    def __repr__(self) -> str:
        return f"RunOnWorker({self.name!r})"

    def setup(self, worker: Any) -> None:
        """Keep the worker; nothing is started before rows arrive."""
        _ignore_interrupts()
        self._worker = worker
        self._lock = threading.Lock()
        self._engine: Optional[_Engine] = None

    async def teardown(self, worker: Any) -> None:
        """Stop the rows in progress, and then the event loop."""
        engine = self._engine
        if engine is not None:
            await engine.close()

    def answer(self, rows: Any) -> BatchResult:
        """Answer rows and wait for them; must be called from one of the worker's task threads."""
        return self._started().answer(rows)

    def answer_requests(self, numbered: Sequence[Tuple[int, ClaudeRequest]], *, again: bool) -> None:
        """Answer requests and wait; each result is sent to the client as it arrives.

        Parameters
        ----------
        numbered : sequence of (int, ClaudeRequest)
            Row numbers and requests.
        again : bool
            False leaves out rows that have ended on a worker that was lost since.
        """
        self._started().answer_requests(numbered, again=again)

    def _started(self) -> _Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _Engine(self._setup, self._worker)
        return self._engine


def _ignore_interrupts() -> None:
    """Ignore SIGINT, which a notebook's Stop sends to the whole process group, including the processes of a `LocalCluster`.

    The worker learns of the Stop through the coordinator, like any other worker.
    """
    started_by_another = multiprocessing.parent_process() is not None
    if started_by_another and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Engine:
    """The event loop, its thread and the orchestrator."""

    def __init__(self, setup: RunSetup, worker: Any) -> None:
        self._setup = setup
        self._worker = worker
        self._running = 0
        self._share = 1.0
        self._reporter: Optional[asyncio.Task[None]] = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=handler_name(setup.run), daemon=True)
        self._thread.start()
        settings = setup.settings
        self._ledger = ForwardingLedger()
        self._budget = LeasedBudget(setup.budget, self._borrow, allow_unknown_price=settings.allow_unknown_price)
        self._transport = SharedTransport(
            ApiTransport(
                api_key=settings.api_key,
                base_url=settings.base_url,
                allow_http=settings.allow_http,
                known_as=setup.known_as,
                environ=os.environ,
            )
        )
        self._ended: NumberedResults = []
        self._told: List[int] = []
        self._orchestrator: AsyncAgentOrchestrator = settings.on_worker(
            self._budget, self._transport, self._ledger, setup.agents
        )
        self._orchestrator.resize(0)  # no calls until the coordinator lends slots

    def answer(self, rows: Any) -> BatchResult:
        return asyncio.run_coroutine_threadsafe(self._answer(rows), self._loop).result()

    def answer_requests(self, numbered: Sequence[Tuple[int, ClaudeRequest]], *, again: bool) -> None:
        asyncio.run_coroutine_threadsafe(self._answer_requests(numbered, again), self._loop).result()

    async def close(self) -> None:
        """Stop everything; runs on the worker's event loop, which stays responsive meanwhile."""
        ending = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._end(), self._loop))
        try:
            await asyncio.wait_for(ending, _CLOSE_SECONDS)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)

    async def _end(self) -> None:
        self._orchestrator.stop_all()
        ends = self._loop.time() + _END_SECONDS
        # Otherwise callers that wait for rows would wait forever. Poll, since on Python 3.8 and 3.9 an asyncio.Event would
        # belong to another loop.
        while self._running and self._loop.time() < ends:  # noqa: ASYNC110
            await asyncio.sleep(_TURN_SECONDS)
        self._send_home()
        if self._reporter is not None:
            self._reporter.cancel()
        await self._orchestrator.close()

    async def _answer(self, rows: Any) -> BatchResult:
        with self._reporting():
            return await self._orchestrator.run_many(rows, template=self._setup.template, **self._setup.options)

    async def _answer_requests(self, numbered: Sequence[Tuple[int, ClaudeRequest]], again: bool) -> None:
        if not again:
            asked = await self._ask(act="ended", rows=[row for row, _ in numbered])
            ended_before = set(asked["ended"])
            numbered = [each for each in numbered if each[0] not in ended_before]

        def ended(place: int, result: ClaudeResult) -> None:
            # The client parses the answer, since the class of the schema may exist only there.
            self._ended.append((numbered[place][0], result.changed(parsed=None)))

        with self._reporting():
            requests = [request for _, request in numbered]
            await self._orchestrator.run_stream(requests, on_result=ended, **self._setup.options)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        self._running += 1
        if self._reporter is None or self._reporter.done():
            self._reporter = asyncio.ensure_future(self._keep_reporting())
        try:
            yield
        finally:
            self._running -= 1
            # Before the task ends, so that the client's ledger is complete when it has the rows.
            self._send_home()

    async def _keep_reporting(self) -> None:
        """Report to the coordinator and apply its answers, until there are no more rows to answer."""
        while True:
            await self._report()
            self._send_home()
            if not self._running:
                await self._return_dollars()
                await self._report()  # the previous report released the slots; this one confirms it
                if not self._running:
                    return
            await asyncio.sleep(_REPORT_SECONDS)

    async def _report(self) -> None:
        now = self._orchestrator.snapshot()
        told, self._told = self._told, []
        wanted = now.in_flight + now.queued if self._running else 0
        lease = await self._ask(
            act="report",
            wanted=wanted,
            held=max(now.in_flight, now.max_concurrent),
            in_flight=now.in_flight,
            ended=told,
            spent=str(self._budget.spent),
            reserved=str(self._budget.reserved),
        )
        self._transport.share = lease["share"]
        self._orchestrator.resize(lease["slots"])
        if lease["stopped"]:
            self._orchestrator.stop_all()
        elif lease["give_back"]:
            await self._return_dollars()
        self._budget.queue.wake_first()  # other workers may have returned dollars that a call here is waiting for

    async def _return_dollars(self) -> None:
        amount = self._budget.give_back()
        if amount:
            await self._ask(act="give_back", amount=str(amount))

    def _send_home(self) -> None:
        lines: List[str] = self._ledger.take()
        if lines:
            self._worker.loop.add_callback(self._worker.log_event, topic(self._setup.run), lines)
        rows, self._ended = self._ended, []
        if rows:
            self._worker.loop.add_callback(self._worker.log_event, rows_topic(self._setup.run), pickle.dumps(rows))
            self._told += [row for row, _ in rows]

    def _ask(self, **message: Any) -> Awaitable[Dict[str, Any]]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._tell(message), self._worker_loop))

    @property
    def _worker_loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self._worker.loop.asyncio_loop
        return loop

    async def _tell(self, message: Dict[str, Any]) -> Dict[str, Any]:
        handler = getattr(self._worker.scheduler, handler_name(self._setup.run))
        answer: Dict[str, Any] = await handler(worker=self._worker.address, **message)
        return answer

    def _borrow(self, need: Decimal) -> DollarLease:
        """Ask for dollars and block until the answer; this is rare, and takes a millisecond or two."""
        message = {"act": "lend", "need": str(need)}
        answer = asyncio.run_coroutine_threadsafe(self._tell(message), self._worker_loop).result(_ANSWER_SECONDS)
        return DollarLease(*(Decimal(answer[name]) for name in DollarLease._fields))
