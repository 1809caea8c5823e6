"""One run of rows through message batches: what is cached, sent, shared and waited for."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Any, Callable, Coroutine, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from claude_force_nb.cache import ResponseCache
from claude_force_nb.calls.caller import today, unanswered
from claude_force_nb.calls.events import EventEmitter
from claude_force_nb.costs.bounds import price_bound
from claude_force_nb.costs.budget import Budget
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.errors import ApiError, BudgetExceededError, ClaudeForceError, JobError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.results import BatchSummary
from claude_force_nb.rows.run import Rows

from .body import MOST_BYTES, MOST_REQUESTS, BatchBody, row_bytes
from .collector import Collector
from .owner import Owner
from .polling import Pace, Pause
from .reserves import Reserves
from .sender import Sender
from .store import Job, JobStore, Part

__all__ = ["BatchRun", "Check", "BatchContext", "Limits", "Look", "Share"]

# How long reading the rows may keep the event loop to itself.
_YIELD_SECONDS = 0.02
# How soon a run sees that it was stopped from outside.
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Limits:
    """Bounds of one batch; the API's own by default."""

    most_requests: int = MOST_REQUESTS
    most_bytes: int = MOST_BYTES


class _RequestInfo(NamedTuple):
    """What is kept of a request while its batch is under way."""

    fingerprint: str
    model: str
    agent: Optional[str]


# Gives the result of a row that somebody else's answer answers: records it as a hit.
Share = Callable[[_RequestInfo, ClaudeResult], ClaudeResult]

# Gives a result as its row has it: with what it stands for, or as failed, where a schema is asked for.
Check = Callable[[ClaudeResult], ClaudeResult]
# Gives the result of a cached row, else None; raises where the row may not be sent.
Look = Callable[[ClaudeRequest], Optional[ClaudeResult]]


@dataclass(frozen=True)
class BatchContext:
    """What a run works with; see `MessageBatches` for each."""

    store: JobStore
    sender: Sender
    collector: Collector
    reserves: Reserves
    prices: PriceTable
    emitter: EventEmitter
    notebook: Optional[str]
    pace: Pace
    limits: Limits


