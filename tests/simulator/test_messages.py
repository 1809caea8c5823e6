"""The simulator's Messages API over a real socket, with the official SDK as the client where it fits."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from contextlib import closing
from decimal import Decimal
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import aiohttp
import anthropic
import pytest

from claude_force_nb.simulator import Simulator, SimulatorOptions

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}


def body(prompt: str = "What is a monad?", **more: Any) -> Dict[str, Any]:
    base: Dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 1000}
    base["messages"] = [{"role": "user", "content": prompt}]
    base.update(more)
    return base


def call(
    simulator: Simulator,
    path: str = "/v1/messages",
    sent: Any = None,
    *,
    method: Optional[str] = None,
    headers: Mapping[str, str] = HEADERS,
) -> Tuple[int, Dict[str, str], Any]:
    """Return status, headers (lower case) and decoded body."""
    with closing(
        http.client.HTTPConnection("127.0.0.1", int(simulator.url.rpartition(":")[2]), timeout=20)
    ) as connection:
        data = sent if sent is None or isinstance(sent, bytes) else json.dumps(sent).encode()
        connection.request(method or ("GET" if sent is None else "POST"), path, data, dict(headers))
        answer = connection.getresponse()
        text = answer.read()
        shown = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, shown, json.loads(text) if shown["content-type"] == "application/json" else text.decode()


def events(text: str) -> List[Tuple[str, Dict[str, Any]]]:
    """Return name and data of each event of a stream."""
    parsed = []
    for part in text.strip().split("\n\n"):
        name, data = part.split("\n")
        parsed.append((name[len("event: ") :], json.loads(data[len("data: ") :])))
    return parsed


async def until(reached: Callable[[], bool]) -> None:
    """Wait for what the server's thread does."""
    while not reached():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


def test_plain_call_is_answered_and_billed(simulator: Simulator) -> None:
    """One call gives a message of the API's shape, and the same numbers in the counters, at the API's price."""
    status, headers, message = call(simulator, sent=body())
    assert (status, message["type"], message["role"], message["stop_reason"]) == (
        200,
        "message",
        "assistant",
        "end_turn",
    )
    assert headers["request-id"].startswith("req_")
    assert not [name for name in headers if "ratelimit" in name]
    assert message["model"] == "claude-haiku-4-5-20251001"
    assert message["content"][0]["text"].startswith("Simulated answer")
    counters = simulator.counters
    assert (counters.calls, counters.completed, counters.in_flight, counters.most_in_flight) == (1, 1, 0, 1)
    assert counters.by_status == {200: 1}
    assert counters.by_endpoint == {"messages": 1}
    usage = message["usage"]
    assert (counters.input_tokens, counters.output_tokens) == (usage["input_tokens"], usage["output_tokens"])
    # One dollar for a million tokens of input, five for the output.
    assert counters.dollars == Decimal(usage["input_tokens"] + 5 * usage["output_tokens"]) / 1_000_000 > 0
    assert counters.unpriced == 0


def test_answers_depend_on_the_prompt_alone(simulator: Simulator) -> None:
    """The same question gives the same text, another question or system prompt another one."""

    def text(**more: Any) -> str:
        return str(call(simulator, sent=body(**more))[2]["content"][0]["text"])

    assert text() == text()
    assert text() != text(system="Be brief.")
    assert text() != text(prompt="What is a functor?")


def test_stream_has_the_events_of_the_api(simulator: Simulator) -> None:
    """A stream is the plain answer in the API's order of events, with cumulative usage at its end."""
    message = call(simulator, sent=body())[2]
    status, headers, text = call(simulator, sent=body(stream=True))
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    parsed = events(text)
    names = [name for name, _ in parsed]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert names.count("content_block_delta") >= 5
    assert all(name == data["type"] for name, data in parsed)
    assert (
        "".join(data["delta"]["text"] for name, data in parsed if name == "content_block_delta")
        == (message["content"][0]["text"])
    )
    start, delta = parsed[0][1]["message"], parsed[-2][1]
    assert (start["content"], start["stop_reason"]) == ([], None)
    assert delta["usage"]["input_tokens"] == start["usage"]["input_tokens"] == message["usage"]["input_tokens"]
    assert delta["usage"]["output_tokens"] == message["usage"]["output_tokens"]
    assert simulator.counters.completed == 2


