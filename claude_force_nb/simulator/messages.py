"""``POST /v1/messages``, plain and streamed."""

from __future__ import annotations

import time
from typing import Any, Mapping, Optional

from aiohttp import web

from .additions import add_to_message
from .answers import Answer, make_answer
from .counters import OpenCall
from .exchange import ClientLeft, Exchange, compact
from .failures import ApiFailure
from .fallbacks import as_sent_to, entries_of
from .fault_effects import STREAM_ENDINGS, end_stream, instead_of_answer, spoil_answer
from .faults import Fault
from .models import Model, family
from .prices import Terms
from .state import ServerState
from .streams import stream_events
from .validation import Headers, check_headers

__all__ = ["Messages"]

# Writes per second of a stream whose speed is limited.
_CHUNKS_PER_SECOND = 20.0


class Messages:
    """The endpoint; shares the counters, limits and faults of `server`."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._book = state.book
        self._limits = state.limits
        self._options = state.options

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a call."""
        exchange = Exchange(self._state, request)
        self._book.arrived("messages")
        open_call = OpenCall(self._book)
        try:
            return await self._answer(exchange, open_call)
        except ApiFailure as failure:
            open_call.end()
            return exchange.failure(failure)
        except (ClientLeft, ConnectionError):
            open_call.end()
            exchange.aborted()
            return exchange.drop()
        finally:
            open_call.end()

    async def _answer(self, exchange: Exchange, open_call: OpenCall) -> web.StreamResponse:
        body: Any = await exchange.read()
        headers = check_headers(exchange.request.headers)
        checked = self._state.validator.check(body, headers)
        model = checked.model
        use = self._state.look_up(checked)
        # Tokens read from the prompt cache do not count towards the input limit.
        self._admit(exchange, model, checked.input_tokens - use.usage.read_tokens)
        stream = bool(body.get("stream"))
        fault = self._state.faults.next("messages", body)
        if fault is not None:
            self._book.faulted(fault.kind)
            if fault.status == 429 and fault.retry_after_seconds is not None:
                self._book.gave_retry_after(family(model.name), fault.retry_after_seconds, time.monotonic())
            instead = await instead_of_answer(exchange, fault, stream=stream)
            if instead is not None:
                return instead
        answer = make_answer(body, checked, use.usage, answer_bytes=self._options.answer_bytes, fault=fault)
        if answer.stop_reason == "refusal" and body.get("fallbacks"):
            answer = self._fall_back(body, headers, answer)
        message_id = self._state.next_id("msg")
        answer.diagnostics = self._state.prompts.diagnose(message_id, body, model.name, checked.input_tokens)
        terms = Terms.of(body, batch=False, fast=checked.fast)
        if self._options.latency_seconds:
            await exchange.wait_from_arrival(self._options.latency_seconds)
        if exchange.gone():
            raise ClientLeft
        if use.entries:
            self._state.prompt_cache.keep(use)
        if stream and not (fault is not None and fault.kind == "lost"):
            return await self._stream(exchange, open_call, answer, message_id, terms, fault)
        # Bill and end the call before the first byte is sent: the client may then read the counters or send its next call.
        self._settle(answer, terms, answer.usage.output_tokens, complete=True)
        open_call.end()
        self._add_limit_headers(exchange, model)
        message = add_to_message(answer.message(message_id), answer.extra)
        return await spoil_answer(exchange, fault, exchange.bytes(compact(message).encode("ascii"), "application/json"))

    def _fall_back(self, body: Mapping[str, Any], headers: Headers, refused: Answer) -> Answer:
        """Return the answer of the first fallback that does not refuse, or the refusal of the last one."""
        declined = []
        answer = refused
        for entry in entries_of(body, refused.model):
            declined.append(answer)
            other = self._state.models.get(entry["model"])
            assert other is not None
            sent = as_sent_to(body, entry, other)
            checked = self._state.validator.check(sent, headers)
            use = self._state.look_up(checked)
            self._state.prompt_cache.keep(use)
            fault = self._state.faults.next("messages", sent)
            refuses = fault is not None and fault.kind in ("refusal", "refusal_midway")
            answer = make_answer(
                sent, checked, use.usage, answer_bytes=self._options.answer_bytes, fault=fault if refuses else None
            )
            if answer.stop_reason != "refusal":
                break
        return answer.instead_of(declined, stream=bool(body.get("stream"))) if declined else answer

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
            f"This request would exceed the rate limit for your organization of {refusal.limit} "
            f"{refusal.name.replace('-', ' ')} per minute. (simulated)",
            retry_after_seconds=refusal.retry_after_seconds,
        )

    def _add_limit_headers(self, exchange: Exchange, model: Model) -> None:
        if self._limits:
            exchange.headers.extend(self._limits.headers(family(model.name), time.monotonic(), time.time()))

    def _settle(self, answer: Answer, terms: Terms, output_tokens: int, *, complete: bool) -> None:
        """Bill an answer with this many tokens of output."""
        model = answer.model
        for declined in answer.declined:
            if declined.billed:
                self._book.billed(declined.model.name, declined.usage, terms)
        if answer.billed:
            self._book.billed(model.name, answer.usage._replace(output_tokens=output_tokens), terms)
        if complete:
            self._book.finished(answer.thinking_tokens, refused=answer.stop_reason == "refusal")
        if self._limits:
            self._limits.produced(family(model.name), output_tokens, time.monotonic())

    async def _stream(
        self,
        exchange: Exchange,
        open_call: OpenCall,
        answer: Answer,
        message_id: str,
        terms: Terms,
        fault: Optional[Fault],
    ) -> web.StreamResponse:
        self._add_limit_headers(exchange, answer.model)
        exchange.headers += [("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache")]
        response = exchange.stream()
        speed = self._options.tokens_per_second
        chunk_tokens = None if speed is None else max(1, round(speed / _CHUNKS_PER_SECOND))
        ending = fault if fault is not None and fault.kind in STREAM_ENDINGS else None
        produced = 0
        settled = False
        # At unlimited speed events are sent in pairs, which halves the number of system calls.
        pending = b""
        try:
            await response.prepare(exchange.request)
            events = stream_events(answer, message_id, chunk_tokens=chunk_tokens)
            for number, (event, tokens, last) in enumerate(events):
                if ending is not None and (number >= ending.after_events or last):
                    if pending:
                        await response.write(pending)
                    if ending.kind == "silent":
                        await exchange.wait(None)
                    self._settle(answer, terms, produced, complete=False)
                    self._book.cut += 1
                    settled = True
                    open_call.end()
                    await end_stream(exchange, ending, response)
                    return response
                if speed is not None and tokens > produced:
                    await exchange.wait((tokens - produced) / speed)
                if last:
                    self._settle(answer, terms, tokens, complete=True)
                    settled = True
                    open_call.end()
                pending += event
                if speed is not None or last or number % 2:
                    await response.write(pending)
                    pending = b""
                produced = tokens
            await response.write_eof()
        except (ClientLeft, ConnectionError):
            if settled:
                return response
            if produced:
                self._settle(answer, terms, produced, complete=False)
            raise
        return response
