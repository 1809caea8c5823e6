"""The simulator as a context manager: a server in a thread of its own, with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Callable, Mapping, Optional, Tuple

from .counters import Counters
from .exchange import LoggedRequest
from .faults import FaultRule, Kinds
from .options import SimulatorOptions
from .server import Server

__all__ = ["Simulator"]


class Simulator:
    """A Messages API on loopback, for trying out, testing and measuring at no cost.

    ``with Simulator() as simulator:`` (or ``async with``) runs it in a thread of its own and stops it at the end.

    Parameters
    ----------
    clock : callable
        Returns seconds, for the prompt cache. Tests that cannot wait for an hour pass their own.
    **options
        The fields of `SimulatorOptions`: ``latency_seconds``, ``tokens_per_second``, ``requests_per_minute``,
        ``input_tokens_per_minute``, ``output_tokens_per_minute``, ``burst_seconds``, ``context_window``,
        ``accept_any_model``, ``extra_models``, ``new_account``, ``answer_bytes``, ``batch_seconds``, ``log_size``,
        ``retry_after_grace_seconds``, ``host``, ``port``.

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, **options: Any) -> None:
        self.options = SimulatorOptions(**options)
        self._clock = clock
        self._server: Optional[Server] = None
        self._thread: Optional[threading.Thread] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._stop: Optional[asyncio.Event] = None
        self._ready = threading.Event()
        self._error: Optional[BaseException] = None

    def __repr__(self) -> str:
        return f"Simulator({self._server.url if self._server is not None else 'not started'})"

    def start(self) -> Simulator:
        """Start the server, and return when it listens. Raises OSError if the port is in use."""
        if self._thread is not None:
            raise RuntimeError("the simulator is already running")
        self._server = Server(self.options, clock=self._clock)
        self._ready.clear()
        self._error = None
        # A daemon thread, so that a test that forgets to stop it does not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="claude-force-simulator", daemon=True)
        self._thread.start()
        self._ready.wait()
        error = self._failure()
        if error is not None:
            self._thread.join()
            self._thread = None
            raise error
        return self

    def _failure(self) -> Optional[BaseException]:
        return self._error

    def stop(self) -> None:
        """Stop the server; counters and log stay readable. Do nothing if it is not running."""
        thread, loop, stop = self._thread, self._loop, self._stop
        if thread is None or loop is None or stop is None:
            return
        try:
            loop.call_soon_threadsafe(stop.set)
        except RuntimeError:
            pass
        thread.join()
        self._thread = None

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
            self._ready.set()

    async def _serve(self) -> None:
        server = self.server
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await server.start()
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            await server.stop()

    def __enter__(self) -> Simulator:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    async def __aenter__(self) -> Simulator:
        return self.start()

    async def __aexit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def server(self) -> Server:
        """The underlying server; raises RuntimeError before the first start."""
        if self._server is None:
            raise RuntimeError("the simulator was never started")
        return self._server

    @property
    def url(self) -> str:
        """Base URL, as in ``ANTHROPIC_BASE_URL``."""
        return self.server.url

    @property
    def counters(self) -> Counters:
        """Counts of what it has received, answered and billed so far."""
        return self.server.book.snapshot()

    @property
    def requests(self) -> Tuple[LoggedRequest, ...]:
        """The most recent requests, oldest first, with the key masked."""
        return self.server.logged()

    def fail(
        self,
        kinds: Kinds,
        *,
        probability: float = 1.0,
        seed: int = 0,
        times: Optional[int] = None,
        contains: Optional[str] = None,
        model: Optional[str] = None,
        endpoint: str = "messages",
        retry_after_seconds: Optional[float] = None,
        delay_seconds: float = 1.0,
        after_events: int = 4,
        message: Optional[str] = None,
        category: Optional[str] = None,
        when: Optional[Callable[[Mapping[str, Any]], bool]] = None,
    ) -> None:
        """Script a fault. Rules are tried in the order they were added; the first that applies to a call decides.

        Parameters
        ----------
        kinds : str, int, or a sequence of these and None
            One of `FAULT_KINDS` or an HTTP status from 400 to 599, for every call that the rule applies to. The items of a
            sequence apply to one call each (None lets it through); with `times` the sequence repeats for that many calls.
        probability : float
            Share of calls that the rule applies to, drawn with `seed`.
        times : int, optional
            Number of calls that the rule applies to; None for all.
        contains, model : str, optional
            Applies only to calls whose system prompt or messages, or whose model name, contain this text.
        endpoint : str
            ``messages``, ``count_tokens``, ``models``, ``batch_create``, ``batch_list``, ``batch_poll``, ``batch_cancel``,
            ``batches`` (these four), ``batch_results``, ``batch_item`` (a row of a batch) or ``any``.
        retry_after_seconds : float, optional
            ``retry-after`` of the error; by default 1 second for ``rate_limit`` and ``retry_after_on_success``.
        delay_seconds : float
            For ``slow``.
        after_events : int
            Number of stream events that are sent before ``cut``, ``stream_error``, ``silent`` and ``truncated_json``.
        message : str, optional
            Message of the error.
        category : str, optional
            Category of a refusal: ``cyber``, ``bio``, ``frontier_llm``, ``reasoning_extraction`` or ``general_harms``.
        when : callable, optional
            Applies only to calls for whose body it returns True; called in the server's thread.

        Raises
        ------
        ValueError
            If a kind, status, endpoint, category or probability is invalid.
        """
        self.server.faults.add(
            FaultRule.build(
                kinds,
                probability=probability,
                seed=seed,
                times=times,
                contains=contains,
                model=model,
                endpoint=endpoint,
                retry_after_seconds=retry_after_seconds,
                delay_seconds=delay_seconds,
                after_events=after_events,
                message=message,
                category=category,
                when=when,
            )
        )

    def heal(self) -> None:
        """Forget all scripted faults; calls that ``slow`` makes late are answered now."""
        server, loop = self.server, self._loop
        if self._thread is None or loop is None:
            server.heal()
        else:
            self._call_and_wait(loop, server.heal)

    def reset(self) -> None:
        """Forget faults, counters, log, batches, prompt cache and the use of the rate limits; returns when that is done."""
        server, loop = self.server, self._loop
        if self._thread is None or loop is None:
            server.reset()
            return
        self._call_and_wait(loop, server.reset)

    def _call_and_wait(self, loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
        """Call a function on the server's loop; return when it has returned."""
        if threading.current_thread() is self._thread:  # in `when` of a fault
            function()
            return
        done = threading.Event()

        def call() -> None:
            function()
            done.set()

        loop.call_soon_threadsafe(call)
        done.wait()