def test_the_sdk_reads_answers_streams_counts_and_models() -> None:
    """The installed SDK parses whatever the simulator sends, thinking included."""
    prompt: Any = [{"role": "user", "content": "What is a monad?"}]

    async def main() -> None:
        async with Simulator() as simulator:  # noqa: SIM117
            async with anthropic.AsyncAnthropic(api_key="key", base_url=simulator.url, max_retries=0) as client:
                plain = await client.messages.create(model="claude-sonnet-5-5", max_tokens=5000, messages=prompt)
                thinking: Any = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}
                async with client.messages.stream(
                    model="claude-sonnet-5-5", max_tokens=4000, messages=prompt, extra_body=thinking
                ) as stream:
                    final = await stream.get_final_message()
                counted = await client.messages.count_tokens(model="claude-sonnet-5-5", messages=prompt)
                listed = [model.id async for model in client.models.list(limit=3)]
                one = await client.models.retrieve("claude-haiku-4-5")
        assert counted.input_tokens == plain.usage.input_tokens == final.usage.input_tokens
        assert [block.type for block in final.content] == ["thinking", "text"]
        assert final.content[0].signature
        assert [block.type for block in plain.content] == ["thinking", "text"]
        assert final.usage.output_tokens > plain.usage.output_tokens
        assert "claude-opus-5-5" in listed
        assert "claude-haiku-4-5-20251001" in listed
        assert one.id == "claude-haiku-4-5-20251001"

    asyncio.run(main())


def test_thinking_streams_its_own_block(simulator: Simulator) -> None:
    """Thinking comes first, with thinking deltas and a signature; omitted thinking keeps only the signature."""
    thinking = {"type": "adaptive", "display": "summarized"}
    parsed = events(call(simulator, sent=body(model="claude-haiku-5-5", stream=True, thinking=thinking))[2])
    kinds = [data["delta"]["type"] for name, data in parsed if name == "content_block_delta"]
    assert kinds == sorted(kinds, key=["thinking_delta", "signature_delta", "text_delta"].index)
    assert set(kinds) == {"thinking_delta", "signature_delta", "text_delta"}
    assert parsed[-2][1]["usage"]["output_tokens_details"]["thinking_tokens"] > 0
    message = call(simulator, sent=body(model="claude-haiku-5-5", thinking={"type": "adaptive", "display": "omitted"}))[
        2
    ]
    assert message["content"][0]["thinking"] == ""
    assert message["content"][0]["signature"]


def test_max_tokens_and_stop_sequences_cut_the_answer(simulator: Simulator) -> None:
    """An answer never has more than max_tokens, and ends before a stop sequence that it names."""
    cut = call(simulator, sent=body(max_tokens=5))[2]
    assert (cut["stop_reason"], cut["usage"]["output_tokens"]) == ("max_tokens", 5)
    stopped = call(simulator, sent=body(stop_sequences=["zzz", "answer"]))[2]
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "answer")
    assert stopped["content"][0]["text"] == "Simulated "
    exact = call(simulator, sent=body(max_tokens=call(simulator, sent=body())[2]["usage"]["output_tokens"]))[2]
    assert exact["stop_reason"] == "end_turn"


SCHEMA: Dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 3}, "kind": {"enum": ["a", "b"]}},
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
# The API holds no answer to a bound: it can only stand in the description.
HELD = {
    **SCHEMA,
    "properties": {**SCHEMA["properties"], "age": {"type": "integer", "description": 'Constraints: {"minimum":3}'}},
}


