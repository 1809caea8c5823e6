"""The transport against a real server: what is sent, what comes back, and every way in which it fails."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import threading
from contextlib import closing
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
from aiohttp import web
from support.transports import KEY, Handler, request, result, send, transport

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.errors import (
    ApiError,
    AuthenticationError,
    BrokenConnectionError,
    CallTimeoutError,
    ClaudeForceError,
    ConfigurationError,
    InvalidRequestError,
    MalformedAnswerError,
    MissingApiKeyError,
    NotFoundError,
    OptionError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SpendLimitError,
    StreamCutError,
    TransportClosedError,
)
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.simulator import FAULT_KINDS, Simulator
from claude_force_nb.simulator.faults import ROW_KINDS

TOOL = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"system": "Be brief.", "temperature": 0.3, "stop_sequences": ["zzz"]},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
        {"max_tokens": 3},
        {"max_tokens": 60_000},
    ],
    ids=["text", "options", "thinking", "tool", "cut", "long"],
)
def test_streamed_and_plain_answers_are_equal(run: Any, simulator: Simulator, more: Dict[str, Any]) -> None:
    """An answer is the same whether it came at once or as a stream: blocks, stop reason, model and usage."""
    plain = run(send(simulator.url, request(**more)))
    partial = PartialAnswer()
    streamed = run(send(simulator.url, request(**more), partial))
    for field in ("content", "stop_reason", "stop_sequence", "model", "role", "type"):
        assert streamed.body[field] == plain.body[field], field
    one, other = result(plain), result(streamed)
    assert (one.text, one.thinking, one.usage, one.stop_reason) == (
        other.text,
        other.thinking,
        other.usage,
        other.stop_reason,
    )
    assert (partial.text, partial.thinking) == (other.text, other.thinking)
    assert one.text or one.stop_reason == "tool_use"
    assert one.usage.output_tokens * 2 == simulator.counters.output_tokens
    assert one.usage.input_tokens * 2 == simulator.counters.input_tokens
    assert str(one.request_id).startswith("req_")
    assert one.call_seconds > 0


def test_cumulative_usage_is_not_added(run: Any, serve: Callable[[Handler], str]) -> None:
    """What message_delta says of tokens replaces what message_start said; what it leaves out or nulls stays."""
    events = [
        ("message_start", {"message": {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": [], "usage": {
            "input_tokens": 10, "cache_read_input_tokens": 500, "cache_creation_input_tokens": 7, "output_tokens": 1}}}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": "a"}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "b"}}),
        ("some_event_of_the_future", {"x": 1}),
        ("content_block_delta", {"index": 0, "delta": {"type": "some_delta_of_the_future", "x": 1}}),
        ("content_block_stop", {"index": 0}),
        ("content_block_start", {"index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "n", "input": {}}}),
        ("content_block_delta", {"index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a": [1, "tw'}}),
        ("content_block_stop", {"index": 1}),
        ("message_delta", {"delta": {"stop_reason": "max_tokens", "stop_sequence": None}, "usage": {
            "input_tokens": 10, "cache_read_input_tokens": 500, "cache_creation_input_tokens": None, "output_tokens": 20}}),
        ("message_stop", {}),
    ]  # fmt: skip

    async def handler(_: web.Request) -> web.StreamResponse:
        import json

        text = "".join(
            "event: {}\ndata: {}\n\n".format(kind, json.dumps({"type": kind, **data})) for kind, data in events
        )
        return web.Response(text=text, content_type="text/event-stream")

    answer = result(run(send(serve(handler), request(), PartialAnswer())))
    assert (answer.usage.input_tokens, answer.usage.cache_read_tokens, answer.usage.output_tokens) == (10, 500, 20)
    assert answer.usage.cache_write_5m_tokens == 7
    assert (answer.text, answer.stop_reason) == ("ab", "max_tokens")


@pytest.mark.parametrize("more", [{}, {"system": "Be brief.", "temperature": 0.5, "tools": [TOOL]}])
def test_tokens_are_counted_as_the_answer_has_them(run: Any, simulator: Simulator, more: Dict[str, Any]) -> None:
    """What the API counts beforehand is what the same request is billed for."""
    asked = request("What is a monad? " * 20, **more)

    async def count() -> int:
        way = transport(simulator.url)
        try:
            return await way.count_tokens(asked, timeout_seconds=20.0)
        finally:
            await way.close()

    assert run(count()) == result(run(send(simulator.url, asked))).usage.total_input_tokens > 0


def test_an_invalid_count_is_one_line(run: Any, serve: Callable[[Handler], str]) -> None:
    """Other servers may implement the endpoint differently."""
    answers: List[Any] = [{"input_tokens": -1}, {"input_tokens": True}, {"input_tokens": "5"}, {}, [], "x"]

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(answers[0])

    async def main() -> None:
        way = transport(serve(handler))
        while answers:
            with pytest.raises(MalformedAnswerError, match="did not count tokens"):
                await way.count_tokens(request(), timeout_seconds=20.0)
            answers.pop(0)
        await way.close()

    run(main())


FAULTS: Dict[str, Tuple[Any, Any]] = {  # kind: class of a plain call, class of a streamed one; None where it succeeds
    "rate_limit": (RateLimitError, RateLimitError),
    "spend_limit": (SpendLimitError, SpendLimitError),
    "billing": (SpendLimitError, SpendLimitError),
    "overloaded": (OverloadedError, OverloadedError),
    "server_error": (ServerError, ServerError),
    "invalid_request": (InvalidRequestError, InvalidRequestError),
    "authentication": (AuthenticationError, AuthenticationError),
    "permission": (PermissionDeniedError, PermissionDeniedError),
    "drop": (BrokenConnectionError, BrokenConnectionError),
    "lost": (BrokenConnectionError, BrokenConnectionError),
    "cut": (BrokenConnectionError, StreamCutError),
    "stream_error": (OverloadedError, OverloadedError),
    "slow": (None, None),
    "hang": (CallTimeoutError, CallTimeoutError),
    "silent": (CallTimeoutError, CallTimeoutError),
    "held": (CallTimeoutError, None),
    "retry_after_on_success": (None, None),
    "html": (MalformedAnswerError, MalformedAnswerError),
    "truncated_json": (MalformedAnswerError, MalformedAnswerError),
    "refusal": (None, None),
    "refusal_midway": (None, None),
    "wrong_json": (None, None),
    "new_block": (None, None),
    "new_events": (None, None),
    "new_fields": (None, None),
    "new_stop_reason": (None, None),
}


def test_no_fault_is_forgotten() -> None:
    """The table of faults is the simulator's."""
    assert {*FAULTS, *ROW_KINDS} == set(FAULT_KINDS)  # what befalls rows of batches does not befall calls


