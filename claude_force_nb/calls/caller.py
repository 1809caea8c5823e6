"""One request's calls: budget, slot, sending, retries, until its answer is on disk or there is no hope."""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
import time
from decimal import Decimal
from typing import Callable, Mapping, Optional, Sequence, Tuple, Union

from claude_force_nb.api.answer import Answer, PartialAnswer
from claude_force_nb.api.failures import map_exception
from claude_force_nb.api.pacing import Lanes, Slots
from claude_force_nb.api.retry import RetryBudget, delay_seconds
from claude_force_nb.api.transport import Transport
from claude_force_nb.cache import ResponseCache
from claude_force_nb.costs.bounds import paced_bytes, price_bound
from claude_force_nb.costs.budget import Budget, BudgetGroup, DailyBudget, Reservation
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.costs.waiting import reserve_in_turn
from claude_force_nb.errors import (
    ApiError,
    BrokenConnectionError,
    BudgetExceededError,
    CallTimeoutError,
    MalformedAnswerError,
    OverloadedError,
    RateLimitError,
    SchemaError,
    SpendLimitError,
)
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult

from .deadline import Deadline
from .events import RequestInfo
from .recorder import Recorder

__all__ = ["Caller", "today", "unanswered"]

# The head of an answer that broke off, and what a proxy says when it lost patience with the API or did not understand it.
_MAY_BE_BILLED = frozenset([200, 502, 504, 520, 522, 524])

logger = logging.getLogger("claude_force_nb")


