"""The one path of every prompt: compose, cache, budget, call, cache, ledger."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import random
import time
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Any, AsyncIterable, Callable, Coroutine, Dict, Iterable, List, Mapping, Optional, Tuple, Type, Union

from .agents import AgentLibrary
from .api.answer import Answer, PartialAnswer
from .api.failures import map_exception
from .api.pacing import Pacer, SlotGate
from .api.retry import delay_seconds
from .api.single_flight import SingleFlight
from .api.transport import SdkTransport, Transport
from .cache import ResponseCache
from .compose import DEFAULT_MAX_TOKENS, DEFAULT_MODEL, CallOptions, compose, input_bound_tokens
from .costs.budget import Budget, BudgetGroup, Reservation
from .costs.ledger import Ledger, default_ledger_path
from .costs.pricing import PriceTable, load_prices
from .errors import (
    ApiError,
    BrokenConnectionError,
    CacheMissError,
    CallTimeoutError,
    ClaudeForceError,
    OptionError,
    RateLimitError,
    SpendLimitError,
    TransportClosedError,
)
from .events import Event
from .request import ClaudeRequest
from .result import BatchResult, ClaudeResult

__all__ = ["AsyncAgentOrchestrator"]

logger = logging.getLogger("claude_force_nb")

# How long a run that finds every answer in the cache may keep the event loop to itself.
_YIELD_SECONDS = 0.02

Prompts = Union[Iterable[str], AsyncIterable[str]]


class AsyncAgentOrchestrator:
    """Sends prompts, answers repeated ones from the cache, and keeps account.

    Parameters
    ----------
    max_concurrent : int
        Most calls in flight at once, >= 1, whichever loops and threads they come from.
    timeout_seconds : float
        Bound of a call with its retries, > 0, from the moment it first leaves.
    enable_cache : bool
        False neither reads nor writes the cache.
    cache_ttl_hours : float
        Life of a cached answer, > 0.
    cache : ResponseCache, optional
        A cache to share; it is not closed with the orchestrator.
    cache_dir, cache_max_size_mb, cache_secret
        See `ResponseCache`.
    api_key, base_url : str, optional
        See `api.transport.SdkTransport`.
    transport : Transport, optional
        Instead of the network, `claude_force_nb.testing.FakeTransport` for one.
    max_retries : int
        Most further calls after a failed one, >= 0.
    budget : Decimal, float or str, optional
        US dollars that all calls of this orchestrator may cost at the most.
    agents : AgentLibrary, optional
        Where agents are found; the working directory and up by default.
    on_event : callable, optional
        Called with each `Event`, on the loop where it happens; must not block.
    ledger : Ledger, None or "default"
        Where answers are accounted; the user's own by default (``CLAUDE_FORCE_DATA_DIR``), None for nowhere.
    prices : PriceTable, optional
        The shipped table by default.
    default_model, default_max_tokens
        For calls and agents that name none.
    environ : mapping, optional
        ``os.environ`` by default.
    notebook : str, optional
        Name for the ledger.

    Raises
    ------
    OptionError
        If a bound is broken.
    """

    def __init__(
        self,
        *,
        max_concurrent: int = 10,
        timeout_seconds: float = 120.0,
        enable_cache: bool = True,
        cache_ttl_hours: float = 24.0,
        cache: Optional[ResponseCache] = None,
        cache_dir: Optional[Union[str, os.PathLike[str]]] = None,
        cache_max_size_mb: float = 500.0,
        cache_secret: Optional[str] = None,
        api_key: Optional[str] = None,
        base_url: Optional[str] = None,
        transport: Optional[Transport] = None,
        max_retries: int = 4,
        budget: Union[Decimal, float, str, None] = None,
        agents: Optional[AgentLibrary] = None,
        on_event: Optional[Callable[[Event], None]] = None,
        ledger: Union[Ledger, str, None] = "default",
        prices: Optional[PriceTable] = None,
        default_model: str = DEFAULT_MODEL,
        default_max_tokens: int = DEFAULT_MAX_TOKENS,
        environ: Optional[Mapping[str, str]] = None,
        notebook: Optional[str] = None,
    ) -> None:
        if type(max_concurrent) is not int or max_concurrent < 1:
            raise OptionError("max_concurrent must be a whole number from 1, not {!r}".format(max_concurrent))
        if type(max_retries) is not int or max_retries < 0:
            raise OptionError("max_retries must be a whole number from 0, not {!r}".format(max_retries))
        CallOptions(timeout_seconds=timeout_seconds)
        environ = os.environ if environ is None else environ
        self.max_concurrent = max_concurrent
        self.max_retries = max_retries
        self.timeout_seconds = timeout_seconds
        self.transport: Transport = (
            SdkTransport(api_key=api_key, base_url=base_url, environ=environ) if transport is None else transport
        )
        self.agents = agents or AgentLibrary()
        self.prices = prices or load_prices()
        self.budget = Budget(budget)
        self.ledger = Ledger(default_ledger_path(environ)) if isinstance(ledger, str) else ledger
        self.notebook = notebook
        self._default_model = default_model
        self._default_max_tokens = default_max_tokens
        self._owns_cache = cache is None
        self.cache: Optional[ResponseCache] = None
        if cache is not None:  # an empty cache is false: it has a length
            self.cache = cache
        elif enable_cache:
            self.cache = ResponseCache(
                cache_dir,
                ttl_hours=cache_ttl_hours,
                max_size_mb=cache_max_size_mb,
                secret=cache_secret,
                environ=environ,
            )
        self.on_event = on_event
        self._gate = SlotGate(max_concurrent)
        self._pacer = Pacer()
        self._flights: SingleFlight[ClaudeResult] = SingleFlight()
        self._closed = False

    def __repr__(self) -> str:
        return "AsyncAgentOrchestrator({!r}, max_concurrent={})".format(self.transport, self.max_concurrent)

    async def __aenter__(self) -> AsyncAgentOrchestrator:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections, ledger and the cache that was made here; further calls raise TransportClosedError."""
        await self.transport.close()
        self._close_files()

    def close_blocking(self) -> None:
        """Do what `close` does at the end of a process, where no loop runs any more."""
        self.transport.close_blocking()
        self._close_files()

    def _close_files(self) -> None:
        self._closed = True
        if self.cache is not None and self._owns_cache:
            self.cache.close()
        if self.ledger is not None:
            self.ledger.close()

    def request(self, prompt: str, **options: Any) -> ClaudeRequest:
        """Return the request that `run` would send for the same arguments; sends nothing.

        Raises
        ------
        ConfigurationError or PromptError
            Where `run` would.
        """
        return self._compose(prompt, CallOptions.of(options))

    def _compose(self, prompt: str, options: CallOptions) -> ClaudeRequest:
        return compose(
            prompt,
            options,
            agents=self.agents,
            prices=self.prices,
            base_url=self.transport.base_url,
            default_model=self._default_model,
            default_max_tokens=self._default_max_tokens,
        )

    async def run(
        self,
        prompt: str,
        *,
        partial: Optional[PartialAnswer] = None,
        cell: Optional[str] = None,
        **options: Any,
    ) -> ClaudeResult:
        """Answer one prompt.

        Parameters
        ----------
        prompt : str
            A ``{{ }}`` template where `variables` are given.
        partial : PartialAnswer, optional
            Where given, the answer streams into it while it arrives.
        cell : str, optional
            Cell id for the ledger.
        **options
            See `compose.CallOptions`.

        Raises
        ------
        ConfigurationError or PromptError
            Nothing was sent.
        CacheMissError
            With ``cache="only"``, where the answer is not there.
        BudgetExceededError
            Where the worst case does not fit; nothing was sent.
        ApiError
            Where the call failed for good.
        """
        call = CallOptions.of(options)
        budget = None if call.budget is None else Budget(call.budget)
        return await self._answer(self._compose(prompt, call), call, budget=budget, partial=partial, cell=cell)

    async def run_many(
        self,
        prompts: Prompts,
        *,
        on_result: Optional[Callable[[int, ClaudeResult], None]] = None,
        cell: Optional[str] = None,
        **options: Any,
    ) -> BatchResult:
        """Answer many prompts with the same options, at most `max_concurrent` at a time.

        Parameters
        ----------
        prompts : iterable or asynchronous iterable of str
            Taken one by one as workers become free, never held as a whole.
        on_result : callable, optional
            Called with row number and result as each row ends, in the order in which they end.
        cell : str, optional
            Cell id for the ledger.
        **options
            See `compose.CallOptions`; ``budget`` bounds the whole.

        Returns
        -------
        BatchResult
            One result per prompt in input order; a row that failed has ``status`` ``failed`` and its ``error``. After a spend
            limit or a refused key the remaining rows are ``not_sent``.

        Raises
        ------
        OptionError
            On unknown or unusable options, before anything is sent.
        """
        started = time.perf_counter()
        call = CallOptions.of(options)
        if isinstance(prompts, str):
            raise OptionError("run_many takes a list of prompts; for a single one use run")
        budget = None if call.budget is None else Budget(call.budget)
        results: Dict[int, ClaudeResult] = {}
        rows = _Feed(prompts)
        fatal: List[BaseException] = []

        async def work() -> None:
            breath = time.perf_counter()
            async for row, prompt in rows:
                results[row] = await self._row(prompt, call, budget, cell, fatal)
                if on_result is not None:
                    on_result(row, results[row])
                if time.perf_counter() - breath > _YIELD_SECONDS:
                    await asyncio.sleep(0)
                    breath = time.perf_counter()

        await _all_done(work() for _ in range(self.max_concurrent))
        ordered = [results[row] for row in sorted(results)]
        return BatchResult(ordered, duration_seconds=time.perf_counter() - started)

    async def _row(
        self, prompt: str, call: CallOptions, budget: Optional[Budget], cell: Optional[str], fatal: List[BaseException]
    ) -> ClaudeResult:
        """Answer one row; its failure is its result, and a failure that all would meet ends the sending."""
        request = None
        try:
            request = self._compose(prompt, call)
            if fatal:
                return _failed(request, fatal[0], "not_sent")
            return await self._answer(request, call, budget=budget, partial=None, cell=cell)
        except ClaudeForceError as error:
            if isinstance(error, (SpendLimitError, TransportClosedError)) or getattr(error, "status", None) == 401:
                fatal.append(error)
            return _failed(request, error, "failed" if isinstance(error, ApiError) else "not_sent")

    async def _answer(
        self,
        request: ClaudeRequest,
        call: CallOptions,
        *,
        budget: Optional[Budget],
        partial: Optional[PartialAnswer],
        cell: Optional[str],
    ) -> ClaudeResult:
        started = time.perf_counter()
        cache = None if call.cache == "off" else self.cache
        if cache is not None and call.cache != "refresh":
            hit = cache.get(request)
            if hit is not None:
                return self._hit(request, hit, started, cell)
        if call.cache == "only":
            raise CacheMissError("cache=only, and this answer is not in the cache; run with cache=on to ask for it")
        if self._closed:
            raise TransportClosedError("the orchestrator is closed; make a new one")
        self.transport.check()
        self._emit("queued", request)
        timeout_seconds = call.timeout_seconds or self.timeout_seconds

        async def fly() -> ClaudeResult:
            with _Deadline(timeout_seconds) as deadline:
                return await self._call(request, cache, budget, partial, cell, deadline)

        try:
            result, joined = await self._flights.run(request.fingerprint, fly)
        except ClaudeForceError as error:
            self._emit("failed", request, error=error)
            raise
        duration = time.perf_counter() - started
        if joined:
            # Somebody else's call answered this one too: paid once, saved here.
            shared = replace(result, cost=Decimal(0), saved=result.cost, cached=True, status="cached", attempts=0)
            result = replace(shared, agent=request.agent, duration_seconds=duration)
            self._record(result, cell)
            return result
        result = replace(result, duration_seconds=duration)
        self._emit("done", request, attempt=result.attempts, result=result)
        return result

    def _hit(self, request: ClaudeRequest, hit: ClaudeResult, started: float, cell: Optional[str]) -> ClaudeResult:
        saved = self.prices.cost(hit.model, hit.usage, on=_today())
        duration = time.perf_counter() - started
        hit = replace(hit, saved=saved, agent=request.agent, duration_seconds=duration)
        self._record(hit, cell)
        if self.on_event is not None:
            self._emit("hit", request, result=hit)
        return hit

    async def _call(
        self,
        request: ClaudeRequest,
        cache: Optional[ResponseCache],
        budget: Optional[Budget],
        partial: Optional[PartialAnswer],
        cell: Optional[str],
        deadline: _Deadline,
    ) -> ClaudeResult:
        """Call until there is an answer or no hope, then keep it: nothing is reported before it is on disk."""
        attempt = 0
        while True:
            attempt += 1
            reservation = self._reserve(request, budget)
            try:
                answer = await self._send_once(request, partial, deadline, attempt)
                result = answer.to_result(fingerprint=request.fingerprint, agent=request.agent)
                break
            except ApiError as error:
                failure = error
                # Where nobody can tell whether the call was answered and billed, the worst case stays counted.
                if isinstance(error, (BrokenConnectionError, CallTimeoutError)) or error.status == 200:
                    reservation.settle(None)
                else:
                    reservation.release()
            except BaseException:
                reservation.settle(None)
                raise
            if not failure.retryable or attempt > self.max_retries:
                raise failure
            await self._back_off(request, failure, attempt)
            if partial is not None:
                partial.restart()
        cost = self.prices.cost(result.model, result.usage, on=_today())
        reservation.settle(cost)
        result = replace(result, cost=cost, attempts=attempt)
        if cache is not None and result.stop_reason not in ("max_tokens", "refusal"):
            cache.put(request, result)
        self._record(result, cell)
        return result

    def _reserve(self, request: ClaudeRequest, budget: Optional[Budget]) -> Reservation:
        group = BudgetGroup([budget, self.budget])
        if all(each.limit is None for each in group.budgets):
            return group.reserve(Decimal(0))
        bound = self.prices.bound(
            request.model,
            input_tokens=input_bound_tokens(request),
            max_tokens=request.max_tokens,
            on=_today(),
            prompt_caching="cache_control" in repr(request.body),
        )
        return group.reserve(bound)

    async def _send_once(
        self, request: ClaudeRequest, partial: Optional[PartialAnswer], deadline: _Deadline, attempt: int
    ) -> Answer:
        await self._pacer.ready(request.model)
        await self._gate.acquire()
        try:
            timeout_seconds = deadline.start()
            self._emit("sent", request, attempt=attempt)
            return await self.transport.send(request, timeout_seconds=timeout_seconds, partial=partial)
        except asyncio.CancelledError:
            if deadline.passed:
                raise CallTimeoutError(
                    "no complete answer within {:g} s; raise timeout= or try again".format(deadline.seconds)
                ) from None
            raise
        except ApiError:
            raise
        except Exception as error:
            # A transport of the user's own may let a foreign error through.
            mapped = map_exception(error, base_url=self.transport.base_url, now=time.time())
            raise mapped or error from None
        finally:
            self._gate.release()

    async def _back_off(self, request: ClaudeRequest, failure: ApiError, attempt: int) -> None:
        seconds = delay_seconds(failure, attempt, random=random.random)
        if isinstance(failure, RateLimitError):
            self._pacer.pause(request.model, failure.retry_after_seconds or seconds)
            self._emit("paused", request, attempt=attempt, delay=seconds, error=failure)
        self._emit("retry", request, attempt=attempt, delay=seconds, error=failure)
        logger.info("attempt %d failed, next in %.1f s: %s", attempt, seconds, failure)
        await asyncio.sleep(seconds)

    def _record(self, result: ClaudeResult, cell: Optional[str]) -> None:
        if self.ledger is not None:
            self.ledger.append(result, notebook=self.notebook, cell=cell)

    def _emit(
        self,
        kind: str,
        request: ClaudeRequest,
        *,
        attempt: int = 0,
        delay: float = 0.0,
        error: Optional[BaseException] = None,
        result: Optional[ClaudeResult] = None,
    ) -> None:
        if self.on_event is None:
            return
        event = Event(kind, request.fingerprint, request.model, time.monotonic(), attempt, delay, error, result)
        try:
            self.on_event(event)
        except Exception:
            logger.exception("on_event failed")