@pytest.mark.parametrize("way", ["first", "later", "streamed"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_class(run: Any, simulator: Simulator, fault: str, way: str) -> None:
    """Each fault of the server ends as its class of error, in one line, without the key; the next call is answered.

    The first call opens the connection, later ones find it open.
    """
    streaming = way == "streamed"
    simulator.fail([None] * (way == "later") + [fault], delay_seconds=0.01, retry_after_seconds=3)  # type: ignore[list-item]
    partial = PartialAnswer() if streaming else None
    expected = FAULTS[fault][streaming]
    waits = fault in ("hang", "silent", "held") and expected is not None

    async def main() -> None:
        client = transport(simulator.url)
        if way == "later":
            await client.send(request(), timeout_seconds=20)
        call = client.send(request(), timeout_seconds=0.3 if waits else 20, partial=partial)
        if expected is None:
            answer = await call
            if fault != "new_stop_reason":
                assert answer.body["stop_reason"] == ("refusal" if fault.startswith("refusal") else "end_turn")
        else:
            with pytest.raises(expected) as raised:
                await call
            error = raised.value
            assert isinstance(error, ApiError)
            assert "\n" not in str(error)
            assert KEY not in str(error)
            assert not error.never_left
            if fault in ("rate_limit", "spend_limit", "overloaded", "server_error"):
                assert error.retry_after_seconds == 3
                assert str(error.request_id).startswith("req_")
            assert error.retryable is (fault in ("rate_limit", "overloaded", "server_error", "drop", "lost", "cut", "stream_error", "html",
                                                 "truncated_json") or isinstance(error, StreamCutError))  # fmt: skip
        assert result(await client.send(request(), timeout_seconds=20)).text
        await client.close()

    run(main())


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        ("<html>hello</html>", "text/html", MalformedAnswerError),
        ("", "application/json", MalformedAnswerError),
        ("[]", "application/json", MalformedAnswerError),
        ('"text"', "application/json", MalformedAnswerError),
        ('{"choices": []}', "application/json", MalformedAnswerError),
        ('{"content": "text"}', "application/json", MalformedAnswerError),
    ],
)
def test_a_server_that_is_not_the_api(
    run: Any, serve: Callable[[Handler], str], body: str, kind: str, error: Any, streaming: bool
) -> None:
    """A 200 that is not a message is an error that names the likely cause, not an empty answer."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body, content_type=kind)

    with pytest.raises(error) as raised:
        result(run(send(serve(handler), request(), PartialAnswer() if streaming else None)))
    assert "base_url" in str(raised.value)
    assert ("not the Messages API" in str(raised.value)) is ("html" in kind)
    assert ("http://127.0.0.1" in str(raised.value)) is ("html" in kind or not body)


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
def test_an_error_that_comes_as_200_is_the_error(run: Any, serve: Callable[[Handler], str], streaming: bool) -> None:
    """An error may come with status 200, as in a stream: a gateway had begun its response when the API failed."""

    async def handler(_: web.Request) -> web.StreamResponse:
        error = {"type": "overloaded_error", "message": f"Overloaded {KEY}"}
        return web.json_response({"type": "error", "error": error, "request_id": "req_7"})

    with pytest.raises(OverloadedError) as raised:
        run(send(serve(handler), request(), PartialAnswer() if streaming else None))
    assert (raised.value.retryable, raised.value.request_id) == (True, "req_7")
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("usage", [None, [], {"input_tokens": "many"}, "x"], ids=repr)
def test_a_server_with_its_own_idea_of_usage(run: Any, serve: Callable[[Handler], str], usage: Any) -> None:
    """A message without a usable usage is still an answer."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"type": "message", "content": [{"type": "text", "text": "hi"}, "odd", {}], "usage": usage}
        )

    answer = result(run(send(serve(handler), request())))
    assert (answer.text, answer.usage.total_input_tokens, answer.stop_reason) == ("hi", 0, None)


