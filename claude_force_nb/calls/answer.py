"""Answer one request: from the cache, from an equal call in flight, or with a call of its own."""

from __future__ import annotations

import asyncio
import datetime
import functools
import time
from decimal import Decimal
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from claude_force_nb.cache import ResponseCache
from claude_force_nb.costs.days import day_before, today
from claude_force_nb.errors import BudgetExceededError, CacheMissError, ClaudeForceError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage
from claude_force_nb.schemas.repair import validate_or_repair

from .call import Call
from .caller import Caller
from .deadline import Deadline
from .events import EventEmitter, RequestInfo
from .options import CallOptions
from .settings import Accounts, CallSettings
from .single_flight import SingleFlight

__all__ = ["Answerer"]

# Number of prices to remember.
_MOST_PRICED = 1024
_NOTHING = Decimal(0)


class Answerer:
    """Answers requests; equal requests in flight share one call.

    Parameters
    ----------
    caller : Caller
    accounts : Accounts
    emitter : EventEmitter
    settings : CallSettings
    check_open : callable
        Raises TransportClosedError after the orchestrator was closed.
    check_sending : callable
        Raises if nothing can be sent at all, for example without a key.
    """

    def __init__(
        self,
        caller: Caller,
        accounts: Accounts,
        emitter: EventEmitter,
        settings: CallSettings,
        *,
        check_open: Callable[[], None],
        check_sending: Callable[[], None],
    ) -> None:
        self._cache = accounts.cache
        self._answers = accounts.answers
        self.flights: SingleFlight[Tuple[ClaudeResult, Optional[ResponseCache]]] = SingleFlight()
        self._caller = caller
        self._accounts = accounts
        self._emitter = emitter
        self._check_open = check_open
        self._check_sending = check_sending
        self._priced: Dict[Tuple[str, Usage, bool, datetime.date], Optional[Decimal]] = {}
        self._timeout_seconds = settings.timeout_seconds

    def find(self, call: Call) -> Optional[ClaudeResult]:
        """Return the answer from the answer file or the cache; None if the request has to be sent, and can be.

        Raises
        ------
        CacheMissError
            If the answer is missing and ``cache="only"``; an AnswerMissError if answers are frozen.
        ConfigurationError or TransportClosedError
            If nothing can be sent.
        """
        self._check_open()
        started = time.perf_counter()
        if self._answers is not None:
            hit = self._answers.find(call.request, reads_cache=call.options.reads_cache)
            if hit is not None:
                return self.hit(call.request, hit, started, call.cell)
        if self._cache is not None and call.options.reads_cache:
            hit = self._cache.get(call.request)
            if hit is not None:
                return self.hit(call.request, hit, started, call.cell)
        try:
            if call.options.cache == "only":
                raise CacheMissError("cache=only, and this answer is not in the cache; run with cache=on to ask for it")
            self._check_sending()
        except ClaudeForceError:
            # Nothing will be sent, so this is the only chance to look into the shared tier.
            shared = None if self._cache is None or not call.options.reads_cache else self._cache.shared
            known = None if shared is None else shared.get(call.request)
            if known is None:
                raise
            return self.hit(call.request, known, started, call.cell)
        return None

    def find_together(
        self, asked: Sequence[Tuple[ClaudeRequest, CallOptions]], *, cell: Optional[str] = None
    ) -> List[Optional[ClaudeResult]]:
        """Return the same as `find` for several requests, as far as one read of the cache can answer them.

        None does not mean that there is no answer: call `find` for that request.
        """
        cache = self._cache
        if cache is None or self._answers is not None or not all(options.reads_cache for _, options in asked):
            return [None] * len(asked)
        self._check_open()
        started = time.perf_counter()
        requests = [request for request, _ in asked]
        found = cache.read_ahead(requests)
        return [None if hit is None else self.hit(each, hit, started, cell) for each, hit in zip(requests, found)]

    async def answer(self, call: Call) -> ClaudeResult:
        """Answer a request; if a schema is given, the answer conforms to it.

        Raises
        ------
        ClaudeForceError
            See `AsyncAgentOrchestrator.run`.
        """
        result = await self._answer_for_schema(call)
        return result.changed(model_asked=call.request.model, notice=" · ".join(call.request.adjustments))

    async def _answer_for_schema(self, call: Call) -> ClaudeResult:
        schema = call.options.schema
        if schema is None:
            return self.find(call) or await self.fetch(call)
        # With a schema, the first answer may need a repair call, so its arrival is not yet the end.
        call.on_arrival = None

        async def ask(request: ClaudeRequest) -> ClaudeResult:
            call.request = request
            return self.find(call) or await self.fetch(call)

        return await validate_or_repair(call.request, await ask(call.request), schema, ask)

    async def fetch(self, call: Call) -> ClaudeResult:
        """Return the answer from an equal call in flight, or from a new call."""
        if call.partial is not None:
            call.partial.restart()
        started = time.perf_counter()
        emit = self._emitter.emit
        emit("queued", call.request)
        try:
            result, joined = await self._call_or_join(call)
        except ClaudeForceError as error:
            self._emitter.emit_unanswered(call.request, error)
            raise
        except asyncio.CancelledError:
            emit("cancelled", call.request)
            raise
        if joined:  # also if another machine made the call
            return self.hit(call.request, result.shared(), started, call.cell)
        result = result.changed(duration_seconds=time.perf_counter() - started)
        if self._answers is not None and self._answers.keep(call.request, result, replace=True):
            result = result.changed(recorded=True)
        emit("done", call.request, attempt=result.attempts, result=result)
        return result

    async def _call_or_join(self, call: Call) -> Tuple[ClaudeResult, bool]:
        """Return the answer, and whether another caller's call returned it, and paid for it."""
        cache = None if call.options.cache == "off" else self._cache
        seconds = call.options.timeout_seconds or self._timeout_seconds
        if call.is_cell and call.ends_at is None:
            call.ends_at = time.monotonic() + seconds
        deadline = Deadline(seconds, ends_at=call.ends_at, explain=call.status.late)
        mine = False

        def join(other: Deadline) -> None:
            call.status.enter("shared")
            patience.follow(other)
            if call.ends_at is not None:
                patience.start()

        async def make() -> Tuple[ClaudeResult, Optional[ResponseCache]]:
            nonlocal mine
            mine = True
            with deadline:
                shared = None if cache is None or not call.options.reads_cache else cache.shared
                if shared is None:
                    return await self._caller.call(call, cache=cache, deadline=deadline), cache
                enter = functools.partial(call.status.enter, "shared")
                async with shared.answer(call.request, waiting=enter) as known:
                    return known or await self._caller.call(call, cache=cache, deadline=deadline), cache

        while True:
            try:
                # Our time limit while waiting for somebody else's call, whose own may be longer.
                with Deadline(seconds, ends_at=call.ends_at) as patience:
                    (result, kept_in), joined = await self.flights.run(
                        call.request.fingerprint,
                        make,
                        note=deadline,
                        joining=join,
                        grace=call.status.stop_grace_seconds,
                    )
                break
            except BudgetExceededError:
                if mine:  # otherwise another caller's budget refused, and ours may allow it
                    raise
        call.status.enter("ended")
        if joined and cache is not None:
            if kept_in is None:
                cache.put(call.request, result)
            if call.options.reads_cache:
                cache.discount_miss()
        return result, joined or result.cached

    def hit(self, request: RequestInfo, hit: ClaudeResult, started: float, cell: Optional[str]) -> ClaudeResult:
        """Return an answer that costs nothing now, with the cost it saved; report and record the hit.

        Parameters
        ----------
        request : RequestInfo
        hit : ClaudeResult
            The answer as stored, or as another caller's call returned it.
        started : float
            When the request was made, by `time.perf_counter`.
        cell : str, optional
            Cell id for the ledger.
        """
        accounts = self._accounts
        recorded = hit.recorded
        if self._answers is not None and isinstance(request, ClaudeRequest):
            recorded = self._answers.keep(request, hit, replace=False) or recorded
        # A recorded answer is priced by the day it was recorded, any other by today's prices, since that is what it
        # saves.
        day = day_before(hit.age_seconds) if recorded else today()
        hit = hit.changed(
            cost=_NOTHING,
            saved=self._price(hit.model, hit.usage, day),
            agent=request.agent,
            duration_seconds=time.perf_counter() - started,
            recorded=recorded,
        )
        if accounts.ledger is not None:
            accounts.ledger.append(hit, notebook=accounts.notebook, cell=cell)
        if self._emitter.listeners:
            self._emitter.emit("hit", request, result=hit)
        return hit

    def _price(self, model: str, usage: Usage, day: datetime.date) -> Optional[Decimal]:
        """Return the price of an answer on a day; many answers of a run have equal usage, which is priced only once."""
        key = (model, usage, usage.known, day)
        if key not in self._priced:
            if len(self._priced) >= _MOST_PRICED:
                self._priced.clear()
            self._priced[key] = self._accounts.prices.cost(model, usage, on=day)
        return self._priced[key]
