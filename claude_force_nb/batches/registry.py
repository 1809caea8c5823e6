"""Lists, collects, cancels and forgets the jobs of all kernels of a user."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Callable, Coroutine, Dict, List, Optional, Sequence, Tuple

from claude_force_nb.cache import ResponseCache
from claude_force_nb.errors import JobError, UnknownJobError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import sum_dollars
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.vocabulary import did_you_mean

from .accounting import Deliver
from .collector import Collector
from .owner import Owner
from .part_follower import PartFollower, SettlePart
from .polling import PollSchedule
from .records import Job, Part
from .sender import Sender
from .store import JobStore

__all__ = ["JobRegistry", "JobState"]

# States of parts, most important first; a job with several parts shows the first that applies.
_ORDER = ("lost", "interrupted", "sending", "cancelling", "in progress", "collecting", "collected", "done", "not sent")


@dataclass(frozen=True)
class JobState:
    """The state of a job as stored on disk, without asking the API.

    Attributes
    ----------
    job : Job
    parts : tuple of Part
    state : str
        ``sending``, ``in progress``, ``cancelling``, ``collecting``, ``collected``, ``done``, ``not sent``;
        ``interrupted`` if its kernel ended before everything was sent or collected, ``lost`` if it ended during a create
        request.
    """

    job: Job
    parts: Tuple[Part, ...]
    state: str

    @property
    def requests(self) -> int:
        """Number of requests in all parts that were sent, or may have been."""
        return sum(part.requests for part in self.parts if part.state != "dropped")

    @property
    def answered(self) -> int:
        """Number of requests with an answer."""
        return sum(part.succeeded for part in self.parts)

    @property
    def cost(self) -> Optional[Decimal]:
        """US dollars of the answers collected; None if one price is unknown."""
        return sum_dollars(part.cost for part in self.parts)

    @property
    def batch_ids(self) -> Tuple[str, ...]:
        """The API's ids of the message batches."""
        return tuple(part.batch_id for part in self.parts if part.batch_id is not None)