def test_a_path_in_the_address(run: Any, serve: Callable[[Handler], str]) -> None:
    """A gateway's path goes before the API's; a missing page there is a NotFoundError that says where to look."""
    paths: List[str] = []

    async def handler(asked: web.Request) -> web.StreamResponse:
        paths.append(asked.path)
        return web.Response(status=404, text="no such page")

    with pytest.raises(NotFoundError, match="base_url"):
        run(send(serve(handler) + "/gateway/a/", request()))
    assert paths == ["/gateway/a/v1/messages"]


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("end", ["/v1", "/v1/", "/gateway/v1"])
def test_an_address_that_ends_in_v1(run: Any, simulator: Simulator, end: str, streaming: bool) -> None:
    """The API has no such page, and the one line about it says what to leave out."""
    with pytest.raises(NotFoundError, match="remove /v1") as raised:
        run(send(simulator.url + end, request(), PartialAnswer() if streaming else None))
    assert "\n" not in str(raised.value)


def test_what_is_sent(run: Any, simulator: Simulator) -> None:
    """The body is the request's, the version and betas are its own, and there is one credential."""
    asked = request(temperature=0.5, top_k=5, metadata={"user_id": "u"}, system="s")
    run(send(simulator.url, asked))
    run(send(simulator.url, ClaudeRequest(body=asked.body, betas=("b", "a")), PartialAnswer()))
    first, second = simulator.requests
    assert (first.method, first.path) == ("POST", "/v1/messages")
    assert {name: value for name, value in first.body.items() if name != "stream"} == asked.body
    assert first.headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in first.headers
    assert second.body["stream"] is True
    assert second.headers["anthropic-beta"] == "a,b"
    for sent in (first, second):
        assert len({"x-api-key", "authorization"} & set(sent.headers)) == 1


def test_equal_calls_are_sent_alike(run: Any, simulator: Simulator) -> None:
    """Body and headers are the same, byte for byte, but for what differs between the calls."""

    async def main() -> None:
        way = transport(simulator.url)
        for betas, seconds in (((), 20.0), ((), 20.0), (("b", "a"), 7.0), ((), 20.0)):
            await way.send(ClaudeRequest(body=request().body, betas=betas), timeout_seconds=seconds)
        await way.close()

    run(main())
    first, second, third, fourth = simulator.requests
    assert first.headers == second.headers == fourth.headers
    assert first.body == second.body
    assert third.headers.pop("anthropic-beta") == "a,b"
    assert third.headers == first.headers


