"""One run of rows through message batches: looks rows up in the cache, sends the others, and waits for the answers."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any, Awaitable, Callable, Coroutine, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from claude_force_nb.cache import ResponseCache
from claude_force_nb.costs.bounds import price_bound
from claude_force_nb.costs.budget import Budget
from claude_force_nb.costs.days import today
from claude_force_nb.errors import BudgetExceededError, ClaudeForceError, JobError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.results import BatchSummary
from claude_force_nb.rows.run import Rows
from claude_force_nb.rows.yielding import LoopYielder

from .body import BatchBody, row_bytes
from .context import BatchContext
from .owner import Owner
from .part_follower import PartFollower
from .records import Job, Part
from .waiting_rows import RowAnswers, WaitingRows

__all__ = ["BatchRun", "LookUp", "LookUpShared"]

# How often a run checks whether it was stopped from outside.
_POLL_SECONDS = 0.25

# Number of rows that are looked up in the shared cache at once.
_SHARED_PAGE = 256

# Returns the result of a cached row, else None; raises if the row may not be sent.
LookUp = Callable[[ClaudeRequest], Optional[ClaudeResult]]
# Returns answers shared by other machines, None for each request without one.
LookUpShared = Callable[[Sequence[ClaudeRequest]], Awaitable[Sequence[Optional[ClaudeResult]]]]


class BatchRun:
    """One run of rows.

    Parameters
    ----------
    context : BatchContext
    rows : Rows
    cache : ResponseCache, optional
        Where answers are kept.
    answers : RowAnswers
        How answers become results of rows.
    budget : Budget, optional
        Budget of this run.
    cell : str, optional
    on_job : callable
        Called with the id of the job, once there is one.

    Attributes
    ----------
    left_running : str
        After `end`, a line about message batches that continue without this run; else "".
    """

    def __init__(
        self,
        context: BatchContext,
        rows: Rows,
        *,
        cache: Optional[ResponseCache],
        answers: RowAnswers,
        budget: Optional[Budget],
        cell: Optional[str],
        on_job: Callable[[str], None],
    ) -> None:
        self.left_running = ""
        self._context = context
        self._store = context.store
        self._rows = rows
        self._answers = answers
        self._waiting = WaitingRows(rows, context.emitter, answers)
        self._cache = cache
        self._budget = budget
        self._cell = cell
        self._on_job = on_job
        self._job: Optional[Job] = None
        self._owner: Optional[Owner] = None
        self._follower: Optional[PartFollower] = None
        # Unfinished bodies, by the headers that their requests share.
        self._filling: Dict[Tuple[str, Tuple[str, ...]], BatchBody] = {}
        self._tasks: Set[asyncio.Task[None]] = set()
        # Bounds memory: one body is being sent while another one is filled.
        self._send_slot = asyncio.Semaphore(1)
        # With a budget nothing is sent before the maximum cost of all requests is known to fit.
        self._holding_back = context.reservations.limited(budget)
        self._held_back: List[Tuple[Part, BatchBody]] = []
        self._touched: Set[int] = set()
        self._taken_in: Set[int] = set()

    async def answer(self, look_up: LookUp, look_up_shared: Optional[LookUpShared]) -> BatchSummary:
        """Answer all rows."""
        try:
            await self._read(look_up, look_up_shared)
            for body in list(self._filling.values()):
                await self._plan(body)
            self._filling.clear()
            self._holding_back = False
            while self._held_back:
                await self._send_slot.acquire()
                self._start(self._send(*self._held_back.pop(0)))
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
            for number in self._touched:
                part = self._store.part(number)
                if part is not None and part.is_open and part.state != "planned":
                    self._waiting.stop(self._rows.fatal, self._store.requests(number))
            self._waiting.fail(self._rows.fatal)
        return self._rows.summary()

    def end(self) -> None:
        """Release everything that this run holds; batches at the API continue without it."""
        for _, body in self._held_back:
            body.clear()
        if self._owner is None:
            return
        try:
            running = []
            for number in sorted(self._touched):
                part = self._store.part(number)
                if part is None or not part.is_open:
                    continue
                if part.owner == self._owner.token and part.state == "planned":
                    self._store.drop(number)
                    self._context.reservations.release(number)
                elif number in self._taken_in:
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

    # ------------------------------------------------------------------ planning

    async def _read(self, look_up: LookUp, look_up_shared: Optional[LookUpShared]) -> None:
        yielder = LoopYielder()
        missing: List[Tuple[int, ClaudeRequest]] = []
        async for row, item in self._rows:
            request = None
            try:
                request = self._rows.request(row, item)
                if self._rows.fatal is not None:
                    self._rows.skip(row, request)
                    continue
                result = look_up(request)
            except ClaudeForceError as error:
                self._rows.fail(row, request, error)
            else:
                if result is None and look_up_shared is not None:
                    missing.append((row, request))
                else:
                    await self._settle(row, request, result)
            if look_up_shared is not None and len(missing) == _SHARED_PAGE:
                await self._read_shared(missing, look_up_shared)
                missing = []
            if yielder.is_due:
                await yielder.turn()
        if look_up_shared is not None and missing:
            await self._read_shared(missing, look_up_shared)

    async def _read_shared(self, missing: Sequence[Tuple[int, ClaudeRequest]], look_up: LookUpShared) -> None:
        """End the rows that other machines have answered, and add the others to what is sent."""
        found = await look_up([request for _, request in missing])
        for (row, request), result in zip(missing, found):
            if self._rows.fatal is not None:
                self._rows.skip(row, request)
                continue
            await self._settle(row, request, None if result is None else self._answers.share(request, result))

    async def _settle(self, row: int, request: ClaudeRequest, result: Optional[ClaudeResult]) -> None:
        """End a row with its result, or add it to what is sent."""
        try:
            if result is None:
                await self._add(row, request)
            else:
                self._rows.end(row, self._waiting.check(result))
        except (BudgetExceededError, JobError):
            raise
        except ClaudeForceError as error:
            self._rows.fail(row, request, error)

    async def _add(self, row: int, request: ClaudeRequest) -> None:
        """Add a row to the current body; if that is full, plan it first and start another one."""
        fingerprint = bytes.fromhex(request.fingerprint)
        if self._waiting.join(fingerprint, row):
            return
        headers = (request.api_version, request.betas)
        limits = self._context.limits
        empty = BatchBody(*headers, most_requests=limits.most_requests, most_bytes=limits.most_bytes)
        data = row_bytes(request)
        empty.check(data)
        if self._job is None:
            self._job = self._new_job(request)
        body = self._filling.setdefault(headers, empty)
        if not body.fits(data):
            self._filling[headers] = empty
            await self._plan(body)
            body = empty
        body.add(fingerprint, data, price_bound(request, self._context.prices, on=today(), batch=True))
        self._waiting.add(fingerprint, row, request)

    def _new_job(self, request: ClaudeRequest) -> Job:
        return Job(
            id=uuid.uuid4().hex[:6],
            created=time.time(),
            notebook=self._context.notebook,
            cell=self._cell,
            agent=request.agent,
            model=request.model,
            base_url=self._context.server,
            caches_answers=self._cache is not None,
        )

    def _begin(self) -> PartFollower:
        """Register as a worker in the store before the first part; return the follower of its parts."""
        if self._follower is None:
            assert self._job is not None
            try:
                self._owner = Owner(self._store.owners)
            except OSError as error:
                raise JobError(f"batch jobs cannot be saved in {self._store.owners} ({error})") from None
            context = self._context
            self._follower = PartFollower(
                context.store,
                context.sender,
                context.collector,
                context.schedule,
                self._owner.token,
                settle=lambda number, cost: context.reservations.settle(number, cost, self._budget),
                release=context.reservations.release,
            )
            self._on_job(self._job.id)
        return self._follower

    async def _plan(self, body: BatchBody) -> None:
        """Claim a body's requests, and start to send them, or to follow open batches that already contain them."""
        follower = self._begin()
        assert self._job is not None
        assert self._owner is not None
        fingerprints = body.fingerprints
        # In a thread, since writing a hundred thousand rows takes a while.
        part, elsewhere = await asyncio.get_running_loop().run_in_executor(
            None, self._store.plan, self._job, fingerprints, self._owner.token, body.bounds
        )
        groups: Dict[int, List[bytes]] = {}
        for fingerprint, number in elsewhere.items():
            groups.setdefault(number, []).append(fingerprint)
        for number, some in groups.items():
            self._touched.add(number)
            self._start(self._follow(follower, number, body.split(some)))
        if part is None:
            return
        self._touched.add(part.number)
        self._context.reservations.reserve(part, self._budget)
        if self._holding_back:
            body.spill()
            self._held_back.append((part, body))
        else:
            await self._send_slot.acquire()
            self._start(self._send(part, body))

    # ------------------------------------------------------------------ sending and collecting

    async def _send(self, part: Part, body: BatchBody) -> None:
        """Send a part, release the send slot acquired for it, then wait for the part and collect its results."""
        fingerprints = body.fingerprints
        try:
            await self._context.sender.send(part, body)
        except ClaudeForceError as error:
            now = self._store.part(part.number)
            if now is None or not now.is_open:
                self._context.reservations.release(part.number)
                self._waiting.fail(error, fingerprints)
            else:  # it is unknown whether the batch was created
                self._waiting.lose(error, fingerprints)
            return
        finally:
            body.clear()
            self._send_slot.release()
        await self._take_in(self._begin(), part.number, fingerprints)

    async def _follow(self, follower: PartFollower, number: int, body: BatchBody) -> None:
        """Answer rows by an open part that contains them: one of another kernel, or one whose kernel is gone."""
        async with follower.turn(number):
            fingerprints = body.fingerprints
            try:
                made = await follower.claim(number, on_known=body.clear)
                if not made:
                    await self._plan(body)
                    return
            except ClaudeForceError as error:
                if self._may_have_left(number):
                    self._waiting.lose(error, fingerprints)
                else:
                    self._waiting.fail(error, fingerprints)
                return
            await self._take_in(follower, number, fingerprints)

    async def _take_in(self, follower: PartFollower, number: int, fingerprints: Iterable[bytes]) -> None:
        try:
            await follower.take_in(number, set(fingerprints), cache=self._cache, deliver=self._waiting.deliver)
            self._taken_in.add(number)
        except JobError as error:
            self._waiting.lose(error, fingerprints)

    def _may_have_left(self, number: int) -> bool:
        """Return whether the requests of a part may be at the API."""
        try:
            part = self._store.part(number)
        except JobError:
            return True
        return part is None or part.state not in ("planned", "dropped")


def _left_line(parts: Iterable[Part]) -> str:
    by_job: Dict[str, List[str]] = {}
    for part in parts:
        by_job.setdefault(part.job, []).append(part.batch_id or "a batch whose id is not known yet")
    jobs = "; ".join(f"job {job} ({', '.join(ids)})" for job, ids in by_job.items())
    if not jobs:
        return ""
    first = next(iter(by_job))
    return f"{jobs} keeps running at the API: run the cell again or %claude_jobs attach {first} to collect it"