class JobRegistry:
    """The jobs of all kernels.

    Parameters
    ----------
    store : JobStore
    sender : Sender
    collector : Collector
    schedule : PollSchedule
    """

    def __init__(self, store: JobStore, sender: Sender, collector: Collector, schedule: PollSchedule) -> None:
        self._store = store
        self._sender = sender
        self._collector = collector
        self._schedule = schedule

    def all(self) -> List[JobState]:
        """Return all jobs, newest first."""
        return [self._state(job) for job in self._store.jobs()]

    def find(self, name: str) -> JobState:
        """Return a job by its id, or by the id of one of its batches.

        Raises
        ------
        UnknownJobError
            If no job matches; the message suggests the nearest id.
        """
        names: Dict[str, JobState] = {}
        for state in self.all():
            names[state.job.id] = state
            names.update(dict.fromkeys(state.batch_ids, state))
        if name in names:
            return names[name]
        hint = did_you_mean(name, names) or ("; %claude_jobs lists them" if names else "; none are kept here")
        raise UnknownJobError(f"no batch job {name!r}{hint}")

    def _state(self, job: Job) -> JobState:
        parts = tuple(self._store.parts(job.id))
        states = [self._part_state(part) for part in parts] or ["not sent"]
        return JobState(job, parts, min(states, key=_ORDER.index))

    def _part_state(self, part: Part) -> str:
        if part.state in ("closed", "dropped"):
            return "done" if part.state == "closed" else "not sent"
        if part.state == "sent":
            return "cancelling" if part.cancelled else "in progress"
        if part.state == "collected":
            return "collected"
        if not self._store.has_live_owner(part):
            return "lost" if part.state == "sending" else "interrupted"
        return "collecting" if part.state == "collecting" else "sending"

    def forget(self, name: str) -> JobState:
        """Remove a job from the list, and return its state; batches at the API keep running and are billed.

        Raises
        ------
        UnknownJobError
            If the job does not exist.
        JobError
            If a kernel is working on it.
        """
        state = self.find(name)
        if any(part.is_open and self._store.has_live_owner(part) for part in state.parts):
            raise JobError(f"a kernel is waiting for job {state.job.id}; stop its cell or cancel the job first")
        self._store.forget(state.job.id)
        return state

    async def cancel(self, name: str) -> JobState:
        """Ask the API to cancel a job's batches; requests answered by then are billed, and still collected.

        Raises
        ------
        UnknownJobError
            If the job does not exist.
        JobError
            If it has ended.
        """
        state = self.find(name)
        job = state.job.id
        if not any(part.state in ("planned", "sending", "sent") for part in state.parts):
            raise JobError(f"job {job} has ended already ({state.state})")
        self._store.cancel(job)
        for part in state.parts:
            now = self._store.part(part.number)
            if now is not None and now.state == "sent" and now.batch_id is not None:
                await self._sender.cancel(now.batch_id)
            if now is not None and now.state == "planned" and not self._store.has_live_owner(now):
                self._store.drop(now.number)
        return self.find(job)

    async def attach(
        self,
        name: str,
        cache: Optional[ResponseCache],
        *,
        on_result: Optional[Callable[[ClaudeResult], None]] = None,
        settle: SettlePart = lambda number, cost: None,
        release: Callable[[int], None] = lambda number: None,
    ) -> BatchResult:
        """Wait for a job whose kernel is gone, and record its results in cache and ledger.

        Parameters
        ----------
        name : str
            Id of the job or of one of its batches.
        cache : ResponseCache, optional
            Not used for a job that was run with ``cache=off``; its results stay at the API until the cell is run again.
        on_result : callable, optional
            Called with each result as it arrives.
        settle : callable
            Called with the number and cost of each part accounted here.
        release : callable
            Called with the number of each part that was never created.

        Returns
        -------
        BatchResult
            One result per distinct request, in the order of arrival; none for requests that were never sent.

        Raises
        ------
        UnknownJobError
            If the job does not exist.
        JobError
            If it has ended, was never sent, or the API refuses to show it.
        """
        state = self.find(name)
        if not any(part.is_open for part in state.parts):
            raise JobError(f"job {state.job.id} has ended ({state.state}); run its cell to get the answers")
        results: List[ClaudeResult] = []
        began = time.monotonic()

        def deliver(fingerprint: bytes, result: ClaudeResult, paid: bool) -> None:
            results.append(result)
            if on_result is not None:
                on_result(result)

        try:
            owner = Owner(self._store.owners)
        except OSError as error:
            raise JobError(f"job {state.job.id} cannot be taken over in {self._store.owners} ({error})") from None
        follower = PartFollower(
            self._store,
            self._sender,
            self._collector,
            self._schedule,
            owner.token,
            settle=settle,
            release=release,
        )
        used = cache if state.job.caches_answers else None
        try:
            made = await _gather(
                [self._attach(part, state.job, used, follower, deliver) for part in state.parts if part.is_open]
            )
        finally:
            self._store.release(owner.token)
            owner.release()
        if not any(made):
            raise JobError(f"job {state.job.id} was never sent: run its cell again to send it")
        return BatchResult(results, duration_seconds=time.monotonic() - began)

    async def _attach(
        self, part: Part, job: Job, cache: Optional[ResponseCache], follower: PartFollower, deliver: Deliver
    ) -> bool:
        """Collect one part; return False if it was never created."""
        wanted = set(self._store.requests(part.number))
        if not await follower.claim(part.number):
            return False
        await follower.take_in(part.number, wanted, cache=cache, deliver=deliver)
        if job.caches_answers:
            self._store.finish(part.number)
        return True


async def _gather(work: Sequence[Coroutine[Any, Any, bool]]) -> List[bool]:
    """Run work concurrently; if one fails, cancel the others before raising its error."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
