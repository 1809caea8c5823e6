"""The server: aiohttp's lowest layer, one function per endpoint, no routes and no middlewares, since benchmarks measure clients."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Awaitable, Callable, Deque, Dict, List, Mapping, Optional, Tuple

from aiohttp import web

from claude_force_nb.result import Usage

from .answers import Answer, make_answer, stream_events
from .batches import Batches
from .control import control
from .counters import CounterBook, Flight
from .exchange import MAX_BODY_BYTES, ClientLeft, Exchange, LoggedRequest, compact, masked
from .faults import Fault, FaultScript
from .limits import RateLimits
from .models import Model, ModelTable, family
from .options import SimulatorOptions
from .pages import page
from .validation import ApiFailure, check_headers, check_request, error_body

__all__ = ["Server"]

_MAX_BATCH_BODY_BYTES = 256 * 1024 * 1024
# A stream with a speed is written about this often.
_CHUNKS_PER_SECOND = 20.0
_HTML = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1><p>Simulated proxy page</p></body></html>"


class _Listener(web.Server):
    """aiohttp's server, telling whoever waits on a connection that it is gone."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handler, access_log=None)
        self.waiters: Dict[Any, asyncio.Future[None]] = {}

    def connection_lost(self, handler: Any, exc: Optional[BaseException] = None) -> None:
        waiter = self.waiters.get(handler)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        super().connection_lost(handler, exc)


