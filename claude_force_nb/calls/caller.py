"""Make the calls of one request: budget, slot, sending and retries, until the answer is on disk or the request has failed."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from decimal import Decimal
from typing import Callable, Mapping, Optional, Tuple

from claude_force_nb.api.answer import Answer
from claude_force_nb.api.failures import map_exception
from claude_force_nb.api.limits import PacerWait
from claude_force_nb.api.pacing import FamilyPacers
from claude_force_nb.api.retry import RetryBudget, delay_seconds
from claude_force_nb.api.slots import Slots
from claude_force_nb.api.transport import Transport
from claude_force_nb.cache import ResponseCache
from claude_force_nb.costs.bounds import paced_bytes, price_bound
from claude_force_nb.costs.budget import BudgetGroup, Reservation, reserve_in_turn
from claude_force_nb.costs.days import today
from claude_force_nb.errors import (
    ApiError,
    BrokenConnectionError,
    BudgetExceededError,
    CallTimeoutError,
    MalformedAnswerError,
    OverloadedError,
    RateLimitError,
    SpendLimitError,
)
from claude_force_nb.messages.result import ClaudeResult

from .call import Call, prompt_cache_turn, take_mark
from .deadline import Deadline
from .events import EventEmitter
from .recorder import Recorder
from .settings import Accounts, CallSettings

__all__ = ["Caller"]

# The status of an answer that broke off, and those of a proxy that timed out waiting for the API or could not read its
# answer.
_BILLED_STATUSES = frozenset([200, 502, 504, 520, 522, 524])

logger = logging.getLogger("claude_force_nb")


class Caller:
    """Makes calls for an orchestrator.

    Parameters
    ----------
    transport : Transport
    accounts : Accounts
    recorder : Recorder
    emitter : EventEmitter
    settings : CallSettings

    Attributes
    ----------
    slots : Slots
        Slots for calls in flight.
    pacers : FamilyPacers
        Pacers by model family.
    retried : int
        Number of retries so far.
    """

    def __init__(
        self,
        transport: Transport,
        accounts: Accounts,
        recorder: Recorder,
        emitter: EventEmitter,
        settings: CallSettings,
    ) -> None:
        self._transport = transport
        self._open = getattr(transport, "open", None)
        self._accounts = accounts
        self._recorder = recorder
        self._emit = emitter.emit
        self._max_retries = settings.max_retries
        self.slots = Slots(settings.max_concurrent)
        # A transport without credentials does not share its rate limits.
        self.pacers = FamilyPacers(getattr(transport, "credential_id", lambda: None))
        self.retried = 0
        self._retries = RetryBudget(max(100, 10 * settings.max_concurrent))

    async def call(self, call: Call, *, cache: Optional[ResponseCache], deadline: Deadline) -> ClaudeResult:
        """Call until there is an answer or a final failure, and record it. Nothing is reported before it is on disk.

        Raises
        ------
        ApiError or BudgetExceededError
        """
        began, sent_before = time.monotonic(), call.status.attempts
        try:
            return await self._call(call, began, cache=cache, deadline=deadline)
        except ApiError as failure:
            deadline.stop()
            attempts = call.status.attempts - sent_before
            if attempts and self._accounts.ledger is not None:
                await self._keep_failure(call, failure, attempts, time.monotonic() - began)
            raise

    async def _keep_failure(self, call: Call, failure: ApiError, attempts: int, seconds: float) -> None:
        """Record that a call was sent and failed, so that the ledger knows how often this happens."""
        request = call.request
        result = ClaudeResult(
            model=request.model,
            agent=request.agent,
            fingerprint=request.fingerprint,
            request_id=failure.request_id,
            status="failed",
            cost=None if call.status.billing_unknown else Decimal(0),
            attempts=attempts,
            duration_seconds=seconds,
        )
        await self._recorder.record(request, result, cache=None, cell=call.cell)

    async def _call(
        self, call: Call, began: float, *, cache: Optional[ResponseCache], deadline: Deadline
    ) -> ClaudeResult:
        attempt = 0
        failure: Optional[ApiError] = None
        status = call.status
        status.begin(self._max_retries + 1)
        self._retries.called()
        if call.ends_at is not None:  # a cell's time limit is already running; a row's starts when it is sent
            deadline.start()
        if self._open is not None:  # open the transport before reserving money
            status.enter("importing")
            await self._open()
        while True:
            attempt += 1
            try:
                if failure is None:
                    status.enter("budget")
                take_mark(call)
                reservation = await self._reserve(call)
            except BudgetExceededError:
                if failure is not None:  # an attempt was sent; its failure is the reason to report
                    raise failure from None
                raise
            try:
                answer = await self._send_once(call, deadline, attempt, reservation)
                result = answer.to_result(fingerprint=call.request.fingerprint, agent=call.request.agent)
                break
            except ApiError as error:
                failure = error
                # If the call may have been answered and billed, its worst case counts as spent.
                if _may_be_billed(error):
                    status.billing_unknown = True
                    reservation.settle(None)
                else:
                    reservation.release()
            except BaseException:
                reservation.settle(None)
                raise
            await self._back_off(call, failure, attempt, deadline)
            if call.partial is not None:
                call.partial.restart()
        result = result.changed(attempts=attempt, duration_seconds=time.monotonic() - began)
        return await self._keep(call, result, reservation, cache=cache, deadline=deadline)

    async def _keep(
        self,
        call: Call,
        result: ClaudeResult,
        reservation: Reservation,
        *,
        cache: Optional[ResponseCache],
        deadline: Deadline,
    ) -> ClaudeResult:
        """Price and record an answer, and settle its reservation."""
        cost = self._accounts.prices.cost(result.model, result.usage, on=today())
        saving = self._accounts.prices.prompt_cache_saving(result.model, result.usage, on=today())
        result = result.changed(cost=cost, prompt_cache_saved=saving)
        deadline.stop()
        call.status.enter("recording")
        if call.on_arrival is not None:
            call.on_arrival()
        try:
            await self._recorder.record(call.request, result, cache=cache, cell=call.cell)
        except asyncio.CancelledError:
            # The time ran out just as the answer arrived. It has been written by now: see `Recorder.record`.
            if not deadline.forgives():
                raise
        finally:
            # Settle only after recording: this may warn that the budget is nearly spent, and the user may turn warnings
            # into errors.
            reservation.settle(cost)
        return result

    async def _reserve(self, call: Call) -> Reservation:
        group = BudgetGroup([call.budget, *self._accounts.budgets])
        if all(each.limit is None for each in group.budgets):
            return group.reserve(Decimal(0))
        return await reserve_in_turn(group, price_bound(call.request, self._accounts.prices, on=today()))

    async def _send_once(self, call: Call, deadline: Deadline, attempt: int, reservation: Reservation) -> Answer:
        request = call.request
        pacer = self.pacers.of(request.model)

        def input_bytes() -> int:
            return paced_bytes(request)

        def on_wait(look: Callable[[], PacerWait]) -> None:
            call.status.wait_for_rate_limit(look)
            seconds = look().seconds
            if seconds and not deadline.allows(seconds):  # waiting would only end in a time-out
                raise call.status.failure or _too_late(seconds, deadline.seconds)

        try:
            permit = await pacer.enter(
                self.slots,
                request.model,
                input_bytes=input_bytes,
                max_tokens=request.max_tokens,
                again=attempt > 1,
                on_wait=on_wait,
            )
        except BaseException:
            reservation.release()  # the request was not sent
            raise
        verdict, pause_seconds = "failed", 0.0
        headers: Optional[Mapping[str, str]] = None
        used: Optional[Tuple[int, int]] = None
        try:
            async with prompt_cache_turn(call) as partial:
                timeout_seconds = deadline.leave()
                self._emit("sent", request, attempt=attempt)
                call.status.sent()
                answer = await self._transport.send(request, timeout_seconds=timeout_seconds, partial=partial)
            verdict, headers, used = "ok", answer.headers, answer.counted_tokens
            return answer
        except asyncio.CancelledError:
            if deadline.passed:
                raise deadline.error() from None
            call.status.billing_unknown = True
            raise
        except Exception as error:
            # A user's own transport may raise errors of its library.
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
            call.status.in_flight = False
            pacer.leave(permit, self.slots, headers=headers, used=used, verdict=verdict, pause_seconds=pause_seconds)
            if used is not None:
                pacer.limits.learn(request.model, input_bytes=input_bytes, input_tokens=used[0], output_tokens=used[1])

    async def _back_off(self, call: Call, failure: ApiError, attempt: int, deadline: Deadline) -> None:
        """Wait for the next attempt, or raise `failure` if no attempt is left."""
        if not failure.retryable:
            raise failure
        request = call.request
        limited = isinstance(failure, RateLimitError)
        if limited:
            # The pacer holds back the whole model family for this time, and then sends this call first.
            seconds = max(failure.retry_after_seconds or 0.0, self.pacers.of(request.model).paused_seconds())
            self._emit("paused", request, attempt=attempt, delay=seconds, error=failure)
        else:
            seconds = delay_seconds(failure, attempt, random=random.random)
        # Fail with the reason now, instead of with a time-out after a pointless wait.
        if limited and attempt <= self._max_retries and not deadline.allows(seconds):
            late = f"it can be retried in {seconds:.0f} s at the earliest, but the timeout is {deadline.seconds:g} s"
            failure.args = (f"{failure}; {late}; raise timeout= or try again later",)
        if attempt > self._max_retries or not deadline.allows(seconds) or not (limited or self._retries.allows()):
            raise failure
        self.retried += 1
        call.status.retry(attempt + 1, failure, seconds)
        self._emit("retry", request, attempt=attempt, delay=seconds, error=failure)
        logger.info("attempt %d failed, next in %.1f s: %s", attempt, seconds, failure)
        if not limited:
            await asyncio.sleep(seconds)


def _too_late(seconds: float, timeout_seconds: float) -> CallTimeoutError:
    return CallTimeoutError(
        f"the rate limit allows this call in {seconds:.0f} s at the earliest, but the timeout is {timeout_seconds:g} s; "
        "nothing was sent; raise timeout= or try again later"
    )


def _may_be_billed(error: ApiError) -> bool:
    if error.never_left:
        return False
    unclear = isinstance(error, (BrokenConnectionError, CallTimeoutError, MalformedAnswerError))
    return unclear or error.status in _BILLED_STATUSES


def _verdict(failure: ApiError) -> str:
    """Return the verdict on a failure for rate limiting: see `FamilyLimits.settle`."""
    if isinstance(failure, RateLimitError):
        return "failed" if isinstance(failure, SpendLimitError) else "limited"
    if isinstance(failure, OverloadedError):
        return "overloaded"
    # If the API refuses a request for its content, it does accept calls.
    return "ok" if failure.status is not None and 400 <= failure.status < 500 else "failed"