@pytest.mark.parametrize(
    "asked",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": HELD}}},
        {"system": "Answer in JSON, valid under this JSON Schema: " + json.dumps(SCHEMA)},
        {"output_format": {"type": "json_schema", "schema": HELD}},
    ],
)
def test_structured_output_is_valid(simulator: Simulator, asked: Dict[str, Any]) -> None:
    """A JSON schema gets a text that it takes, one in the system prompt as well."""
    import jsonschema

    beta = dict(HEADERS, **{"anthropic-beta": "structured-outputs-2025-11-13"}) if "output_format" in asked else HEADERS
    message = call(simulator, sent=body(**asked), headers=beta)[2]
    jsonschema.validate(json.loads(message["content"][0]["text"]), SCHEMA)


def test_forced_tool_is_used(simulator: Simulator) -> None:
    """tool_choice gets a tool_use block with arguments that the tool's schema takes, plain and streamed alike."""
    import jsonschema

    tools = [{"name": "other", "input_schema": {"type": "object"}}, {"name": "store", "input_schema": SCHEMA}]
    asked = body(tools=tools, tool_choice={"type": "tool", "name": "store"})
    message = call(simulator, sent=asked)[2]
    assert (message["stop_reason"], message["content"][0]["name"]) == ("tool_use", "store")
    jsonschema.validate(message["content"][0]["input"], SCHEMA)
    parsed = events(call(simulator, sent=dict(asked, stream=True))[2])
    pieces = [data["delta"]["partial_json"] for name, data in parsed if name == "content_block_delta"]
    assert json.loads("".join(pieces)) == message["content"][0]["input"]


def test_a_conversation_and_blocks_are_counted(simulator: Simulator) -> None:
    """count_tokens agrees with the usage of the same request, whatever its content is made of."""
    asked = body(
        system=[{"type": "text", "text": "Be brief."}],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGODlh"}},
                ],
            },
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "store", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "fine"}]},
        ],
        tools=[{"name": "store", "input_schema": SCHEMA}],
    )
    counted = {key: value for key, value in asked.items() if key != "max_tokens"}
    tokens = call(simulator, "/v1/messages/count_tokens", counted)[2]["input_tokens"]
    assert tokens == call(simulator, sent=asked)[2]["usage"]["input_tokens"] > 1500


INVALID = [
    ({"messages": []}, "messages: at least one message is required"),
    ({"messages": "hello"}, "messages: Input should be a valid list"),
    ({"messages": ["Invalid content"]}, "messages.0: Input does not match the expected shape."),
    ({"messages": [{"role": "system", "content": "x"}]}, "role 'system' is not supported on this model"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 'Unexpected role "tool"'),
    ({"messages": [{"role": "user", "content": ""}]}, "all messages must have non-empty content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        "text content blocks must be non-empty",
    ),
    ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
    ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
    ({"max_tokens": 64_001}, "max_tokens: 64001 > 64000, which is the maximum"),
    ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
    ({"temperature": 1.01}, "temperature: range: 0..1"),
    ({"temperature": -0.01}, "temperature: range: 0..1"),
    ({"temperature": "hot"}, "temperature: Input should be a valid number"),
    ({"stop_sequences": [" "]}, "each stop sequence must contain non-whitespace"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, "greater than or equal to 1024"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "`max_tokens` must be greater than"),
    (
        {"model": "claude-opus-4-6", "thinking": {"type": "adaptive"}, "temperature": 0.5},
        "may only be set to 1 when thinking is enabled",
    ),
    ({"thinking": {"type": "adaptive"}}, "adaptive thinking is not supported on this model"),
    (
        {"model": "claude-opus-4-5", "output_config": {"effort": "max"}},
        "does not support effort level 'max'. Supported levels: high, low, medium.",
    ),
    ({"output_config": {"format": {"type": "json"}}}, "expected tags: 'json_schema'"),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 3}}}},
        "property 'minimum' is not supported",
    ),
    ({"tool_choice": {"type": "any"}}, "may only be specified while providing tools"),
    ({"system": 3}, "system: Input should be"),
    ({"agent": "reviewer"}, "agent: Extra inputs are not permitted"),
    ({"model": 7}, "model: Field required"),
]