def test_one_credential_whatever_the_environment_holds(
    run: Any, serve: Callable[[Handler], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was given is the only credential sent, though the process's environment has others; and a token likewise."""
    seen: List[str] = []

    async def handler(asked: web.Request) -> web.StreamResponse:
        seen.append("{} {}".format(asked.headers.get("x-api-key", ""), asked.headers.get("authorization", "")))
        return web.json_response({"type": "message", "content": []})

    url = serve(handler)

    async def main(**options: Any) -> None:
        way = ApiTransport(base_url=url, **options)
        await way.send(request(), timeout_seconds=20)
        await way.close()

    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-of-the-environment")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-of-the-environment")
    run(main(api_key=KEY, environ={}))
    run(main(environ={"ANTHROPIC_AUTH_TOKEN": "my-token"}))
    assert KEY in seen[0]
    assert "my-token" in seen[1]
    assert "of-the-environment" not in "".join(seen)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("blocking", [False, True])
def test_a_closed_transport_sends_nothing_more(run: Any, simulator: Simulator, used: bool, blocking: bool) -> None:
    """However it was closed, and whether or not it had sent anything before."""
    way = transport(simulator.url)
    if used:
        run(way.send(request(), timeout_seconds=20))
    if blocking:
        way.close_blocking()
    else:
        run(way.close())
    with pytest.raises(TransportClosedError):
        run(way.send(request(), timeout_seconds=20))
    assert simulator.counters.calls == used


@pytest.mark.parametrize("environ", [{}, {"ANTHROPIC_API_KEY": " \n"}])
@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1"])
def test_no_key(run: Any, environ: Dict[str, str], url: Optional[str]) -> None:
    """Without a key nothing is sent, and one line says what to set."""
    way = ApiTransport(base_url=url, environ=environ)
    with pytest.raises(MissingApiKeyError, match="set ANTHROPIC_API_KEY") as raised:
        way.check()
    assert ("any text will do" in str(raised.value)) is (url is not None)
    with pytest.raises(MissingApiKeyError):
        run(way.send(request(), timeout_seconds=1))


@pytest.mark.parametrize(
    "key", ["schlüssel-0123456789", "sk-ant-\r\nx-evil: 1", "sk-ant-\u200b0123456789", "“sk-ant-0123456789”"]
)
def test_odd_keys(key: str) -> None:
    """A key with characters that cannot be in one is refused before anything is sent, and not shown."""
    way = ApiTransport(api_key=key, environ={})
    with pytest.raises(MissingApiKeyError) as raised:
        way.check()
    assert "0123456789" not in str(raised.value)
    assert "evil" not in str(raised.value)


def test_a_key_with_blanks_around_it(run: Any, simulator: Simulator) -> None:
    """A key copied with its line end works."""

    async def main() -> None:
        way = ApiTransport(environ={"ANTHROPIC_API_KEY": KEY + "\n", "ANTHROPIC_BASE_URL": simulator.url})
        assert (await way.send(request(), timeout_seconds=20)).body["content"]
        await way.close()

    run(main())


def test_addresses_that_are_none() -> None:
    """An invalid address is refused where it is given."""
    with pytest.raises(OptionError):
        ApiTransport(api_key=KEY, base_url="localhost", environ={})


def test_the_key_is_shown_nowhere(run: Any, simulator: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """Neither reprs nor logs at the finest level, ours and the libraries', nor errors have the key or a password."""
    caplog.set_level(logging.DEBUG)
    way = transport(simulator.url.replace("http://", "http://user:pa55word@"))
    simulator.fail(["authentication", "drop"], message=f"key {KEY} is wrong")

    async def main() -> List[str]:
        shown = [repr(way), str(way)]
        for _ in range(3):
            try:
                await way.send(request(), timeout_seconds=20)
            except ApiError as error:
                shown += [str(error), repr(error)]
        await way.close()
        return shown

    text = "\n".join(run(main())) + caplog.text
    assert KEY not in text
    assert "pa55word" not in text.replace("http://user:pa55word@", "")


def test_a_password_in_the_address(run: Any, serve: Any) -> None:
    """It goes to the server as its own, beside the key and not in place of it, with every call; a token beside it is one line."""
    seen: List[Any] = []

    async def answer(incoming: web.Request) -> web.Response:
        seen.append(incoming)
        headers = {"x-echo": incoming.headers["authorization"], "content-type": "application/json"}
        return web.Response(
            body=json.dumps({"error": {"message": dict(incoming.headers)}}), status=400, headers=headers
        )

    server = serve(answer).replace("http://", "http://user:pa%35%35word%40@")
    basic = base64.b64encode(b"user:pa55word@").decode()

    async def main() -> List[str]:
        way = transport(server)
        said = []
        for _ in range(3):
            with pytest.raises(ApiError) as caught:
                await way.send(request(), timeout_seconds=20)
            said += [str(caught.value), repr(caught.value), repr(vars(caught.value))]
        await way.close()
        return said

    said = "\n".join(run(main()))
    assert [each.headers["authorization"] for each in seen] == [f"Basic {basic}"] * 3
    assert [each.headers.getall("x-api-key") for each in seen] == [[KEY]] * 3
    for secret in (basic, "pa55word", KEY):
        assert secret not in said
    way = ApiTransport(base_url=server, environ={"ANTHROPIC_AUTH_TOKEN": "t" * 30})
    with pytest.raises(ConfigurationError, match="would go into the same header"):
        run(way.send(request(), timeout_seconds=20))
    run(way.close())
    assert len(seen) == 3


def unused_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "https://no-such-host.invalid"])
def test_no_server_there(run: Any, url: str) -> None:
    """A server that cannot be reached is named, and it is known that it got nothing."""
    for partial in (None, PartialAnswer()):
        with pytest.raises(BrokenConnectionError, match=r"cannot reach https?://") as caught:
            run(send(url.format(port=unused_port()), request(), partial=partial))
        assert caught.value.never_left


