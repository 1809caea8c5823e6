"""What comes back is bounded, against servers that unpack, nest, trickle and redirect."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
import zlib
from functools import lru_cache
from typing import Any, Callable, Dict, List

import pytest
from aiohttp import web
from support.transports import KEY, Handler, request, result, see_every_call, send, transport

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.errors import ApiError, CallTimeoutError, MalformedAnswerError, RedirectedError, StreamCutError

MESSAGE: Dict[str, Any] = {"type": "message", "model": "m", "content": [{"type": "text", "text": "hi"}]}
Serve = Callable[[Handler], str]


@lru_cache
def bomb(megabytes: int) -> bytes:
    """Return a gzip body that unpacks to so much."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # A block that ends at a byte can be repeated without packing it again.
    block = packer.compress(b" " * 10_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + block * (megabytes // 10) + b"\x03\0" + bytes(8)


def answer_with(body: bytes, **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"content-type": "application/json", **headers})

    return handler


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_what_unpacks_without_end_costs_neither_memory_nor_time(
    run: Any, serve: Serve, streaming: bool, status: int, kind: str
) -> None:
    """1.5 MB that unpack to 1.5 GB end as one error, in less than 100 MB."""
    body = bomb(1_500)
    assert len(body) < 2_000_000

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={"content-encoding": "gzip", "content-type": kind})

    url = serve(handler)
    run(send(serve(answer_with(json.dumps(MESSAGE).encode())), request()))  # what is imported late is not measured
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as caught:
            run(send(url, request(), PartialAnswer() if streaming else None))
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert (type(caught.value) is MalformedAnswerError) is (status == 200)


def test_packed_answers_are_read(run: Any, serve: Serve) -> None:
    """In the ways that were asked for; others are said to be nobody's wish, and half of one was cut off."""
    asked: List[str] = []
    plain = json.dumps(MESSAGE).encode()

    async def note(incoming: web.Request) -> web.StreamResponse:
        asked.append(incoming.headers.get("accept-encoding", ""))
        return await answer_with(gzip.compress(plain), **{"content-encoding": "gzip"})(incoming)

    assert result(run(send(serve(note), request()))).text == "hi"
    assert asked == ["gzip"]
    assert result(
        run(send(serve(answer_with(zlib.compress(plain), **{"content-encoding": "deflate"})), request()))
    ).text
    for body, encoding, error in (
        (plain, "br", MalformedAnswerError),
        (plain, "gzip", MalformedAnswerError),
        (gzip.compress(plain)[:-20], "gzip", StreamCutError),
    ):
        with pytest.raises(error) as caught:
            run(send(serve(answer_with(body, **{"content-encoding": encoding})), request()))
        # Of an answer: it is billed.
        assert caught.value.status == (200 if error is MalformedAnswerError else None)


def in_pieces(body: bytes, size: int, kind: str = "application/json") -> Handler:
    """Send a body that is compressed with gzip, so many bytes at a time."""

    async def handler(incoming: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-encoding": "gzip", "content-type": kind})
        await response.prepare(incoming)
        for start in range(0, len(body), size):
            await response.write(body[start : start + size])
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    return handler


def members(plain: bytes, size: int) -> bytes:
    return b"".join(gzip.compress(plain[start : start + size]) for start in range(0, len(plain), size))


@pytest.mark.parametrize("seen", [False, True], ids=["connections", "sdk"])
@pytest.mark.parametrize("behind", [b"", b"\0" * 600, b"\x1f", b"\x1fxx", b"garbage"], ids=repr)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_body_of_several_members_is_read_to_its_end(
    run: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch, size: int, behind: bytes, seen: bool
) -> None:
    """However its bytes arrive; what follows the last member is ignored."""
    if seen:
        see_every_call(monkeypatch)
    plain = json.dumps({**MESSAGE, "content": [{"type": "text", "text": "hello " * 30}]}).encode()
    assert result(run(send(serve(in_pieces(members(plain, 40) + behind, size)), request()))).text == "hello " * 30


def test_members_that_are_cut_or_broken(run: Any, serve: Serve) -> None:
    """The last one must have its end, and each its content."""
    plain = json.dumps(MESSAGE).encode()
    whole = members(plain, 40)
    for body, kind in (
        (whole[:-5], StreamCutError),
        (whole + b"\x1f\x8b", StreamCutError),
        (whole + b"\x1f\x8bxx", MalformedAnswerError),
    ):
        with pytest.raises(kind):
            run(send(serve(in_pieces(body, 50)), request()))


def test_members_without_end(run: Any, serve: Serve) -> None:
    """Empty ones, and small ones that unpack to much, end as one error, in less than 100 MB."""
    run(send(serve(answer_with(json.dumps(MESSAGE).encode())), request()))  # what is imported late is not measured
    for body in (gzip.compress(b"") * 120_000, bomb(10) * 150):
        url = serve(answer_with(body, **{"content-encoding": "gzip"}))
        tracemalloc.start()
        try:
            with pytest.raises(MalformedAnswerError):
                run(send(url, request()))
            assert tracemalloc.get_traced_memory()[1] < 100_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"content":' + b"[" * 100_000,
        b'{"content": [], "usage": {"input_tokens": ' + b"9" * 5_000 + b"}}",
        b"<!doctype html><p>hello",
        json.dumps(MESSAGE).encode()[:-9],
        b" " * 33_000_000,
    ],
    ids=["nested", "digits", "html", "half", "long"],
)
def test_an_unusable_body_is_one_error(run: Any, serve: Serve, body: bytes, streaming: bool) -> None:
    """The error names the address, and may be retried."""
    url = serve(answer_with(body))
    with pytest.raises(MalformedAnswerError) as caught:
        run(send(url, request(), PartialAnswer() if streaming else None))
    assert caught.value.retryable
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "events",
    [
        b'data: {"type": "message_start", "message": {}}\n\ndata: ' + b"x" * 9_000_000,
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: {\n\n",
        b"data: [DONE]\n\n",
        b"data: NaN\n\n",
    ],
    ids=["long line", "nested", "half", "other api", "nan"],
)
def test_unusable_events_are_one_error(run: Any, serve: Serve, events: bytes) -> None:
    """A stream is bounded like a body."""
    url = serve(answer_with(events, **{"content-type": "text/event-stream"}))
    with pytest.raises((MalformedAnswerError, StreamCutError)):
        run(send(url, request(), PartialAnswer()))


