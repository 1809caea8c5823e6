"""The entry point for every prompt: a facade over the parts that compose, look up, budget, send and record it."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from decimal import Decimal
from typing import Any, AsyncGenerator, Callable, Mapping, Optional, Tuple, Union

from .agents import AgentLibrary
from .answers import AnswerFile, open_answers
from .api.answer import PartialAnswer
from .api.transport import ApiTransport, Transport
from .batches.message_batches import MessageBatches, open_message_batches
from .batches.route import LazyBatches
from .cache import ResponseCache
from .calls.answer import Answerer
from .calls.call import Call
from .calls.caller import Caller
from .calls.composer import Composer
from .calls.controls import Controls
from .calls.elsewhere import CallsElsewhere
from .calls.events import Event, EventEmitter, Listener
from .calls.options import CallOptions
from .calls.recorder import Recorder
from .calls.settings import Accounts, CacheSettings, CallSettings, check_arguments
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
    """Sends prompts, answers repeated ones from the cache, and keeps track of their cost.

    Parameters
    ----------
    max_concurrent : int
        Limit of calls in flight, >= 1, across all event loops and threads.
    timeout_seconds : float
        Time limit in seconds, including waiting and retries, > 0. For a row, it starts when the row is first sent. For
        a single call, it includes importing libraries, once per process.
    enable_cache : bool
        Whether to read and write the cache.
    cache_ttl_hours : float
        Lifetime of a cached answer, > 0.
    cache : ResponseCache, optional
        A cache to share; it is not closed with the orchestrator.
    cache_dir, cache_max_size_mb, cache_secret, cache_url
        See `ResponseCache`.
    answers, answers_mode
        An answer file, as path or `AnswerFile`, to read before the cache; and its mode: see `answers.RecordedAnswers`.
    api_key, base_url, allow_http, client
        See `api.transport.ApiTransport`; `client`, your own ``AsyncAnthropic``, makes every call.
    transport : Transport, optional
        Replaces the network; for example `claude_force_nb.testing.FakeTransport`.
    max_retries : int
        Maximum number of retries after a failed call, >= 0.
    budget : Budget, Decimal, float or str, optional
        The most that all calls of this orchestrator may cost, in US dollars.
    daily_budget : DailyBudget, Decimal, float or str, optional
        The most that all of the user's kernels with a daily budget may spend in a day (UTC), in US dollars.
    allow_unknown_price : bool
        Whether to send calls of unknown price even under a budget, which then counts them as 0.
    agents : AgentLibrary, optional
        Where to find agents. Default: in the working directory and the folders above it.
    memory : Memory, optional
        Conversations to share.
    on_event : callable, optional
        Called with each `Event` on the event loop where it happens; must not block.
    ledger : Ledger, None or "default"
        Where to record answers; None for nowhere. Default: the user's ledger, or the one for servers on this machine.
    prices : PriceTable, optional
        Prices. Default: the table shipped with the package.
    default_model, default_max_tokens
        Used for calls and agents that do not set them.
    environ, notebook
        Environment variables, by default those of the process; and the notebook's name for the ledger.

    Raises
    ------
    OptionError or AnswerFileError
        If a value is out of bounds or of the wrong type, or the answer file cannot be used.
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
        cache_url: Optional[str] = None,
        answers: Union[AnswerFile, str, os.PathLike[str], None] = None,
        answers_mode: str = "use",
        api_key: Optional[str] = None,
        base_url: Optional[str] = None,
        allow_http: bool = False,
        client: Any = None,
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
        check_arguments(locals())
        environ = os.environ if environ is None else environ
        settings = CallSettings(max_concurrent, max_retries, timeout_seconds, default_model, default_max_tokens)
        self.transport: Transport = transport or ApiTransport(
            api_key=api_key, base_url=base_url, allow_http=allow_http, client=client, environ=environ
        )
        self.agents, self.memory = agents or AgentLibrary(), memory or Memory()
        new_cache = CacheSettings(cache_dir, cache_ttl_hours, cache_max_size_mb, cache_secret, cache_url)
        accounts = Accounts.open(
            cache=cache if cache is not None else new_cache if enable_cache else None,
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
        self._closed, self._accounts = False, accounts
        self._emitter, self._recorder = EventEmitter(time.monotonic, on_event), Recorder(accounts.ledger, notebook)
        server = getattr(self.transport, "known_as", self.transport.base_url)
        self._composer = Composer(self.agents, accounts.prices, server, settings)
        self._build(settings, environ)

    def _build(self, settings: CallSettings, environ: Mapping[str, str]) -> None:
        """Create the parts that answer prompts, each with its collaborators."""
        accounts, emitter, transport = self._accounts, self._emitter, self.transport
        caller = Caller(transport, accounts, self._recorder, emitter, settings)
        self._answerer = Answerer(
            caller, accounts, emitter, settings, check_open=self._check_open, check_sending=transport.check
        )
        self._controls = Controls(caller, self._answerer.flights, accounts)
        self.elsewhere = CallsElsewhere(accounts, emitter, self._controls)
        more: Mapping[str, Any] = {"emitter": emitter, "max_retries": settings.max_retries}
        self._batches = LazyBatches(functools.partial(open_message_batches, transport, environ, accounts, **more))
        self._rows = RowRunner(
            self._composer, self._answerer, accounts, self._controls, self._check_open, self._batches.open
        )

    def __repr__(self) -> str:
        return f"AsyncAgentOrchestrator({self.transport!r}, max_concurrent={self.max_concurrent})"

    async def __aenter__(self) -> AsyncAgentOrchestrator:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections, the ledger, and the cache if it was created here; later calls raise TransportClosedError."""
        await self.transport.close()
        self._close_files()

    def close_blocking(self) -> None:
        """Do the same as `close`, at the end of a process, when no event loop is running."""
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
        """Return the request that `run` would send for the same arguments, without sending it.

        Raises
        ------
        ConfigurationError or PromptError
            In the same cases as `run`.
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
            A ``{{ }}`` template if `variables` are given.
        partial : PartialAnswer, optional
            If given, the answer is streamed into it.
        cell : str, optional
            Cell id for the ledger.
        status : CallStatus, optional
            If given, it says at any moment what the call is waiting for.
        **options
            See `options.CallOptions`.

        Raises
        ------
        ConfigurationError or PromptError
            If the prompt or an option is not valid; nothing was sent.
        CacheMissError
            If ``cache="only"`` and the answer is not in the cache; an AnswerMissError if answers are frozen.
        BudgetExceededError
            If the worst case exceeds a budget; nothing was sent.
        SchemaError
            If the answer does not conform to ``schema``, even after one repair.
        ApiError
            If the call failed for good.
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
        """Yield the requests that `run_many` would send, without sending them; raises like `run_many`.

        Each comes with its row number. If a request cannot be created, its ClaudeForceError is yielded in its place.
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
            See `opening.open_source`; rows are taken one by one as workers become free. A row is a text, a pair of agent
            and prompt, or a request of `requests`; with `template`, variables that override ``variables``, or one ``item``.
        template, on_result, cell, via, max_concurrent, agent_column, model_column
            See `runner.RunOptions`.
        **options
            See `options.CallOptions`; ``budget`` applies to all rows together.

        Returns
        -------
        BatchResult
            One result per prompt, in input order. A row that failed, or whose prompt cannot be created, has status
            ``failed`` and an ``error``. After a spend limit, a refused key or `stop_all`, unsent rows are ``not_sent``.

        Raises
        ------
        ConfigurationError or PromptError
            If an option, agent, model or template is not valid, or the template has a name that the rows lack; nothing was sent.
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
        """Do the same as `run_many` without keeping the rows, so that the source may have any length.

        Results go to `on_result` and to the file `into`, see `runner.RunOptions`. Rows that are already in the file
        count as cached. Raises like `run_many`, and SourceError if the file cannot be used.
        """
        run = RunOptions(template, on_result, cell, via, max_concurrent, into, agent_column, model_column, trust_file)
        return await self._rows.run_stream(prompts, run, options)

    @property
    def message_batches(self) -> MessageBatches:
        """The batch jobs of all kernels. Raises OptionError if the transport does not support message batches."""
        return self._batches.open()

    @property
    def batches_left(self) -> str:
        """The batches of a stopped run that continue at the API, and how to collect them, in words; "" if there are none."""
        return self._batches.left_running

    def cancel_run(self, task: asyncio.Task[Any]) -> None:
        """Stop a task that runs many prompts: cancel its batches at the API if it has any, else the task itself."""
        self._batches.cancel_run(task)

    @property
    def max_concurrent(self) -> int:
        """Limit of calls in flight; see `resize`."""
        return self._controls.max_concurrent

    @property
    def on_event(self) -> Optional[Listener]:
        """The callable that is called with each event; may be replaced."""
        return self._emitter.listener

    @on_event.setter
    def on_event(self, listener: Optional[Listener]) -> None:
        self._emitter.listener = listener

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every `Event` from now on, in addition to `on_event`; return a function that unsubscribes it.

        The listener is called on the event loop and thread of the event, and must not block. Its exceptions are logged.
        """
        return self._emitter.add(listener)

    def resize(self, max_concurrent: int) -> None:
        """Set the limit of calls in flight, >= 0; see `Controls.resize`."""
        self._controls.resize(max_concurrent)

    def pause(self) -> None:
        """Hold back new calls until `resume`; see `Controls.pause`."""
        self._controls.pause()

    def resume(self) -> None:
        """End a `pause`."""
        self._controls.resume()

    def stop_all(self) -> int:
        """End everything in flight or waiting; see `Controls.stop_all`."""
        return self._controls.stop_all()

    def snapshot(self) -> Snapshot:
        """Return the current state: calls, limits and budgets."""
        return self._controls.snapshot()
