"""Runs rows on a cluster while the client receives each row as it ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import math
import pickle
import uuid
from decimal import Decimal
from typing import Any, Coroutine, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from distributed import KilledWorker

from claude_force_nb.calls.options import CallOptions
from claude_force_nb.calls.status import STOP_GRACE_SECONDS, CallStatus
from claude_force_nb.costs.reservation import Reservation, parse_budget
from claude_force_nb.errors import CacheMissError, ClaudeForceError, MissingValueError, StoppedError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.results import unanswered
from claude_force_nb.rows.run import OnResult
from claude_force_nb.rows.sources import Source
from claude_force_nb.schemas.repair import checked

from .cluster import ask_coordinator, await_in_loop, lost_connection, register, settled, threads
from .coordinator import Coordinator, handler_name
from .receiver import ResultReceiver, RowReceiver
from .settings import ClusterSettings, RunSetup
from .worker import NumberedResults, RunOnWorker, rows_topic, run_here, topic

__all__ = ["RowRun"]

logger = logging.getLogger("claude_force_nb")

_MOST_ROWS_A_PART = 200
# Per thread of the cluster: total number of parts, so that the run does not wait for one long last part; and number of parts
# that are being answered or on their way.
_PARTS_A_THREAD = 4
_PARTS_AHEAD = 2
# Rows of a part per call that its thread can have in flight, so that the slowest row of a part leaves few slots idle.
_ROWS_A_SLOT = 4
# How often a part is sent if its workers are lost repeatedly. Dask itself tries several workers each time.
_MOST_TIMES = 5
_POLL_SECONDS = 0.25
_NOTHING = Decimal(0)


class RowRun:
    """One run of rows on a cluster. Rows in the client's cache are not sent, and equal requests are sent once.

    Parameters
    ----------
    client : distributed.Client
    home : AsyncAgentOrchestrator
        The client's own orchestrator, which makes the requests. Its budgets, ledger, cache and listeners apply to the run.
    settings : ClusterSettings
        Settings of the workers' orchestrators.
    on_result : callable
        Called with row number and result as each row ends, on the event loop of `answer`.
    cell : str, optional
        Cell id for the ledger.

    Attributes
    ----------
    interrupted : dict
        See `rows.run.InterruptedRows`.
    workers : int
        Maximum number of workers that have taken part at the same time.
    """

    def __init__(
        self,
        client: Any,
        home: AsyncAgentOrchestrator,
        settings: ClusterSettings,
        on_result: OnResult,
        *,
        cell: Optional[str] = None,
    ) -> None:
        self._client = client
        self._home = home
        self._settings = settings
        self._on_result = on_result
        self._cell = cell
        self._id = uuid.uuid4().hex[:12]
        self._schema: Any = None
        self._open: Dict[int, ClaudeRequest] = {}
        self._twins: Dict[int, List[Tuple[int, ClaudeRequest]]] = {}
        self._begun: Set[int] = set()
        self._in_flight = 0
        self._lost = _NOTHING
        self._fatal: Optional[ClaudeForceError] = None
        self._stopping = False
        self.interrupted: Dict[int, Tuple[ClaudeRequest, CallStatus]] = {}
        self.workers = 0

    @property
    def left(self) -> int:
        """Number of rows whose calls are not in flight."""
        return max(0, len(self._open) - self._in_flight)

    @property
    def in_flight_elsewhere(self) -> int:
        """Number of calls that the workers have in flight, by their last reports."""
        return self._in_flight

    def stop(self, error: ClaudeForceError) -> None:
        """Send no further row, and let the workers stop theirs; may be called from any thread."""
        self._fatal = self._fatal or error
        asyncio.run_coroutine_threadsafe(self._tell_workers_to_stop(), self._client.loop.asyncio_loop)

    async def _tell_workers_to_stop(self) -> None:
        try:
            await getattr(self._client.scheduler, handler_name(self._id))(act="stop")
        except (OSError, asyncio.CancelledError):
            pass  # the scheduler is gone, so there are no workers to stop

    async def answer(self, source: Source, template: Optional[str], options: Mapping[str, Any]) -> None:
        """Answer all rows, and pass each to `on_result` once.

        Parameters
        ----------
        source : Source
            The checked source, which also knows the columns of rows' own agents and models.
        template : str or None
        options : mapping
            See `CallOptions`.

        Raises
        ------
        ClaudeForceError
            If the connection to the cluster is lost, or like `run_many`.
        """
        call = CallOptions.of(options)
        self._schema = call.schema
        mode = call.cache or self._mode_of_agent(call) or "on"
        unknown = await self._look_up(source, template, options, mode)
        if unknown is not None and not unknown:
            return
        rows = source if unknown is None else source.only(unknown)
        calls = {name: value for name, value in options.items() if name != "budget"}
        async for row, request in self._home.requests(rows, template=template, **calls):
            if isinstance(request, ClaudeRequest):
                self._open[row] = request
            else:
                self._end(
                    row, unanswered(None, request, "not_sent" if isinstance(request, MissingValueError) else "failed")
                )
        source.taken = 0
        if mode != "off":
            self._set_twins_aside()
        if not self._open:
            return
        sent = {"cache": mode, "timeout_seconds": call.timeout_seconds, "schema": options.get("schema")}
        sent = {name: value for name, value in sent.items() if value is not None}
        reservation, most = self._reserve(call)
        receiver = ResultReceiver(self._home, keep=mode != "off", cell=self._cell)
        try:
            with self._home.elsewhere.under_way(self):
                await self._on_the_cluster(receiver, most, sent)
        finally:
            ending = self._forget(receiver, reservation)
            if self._stopping:  # Stop must take effect at once
                asyncio.run_coroutine_threadsafe(ending, self._client.loop.asyncio_loop)
            else:
                await await_in_loop(self._client, ending)

    def _mode_of_agent(self, call: CallOptions) -> Optional[str]:
        agent = self._home.agents.find(call.agent) if isinstance(call.agent, str) else call.agent
        return None if agent is None else agent.cache

    async def _look_up(
        self, source: Source, template: Optional[str], options: Mapping[str, Any], mode: str
    ) -> Optional[Sequence[int]]:
        """End the rows with cached answers; return the numbers of the others, or None if nothing is looked up."""
        if mode in ("off", "refresh"):
            return None
        unknown: List[int] = []

        def look(row: int, result: ClaudeResult) -> None:
            if mode == "on" and isinstance(result.error, CacheMissError):
                unknown.append(row)
            else:
                self._on_result(row, result)

        looking = {**options, "cache": "only"}
        await self._home.run_stream(source, template=template, on_result=look, cell=self._cell, **looking)
        return sorted(unknown)

    def _set_twins_aside(self) -> None:
        """Keep one of the rows with the same request; the others will share its answer."""
        first: Dict[str, int] = {}
        for row, request in list(self._open.items()):
            known = first.setdefault(request.fingerprint, row)
            if known != row:
                self._twins.setdefault(known, []).append((row, self._open.pop(row)))

    def _reserve(self, call: CallOptions) -> Tuple[Reservation, Optional[Decimal]]:
        """Reserve the maximum cost of the run; return the reservation and the amount, None for no limit."""
        limits = (parse_budget(call.budget), self._home.elsewhere.left)
        most = min((limit for limit in limits if limit is not None), default=None)
        return self._home.elsewhere.reserve(most), most

    async def _on_the_cluster(
        self, receiver: ResultReceiver, most: Optional[Decimal], options: Mapping[str, Any]
    ) -> None:
        client, loop = self._client, asyncio.get_running_loop()
        known_as = getattr(self._home.transport, "known_as", None)
        setup = RunSetup(self._id, self._settings.travelling(), most, None, options, known_as=known_as)
        coordinator = Coordinator(self._id, self._settings.max_concurrent, None if most is None else str(most))
        tasks: List[asyncio.Task[None]] = []
        try:
            receiver.watch(client, topic(self._id))
            rows = RowReceiver(lambda ended: loop.call_soon_threadsafe(self._take, ended))
            rows.watch(client, rows_topic(self._id))
            await register(client, coordinator)
            await register(client, RunOnWorker(setup))
            tasks += [loop.create_task(lane) for lane in self._lanes()]
            following = loop.create_task(self._follow())
            try:
                await _all_of(tasks)
            finally:
                following.cancel()
        except asyncio.CancelledError:
            if client.status != "running":  # how older versions report a lost connection
                raise lost_connection("CancelledError") from None
            await self._stop_now(tasks)
            raise
        except (OSError, concurrent.futures.CancelledError, TimeoutError, asyncio.TimeoutError) as error:
            raise lost_connection(type(error).__name__) from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for row, request in list(self._open.items()):  # rows that were not sent because of `stop`
            assert self._fatal is not None
            self._end(row, unanswered(request, self._fatal, "not_sent"))

    def _lanes(self) -> List[Coroutine[Any, Any, None]]:
        """Return the coroutines that send the rows: as many parts at once as keep all threads of the cluster busy."""
        rows, lanes = sorted(self._open), threads(self._client)
        slots = math.ceil(self._settings.max_concurrent / lanes)
        even = math.ceil(len(rows) / (lanes * _PARTS_A_THREAD))
        size = max(1, min(max(_MOST_ROWS_A_PART, 2 * slots), max(even, _ROWS_A_SLOT * slots)))
        parts = iter([rows[start : start + size] for start in range(0, len(rows), size)])
        return [self._send_in_turn(parts) for _ in range(lanes * _PARTS_AHEAD)]

    async def _send_in_turn(self, parts: Iterator[Sequence[int]]) -> None:
        for part in parts:
            for time in range(_MOST_TIMES + 1):
                rows = [row for row in part if row in self._open]
                if not rows or self._fatal is not None:
                    break
                if time == _MOST_TIMES:
                    raise ClaudeForceError(
                        "the cluster gave up on some rows, because it kept losing the workers that had them;"
                        " run again to continue; earlier answers are kept"
                    )
                try:
                    # From the second attempt on, rows that ended on a lost worker but did not arrive are answered again.
                    await self._send(rows, again=time > 0)
                except KilledWorker:
                    continue

    async def _send(self, rows: Sequence[int], *, again: bool) -> None:
        packed = pickle.dumps([(row, self._open[row]) for row in rows])
        self._begun.update(rows)
        future = self._client.submit(_answer_requests, packed, self._id, again, pure=False)
        try:
            # Rows are sent before their part ends, on the same connection, so that they are here when it has ended.
            await await_in_loop(self._client, self._result(future))
        finally:
            future.release()

    async def _result(self, future: Any) -> None:
        await self._client.gather([future], asynchronous=True)

    async def _follow(self) -> None:
        """Poll the number of calls in flight, and tell the workers when their limit is changed from outside."""
        told = self._settings.max_concurrent
        while True:
            now = self._home.snapshot()
            most = 0 if now.paused else min(self._settings.max_concurrent, now.max_concurrent)
            act: Dict[str, Any] = {"act": "look"} if most == told else {"act": "resize", "max_concurrent": most}
            try:
                self._learn(await ask_coordinator(self._client, self._id, **act))
                told = most
            except OSError:
                pass  # the rows themselves will report the error
            await asyncio.sleep(_POLL_SECONDS)

    def _learn(self, state: Mapping[str, Any]) -> None:
        self._in_flight, self._lost = state["in_flight"], Decimal(state["lost"])
        self.workers = max(self.workers, state["workers"])

    def _take(self, ended: NumberedResults) -> None:
        shared: List[ClaudeResult] = []
        for row, result in ended:
            request = self._open.get(row)
            if request is None:  # a duplicate: the row arrived before, from a worker that was lost then
                continue
            if self._stopping and isinstance(result.error, StoppedError):
                del self._open[row]
                if result.attempts:
                    self.interrupted[row] = request, _sent_status(result.attempts)
                continue
            result = self._home.elsewhere.report(request, checked(result, self._schema))
            shared += self._end(row, result)
        if shared:
            self._home.elsewhere.record(shared, keep=False, cell=self._cell)

    def _end(self, row: int, result: ClaudeResult) -> List[ClaudeResult]:
        """End a row and those with the same request; return the results of the latter."""
        self._open.pop(row, None)
        self._on_result(row, result)
        if result.answered:
            theirs = result.shared().changed(cost=_NOTHING, saved=result.price)
        else:
            theirs = result.changed(cost=_NOTHING)
        twins = self._twins.pop(row, [])
        for twin, request in twins:
            self._on_result(twin, self._home.elsewhere.report(request, theirs))
        return [theirs] * len(twins) if result.answered else []

    async def _stop_now(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Let the workers stop, and receive what they report about their rows within the grace period of a Stop."""
        self._stopping = True
        self.stop(StoppedError("stopped"))
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_GRACE_SECONDS)
        # The state of rows is unknown if their worker has not answered by now; at most max_concurrent are in flight.
        for row in sorted(self._begun & self._open.keys())[: self._settings.max_concurrent]:
            self.interrupted[row] = self._open[row], _sent_status(1)
        self._open.clear()

    async def _forget(self, receiver: ResultReceiver, reservation: Reservation) -> None:
        """Remove the run from the cluster once its rows have ended, and settle its cost; on the client's event loop."""
        client, name = self._client, handler_name(self._id)
        self._in_flight = 0
        try:
            if client.status == "running":
                await settled(client.unregister_worker_plugin(name))
                self._learn(await getattr(client.scheduler, name)(act="end"))
                client.unsubscribe_topic(topic(self._id))
                client.unsubscribe_topic(rows_topic(self._id))
        except (Exception, asyncio.CancelledError):  # a worker's exceptions are raised here unchanged
            logger.debug("the cluster is gone, or has forgotten the run before", exc_info=True)
        finally:
            # Dollars that a lost worker held may have been spent.
            reservation.settle(receiver.paid + self._lost)


async def _all_of(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all tasks; raises the first failure."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


def _sent_status(attempts: int) -> CallStatus:
    """Return the status of a call that was cancelled after it was sent."""
    status = CallStatus()
    status.attempts, status.billing_unknown = attempts, True
    return status


def _answer_requests(packed: bytes, run: str, again: bool) -> None:
    run_here(run).answer_requests(pickle.loads(packed), again=again)