def test_a_million_events_are_enough(run: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of nothing ends; the bound is lowered here, so that the test does."""
    monkeypatch.setattr("claude_force_nb.api.reading._MOST_EVENTS", 1000)
    url = serve(answer_with(b"\n" * 1_000_000, **{"content-type": "text/event-stream"}))
    with pytest.raises(MalformedAnswerError, match="events"):
        run(send(url, request(), PartialAnswer()))


def test_events_are_read_as_the_standard_says(run: Any, serve: Serve) -> None:
    """Names, comments, ids, carriage returns and data on several lines."""
    events = (
        b': comment\r\nid: 5\r\nevent: message_start\r\ndata:{"type": "message_start",\r\ndata: "message": {"model": "m"}}\r\n\r\n'
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0,'
        b' "delta": {"type": "text_delta", "text": "hi"}}\n\nevent: ping\n\n'
        b'data: {"type": "message_stop"}\n\n'
    )
    url = serve(answer_with(events, **{"content-type": "text/event-stream; charset=utf-8"}))
    answer = result(run(send(url, request(), PartialAnswer())))
    assert (answer.text, answer.model) == ("hi", "m")


def test_a_server_that_knows_no_streams_is_read(run: Any, serve: Serve) -> None:
    """If a server answers a streamed request with a single JSON message, that is the answer."""
    partial = PartialAnswer()
    assert result(run(send(serve(answer_with(json.dumps(MESSAGE).encode())), request(), partial))).text == "hi"
    assert partial.text == "hi"


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_a_server_that_goes_silent_is_left(run: Any, serve: Serve, kind: str) -> None:
    """The call ends after the time limit of a read."""

    async def handler(incoming: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": kind})
        await response.prepare(incoming)
        try:
            await response.write(b"data: ")
            await asyncio.sleep(20)
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response

    began = time.monotonic()
    with pytest.raises(CallTimeoutError):
        run(send(serve(handler), request(), PartialAnswer(), timeout_seconds=0.3))
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
def test_redirects_are_not_followed(run: Any, serve: Serve, status: int, streaming: bool) -> None:
    """First call and later ones: nothing reaches the other server, and one line says where it was."""
    reached: List[str] = []

    async def elsewhere(incoming: web.Request) -> web.StreamResponse:
        reached.append(incoming.path)
        return web.json_response(MESSAGE)

    target = serve(elsewhere)
    answers = [True, False]

    async def handler(_: web.Request) -> web.StreamResponse:
        if answers.pop():
            return web.json_response(MESSAGE)
        return web.Response(status=status, headers={"location": target + "/v1/messages"})

    async def main() -> None:
        way = transport(serve(handler))
        for _ in range(2):
            partial = PartialAnswer() if streaming else None
            if len(answers) == 2:
                assert (await way.send(request(), timeout_seconds=20, partial=partial)).body == MESSAGE
                continue
            with pytest.raises(RedirectedError) as caught:
                await way.send(request(), timeout_seconds=20, partial=partial)
            assert target in str(caught.value)
            assert "redirects are not followed" in str(caught.value)
        await way.close()

    answers.reverse()
    answers[:] = [False, True]
    run(main())
    assert reached == []


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
def test_a_key_that_is_echoed_reaches_nothing(run: Any, serve: Serve, streaming: bool) -> None:
    """Neither text, model, request id nor partial answer has it, whether it came plainly or in escapes."""
    escaped = KEY.replace("-", "\\u002d")

    async def handler(incoming: web.Request) -> web.StreamResponse:
        seen = incoming.headers.get("authorization") or incoming.headers["x-api-key"]
        assert KEY in seen
        body = json.dumps({**MESSAGE, "model": seen, "stop_reason": seen, "content": [{"type": "text", "text": "@"}]})
        return web.Response(
            text=body.replace("@", escaped), headers={"request-id": seen, "content-type": "application/json"}
        )

    partial = PartialAnswer() if streaming else None
    answer = run(send(serve(handler), request(), partial))
    shown = repr(answer) + repr(result(answer)) + (partial.text if partial else "")
    assert KEY not in shown
    assert result(answer).text == "…"


@pytest.mark.parametrize("way", ["connections", "sdk"])
@pytest.mark.parametrize("status", [307, 400, 429, 500])
def test_a_key_that_a_refusal_echoes_reaches_nothing(
    run: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch, way: str, status: int
) -> None:
    """No part of the error has it: neither its text, type, code and request id nor the limits that headers name."""

    async def handler(incoming: web.Request) -> web.StreamResponse:
        seen = incoming.headers.get("authorization") or incoming.headers["x-api-key"]
        error = {"type": f"{seen}_error", "message": seen, "details": {"error_code": seen}}
        headers = {"anthropic-ratelimit-requests-limit": seen, "location": f"https://{KEY}/", "retry-after": "1"}
        if status != 429:
            headers["request-id"] = seen
        return web.json_response({"error": error, "request_id": seen}, status=status, headers=headers)

    if way == "sdk":
        see_every_call(monkeypatch)
    with pytest.raises(ApiError) as caught:
        run(send(serve(handler), request()))
    assert KEY not in str(caught.value) + repr(caught.value) + repr(vars(caught.value))
    assert caught.value.request_id


@pytest.mark.parametrize("location", ["http://[::1", "http://[bad]/", "//", "http://user:pa55@["])
def test_a_redirect_that_leads_nowhere(run: Any, serve: Serve, location: str) -> None:
    """An address that is not one is the same error."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"location": location})

    with pytest.raises(RedirectedError, match="redirects are not followed") as caught:
        run(send(serve(handler), request()))
    assert "pa55" not in str(caught.value)


EVENTS = (
    b'data: {"type": "message_start", "message": {"model": "m"}}\n\n'
    b'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}\n\n'
    b'data: {"type": "message_stop"}\n\n'
)


@pytest.mark.parametrize("added", [b"", b"data: [DONE]\n\n", b": bye\n\n", b"data: {", b"\xff\n\n"])
@pytest.mark.parametrize("left", ["ended", "open", "cut"])
def test_what_follows_the_end_of_a_stream(run: Any, serve: Serve, added: bytes, left: str) -> None:
    """Neither what a gateway adds behind ``message_stop`` nor how it leaves the connection takes the answer away."""

    async def handler(incoming: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(incoming)
        await response.write(EVENTS)
        await response.write(added or b"\n")
        if left == "open":
            await asyncio.sleep(3)
        elif left == "cut" and incoming.transport is not None:
            incoming.transport.abort()
        return response

    partial = PartialAnswer()
    began = time.monotonic()
    answer = run(send(serve(handler), request(), partial, timeout_seconds=2))
    assert (result(answer).text, partial.text) == ("hi", "hi")
    assert time.monotonic() - began < 20


def test_a_connection_is_kept_after_a_stream(run: Any, serve: Serve) -> None:
    """Its end may come a moment after its last event."""
    peers: List[Any] = []

    async def handler(incoming: web.Request) -> web.StreamResponse:
        assert incoming.transport is not None
        peers.append(incoming.transport.get_extra_info("peername"))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(incoming)
        await response.write(EVENTS)
        await asyncio.sleep(0.01 if len(peers) < 3 else 1)
        return response

    async def main() -> None:
        way = transport(serve(handler))
        for _ in range(4):
            await way.send(request(), timeout_seconds=20, partial=PartialAnswer())
        await way.close()

    run(main())
    assert peers[0] == peers[1] == peers[2] != peers[3]


@pytest.mark.parametrize("missing", [1, 2, 3, 12])
def test_a_stream_without_its_last_blank_line(run: Any, serve: Serve, missing: int) -> None:
    """Its last event counts if it is whole."""
    url = serve(answer_with(EVENTS[:-missing], **{"content-type": "text/event-stream"}))
    if missing <= 2:
        assert result(run(send(url, request(), PartialAnswer()))).text == "hi"
    else:
        with pytest.raises(StreamCutError):
            run(send(url, request(), PartialAnswer()))