class Server:
    """A Messages API.

    Parameters
    ----------
    options : SimulatorOptions
    prices : PriceTable, optional
        Prices of the dollars counted.
    """

    def __init__(self, options: SimulatorOptions, prices: Any = None) -> None:
        self.options = options
        self.book = CounterBook(prices, grace_seconds=options.retry_after_grace_seconds)
        self.faults = FaultScript()
        self.limits = RateLimits(options)
        self.models = ModelTable(prices.models() if prices is not None else (), accept_any=options.accept_any_model)
        self.batches = Batches(self)
        self.log: Deque[Tuple[str, str, Mapping[str, str], Any, str]] = deque(maxlen=options.log_size)
        self.waiters: Dict[Any, asyncio.Future[None]] = {}
        self.stopping = False
        self.port = 0
        self._ids = 0
        self._listener: Optional[_Listener] = None
        self._socket: Optional[asyncio.AbstractServer] = None

    @property
    def url(self) -> str:
        """Base URL for clients."""
        host = self.options.host
        return "http://{}:{}".format("[{}]".format(host) if ":" in host else host, self.port)

    def next_id(self, prefix: str) -> str:
        """Return a new id, such as ``req_sim000000000000000001``."""
        self._ids += 1
        return "{}_sim{:018d}".format(prefix, self._ids)

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        self._listener = _Listener(self._handle)
        self._listener.waiters = self.waiters
        self._socket = await asyncio.get_running_loop().create_server(
            self._listener, self.options.host, self.options.port, backlog=1024
        )
        self.port = self._socket.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and end every task."""
        self.stopping = True
        if self._socket is not None:
            self._socket.close()
        for waiter in list(self.waiters.values()):
            if not waiter.done():
                waiter.set_result(None)
        await self.batches.stop()
        if self._listener is not None:
            await self._listener.shutdown(0.2)
        if self._socket is not None:
            await self._socket.wait_closed()

    def reset(self) -> None:
        """Forget faults, counters, log, batches and what was taken from the buckets."""
        self.faults.clear()
        self.book.reset()
        self.limits.reset()
        self.batches.reset()
        self.log.clear()

    def logged(self) -> Tuple[LoggedRequest, ...]:
        """Return the last requests, oldest first; may be called from any thread."""
        return tuple(
            LoggedRequest(method, path, masked(headers), body, request_id)
            for method, path, headers, body, request_id in list(self.log)
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == "/v1/messages" and request.method == "POST":
            return await self._messages(request)
        if path.startswith("/_simulator"):
            return await control(self, request)
        return await self._other(request, path)

    async def _other(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        parts = path.strip("/").split("/")
        counting = path == "/v1/messages/count_tokens"
        batches = parts[:3] == ["v1", "messages", "batches"]
        models = parts[:2] == ["v1", "models"]
        endpoint = "count_tokens" if counting else "batches" if batches else "models" if models else "other"
        exchange = Exchange(self, request, endpoint)
        self.book.arrived(endpoint)
        try:
            body = await exchange.read(_MAX_BATCH_BODY_BYTES if batches else MAX_BODY_BYTES)
            check_headers(request.headers)
            fault_endpoint = "batch_results" if batches and parts[-1] == "results" else endpoint
            fault = self.faults.next(fault_endpoint, body if isinstance(body, dict) else {})
            if fault is not None:
                early = await self._fault_before_answer(exchange, fault)
                if early is not None:
                    return early
            if counting and request.method == "POST":
                _, tokens = check_request(body, self.models, counting=True)
                answer: web.StreamResponse = exchange.json({"input_tokens": tokens})
            elif batches:
                answer = await self.batches.handle(exchange, parts[3:], body)
            elif models and request.method == "GET":
                answer = self._models(exchange, parts[2:])
            else:
                raise ApiFailure(404 if endpoint == "other" else 405, "Not Found", error_type="not_found_error")
            return self._fault_after_answer(exchange, fault, answer)
        except ApiFailure as failure:
            return exchange.failure(failure)
        except (ClientLeft, ConnectionError):
            self.book.aborted_by_client += 1
            return exchange.drop()

    def _models(self, exchange: Exchange, rest: List[str]) -> web.Response:
        if rest:
            model = self.models.get(rest[0])
            if model is None or len(rest) > 1:
                raise ApiFailure(404, "model: " + "/".join(rest))
            return exchange.json(model.to_api())
        shown = [model.to_api() for model in self.models.models]
        return exchange.json(page(shown, exchange.query))

    async def _fault_before_answer(self, exchange: Exchange, fault: Fault) -> Optional[web.Response]:
        """Do what `fault` does in place of an answer; None where the answer is still made."""
        kind = fault.kind
        self.book.faulted(kind)
        if fault.status:
            return exchange.failure(fault.failure())
        if kind == "drop":
            return exchange.drop()
        if kind == "hang":
            await exchange.wait(None)
        if kind == "slow":
            await exchange.wait(fault.delay_seconds)
        if kind == "html":
            return exchange.bytes(_HTML, "text/html; charset=utf-8")
        if kind == "retry_after_on_success":
            exchange.headers.append(("retry-after", "{:g}".format(fault.retry_after_seconds or 0)))
        return None

    @staticmethod
    def _fault_after_answer(
        exchange: Exchange, fault: Optional[Fault], answer: web.StreamResponse
    ) -> web.StreamResponse:
        """Do what `fault` does to a complete answer."""
        if fault is None or not isinstance(answer, web.Response):
            return answer
        if fault.kind == "lost":
            return exchange.drop()
        if fault.kind == "truncated_json" and isinstance(answer.body, bytes):
            answer.body = answer.body[: len(answer.body) // 2]
        return answer

    async def _messages(self, request: web.BaseRequest) -> web.StreamResponse:
        book = self.book
        exchange = Exchange(self, request, "messages")
        book.arrived("messages")
        flight = Flight(book)
        try:
            body = await exchange.read()
            check_headers(request.headers)
            model, input_tokens = check_request(
                body,
                self.models,
                api_version=request.headers.get("anthropic-version", ""),
                context_window=self.options.context_window,
            )
            self._admit(exchange, model, input_tokens)
            fault = self.faults.next("messages", body)
            if fault is not None:
                early = await self._fault_message(exchange, fault, model, bool(body.get("stream")))
                if early is not None:
                    flight.land()
                    return early
            if self.options.latency_seconds:
                await exchange.wait(self.options.latency_seconds)
            answer = make_answer(
                body,
                model,
                input_tokens,
                answer_bytes=self.options.answer_bytes,
                refuse=fault is not None and fault.kind == "refusal",
            )
            if body.get("stream"):
                return await self._stream(exchange, flight, answer, model, fault)
            return await self._plain(exchange, flight, answer, model, fault)
        except ApiFailure as failure:
            flight.land()
            return exchange.failure(failure)
        except (ClientLeft, ConnectionError):
            flight.land()
            book.aborted_by_client += 1
            return exchange.drop()
        finally:
            flight.land()

    def _admit(self, exchange: Exchange, model: Model, input_tokens: int) -> None:
        now = time.monotonic()
        pool = family(model.name)
        self.book.came_for(pool, now)
        if not self.limits:
            return
        refusal = self.limits.admit(pool, input_tokens, now)
        if refusal is None:
            return
        self.book.rate_limited += 1
        self.book.gave_retry_after(pool, refusal.retry_after_seconds, now)
        exchange.headers.extend(self.limits.headers(pool, now, time.time()))
        raise ApiFailure(
            429,
            "This request would exceed the rate limit for your organization of {} {} per minute (simulated).".format(
                refusal.limit, refusal.name.replace("-", " ")
            ),
            retry_after_seconds=refusal.retry_after_seconds,
        )

    async def _fault_message(
        self, exchange: Exchange, fault: Fault, model: Model, stream: bool
    ) -> Optional[web.Response]:
        early = await self._fault_before_answer(exchange, fault)
        if early is not None:
            if fault.status == 429 and fault.retry_after_seconds is not None:
                self.book.gave_retry_after(family(model.name), fault.retry_after_seconds, time.monotonic())
            return early
        if not stream and fault.kind == "stream_error":
            return exchange.failure(fault.failure())
        if not stream and fault.kind == "silent":
            await exchange.wait(None)
        return None

    def _settle(self, model: Model, answer: Answer, output_tokens: int, *, complete: bool) -> None:
        """Bill what was produced."""
        self.book.billed(
            model.name,
            Usage(input_tokens=answer.input_tokens, output_tokens=output_tokens, service_tier=answer.service_tier),
        )
        if complete:
            self.book.completed += 1
        if self.limits:
            self.limits.produced(family(model.name), output_tokens, time.monotonic())

    def _limit_headers(self, exchange: Exchange, model: Model) -> None:
        if self.limits:
            exchange.headers.extend(self.limits.headers(family(model.name), time.monotonic(), time.time()))

    async def _plain(
        self, exchange: Exchange, flight: Flight, answer: Answer, model: Model, fault: Optional[Fault]
    ) -> web.StreamResponse:
        if exchange.gone():
            raise ClientLeft
        self._settle(model, answer, answer.output_tokens, complete=True)
        self._limit_headers(exchange, model)
        body = compact(answer.message(self.next_id("msg"), model.name)).encode("ascii")
        flight.land()
        if fault is not None and fault.kind == "cut":
            self.book.answered(200)
            exchange.headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            response = web.StreamResponse(headers=exchange.headers)
            await response.prepare(exchange.request)
            await response.write(body[: len(body) // 2])
            exchange.drop()
            return response
        return self._fault_after_answer(exchange, fault, exchange.bytes(body, "application/json"))

    async def _stream(
        self, exchange: Exchange, flight: Flight, answer: Answer, model: Model, fault: Optional[Fault]
    ) -> web.StreamResponse:
        book = self.book
        speed = self.options.tokens_per_second
        chunk = None if speed is None else max(1, round(speed / _CHUNKS_PER_SECOND))
        self._limit_headers(exchange, model)
        exchange.headers += [("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache")]
        if fault is not None and fault.kind == "lost":
            self._settle(model, answer, answer.output_tokens, complete=True)
            return exchange.drop()
        response = web.StreamResponse(headers=exchange.headers)
        spent = 0
        ended = False
        try:
            if exchange.gone():
                raise ClientLeft
            book.answered(200)
            await response.prepare(exchange.request)
            for number, (event, tokens, is_delta) in enumerate(
                stream_events(answer, self.next_id("msg"), model.name, chunk_tokens=chunk)
            ):
                final = event.startswith(b"event: message_delta")
                if fault is not None and (number >= fault.after_events or final):
                    ended = await self._fault_in_stream(exchange, response, fault)
                    if ended:
                        break
                if final:
                    # Billed before the last event is out: once the client has it, it may look at the counters.
                    self._settle(model, answer, tokens, complete=True)
                    flight.land()
                    spent = -1
                if speed and is_delta:
                    await exchange.wait(max(0.0, tokens - spent) / speed if spent >= 0 else 0.0)
                await response.write(event)
                if spent >= 0:
                    spent = tokens
            if not ended:
                await response.write_eof()
        except (ClientLeft, ConnectionError):
            if spent > 0:
                self._settle(model, answer, spent, complete=False)
            raise
        if ended:
            book.cut += 1
            self._settle(model, answer, spent, complete=False)
            flight.land()
            exchange.drop()
        return response

    async def _fault_in_stream(self, exchange: Exchange, response: web.StreamResponse, fault: Fault) -> bool:
        """Do what `fault` does to a stream under way; True where the stream is over."""
        if fault.kind == "silent":
            await exchange.wait(None)
        if fault.kind == "stream_error":
            error = compact(error_body(fault.failure(), None))
            await response.write("event: error\ndata: {}\n\n".format(error).encode("ascii"))
            await response.write_eof()
            return True
        if fault.kind == "truncated_json":
            await response.write(b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n')
            return True
        return fault.kind == "cut"