class _Deadline:
    """Cancels its task when its time is up, and remembers that it did; the time runs from the first `start`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.passed = False
        self._ends: Optional[float] = None
        self._handle: Optional[asyncio.TimerHandle] = None

    def __enter__(self) -> _Deadline:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Any) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self.passed and kind is asyncio.CancelledError:
            message = "no complete answer within {:g} s; raise timeout= or try again"
            raise CallTimeoutError(message.format(self.seconds)) from None

    def start(self) -> float:
        """Let the time run, if it does not yet; return the seconds that are left."""
        now = time.monotonic()
        if self._ends is None:
            task = asyncio.current_task()
            assert task is not None
            self._ends = now + self.seconds
            self._handle = asyncio.get_running_loop().call_later(self.seconds, self._expire, task)
        return max(0.001, self._ends - now)

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self.passed = True
        task.cancel()


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.timezone.utc).date()


def _failed(request: Optional[ClaudeRequest], error: BaseException, status: str) -> ClaudeResult:
    if request is None:
        return ClaudeResult(status=status, error=error)
    return ClaudeResult(
        model=request.model, agent=request.agent, fingerprint=request.fingerprint, status=status, error=error
    )


class _Feed:
    """Hands prompts to several workers, each once, numbered in the order of the source."""

    def __init__(self, prompts: Prompts) -> None:
        self._row = -1
        self._sync = None if isinstance(prompts, AsyncIterable) else iter(prompts)
        self._async = prompts.__aiter__() if isinstance(prompts, AsyncIterable) else None
        # Made inside the running loop: an asynchronous source cannot be asked by two workers at once.
        self._lock = asyncio.Lock()

    def __aiter__(self) -> _Feed:
        return self

    async def __anext__(self) -> Tuple[int, str]:
        if self._sync is not None:
            for prompt in self._sync:
                self._row += 1
                return self._row, prompt
            raise StopAsyncIteration
        assert self._async is not None
        async with self._lock:
            prompt = await self._async.__anext__()
            self._row += 1
            return self._row, prompt


async def _all_done(workers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all workers; when one fails, or the wait is cancelled, end the others first."""
    tasks = [asyncio.ensure_future(worker) for worker in workers]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