class Caller:
    """Makes calls for an orchestrator.

    Parameters
    ----------
    transport : Transport
    prices : PriceTable
    budgets : sequence of Budget, DailyBudget or None
        Of the orchestrator; the one that costs most to ask last.
    max_concurrent, max_retries : int
        See `AsyncAgentOrchestrator`.
    recorder : Recorder
    emit : callable
        Takes kind, request and the fields of `Event`.
    """

    def __init__(
        self,
        transport: Transport,
        prices: PriceTable,
        budgets: Sequence[Union[Budget, DailyBudget, None]],
        *,
        max_concurrent: int,
        max_retries: int,
        recorder: Recorder,
        emit: Callable[..., None],
    ) -> None:
        self._transport = transport
        self._open = getattr(transport, "open", None)
        self._prices = prices
        self._budgets = tuple(budgets)
        self._max_retries = max_retries
        self._recorder = recorder
        self._emit = emit
        self.slots = Slots(max_concurrent)
        # A transport without credentials shares its limits with nobody.
        self.lanes = Lanes(getattr(transport, "credential_id", lambda: None))
        self.retried = 0
        self._retries = RetryBudget(max(100.0, 10.0 * max_concurrent))

    async def call(
        self,
        request: ClaudeRequest,
        *,
        cache: Optional[ResponseCache],
        budget: Optional[Budget],
        partial: Optional[PartialAnswer],
        cell: Optional[str],
        deadline: Deadline,
        arrived: Callable[[], None],
    ) -> ClaudeResult:
        """Call until there is an answer or no hope, then record it: nothing is reported before it is on disk.

        `arrived` is called when the answer is there and has only to be recorded.
        """
        attempt = 0
        failure: Optional[ApiError] = None
        self._retries.called()
        if self._open is not None:  # before the time runs and money is set aside
            await self._open()
        while True:
            attempt += 1
            try:
                reservation = await self._reserve(request, budget)
            except BudgetExceededError:
                if failure is not None:  # it was sent, and this is why there is no answer
                    raise failure from None
                raise
            try:
                answer = await self._send_once(request, partial, deadline, attempt, reservation)
                result = answer.to_result(fingerprint=request.fingerprint, agent=request.agent)
                break
            except ApiError as error:
                failure = error
                # Where nobody can tell whether the call was answered and billed, the worst case stays counted.
                unclear = isinstance(error, (BrokenConnectionError, CallTimeoutError, MalformedAnswerError))
                if not error.never_left and (unclear or error.status in _MAY_BE_BILLED):
                    reservation.settle(None)
                else:
                    reservation.release()
            except BaseException:
                reservation.settle(None)
                raise
            await self._back_off(request, failure, attempt, deadline)
            if partial is not None:
                partial.restart()
        cost = self._prices.cost(result.model, result.usage, on=today())
        result = result.changed(cost=cost, attempts=attempt)
        deadline.stop()
        arrived()
        try:
            await self._recorder.record(request, result, cache=cache, cell=cell)
        except asyncio.CancelledError:
            # The time was up in the moment in which the answer came. It is written by now: see `Recorder.record`.
            if not deadline.forgives():
                raise
        finally:
            # After that: it may warn that the budget is nearly spent, and a warning may be an error.
            reservation.settle(cost)
        return result

    async def _reserve(self, request: ClaudeRequest, budget: Optional[Budget]) -> Reservation:
        group = BudgetGroup([budget, *self._budgets])
        if all(each.limit is None for each in group.budgets):
            return group.reserve(Decimal(0))
        return await reserve_in_turn(group, price_bound(request, self._prices, on=today()))

    async def _send_once(
        self,
        request: ClaudeRequest,
        partial: Optional[PartialAnswer],
        deadline: Deadline,
        attempt: int,
        reservation: Reservation,
    ) -> Answer:
        lane = self.lanes.of(request.model)

        def input_bytes() -> int:
            return paced_bytes(request)

        try:
            ticket = await lane.enter(
                self.slots, request.model, input_bytes=input_bytes, max_tokens=request.max_tokens, again=attempt > 1
            )
        except BaseException:
            reservation.release()  # it never left
            raise
        verdict, pause_seconds = "failed", 0.0
        headers: Optional[Mapping[str, str]] = None
        used: Optional[Tuple[int, int]] = None
        try:
            timeout_seconds = deadline.start()
            self._emit("sent", request, attempt=attempt)
            answer = await self._transport.send(request, timeout_seconds=timeout_seconds, partial=partial)
            verdict, headers, used = "ok", answer.headers, answer.counted_tokens
            return answer
        except asyncio.CancelledError:
            if deadline.passed:
                raise deadline.error() from None
            raise
        except Exception as error:
            # A transport of the user's own may let a foreign error through.
            failure = map_exception(error, base_url=self._transport.base_url, now=time.time())
            if failure is None:
                raise
            verdict, headers = _verdict(failure), failure.limits
            if verdict == "limited":
                if not failure.retry_after_seconds:
                    failure.retry_after_seconds = delay_seconds(failure, attempt, random=random.random)
                pause_seconds = failure.retry_after_seconds
            if failure is error:
                raise
            raise failure from None
        finally:
            lane.leave(ticket, self.slots, headers=headers, used=used, verdict=verdict, pause_seconds=pause_seconds)
            if used is not None:
                lane.limits.learn(request.model, input_bytes=input_bytes, input_tokens=used[0], output_tokens=used[1])

    async def _back_off(self, request: ClaudeRequest, failure: ApiError, attempt: int, deadline: Deadline) -> None:
        """Wait for the next try, or raise `failure` where there is none."""
        if not failure.retryable:
            raise failure
        limited = isinstance(failure, RateLimitError)
        if limited:
            # The lane holds the whole family for so long, and lets this one go first.
            seconds = max(failure.retry_after_seconds or 0.0, self.lanes.of(request.model).paused_seconds())
            self._emit("paused", request, attempt=attempt, delay=seconds, error=failure)
        else:
            seconds = delay_seconds(failure, attempt, random=random.random)
        # The reason says more than a time-out would, after a wait that cannot help.
        if attempt > self._max_retries or not deadline.allows(seconds) or not (limited or self._retries.allows()):
            raise failure
        self.retried += 1
        self._emit("retry", request, attempt=attempt, delay=seconds, error=failure)
        logger.info("attempt %d failed, next in %.1f s: %s", attempt, seconds, failure)
        if not limited:
            await asyncio.sleep(seconds)


def _verdict(failure: ApiError) -> str:
    """Return what a failure says about the limits: see `FamilyLimits.settle`."""
    if isinstance(failure, RateLimitError):
        return "failed" if isinstance(failure, SpendLimitError) else "limited"
    if isinstance(failure, OverloadedError):
        return "overloaded"
    # A refusal of the request itself shows that the API takes calls.
    return "ok" if failure.status is not None and 400 <= failure.status < 500 else "failed"


def unanswered(request: Optional[RequestInfo], error: BaseException, status: str) -> ClaudeResult:
    """Return the result of a request that has no usable answer; None where not even the request could be made."""
    if isinstance(error, SchemaError) and error.result is not None:
        kept: ClaudeResult = error.result
        return kept
    if request is None:
        return ClaudeResult(status=status, error=error)
    return ClaudeResult(
        model=request.model, agent=request.agent, fingerprint=request.fingerprint, status=status, error=error
    )


def today() -> datetime.date:
    """Return the day in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).date()