def test_invalid_requests_get_the_words_of_the_api(simulator: Simulator) -> None:
    """Each kind of invalid request is a 400 with an error body that names the field; nothing is billed."""
    for change, message in INVALID:
        status, headers, answer = call(simulator, sent=body(**change))
        assert (status, answer["type"], answer["error"]["type"]) == (400, "error", "invalid_request_error"), change
        assert message in answer["error"]["message"], change
        assert answer["request_id"] == headers["request-id"]
    for missing in ("messages", "max_tokens", "model"):
        sent = body()
        del sent[missing]
        status, _, answer = call(simulator, sent=sent)
        assert (status, answer["error"]["message"]) == (400, missing + ": Field required")
    assert call(simulator, sent=b"{nonsense")[0] == 400
    assert call(simulator, sent=b"[" * 100_000)[0] == 400
    assert (simulator.counters.completed, simulator.counters.input_tokens) == (0, 0)


def test_temperature_at_its_bounds_is_taken(simulator: Simulator) -> None:
    """0 and 1 are in the range."""
    assert [call(simulator, sent=body(temperature=value))[0] for value in (0, 1, 0.0, 1.0)] == [200] * 4


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"anthropic-version": "2023-06-01"}, 401, "x-api-key header is required"),
        ({"x-api-key": "", "anthropic-version": "2023-06-01"}, 401, "x-api-key header is required"),
        ({"x-api-key": "an-invalid-key", "anthropic-version": "2023-06-01"}, 401, "invalid x-api-key"),
        ({"authorization": "Bearer invalid", "anthropic-version": "2023-06-01"}, 401, "Invalid bearer token"),
        ({"authorization": "Bearer fine", "anthropic-version": "2023-06-01"}, 200, ""),
        ({"x-api-key": "fine"}, 400, "anthropic-version: header is required"),
    ],
)
def test_key_and_version_are_asked_for(
    simulator: Simulator, headers: Dict[str, str], status: int, message: str
) -> None:
    """A key comes in either header, is not to be called invalid, and the version must be there."""
    got, _, answer = call(simulator, sent=body(), headers=headers)
    assert got == status
    if status != 200:
        assert answer["error"]["message"] == message
        assert answer["error"]["type"] == ("authentication_error" if status == 401 else "invalid_request_error")


def test_unknown_model_is_not_found_unless_any_is_accepted(simulator: Simulator) -> None:
    """404 names the model; accept_any_model answers, and such an answer is unpriced."""
    status, _, answer = call(simulator, sent=body(model="claude-does-not-exist"))
    assert (status, answer["error"]) == (404, {"type": "not_found_error", "message": "model: claude-does-not-exist"})
    with Simulator(accept_any_model=True) as lenient:
        assert call(lenient, sent=body(model="llama-9"))[2]["model"] == "llama-9"
        assert (lenient.counters.unpriced, lenient.counters.dollars) == (1, 0)


def test_listed_models_answer_and_have_a_price(simulator: Simulator) -> None:
    """Every model of the list answers to its name, and bills; the dated ones to their undated name as well."""
    listed = call(simulator, "/v1/models?limit=1000")[2]["data"]
    names = [model["id"] for model in listed] + ["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"]
    assert {name: call(simulator, sent=body(model=name))[0] for name in names} == dict.fromkeys(names, 200)
    assert simulator.counters.unpriced == 0


def test_retired_models_are_not_served_unless_asked_for() -> None:
    """A retired model is a 404 and only in the list where it is asked for; extra_models serves it as of old."""
    name = "claude-opus-4-1-20250805"
    with Simulator() as simulator:
        assert call(simulator, sent=body(model=name))[2]["error"]["type"] == "not_found_error"
        assert call(simulator, "/v1/models/" + name)[2]["lifecycle"] == "retired"
        retired = call(simulator, "/v1/models?lifecycle=retired")[2]["data"]
        assert name in [model["id"] for model in retired]
        assert call(simulator, "/v1/models?lifecycle=gone")[0] == 400
    with Simulator(extra_models=("claude-opus-4-1", "claude-next")) as simulator:
        answer = call(simulator, sent=body(model="claude-opus-4-1", temperature=0.3))
        assert (answer[0], answer[2]["model"]) == (200, name)
        assert simulator.counters.unpriced == 0
        assert call(simulator, sent=body(model="claude-next"))[0] == 200
        assert simulator.counters.unpriced == 1
        assert call(simulator, sent=body(model=name))[0] == 404


