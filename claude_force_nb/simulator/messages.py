"""``POST /v1/messages``: the endpoint that everything is about, plain and streamed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Optional

from aiohttp import web

from claude_force_nb.messages.usage import Usage

from .answers import Answer, make_answer, stream_events
from .counters import Flight
from .exchange import ClientLeft, Exchange, compact
from .fault_effects import STREAM_ENDINGS, end_stream, instead_of_answer, spoil_answer
from .faults import Fault
from .models import Model, family
from .validation import ApiFailure, check_headers, check_request

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Messages"]

# A stream with a speed is written about this often.
_CHUNKS_PER_SECOND = 20.0


class Messages:
    """The endpoint; shares the counters, limits and faults of `server`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._book = server.book
        self._limits = server.limits
        self._options = server.options

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a call."""
        exchange = Exchange(self._server, request)
        self._book.arrived("messages")
        flight = Flight(self._book)
        try:
            return await self._answer(exchange, flight)
        except ApiFailure as failure:
            flight.land()
            return exchange.failure(failure)
        except (ClientLeft, ConnectionError):
            flight.land()
            exchange.aborted()
            return exchange.drop()
        finally:
            flight.land()

    async def _answer(self, exchange: Exchange, flight: Flight) -> web.StreamResponse:
        body: Any = await exchange.read()
        headers = exchange.request.headers
        check_headers(headers)
        model, input_tokens = check_request(
            body,
            self._server.models,
            api_version=headers.get("anthropic-version", ""),
            context_window=self._options.context_window,
        )
        self._admit(exchange, model, input_tokens)
        stream = bool(body.get("stream"))
        fault = self._server.faults.next("messages", body)
        if fault is not None:
            self._book.faulted(fault.kind)
            if fault.status == 429 and fault.retry_after_seconds is not None:
                self._book.gave_retry_after(family(model.name), fault.retry_after_seconds, time.monotonic())
            instead = await instead_of_answer(exchange, fault, stream=stream)
            if instead is not None:
                return instead
        answer = make_answer(
            body,
            model,
            input_tokens,
            answer_bytes=self._options.answer_bytes,
            refuse=fault is not None and fault.kind == "refusal",
            wrong=fault is not None and fault.kind == "wrong_json",
        )
        if self._options.latency_seconds:
            await exchange.wait_from_arrival(self._options.latency_seconds)
        if exchange.gone():
            raise ClientLeft
        if stream and not (fault is not None and fault.kind == "lost"):
            return await self._stream(exchange, flight, answer, model, fault)
        # Billed and landed before a byte is out: once the client has it, it may look at the counters or send the next call.
        self._settle(model, answer, answer.output_tokens, complete=True)
        flight.land()
        self._add_limit_headers(exchange, model)
        message = compact(answer.message(self._server.next_id("msg"), model.name)).encode("ascii")
        return await spoil_answer(exchange, fault, exchange.bytes(message, "application/json"))

    def _admit(self, exchange: Exchange, model: Model, input_tokens: int) -> None:
        now = time.monotonic()
        pool = family(model.name)
        self._book.came_for(pool, now)
        refusal = self._limits.admit(pool, input_tokens, now) if self._limits else None
        if refusal is None:
            return
        self._book.rate_limited += 1
        self._book.gave_retry_after(pool, refusal.retry_after_seconds, now)
        self._add_limit_headers(exchange, model)
        raise ApiFailure(
            429,
            "This request would exceed the rate limit for your organization of {} {} per minute. (simulated)".format(
                refusal.limit, refusal.name.replace("-", " ")
            ),
            retry_after_seconds=refusal.retry_after_seconds,
        )

    def _add_limit_headers(self, exchange: Exchange, model: Model) -> None:
        if self._limits:
            exchange.headers.extend(self._limits.headers(family(model.name), time.monotonic(), time.time()))

    def _settle(self, model: Model, answer: Answer, output_tokens: int, *, complete: bool) -> None:
        """Bill what was produced."""
        self._book.billed(model.name, Usage(input_tokens=answer.input_tokens, output_tokens=output_tokens))
        if complete:
            self._book.completed += 1
        if self._limits:
            self._limits.produced(family(model.name), output_tokens, time.monotonic())

    async def _stream(
        self, exchange: Exchange, flight: Flight, answer: Answer, model: Model, fault: Optional[Fault]
    ) -> web.StreamResponse:
        self._add_limit_headers(exchange, model)
        exchange.headers += [("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache")]
        response = exchange.stream()
        speed = self._options.tokens_per_second
        chunk_tokens = None if speed is None else max(1, round(speed / _CHUNKS_PER_SECOND))
        ending = fault if fault is not None and fault.kind in STREAM_ENDINGS else None
        produced = 0
        settled = False
        try:
            await response.prepare(exchange.request)
            events = stream_events(answer, self._server.next_id("msg"), model.name, chunk_tokens=chunk_tokens)
            for number, (event, tokens, last) in enumerate(events):
                if ending is not None and (number >= ending.after_events or last):
                    if ending.kind == "silent":
                        await exchange.wait(None)
                    self._settle(model, answer, produced, complete=False)
                    self._book.cut += 1
                    settled = True
                    flight.land()
                    await end_stream(exchange, ending, response)
                    return response
                if speed is not None and tokens > produced:
                    await exchange.wait((tokens - produced) / speed)
                if last:
                    self._settle(model, answer, tokens, complete=True)
                    settled = True
                    flight.land()
                await response.write(event)
                produced = tokens
            await response.write_eof()
        except (ClientLeft, ConnectionError):
            if settled:
                return response
            if produced:
                self._settle(model, answer, produced, complete=False)
            raise
        return response