class BatchRun:
    """One run of rows."""

    def __init__(
        self,
        desk: BatchContext,
        rows: Rows,
        *,
        cache: Optional[ResponseCache],
        share: Share,
        check: Check,
        budget: Optional[Budget],
        cell: Optional[str],
        on_job: Callable[[str], None],
    ) -> None:
        self._desk = desk
        self._store = desk.store
        self._sender = desk.sender
        self._collector = desk.collector
        self._rows = rows
        self._cache = cache
        self._share = share
        self._check = check
        self._budget = budget
        self._cell = cell
        self._on_job = on_job
        self._started = time.perf_counter()
        self._job: Optional[Job] = None
        self._owner: Optional[Owner] = None
        # Rows by the request that answers them.
        self._waiting: Dict[bytes, List[int]] = {}
        self._parcels: Dict[Tuple[str, Tuple[str, ...]], BatchBody] = {}
        self._tasks: Set[asyncio.Task[None]] = set()
        # One batch on its way and one being filled are held in memory, and no more.
        self._way = asyncio.Semaphore(1)
        # With a budget nothing leaves before the worst case of all is known to fit.
        self._holds = desk.reserves.limited(budget)
        self._held: List[Tuple[Part, BatchBody]] = []
        self._accounted: Set[int] = set()
        # Several parcels may have rows in the same part of another run; one of them takes it in, the others read.
        self._turns: Dict[int, asyncio.Lock] = {}
        self._touched: Set[int] = set()
        # What to say of batches that go on without this run.
        self.left_running = ""

    async def answer(self, look: Callable[[ClaudeRequest], Optional[ClaudeResult]]) -> BatchSummary:
        try:
            await self._read(look)
            for parcel in list(self._parcels.values()):
                await self._plan(parcel)
            self._parcels.clear()
            self._holds = False
            while self._held:
                await self._way.acquire()
                self._start(self._carry(*self._held.pop(0)))
            while self._tasks and self._rows.fatal is None:
                done, _ = await asyncio.wait(self._tasks, timeout=_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                self._tasks -= done
                for task in done:
                    task.result()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._rows.fatal is not None:
            self._fail(list(self._waiting), self._rows.fatal)
        return self._rows.summary()

    def end(self) -> None:
        """Give up what this run holds; what is not over goes on without it."""
        for _, parcel in self._held:
            parcel.clear()
        if self._owner is None:
            return
        try:
            running = []
            for number in sorted(self._touched):
                part = self._store.part(number)
                if part is None or not part.open:
                    continue
                if part.owner == self._owner.token and part.state == "planned":
                    self._store.drop(number)
                    self._desk.reserves.release(number)
                elif number in self._accounted:
                    if self._cache is not None or not self._waiting:
                        self._store.finish(number)
                else:
                    running.append(part)
            self._store.release(self._owner.token)
            self.left_running = _left_line(running)
        finally:
            self._owner.release()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.ensure_future(work))

    # ------------------------------------------------------------------ sending

    async def _read(self, look: Callable[[ClaudeRequest], Optional[ClaudeResult]]) -> None:
        breath = time.perf_counter()
        async for row, item in self._rows:
            request = None
            try:
                request = self._rows.request(row, item)
                if self._rows.fatal is not None:
                    self._rows.skip(row, request)
                    continue
                result = look(request)
                if result is None:
                    await self._add(row, request)
                else:
                    self._rows.end(row, self._check(result))
            except (BudgetExceededError, JobError):
                raise
            except ClaudeForceError as error:
                self._rows.fail(row, request, error)
            if time.perf_counter() - breath > _YIELD_SECONDS:
                await asyncio.sleep(0)
                breath = time.perf_counter()

    async def _add(self, row: int, request: ClaudeRequest) -> None:
        """Put a row into a parcel; one that is full is planned first."""
        fingerprint = bytes.fromhex(request.fingerprint)
        if fingerprint in self._waiting:
            self._waiting[fingerprint].append(row)
            return
        if self._job is None:
            self._job = self._new_job(request)
        kind = (request.api_version, request.betas)
        limits = self._desk.limits
        new = BatchBody(*kind, most_requests=limits.most_requests, most_bytes=limits.most_bytes)
        data = row_bytes(request)
        new.check(data)
        parcel = self._parcels.setdefault(kind, new)
        if not parcel.fits(data):
            self._parcels[kind] = new
            await self._plan(parcel)
            parcel = new
        parcel.add(fingerprint, data, price_bound(request, self._desk.prices, on=today(), batch=True))
        self._waiting[fingerprint] = [row]
        self._desk.emitter.emit("queued", request)

    def _new_job(self, request: ClaudeRequest) -> Job:
        return Job(
            id=uuid.uuid4().hex[:6],
            created=time.time(),
            notebook=self._desk.notebook,
            cell=self._cell,
            agent=request.agent,
            model=request.model,
            base_url=request.base_url,
            keeps=self._cache is not None,
        )

    async def _plan(self, parcel: BatchBody) -> None:
        """Claim a parcel's requests, and start what answers them: their own batch, and the batches that others are in."""
        assert self._job is not None
        if self._owner is None:
            try:
                self._owner = Owner(self._store.owners)
            except OSError as error:
                raise JobError(f"batch jobs cannot be kept in {self._store.owners} ({error})") from None
            self._on_job(self._job.id)
        fingerprints = parcel.fingerprints
        # In a thread: a hundred thousand rows take the disk a while.
        part, elsewhere = await _in_thread(self._store.plan, self._job, fingerprints, self._owner.token, parcel.bounds)
        groups: Dict[int, List[bytes]] = {}
        for fingerprint, number in elsewhere.items():
            groups.setdefault(number, []).append(fingerprint)
        for number, some in groups.items():
            self._touched.add(number)
            self._start(self._join(number, parcel.split(some)))
        if part is None:
            return
        self._touched.add(part.number)
        self._desk.reserves.reserve(part, self._budget)
        if self._holds:
            parcel.spill()
            self._held.append((part, parcel))
        else:
            await self._way.acquire()
            self._start(self._carry(part, parcel))

    async def _carry(self, part: Part, parcel: BatchBody) -> None:
        """Send a part on a way that was acquired, wait for it, take its results in."""
        fingerprints = parcel.fingerprints
        try:
            await self._sender.send(part, parcel)
        except ClaudeForceError as error:
            now = self._store.part(part.number)
            if now is None or not now.open:  # else nobody knows yet whether it was made
                self._desk.reserves.release(part.number)
            self._fail(fingerprints, error)
            return
        finally:
            parcel.clear()
            self._way.release()
        await self._take_in(part.number, fingerprints)

    async def _join(self, number: int, parcel: BatchBody) -> None:
        """Have rows answered by a part that is open already: another kernel's, or one whose kernel is gone."""
        async with self._turns.setdefault(number, asyncio.Lock()):
            fingerprints = parcel.fingerprints
            try:
                made = await self._resolve(number, parcel)
            except ClaudeForceError as error:
                self._fail(fingerprints, error)
                return
            if made:
                await self._take_in(number, fingerprints)
            else:
                await self._plan_again(parcel)

    async def _resolve(self, number: int, parcel: BatchBody) -> bool:
        """Wait until a part's batch is known and this run may collect it; False where it was never made."""
        assert self._owner is not None
        pause = Pause(self._desk.pace.nearby)
        while True:
            part = self._store.part(number)
            if part is None or part.state == "dropped":
                return False
            if part.batch_id is not None:
                parcel.clear()
            if part.state == "closed":
                return True
            if self._store.claim(number, self._owner.token):
                break
            await pause.wait()
        part = self._store.part(number)
        if part is not None and part.batch_id is not None:
            return True
        if part is not None and part.state == "sending" and await self._sender.find(number) is not None:
            return True
        self._store.drop(number)
        self._desk.reserves.release(number)
        return False

    async def _plan_again(self, parcel: BatchBody) -> None:
        fingerprints = parcel.fingerprints
        try:
            await self._plan(parcel)
        except ClaudeForceError as error:
            self._fail(fingerprints, error)

    # ------------------------------------------------------------------ collecting

    async def _take_in(self, number: int, fingerprints: Iterable[bytes]) -> None:
        """Wait for a part of which the id is known, and take its results in."""
        try:
            part = self._store.part(number)
            job = None if part is None else self._store.job(part.job)
            if part is None or job is None or part.batch_id is None:
                raise JobError("the job of this row was forgotten while it was under way")
            if part.state == "sent":
                await self._collector.ended(part.batch_id)
            if part.state in ("sent", "collecting"):
                cost = await self._collector.account(part, job, self._cache, self._deliver)
                self._desk.reserves.settle(number, cost, self._budget)
            else:
                await self._collector.read(part.batch_id, job, set(fingerprints), self._deliver)
            self._accounted.add(number)
        except JobError as error:
            self._fail(fingerprints, error)

    def _deliver(self, fingerprint: bytes, result: ClaudeResult, paid: bool) -> None:
        """End the rows of a request: the first with the answer, where it is paid for here, the others as its sharers."""
        waiting = self._waiting.pop(fingerprint, None)
        if waiting is None:
            return
        asked = _RequestInfo(result.fingerprint, result.model, result.agent)
        if result.status != "ok":
            for row in waiting:
                self._desk.emitter.emit("failed", asked, error=result.error)
                self._rows.end(row, result)
            return
        if paid:
            result = result.changed(duration_seconds=time.perf_counter() - self._started)
            self._desk.emitter.emit("done", asked, attempt=1, result=result)
            self._rows.end(waiting.pop(0), self._check(result))
        shared = result.changed(cached=True, status="cached", attempts=0)
        for row in waiting:
            self._rows.end(row, self._check(self._share(asked, shared)))

    def _fail(self, fingerprints: Iterable[bytes], error: BaseException) -> None:
        assert self._job is not None
        status = "failed" if isinstance(error, ApiError) and error.status in (400, 404, 413) else "not_sent"
        for fingerprint in fingerprints:
            asked = _RequestInfo(fingerprint.hex(), self._job.model, self._job.agent)
            for row in self._waiting.pop(fingerprint, ()):
                self._desk.emitter.emit("failed", asked, error=error)
                self._rows.end(row, unanswered(asked, error, status))


def _left_line(parts: Iterable[Part]) -> str:
    by_job: Dict[str, List[str]] = {}
    for part in parts:
        by_job.setdefault(part.job, []).append(part.batch_id or "a batch whose id is not known yet")
    jobs = "; ".join("job {} ({})".format(job, ", ".join(ids)) for job, ids in by_job.items())
    if not jobs:
        return ""
    first = next(iter(by_job))
    return f"{jobs} goes on at the API: run the cell again or %claude_jobs attach {first} to collect it"


async def _in_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)
