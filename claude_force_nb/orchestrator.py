"""The one path of every prompt: compose, cache, budget, call, cache, ledger."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Type, Union

from .agents import AgentLibrary
from .api.answer import PartialAnswer
from .api.transport import SdkTransport, Transport
from .batches.message_batches import MessageBatches
from .cache import ResponseCache
from .calls.caller import Caller, today
from .calls.compose import compose
from .calls.controls import Controls
from .calls.deadline import Deadline
from .calls.events import Event, EventEmitter, RequestInfo
from .calls.options import CallOptions
from .calls.recorder import Recorder
from .calls.single_flight import SingleFlight
from .costs.budget import Budget, DailyBudget
from .costs.ledger import Ledger, default_ledger_path
from .costs.pricing import PriceTable, load_prices
from .errors import BudgetExceededError, CacheMissError, ClaudeForceError, OptionError, TransportClosedError
from .memory.conversations import Memory, Turn
from .messages.request import ClaudeRequest
from .messages.result import ClaudeResult
from .rows.runner import RowRunner, whole_number
from .schemas.repair import validate_or_repair
from .vocabulary import DEFAULT_MAX_TOKENS, DEFAULT_MODEL

__all__ = ["AsyncAgentOrchestrator"]


def _nobody() -> None:
    """Take note of an arrival for which nobody waits."""


class AsyncAgentOrchestrator(Controls, RowRunner):
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
    budget : Budget, Decimal, float or str, optional
        US dollars that all calls of this orchestrator may cost at the most.
    daily_budget : DailyBudget, Decimal, float or str, optional
        US dollars that all kernels of the user, as far as they have a daily budget, may spend in a day (UTC).
    allow_unknown_price : bool
        True sends calls whose price is unknown under a budget, which then counts them as nothing.
    agents : AgentLibrary, optional
        Where agents are found; the working directory and up by default.
    memory : Memory, optional
        Conversations to share; none at first by default.
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
        budget: Union[Budget, Decimal, float, str, None] = None,
        daily_budget: Union[DailyBudget, Decimal, float, str, None] = None,
        allow_unknown_price: bool = False,
        agents: Optional[AgentLibrary] = None,
        memory: Optional[Memory] = None,
        on_event: Optional[Callable[[Event], None]] = None,
        ledger: Union[Ledger, str, None] = "default",
        prices: Optional[PriceTable] = None,
        default_model: str = DEFAULT_MODEL,
        default_max_tokens: int = DEFAULT_MAX_TOKENS,
        environ: Optional[Mapping[str, str]] = None,
        notebook: Optional[str] = None,
    ) -> None:
        CallOptions(timeout_seconds=timeout_seconds)
        environ = self._environ = os.environ if environ is None else environ
        self.max_concurrent = whole_number(max_concurrent, "max_concurrent", 1)
        self.max_retries = whole_number(max_retries, "max_retries", 0)
        self.timeout_seconds = timeout_seconds
        self.transport: Transport = (
            SdkTransport(api_key=api_key, base_url=base_url, environ=environ) if transport is None else transport
        )
        self.agents = agents or AgentLibrary()
        self.memory = memory or Memory()
        self.prices = prices or load_prices()
        self.allow_unknown_price = allow_unknown_price
        self.budget = budget if isinstance(budget, Budget) else Budget(budget, allow_unknown_price=allow_unknown_price)
        self.ledger = Ledger(default_ledger_path(environ)) if isinstance(ledger, str) else ledger
        self._owns_daily_budget = not isinstance(daily_budget, DailyBudget)
        if daily_budget is not None and not isinstance(daily_budget, DailyBudget):
            path = default_ledger_path(environ) if self.ledger is None else self.ledger.path
            daily_budget = DailyBudget(daily_budget, path, allow_unknown_price=allow_unknown_price)
        self.daily_budget: Optional[DailyBudget] = daily_budget
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
        super().__init__(EventEmitter(time.monotonic, on_event))
        self._recorder = Recorder(self.ledger, notebook)
        self._caller = Caller(
            self.transport,
            self.prices,
            (self.budget, self.daily_budget),
            max_concurrent=max_concurrent,
            max_retries=max_retries,
            recorder=self._recorder,
            emit=self._emit,
        )
        self._flights: SingleFlight[Tuple[ClaudeResult, Optional[ResponseCache]]] = SingleFlight()
        self._message_batches: Optional[MessageBatches] = None
        self._closed = False

    def __repr__(self) -> str:
        return f"AsyncAgentOrchestrator({self.transport!r}, max_concurrent={self.max_concurrent})"

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
        self._recorder.flush()
        if self.cache is not None and self._owns_cache:
            self.cache.close()
        if self.daily_budget is not None and self._owns_daily_budget:
            self.daily_budget.close()
        if self.ledger is not None:
            self.ledger.close()
        if self._message_batches is not None:
            self._message_batches.store.close()

    def _check_open(self) -> None:
        if self._closed:
            raise TransportClosedError("the orchestrator is closed; make a new one")

    def request(self, prompt: str, **options: Any) -> ClaudeRequest:
        """Return the request that `run` would send for the same arguments; sends nothing.

        Raises
        ------
        ConfigurationError or PromptError
            Where `run` would.
        """
        call = CallOptions.of(options)
        if not call.use_memory:
            return self._compose(prompt, call)
        place = self.memory.look(call.conversation, call.turn, limit_tokens=call.memory_tokens)
        return self._compose(prompt, call, place.turns)

    def _budget_of(self, call: CallOptions) -> Optional[Budget]:
        """Return the budget of one run, beside those of the orchestrator."""
        return None if call.budget is None else Budget(call.budget, allow_unknown_price=self.allow_unknown_price)

    def _resolve(self, call: CallOptions) -> CallOptions:
        """Look agent and model up once for a whole run: what is wrong with them is wrong before anything is sent."""
        if call.use_memory:
            raise OptionError("a conversation has an order and the rows of a run have none; ask with run, one by one")
        if isinstance(call.agent, str):
            call = replace(call, agent=self.agents.find(call.agent))
        self._compose("x", replace(call, variables=None))
        return call

    def _compose(self, prompt: str, options: CallOptions, turns: Sequence[Turn] = ()) -> ClaudeRequest:
        return compose(
            prompt,
            options,
            agents=self.agents,
            prices=self.prices,
            base_url=self.transport.base_url,
            default_model=self._default_model,
            default_max_tokens=self._default_max_tokens,
            turns=turns,
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
            See `options.CallOptions`.

        Raises
        ------
        ConfigurationError or PromptError
            Nothing was sent.
        CacheMissError
            With ``cache="only"``, where the answer is not there.
        BudgetExceededError
            Where the worst case does not fit; nothing was sent.
        SchemaError
            Where the answer does not fit ``schema``, also after one repair.
        ApiError
            Where the call failed for good.
        TransportClosedError
            After `close`.
        """
        self._check_open()
        call = CallOptions.of(options)
        budget = self._budget_of(call)
        if not call.use_memory:
            return await self._answer(self._compose(prompt, call), call, budget=budget, partial=partial, cell=cell)
        with self.memory.place(call.conversation, call.turn, limit_tokens=call.memory_tokens) as place:
            request = self._compose(prompt, call, place.turns)
            result = await self._answer(request, call, budget=budget, partial=partial, cell=cell)
            return place.keep(request, result)

    def _look(
        self, request: ClaudeRequest, call: CallOptions, started: float, cell: Optional[str]
    ) -> Optional[ClaudeResult]:
        """Return the cached answer; None where the request is to be sent, and can be."""
        self._check_open()
        if self.cache is not None and call.cache not in ("off", "refresh"):
            hit = self.cache.get(request)
            if hit is not None:
                return self._hit(request, hit, started, cell)
        if call.cache == "only":
            raise CacheMissError("cache=only, and this answer is not in the cache; run with cache=on to ask for it")
        self.transport.check()
        return None

    async def _answer(
        self,
        request: ClaudeRequest,
        call: CallOptions,
        *,
        budget: Optional[Budget],
        partial: Optional[PartialAnswer],
        cell: Optional[str],
        arrived: Callable[[], None] = _nobody,
    ) -> ClaudeResult:
        """Answer a request; where a schema is asked for, with an answer that fits it."""

        async def ask(request: ClaudeRequest) -> ClaudeResult:
            if partial is not None:
                partial.restart()
            # An answer that has to fit a schema may have to be asked for once more: it is not there before it fits.
            told = arrived if call.schema is None else _nobody
            return await self._ask(request, call, budget=budget, partial=partial, cell=cell, arrived=told)

        result = await ask(request)
        return result if call.schema is None else await validate_or_repair(request, result, call.schema, ask)

    async def _ask(
        self,
        request: ClaudeRequest,
        call: CallOptions,
        *,
        budget: Optional[Budget],
        partial: Optional[PartialAnswer],
        cell: Optional[str],
        arrived: Callable[[], None] = _nobody,
    ) -> ClaudeResult:
        started = time.perf_counter()
        found = self._look(request, call, started, cell)
        if found is not None:
            return found
        cache = None if call.cache == "off" else self.cache
        self._emit("queued", request)
        seconds = call.timeout_seconds or self.timeout_seconds
        deadline = Deadline(seconds)
        mine = False

        async def fly() -> Tuple[ClaudeResult, Optional[ResponseCache]]:
            nonlocal mine
            mine = True
            with deadline:
                result = await self._caller.call(
                    request, cache=cache, budget=budget, partial=partial, cell=cell, deadline=deadline, arrived=arrived
                )
            return result, cache

        try:
            while True:
                try:
                    with Deadline(seconds) as patience:  # for another's call, which may have a longer one
                        (result, kept_in), joined = await self._flights.run(
                            request.fingerprint, fly, note=deadline, joining=patience.follow
                        )
                    break
                except BudgetExceededError:
                    if mine:  # else it was another's budget, and ours may allow it
                        raise
        except ClaudeForceError as error:
            self._emit("failed", request, error=error)
            raise
        except asyncio.CancelledError:
            self._emit("cancelled", request)
            raise
        if joined:
            # Somebody else's call answered this one too: paid once, saved here.
            if cache is not None and kept_in is None:
                cache.put(request, result)
            shared = result.changed(cached=True, status="cached", attempts=0)
            return self._hit(request, shared, started, cell)
        result = result.changed(duration_seconds=time.perf_counter() - started)
        self._emit("done", request, attempt=result.attempts, result=result)
        return result

    def _hit(self, request: RequestInfo, hit: ClaudeResult, started: float, cell: Optional[str]) -> ClaudeResult:
        saved = self.prices.cost(hit.model, hit.usage, on=today())
        duration = time.perf_counter() - started
        hit = hit.changed(cost=Decimal(0), saved=saved, agent=request.agent, duration_seconds=duration)
        self._record(hit, cell)
        if self._emitter.listeners:
            self._emit("hit", request, result=hit)
        return hit

    def _record(self, result: ClaudeResult, cell: Optional[str]) -> None:
        if self.ledger is not None:
            self.ledger.append(result, notebook=self.notebook, cell=cell)
