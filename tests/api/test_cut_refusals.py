"""Refusals whose body ends early: what the status says is not lost."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any, Callable, Dict, List, Type

import pytest
from support.stream_server import StreamServer
from support.transports import request, see_every_call, transport

from claude_force_nb.errors import (
    ApiError,
    AuthenticationError,
    InvalidRequestError,
    OverloadedError,
    RateLimitError,
    RedirectedError,
    ServerError,
    SpendLimitError,
)
from claude_force_nb.orchestrator import AsyncAgentOrchestrator

MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hello"}], "model": "m"}
SPENT = {
    "type": "error",
    "error": {"type": "invalid_request_error", "message": "Your credit balance is too low. " * 20},
}
LATER = {"type": "error", "error": {"type": "rate_limit_error", "message": "too many requests " * 20}}


def head(status: int, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} Refused", *lines, "", ""]).encode()


def short_of_length(status: int, body: bytes, *lines: str) -> bytes:
    return head(status, f"content-length: {len(body) + 1_000}", *lines) + body


def chunk_without_end(status: int, body: bytes, *lines: str) -> bytes:
    return head(status, "transfer-encoding: chunked", *lines) + f"{len(body) + 9:x}\r\n".encode() + body


def packed_without_end(status: int, body: bytes, *lines: str) -> bytes:
    packed = gzip.compress(body)[:-9]
    return head(status, "content-encoding: gzip", f"content-length: {len(packed)}", *lines) + packed


ENDINGS: Dict[str, Callable[..., bytes]] = {
    "length": short_of_length,
    "chunk": chunk_without_end,
    "packed": packed_without_end,
}


class RawServer:
    """Answers each request with the next of some byte strings, then closes the connection."""

    def __init__(self, *answers: bytes, silent: bool = False) -> None:
        self._answers = list(answers)
        self._silent = silent
        self.requests: List[bytes] = []

    async def __aenter__(self) -> str:
        self._server = StreamServer(self._answer)
        await self._server.__aenter__()
        return self._server.url

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in received.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        self.requests.append(received)
        writer.write(self._answers.pop(0))
        await writer.drain()
        if self._silent:
            await reader.read()


@pytest.fixture(params=["connections", "sdk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which way calls go: over connections of our own, or through the SDK, as soon as somebody looks at its method."""
    if request.param == "sdk":
        see_every_call(monkeypatch)
    return str(request.param)


def refusal(run: Any, server: RawServer, *, timeout_seconds: float = 20.0) -> ApiError:
    async def main() -> ApiError:
        async with server as url:
            sender = transport(url)
            try:
                with pytest.raises(ApiError) as caught:
                    await sender.send(request(), timeout_seconds=timeout_seconds)
                return caught.value
            finally:
                await sender.close()

    error: ApiError = run(main())
    return error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (429, RateLimitError),
        (500, ServerError),
        (529, OverloadedError),
        (307, RedirectedError),
    ],
    ids=str,
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_status_counts(run: Any, way: str, ending: str, status: int, kind: Type[ApiError]) -> None:
    """The error is that of the status, with its headers, and says that its text was cut off."""
    answer = ENDINGS[ending](status, b"<html>gateway</html>" * 50, "retry-after: 7", "request-id: req_1")
    error = refusal(run, RawServer(answer))
    assert type(error) is kind
    assert (error.status, error.request_id) == (status, "req_1")
    assert "\n" not in str(error)
    if status >= 400:
        assert error.retry_after_seconds == 7
        assert f"HTTP {status}, the rest of its text was cut off" in str(error)


@pytest.mark.parametrize("ending", ["length", "chunk"])
def test_what_came_of_the_text_counts(run: Any, way: str, ending: str) -> None:
    """The beginning of the API's own error says what kind it is, and is shown."""
    error = refusal(run, RawServer(ENDINGS[ending](400, json.dumps(SPENT).encode()[:150])))
    assert type(error) is SpendLimitError
    assert "Your credit balance is too low" in str(error)
    assert "cut off" in str(error)
    error = refusal(run, RawServer(ENDINGS[ending](503, json.dumps(LATER).encode()[:90])))
    assert type(error) is ServerError
    assert "too many requests" in str(error)


def test_a_refusal_that_stops_coming(run: Any, way: str) -> None:
    """Its status is known too, after the time limit of a read."""
    answer = short_of_length(529, b"{")
    assert type(refusal(run, RawServer(answer, silent=True), timeout_seconds=0.3)) is OverloadedError


def test_a_whole_refusal_says_nothing_of_it(run: Any, way: str) -> None:
    """Only a body that ended early is reported as cut off."""
    body = b"<html>gateway</html>"
    error = refusal(run, RawServer(head(502, f"content-length: {len(body)}") + body))
    assert type(error) is ServerError
    assert "cut off" not in str(error)


def test_it_is_tried_again_by_its_status(run: Any, way: str, tmp_path: Any) -> None:
    """An overloaded server's cut refusal is retried, an invalid request's is not."""
    good = json.dumps({**MESSAGE, "usage": {"input_tokens": 1, "output_tokens": 1}}).encode()
    whole = head(200, "content-type: application/json", f"content-length: {len(good)}") + good

    async def ask(server: RawServer) -> Any:
        async with server as url:
            environ = {"CLAUDE_FORCE_DATA_DIR": str(tmp_path)}
            options: Dict[str, Any] = {"api_key": "k" * 20, "enable_cache": False, "ledger": None, "environ": environ}
            async with AsyncAgentOrchestrator(base_url=url, **options) as orchestrator:
                return await orchestrator.run("x")

    server = RawServer(short_of_length(503, b"{"), whole)
    answer = run(ask(server))
    assert (answer.text, answer.attempts, len(server.requests)) == ("hello", 2, 2)
    server = RawServer(short_of_length(400, b"{"), whole)
    with pytest.raises(InvalidRequestError):
        run(ask(server))
    assert len(server.requests) == 1
