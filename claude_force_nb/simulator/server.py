"""The server, on aiohttp's lowest layer without routes and middlewares, since benchmarks measure clients against it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Awaitable, Callable, Dict, List, Optional, Tuple

from aiohttp import web

from .batches import Batches, batch_endpoint
from .control import control
from .counters import CounterBook
from .exchange import MAX_BODY_BYTES, ClientLeft, Exchange, LoggedRequest, logged_requests
from .failures import ApiFailure, invalid
from .fault_effects import instead_of_answer, spoil_answer
from .faults import FaultScript
from .messages import Messages
from .models import model_info
from .options import SimulatorOptions
from .pages import page
from .state import ServerState
from .validation import check_headers

__all__ = ["Server"]

_MAX_BATCH_BODY_BYTES = 256 * 1024 * 1024
# How long handlers may take to finish when the server stops.
_STOP_SECONDS = 0.2


class _Listener(web.Server):
    """aiohttp's server, which notifies handlers that wait on a connection when it is lost."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        waiters: Dict[Any, asyncio.Future[bool]],
    ) -> None:
        super().__init__(handler, access_log=None)
        self._waiters = waiters

    def connection_lost(self, handler: Any, exc: Optional[BaseException] = None) -> None:
        waiter = self._waiters.get(handler)
        if waiter is not None and not waiter.done():
            waiter.set_result(False)
        super().connection_lost(handler, exc)


class Server:
    """A Messages API.

    Parameters
    ----------
    options : SimulatorOptions
    clock : callable
        Returns seconds, for the prompt cache.
    """

    def __init__(self, options: SimulatorOptions, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = ServerState(options, clock)
        self._messages = Messages(self._state)
        self._batches = Batches(self._state)
        self._listener: Optional[_Listener] = None
        self._socket: Optional[asyncio.AbstractServer] = None

    @property
    def url(self) -> str:
        """Base URL for clients."""
        return self._state.url

    @property
    def book(self) -> CounterBook:
        """The counters of what was received and billed."""
        return self._state.book

    @property
    def faults(self) -> FaultScript:
        """The scripted faults."""
        return self._state.faults

    async def start(self) -> None:
        """Start listening. Raises OSError if the port is in use."""
        self._listener = _Listener(self._handle, self._state.waiters)
        self._socket = await asyncio.get_running_loop().create_server(
            self._listener, self._state.host, self._state.options.port, backlog=1024
        )
        self._state.port = self._socket.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and end every task."""
        self._state.stopping = True
        listener, listening = self._listener, self._socket
        if listener is None or listening is None:
            return
        listening.close()
        for waiter in list(self._state.waiters.values()):
            if not waiter.done():
                waiter.set_result(False)
        await self._batches.stop()
        transports = [connection.transport for connection in listener.connections]
        await listener.shutdown(_STOP_SECONDS)
        for transport in transports:
            # Otherwise a client that does not read would keep its connection, and thus the loop, open forever.
            if transport is not None:
                transport.abort()
        await listening.wait_closed()

    def heal(self) -> None:
        """Forget all scripted faults; see `ServerState.heal`."""
        self._state.heal()

    def reset(self) -> None:
        """Forget faults, counters, log, batches, prompt cache and the use of the rate limits."""
        self._state.reset()
        self._batches.reset()

    def logged(self) -> Tuple[LoggedRequest, ...]:
        """Return the most recent requests, oldest first; may be called from any thread."""
        return logged_requests(self._state)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == "/v1/messages" and request.method == "POST":
            return await self._messages.handle(request)
        if path.startswith("/_simulator"):
            return await control(self._state, request, self.reset)
        return await self._other(request, path)

    async def _other(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        parts = path.strip("/").split("/")
        counting = path == "/v1/messages/count_tokens"
        batches = parts[:3] == ["v1", "messages", "batches"]
        models = parts[:2] == ["v1", "models"]
        endpoint = "count_tokens" if counting else "batches" if batches else "models" if models else "other"
        exchange = Exchange(self._state, request)
        self._state.book.arrived(endpoint)
        try:
            body = await exchange.read(_MAX_BATCH_BODY_BYTES if batches else MAX_BODY_BYTES)
            headers = check_headers(request.headers)
            script = batch_endpoint(request.method, parts[3:]) if batches else endpoint
            fault = self._state.faults.next(script, body if isinstance(body, dict) else {})
            if fault is not None:
                self._state.book.faulted(fault.kind)
                in_parts = script == "batch_results" and fault.kind == "silent"
                instead = await instead_of_answer(exchange, fault, stream=in_parts)
                if instead is not None:
                    return instead
            if counting and request.method == "POST":
                checked = self._state.validator.check(body, headers, counting=True)
                answer: web.StreamResponse = exchange.json({"input_tokens": checked.input_tokens})
            elif script == "batch_results":
                return await self._batches.results(exchange, parts[3], fault)
            elif batches:
                answer = self._batches.handle(exchange, parts[3:], body, headers)
            elif models and request.method == "GET":
                answer = self._models(exchange, parts[2:])
            else:
                raise ApiFailure(404 if endpoint == "other" else 405, "Not Found", error_type="not_found_error")
            return await spoil_answer(exchange, fault, answer)
        except ApiFailure as failure:
            return exchange.failure(failure)
        except (ClientLeft, ConnectionError):
            exchange.aborted()
            return exchange.drop()

    def _models(self, exchange: Exchange, rest: List[str]) -> web.Response:
        if rest:
            model = self._state.models.find(rest[0])
            if model is None or len(rest) > 1:
                raise ApiFailure(404, f"model: {'/'.join(rest)}")
            return exchange.json(model_info(model))
        query = exchange.request.query
        wanted = [*query.getall("lifecycle", []), *query.getall("lifecycle[]", [])] or ["active", "deprecated"]
        if not set(wanted) <= {"active", "deprecated", "retired"}:
            raise invalid("lifecycle: Input should be 'active', 'deprecated' or 'retired'")
        return exchange.json(page([model_info(model) for model in self._state.models.listed(wanted)], exchange.query))