def test_prompt_over_the_context_window_is_refused() -> None:
    """The error has both numbers; a prompt that just fits is answered."""
    with Simulator(context_window=103) as simulator:
        assert call(simulator, sent=body("x" * 400))[0] == 200
        status, _, answer = call(simulator, sent=body("x" * 401))
    assert (status, answer["error"]["message"]) == (400, "prompt is too long: 104 tokens > 103 maximum")


def test_other_paths_and_methods(simulator: Simulator) -> None:
    """Unknown paths are 404 and wrong methods 405, with error bodies."""
    assert call(simulator, "/v1/nothing")[2]["error"]["type"] == "not_found_error"
    assert call(simulator, "/v1/messages/count_tokens")[0] == 405
    assert call(simulator, "/v1/models/claude-nothing")[0] == 404
    assert call(simulator, "/v1/models?limit=0")[0] == 400


def test_models_are_listed_in_pages(simulator: Simulator) -> None:
    """Pages forward and backward hold each model once."""
    everything = call(simulator, "/v1/models?limit=1000")[2]
    ids = [model["id"] for model in everything["data"]]
    assert everything["has_more"] is False
    first = call(simulator, "/v1/models?limit=4")[2]
    second = call(simulator, "/v1/models?limit=4&after_id=" + first["last_id"])[2]
    back = call(simulator, "/v1/models?limit=3&before_id=" + second["first_id"])[2]
    assert [model["id"] for model in first["data"] + second["data"]] == ids[:8]
    assert first["has_more"] is True
    assert [model["id"] for model in back["data"]] == ids[1:4]
    assert back["has_more"] is True


def test_fixed_size_answers() -> None:
    """answer_bytes gives texts of exactly that size that still differ by prompt."""
    with Simulator(answer_bytes=200) as simulator:
        texts = [call(simulator, sent=body(str(number)))[2]["content"][0]["text"] for number in range(3)]
    assert [len(text) for text in texts] == [200] * 3
    assert len(set(texts)) == 3
    assert all(text.startswith("Simulated answer") for text in texts)


def test_log_masks_the_key_and_reset_forgets(simulator: Simulator) -> None:
    """The log shows what was sent but never the key; reset empties log and counters."""
    call(simulator, sent=body("look here"))
    logged = simulator.requests[-1]
    assert (logged.method, logged.path) == ("POST", "/v1/messages")
    assert logged.body["messages"][0]["content"] == "look here"
    assert logged.headers["anthropic-version"] == "2023-06-01"
    assert "test-key" not in repr(simulator.requests)
    simulator.reset()
    assert simulator.requests == ()
    assert (simulator.counters.calls, simulator.counters.dollars) == (0, 0)


@pytest.mark.parametrize("latency_seconds", [0.0, 600.0])
def test_many_connections(latency_seconds: float) -> None:
    """500 calls at once are all answered, and where answers take their time all are under way together."""

    async def main(simulator: Simulator) -> None:
        connector = aiohttp.TCPConnector(limit=500)
        async with aiohttp.ClientSession(headers=HEADERS, connector=connector) as session:

            async def one(number: int) -> int:
                async with session.post(simulator.url + "/v1/messages", json=body(str(number))) as answer:
                    await answer.read()
                    return answer.status

            calls = [asyncio.ensure_future(one(number)) for number in range(500)]
            if latency_seconds:
                await until(lambda: simulator.counters.in_flight == 500)
                for task in calls:
                    task.cancel()
                await until(lambda: simulator.counters.in_flight == 0)
            else:
                assert await asyncio.gather(*calls) == [200] * 500

    with Simulator(latency_seconds=latency_seconds) as simulator:
        asyncio.run(main(simulator))
        counters = simulator.counters
    if latency_seconds:
        assert (counters.most_in_flight, counters.aborted_by_client, counters.completed) == (500, 500, 0)
    else:
        assert (counters.completed, counters.in_flight) == (500, 0)