def test_one_transport_for_many_loops(run: Any, simulator: Simulator) -> None:
    """asyncio.run again and again, and loops in threads, use one transport; each loop's connections close with it."""
    way = transport(simulator.url)
    texts: List[str] = []

    async def main() -> None:
        texts.append(result(await way.send(request(), timeout_seconds=20)).text)

    for _ in range(3):
        run(main())
        assert not way._clients
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    way.close_blocking()
    assert len(texts) == 4
    assert len(set(texts)) == 1


def test_closing_from_another_loop(run: Any, simulator: Simulator) -> None:
    """close() closes the connections of loops that run in other threads too, and refuses further calls."""
    way = transport(simulator.url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(way.send(request(), timeout_seconds=20), loop).result(20)

    async def main() -> None:
        await way.send(request(), timeout_seconds=20)
        await way.close()
        assert not way._clients
        with pytest.raises(TransportClosedError):
            await way.send(request(), timeout_seconds=20)

    run(main())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.parametrize("running", [False, True])
def test_closing_without_a_loop(simulator: Simulator, running: bool) -> None:
    """close_blocking closes the connections of a loop that rests, and of one that runs in another thread."""
    way = transport(simulator.url)
    loop = asyncio.new_event_loop()
    if running:
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        asyncio.run_coroutine_threadsafe(way.send(request(), timeout_seconds=20), loop).result(20)
        way.close_blocking()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
    else:
        loop.run_until_complete(way.send(request(), timeout_seconds=20))
        way.close_blocking()
    assert not way._clients
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


async def call_under_way(way: ApiTransport, simulator: Simulator, streaming: bool) -> asyncio.Future[Any]:
    """Return a call that the server has begun to answer."""
    partial = PartialAnswer() if streaming else None
    call = asyncio.ensure_future(way.send(request(), timeout_seconds=60, partial=partial))
    while not simulator.counters.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    return call


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
def test_cancelling_closes_the_connection(run: Any, simulator: Simulator, streaming: bool) -> None:
    """A cancelled call leaves the server at once, and the transport stays usable."""
    simulator.fail(["silent" if streaming else "hang"])

    async def main() -> None:
        way = transport(simulator.url)
        call = await call_under_way(way, simulator, streaming)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        while simulator.counters.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        assert result(await way.send(request(), timeout_seconds=20)).text
        await way.close()

    run(main())
    assert simulator.counters.aborted_by_client == 1


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
def test_closing_ends_calls_under_way(run: Any, simulator: Simulator, streaming: bool) -> None:
    """close() while a call waits ends that call as closed, not as some error of the HTTP library."""
    simulator.fail(["silent" if streaming else "hang"])

    async def main() -> None:
        way = transport(simulator.url)
        call = await call_under_way(way, simulator, streaming)
        await way.close()
        with pytest.raises(ClaudeForceError) as raised:
            await call
        assert type(raised.value) is TransportClosedError

    run(main())
