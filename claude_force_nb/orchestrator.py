"""The one path of every prompt: compose, cache, budget, call, cache, ledger."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from decimal import Decimal
from types import TracebackType
from typing import Any, AsyncGenerator, Callable, Mapping, Optional, Tuple, Type, Union

from .agents import AgentLibrary
from .answers import AnswerFile, open_answers
from .api.answer import PartialAnswer
from .api.transport import SdkTransport, Transport
from .batches.message_batches import MessageBatches, open_message_batches
from .batches.route import LazyBatches
from .cache import ResponseCache
from .calls.answer import Answerer
from .calls.call import Call
from .calls.caller import Caller
from .calls.composer import Composer
from .calls.controls import Controls
from .calls.events import Event, EventEmitter, Listener
from .calls.options import CallOptions
from .calls.recorder import Recorder
from .calls.settings import Accounts, CacheSettings, CallSettings
from .calls.snapshot import Snapshot
from .calls.status import CallStatus
from .costs.budget import Budget, DailyBudget
from .costs.ledger import Ledger
from .costs.pricing import PriceTable
from .errors import ClaudeForceError, TransportClosedError
from .memory.conversations import Memory
from .messages.addresses import is_loopback
from .messages.request import ClaudeRequest
from .messages.result import ClaudeResult
from .rows.results import BatchResult, BatchSummary
from .rows.run import OnResult
from .rows.runner import RowRunner, RunOptions
from .vocabulary import DEFAULT_MAX_TOKENS, DEFAULT_MODEL

__all__ = ["AsyncAgentOrchestrator"]


class AsyncAgentOrchestrator:
    """Sends prompts, answers repeated ones from the cache, and keeps account.

    Parameters
    ----------
    max_concurrent : int
        Most calls in flight at once, >= 1, whichever loops and threads they come from.
    timeout_seconds : float
        Bound of a call with waiting and retries, > 0. That of a row runs from when it first leaves; importing the SDK, once
        in a process, does not count.
    enable_cache : bool
        False neither reads nor writes the cache.
    cache_ttl_hours : float
        Life of a cached answer, > 0.
    cache : ResponseCache, optional
        A cache to share; it is not closed with the orchestrator.
    cache_dir, cache_max_size_mb, cache_secret
        See `ResponseCache`.
    answers, answers_mode
        A file of answers that goes before the cache, by its path or opened, and its mode: see `answers.RecordedAnswers`.
    api_key, base_url, allow_http
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
        Conversations to share.
    on_event : callable, optional
        Called with each `Event`, on the loop where it happens; must not block.
    ledger : Ledger, None or "default"
        Where answers are accounted; the user's own by default, or that of servers on this machine; None for nowhere.
    prices : PriceTable, optional
        The shipped table by default.
    default_model, default_max_tokens
        For calls and agents that name none.
    environ, notebook
        Environment variables, by default those of the process; name for the ledger.

    Raises
    ------
    OptionError or AnswerFileError
        If a bound is broken, or the file of answers cannot be used.
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
        answers: Union[AnswerFile, str, os.PathLike[str], None] = None,
        answers_mode: str = "use",
        api_key: Optional[str] = None,
        base_url: Optional[str] = None,
        allow_http: bool = False,
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
        environ = os.environ if environ is None else environ
        settings = CallSettings(max_concurrent, max_retries, timeout_seconds, default_model, default_max_tokens)
        self.transport: Transport = transport or SdkTransport(
            api_key=api_key, base_url=base_url, allow_http=allow_http, environ=environ
        )
        self.agents = agents or AgentLibrary()
        self.memory = memory or Memory()
        settings_of_cache = CacheSettings(cache_dir, cache_ttl_hours, cache_max_size_mb, cache_secret)
        accounts = Accounts.open(
            cache=cache if cache is not None else settings_of_cache if enable_cache else None,
            answers=open_answers(answers, answers_mode, environ),
            cache_secret=cache_secret,
            prices=prices,
            budget=budget,
            daily_budget=daily_budget,
            ledger=ledger,
            notebook=notebook,
            allow_unknown_price=allow_unknown_price,
            environ=environ,
            local=is_loopback(self.transport.base_url),
        )
        self.prices, self.ledger = accounts.prices, accounts.ledger
        self.budget, self.daily_budget = accounts.budget, accounts.daily_budget
        self.cache, self.answers = accounts.cache, accounts.answers
        self._closed = False
        self._accounts = accounts
        self._emitter = EventEmitter(time.monotonic, on_event)
        self._recorder = Recorder(accounts.ledger, notebook)
        self._composer = Composer(self.agents, accounts.prices, self.transport.base_url, settings)
        self._build(settings, environ)

    def _build(self, settings: CallSettings, environ: Mapping[str, str]) -> None:
        """Make what answers, each part with those that it works with."""
        accounts, emitter, transport = self._accounts, self._emitter, self.transport
        caller = Caller(transport, accounts, self._recorder, emitter, settings)
        self._answerer = Answerer(
            caller, accounts, emitter, settings, check_open=self._check_open, check_sending=transport.check
        )
        self._controls = Controls(caller, self._answerer.flights, accounts)
        more: Mapping[str, Any] = {"emitter": emitter, "max_retries": settings.max_retries}
        self._batches = LazyBatches(functools.partial(open_message_batches, transport, environ, accounts, **more))
        self._rows = RowRunner(
            self._composer, self._answerer, accounts, self._controls, self._check_open, self._batches.open
        )

    def __repr__(self) -> str:
        return f"AsyncAgentOrchestrator({self.transport!r}, max_concurrent={self.max_concurrent})"

    async def __aenter__(self) -> AsyncAgentOrchestrator:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections, ledger and the cache that was made here; later calls raise TransportClosedError."""
        await self.transport.close()
        self._close_files()

    def close_blocking(self) -> None:
        """Do what `close` does at the end of a process, where no loop runs any more."""
        self.transport.close_blocking()
        self._close_files()

    def _close_files(self) -> None:
        self._closed = True
        self._recorder.flush()
        self._accounts.close()
        self._batches.close()

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
            return self._composer.request(prompt, call)
        place = self.memory.look(call.conversation, call.turn, limit_tokens=call.memory_tokens)
        return self._composer.request(prompt, call, place.turns)

    async def run(
        self,
        prompt: str,
        *,
        partial: Optional[PartialAnswer] = None,
        cell: Optional[str] = None,
        status: Optional[CallStatus] = None,
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
        status : CallStatus, optional
            Where given, it says at any moment what is waited for.
        **options
            See `options.CallOptions`.

        Raises
        ------
        ConfigurationError or PromptError
            Nothing was sent.
        CacheMissError
            With ``cache="only"``, where the answer is not there; AnswerMissError where answers are frozen.
        BudgetExceededError
            Where the worst case does not fit; nothing was sent.
        SchemaError
            Where the answer does not fit ``schema``, even after one repair.
        ApiError
            Where the call failed for good.
        TransportClosedError
            After `close`.
        """
        self._check_open()
        chosen = self._composer.with_agent(CallOptions.of(options))

        def call(request: ClaudeRequest) -> Call:
            budget = self._accounts.run_budget(chosen)
            return Call(request, chosen, budget=budget, partial=partial, cell=cell, status=status, is_cell=True)

        if not chosen.use_memory:
            return await self._answerer.answer(call(self._composer.request(prompt, chosen)))
        with self.memory.place(chosen.conversation, chosen.turn, limit_tokens=chosen.memory_tokens) as place:
            request = self._composer.request(prompt, chosen, place.turns)
            return place.keep(request, await self._answerer.answer(call(request)))

    async def requests(
        self, prompts: Any, *, template: Optional[str] = None, **options: Any
    ) -> AsyncGenerator[Tuple[int, Union[ClaudeRequest, ClaudeForceError]], None]:
        """Give the requests that `run_many` would send for the same arguments, one by one; sends nothing.

        Each comes with its row number; in place of a request that cannot be made stands its ClaudeForceError. Raises where
        `run_many` would.
        """
        async for row, request in self._rows.requests(prompts, template, options):
            yield row, request

    async def run_many(
        self,
        prompts: Any,
        *,
        template: Optional[str] = None,
        on_result: Optional[OnResult] = None,
        cell: Optional[str] = None,
        via: str = "api",
        max_concurrent: Optional[int] = None,
        agent_column: Optional[str] = None,
        model_column: Optional[str] = None,
        **options: Any,
    ) -> BatchResult:
        """Answer many prompts with the same options, at most `max_concurrent` at a time.

        Parameters
        ----------
        prompts : iterable, asynchronous iterable, mapping, data frame or path
            See `sources.open_source`. Taken one by one as workers become free. Texts; with `template` mappings of variables,
            which lie over ``variables``, or plain values, which the template knows as ``item``; pairs of agent and prompt.
        template, on_result, cell, via, max_concurrent, agent_column, model_column
            See `runner.RunOptions`.
        **options
            See `options.CallOptions`; ``budget`` bounds the whole.

        Returns
        -------
        BatchResult
            One result per prompt in input order; a row that failed has ``status`` ``failed`` and its ``error``, also where its
            prompt cannot be made. After a spend limit or a refused key the remaining rows are ``not_sent``.

        Raises
        ------
        ConfigurationError or PromptError
            On an unusable option, agent, model or template, or a name in it that rows lack, before anything is sent.
        TransportClosedError
            After `close`.
        """
        run = RunOptions(template, on_result, cell, via, max_concurrent, None, agent_column, model_column)
        return await self._rows.run_many(prompts, run, options)

    async def run_stream(
        self,
        prompts: Any,
        *,
        template: Optional[str] = None,
        on_result: Optional[OnResult] = None,
        cell: Optional[str] = None,
        via: str = "api",
        max_concurrent: Optional[int] = None,
        into: Union[str, os.PathLike[str], None] = None,
        agent_column: Optional[str] = None,
        model_column: Optional[str] = None,
        trust_file: bool = False,
        **options: Any,
    ) -> BatchSummary:
        """Do what `run_many` does and keep no row, so that a source may have any length.

        Results go to `on_result`, and to the file `into`: see `runner.RunOptions`. What was in it counts as cached. Raises as `run_many`, and SourceError if the file cannot be used.
        """
        run = RunOptions(template, on_result, cell, via, max_concurrent, into, agent_column, model_column, trust_file)
        return await self._rows.run_stream(prompts, run, options)

    @property
    def message_batches(self) -> MessageBatches:
        """The batch jobs of all kernels, and what runs them; raises OptionError where the transport has no batches."""
        return self._batches.open()

    @property
    def batches_left(self) -> str:
        """Which batches of the run that was stopped last keep running at the API, and how to collect them; "" where none do."""
        return self._batches.left_running

    def cancel_run(self, task: asyncio.Task[Any]) -> None:
        """End a task that runs many prompts: its batches at the API, where it has some, else the task itself."""
        self._batches.cancel_run(task)

    @property
    def max_concurrent(self) -> int:
        """Most calls in flight; see `resize`."""
        return self._controls.max_concurrent

    @property
    def on_event(self) -> Optional[Listener]:
        """What is called with each event; may be set anew."""
        return self._emitter.listener

    @on_event.setter
    def on_event(self, listener: Optional[Listener]) -> None:
        self._emitter.listener = listener

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` every `Event` from now on, beside `on_event`; return what unsubscribes it.

        It is called on the loop and thread where the event happens, and must not block. What it raises is logged.
        """
        return self._emitter.add(listener)

    def resize(self, max_concurrent: int) -> None:
        """Allow so many calls in flight from now on, >= 0; see `Controls.resize`."""
        self._controls.resize(max_concurrent)

    def pause(self) -> None:
        """Let no further call leave until `resume`; see `Controls.pause`."""
        self._controls.pause()

    def resume(self) -> None:
        """End a `pause`."""
        self._controls.resume()

    def stop_all(self) -> int:
        """End everything that is in flight or waits; see `Controls.stop_all`."""
        return self._controls.stop_all()

    def snapshot(self) -> Snapshot:
        """Return what goes on at this moment."""
        return self._controls.snapshot()
