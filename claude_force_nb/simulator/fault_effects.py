"""Applies a scripted fault to a call in progress."""

from __future__ import annotations

from typing import Optional

from aiohttp import web

from .exchange import Exchange, compact
from .failures import error_body
from .faults import Fault

__all__ = ["STREAM_ENDINGS", "end_stream", "instead_of_answer", "spoil_answer"]

_HTML = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1><p>Simulated proxy page</p></body></html>"

# Faults that end a stream early.
STREAM_ENDINGS = frozenset(["cut", "silent", "stream_error", "truncated_json"])


async def instead_of_answer(exchange: Exchange, fault: Fault, *, stream: bool) -> Optional[web.Response]:
    """Apply the effect of `fault` before an answer; return the response to send in its place, or None to go on.

    Raises ClientLeft if the client disconnected while it was kept waiting.
    """
    kind = fault.kind
    if fault.status:
        return exchange.failure(fault.failure())
    if kind == "drop":
        return exchange.drop()
    if kind == "html":
        return exchange.bytes(_HTML, "text/html; charset=utf-8")
    if kind == "stream_error" and not stream:
        return exchange.failure(fault.failure())
    if kind == "hang" or (kind == "silent" and not stream):
        await exchange.wait(None)
    if kind == "slow":
        await exchange.wait(fault.delay_seconds, until_healed=True)
    if kind == "retry_after_on_success":
        exchange.headers.append(("retry-after", f"{fault.retry_after_seconds or 0:g}"))
    return None


async def spoil_answer(exchange: Exchange, fault: Optional[Fault], answer: web.StreamResponse) -> web.StreamResponse:
    """Apply `fault` to a complete answer that is not a stream."""
    if fault is None or not isinstance(answer, web.Response) or not isinstance(answer.body, bytes):
        return answer
    if fault.kind == "lost":
        exchange.unanswered(answer.status)
        return exchange.drop()
    if fault.kind == "held":
        exchange.unanswered(answer.status)
        await exchange.wait(None)
    half = answer.body[: len(answer.body) // 2]
    if fault.kind == "truncated_json":
        answer.body = half
    if fault.kind == "cut":
        headers = [*exchange.headers, ("Content-Length", str(len(answer.body)))]
        short = web.StreamResponse(status=answer.status, headers=headers)
        await short.prepare(exchange.request)
        await short.write(half)
        exchange.drop()
        return short
    return answer


async def end_stream(exchange: Exchange, fault: Fault, response: web.StreamResponse) -> None:
    """End a stream as `fault` demands, which is one of `STREAM_ENDINGS` other than ``silent``."""
    if fault.kind == "stream_error":
        error = compact(error_body(fault.failure(), None))
        await response.write(f"event: error\ndata: {error}\n\n".encode("ascii"))
        await response.write_eof()
        return
    if fault.kind == "truncated_json":
        await response.write(b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n')
    exchange.drop()