def test_client_that_leaves_is_counted_and_pays_only_for_what_it_got() -> None:
    """A plain call that is aborted costs nothing; a stream costs its input and what was produced."""

    async def main(simulator: Simulator) -> None:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            plain = asyncio.ensure_future(session.post(simulator.url + "/v1/messages", json=body()))
            await until(lambda: simulator.counters.in_flight == 1)
            plain.cancel()
            await until(lambda: simulator.counters.aborted_by_client == 1)
            assert simulator.counters.input_tokens == 0
            answer = await session.post(simulator.url + "/v1/messages", json=body(stream=True))
            async for line in answer.content:
                if line.startswith(b"event: content_block_delta"):
                    break
            answer.close()
            await until(lambda: simulator.counters.aborted_by_client == 2)

    with Simulator(latency_seconds=0.3, tokens_per_second=40.0) as simulator:
        asyncio.run(main(simulator))
        counters = simulator.counters
    assert (counters.aborted_by_client, counters.completed, counters.in_flight) == (2, 0, 0)
    assert counters.input_tokens == 7
    assert 0 < counters.output_tokens < 43
    assert counters.dollars > 0


def test_it_stops_while_calls_wait_and_leaves_nothing(recwarn: pytest.WarningsRecorder, caplog: Any) -> None:
    """stop() ends calls under way, its thread ends, and nothing is warned of or logged."""
    before = threading.active_count()

    async def main() -> None:
        simulator = Simulator(latency_seconds=60.0).start()
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            calls = [
                asyncio.ensure_future(session.post(simulator.url + "/v1/messages", json=body(stream=stream)))
                for stream in (False, True)
            ]
            await until(lambda: simulator.counters.in_flight == 2)
            simulator.stop()
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, aiohttp.ClientError) for result in results)
        assert simulator.counters.aborted_by_client == 0

    asyncio.run(main())
    assert threading.active_count() == before
    assert not recwarn.list
    assert not caplog.records


def test_it_can_be_started_again_and_refuses_a_second_start() -> None:
    """One object runs one server at a time, with fresh counters each time."""
    simulator = Simulator()
    with pytest.raises(RuntimeError):
        simulator.url  # noqa: B018
    for _ in range(2):
        with simulator:
            assert call(simulator, sent=body())[0] == 200
            with pytest.raises(RuntimeError):
                simulator.start()
        assert simulator.counters.calls == 1
    simulator.stop()


def test_a_port_that_is_taken_is_an_error_of_start(simulator: Simulator) -> None:
    """start() raises, and no thread stays behind."""
    before = threading.active_count()
    with pytest.raises(OSError, match=r"in use|10048"):
        Simulator(port=int(simulator.url.rpartition(":")[2])).start()
    assert threading.active_count() == before


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.com", "::", ""])
def test_it_listens_on_loopback_only(host: str) -> None:
    """Any other address is refused before anything is opened."""
    with pytest.raises(ValueError, match="loopback"):
        SimulatorOptions(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_listens_on_loopback(host: str) -> None:
    """Loopback names work."""
    with Simulator(host=host) as simulator:
        assert simulator.url.startswith("http://127.0.0.1:")
        assert call(simulator, "/v1/models")[0] == 200


@pytest.mark.parametrize("options", [{"latency_seconds": -1}, {"requests_per_minute": 0}, {"answer_bytes": 0}])
def test_options_out_of_range_are_refused(options: Dict[str, Any]) -> None:
    """A value that means nothing is an error that names the option."""
    with pytest.raises(ValueError, match=next(iter(options))):
        Simulator(**options)
