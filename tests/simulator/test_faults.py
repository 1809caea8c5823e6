"""Every scripted fault of the simulator, as a client sees it and as the counters tell it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Tuple

import aiohttp
import anthropic
import pytest

from claude_force_nb.simulator import FAULT_KINDS, Simulator
from claude_force_nb.simulator.faults import ROW_KINDS, FaultRule, FaultScript

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}


def body(prompt: str = "hello there", **more: Any) -> Dict[str, Any]:
    base: Dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 1000}
    base["messages"] = [{"role": "user", "content": prompt}]
    base.update(more)
    return base


async def post(session: aiohttp.ClientSession, simulator: Simulator, sent: Any, path: str = "/v1/messages") -> Any:
    """Return status, headers and text, or the class of aiohttp's error."""
    try:
        async with session.post(simulator.url + path, json=sent) as answer:
            return answer.status, answer.headers, await answer.text()
    except aiohttp.ClientError as error:
        return type(error)


def send(simulator: Simulator, *bodies: Any, path: str = "/v1/messages") -> List[Any]:
    """Send `bodies` one after the other."""

    async def main() -> List[Any]:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            return [await post(session, simulator, sent, path) for sent in bodies]

    return asyncio.run(main())


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


STATUSES = [
    ("rate_limit", 429, "rate_limit_error"),
    ("spend_limit", 429, "rate_limit_error"),
    ("billing", 402, "billing_error"),
    ("overloaded", 529, "overloaded_error"),
    ("server_error", 500, "api_error"),
    ("invalid_request", 400, "invalid_request_error"),
    ("authentication", 401, "authentication_error"),
    ("permission", 403, "permission_error"),
    ("stream_error", 529, "overloaded_error"),
    (404, 404, "not_found_error"),
    (408, 408, "timeout_error"),
    (409, 409, "conflict_error"),
    (413, 413, "request_too_large"),
    (418, 418, "invalid_request_error"),
    (503, 503, "api_error"),
    (504, 504, "timeout_error"),
]


def test_error_answers(simulator: Simulator) -> None:
    """Each error has its status, type and request id, bills nothing, and only the call in its place fails."""
    for kind, status, error_type in STATUSES:
        simulator.fail([kind], message="as scripted")
        (got, headers, text), (after, _, _) = send(simulator, body(), body())
        error = json.loads(text)
        assert (got, error["error"]["type"], after) == (status, error_type, 200), kind
        assert error["error"]["message"] == "as scripted"
        assert error["request_id"] == headers["request-id"]
    counters = simulator.counters
    assert counters.completed == len(STATUSES)
    assert sum(counters.faults.values()) == len(STATUSES)


def test_retry_after_is_sent_where_it_belongs(simulator: Simulator) -> None:
    """429 has one unless it is a spend limit; any error can be given one; a 200 can carry one."""
    simulator.fail(["rate_limit", "spend_limit", "retry_after_on_success", "overloaded"])
    answers = send(simulator, *[body()] * 4)
    assert [answer[1].get("retry-after") for answer in answers] == ["1", None, "1", None]
    assert [answer[0] for answer in answers] == [429, 429, 200, 529]
    assert json.loads(answers[1][2])["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}
    simulator.fail(["overloaded", "retry_after_on_success"], retry_after_seconds=0.25)
    assert [answer[1]["retry-after"] for answer in send(simulator, body(), body())] == ["0.25", "0.25"]


def test_broken_connections_and_bodies(simulator: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """What no error body tells: the connection closes before or inside the answer, or the body is not an answer."""
    simulator.fail(["drop", "lost", "cut", "html", "truncated_json", None])
    dropped, lost, cut, html, truncated, fine = send(simulator, *[body()] * 6)
    assert issubclass(dropped, aiohttp.ServerDisconnectedError)
    assert issubclass(lost, aiohttp.ServerDisconnectedError)
    assert issubclass(cut, aiohttp.ClientPayloadError)
    assert (html[0], html[1]["content-type"], html[2][:9]) == (200, "text/html; charset=utf-8", "<!DOCTYPE")
    assert truncated[0] == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(truncated[2])
    assert fine[0] == 200
    # All but the dropped one and the page of HTML were answered in full, and are billed.
    assert simulator.counters.completed == 4
    assert not caplog.records


def test_streams_that_end_early(simulator: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """Each ends after the events it is given, is not a complete answer, and bills what was produced."""
    whole = send(simulator, body(stream=True))[0][2]
    full_tokens = simulator.counters.output_tokens
    simulator.reset()
    simulator.fail(["cut", "stream_error", "truncated_json"], after_events=4)
    cut, error, truncated = send(simulator, *[body(stream=True)] * 3)
    assert issubclass(cut, aiohttp.ClientPayloadError)
    assert issubclass(truncated, aiohttp.ClientPayloadError)
    assert error[0] == 200
    assert error[2].startswith(whole[:60])
    name, data = error[2].strip().split("\n\n")[-1].split("\n")
    assert name == "event: error"
    assert json.loads(data[6:]) == {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert error[2].count("event: content_block_delta") == 2
    counters = simulator.counters
    assert (counters.cut, counters.completed) == (3, 0)
    assert 0 < counters.output_tokens < 3 * full_tokens
    assert counters.input_tokens == 3 * 6
    assert counters.dollars > 0
    assert not caplog.records


def test_a_cut_always_comes_before_the_end(simulator: Simulator) -> None:
    """However many events it is to let through, a cut stream has no message_delta; at once, it has no event at all."""
    simulator.fail(["stream_error"], after_events=1000)
    simulator.fail(["stream_error"], after_events=0)
    late, at_once = send(simulator, body(stream=True), body(stream=True))
    assert "content_block_stop" in late[2]
    assert "message_delta" not in late[2]
    assert at_once[2].startswith("event: error")
    assert simulator.counters.completed == 0


def test_hang_and_silence_last_until_the_client_leaves(simulator: Simulator) -> None:
    """Neither answers; the client's leaving is noticed, and only the stream that went silent is billed."""
    simulator.fail(["hang", "silent", "silent"], after_events=4)

    async def main() -> None:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            calls = [asyncio.ensure_future(post(session, simulator, body())) for _ in range(2)]
            while simulator.counters.in_flight < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            answer = await session.post(simulator.url + "/v1/messages", json=body(stream=True))
            assert answer.status == 200
            seen = b""
            while seen.count(b"event:") < 5:
                seen += await answer.content.readany()
            assert simulator.counters.in_flight == 3
            answer.close()
            for call in calls:
                call.cancel()
            while simulator.counters.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    asyncio.run(main())
    counters = simulator.counters
    assert (counters.aborted_by_client, counters.completed) == (3, 0)
    assert counters.input_tokens == 6
    assert counters.output_tokens > 0


def test_slow_first_byte_is_answered_late(simulator: Simulator) -> None:
    """The answer is the same as without the fault."""
    simulator.fail(["slow"], delay_seconds=0.05)
    (slow, _, text), (_, _, fast_text) = send(simulator, body(), body())
    assert slow == 200
    assert json.loads(text)["content"] == json.loads(fast_text)["content"]
    assert simulator.counters.faults == {"slow": 1}


def test_a_slow_call_is_answered_when_the_fault_is_forgotten(simulator: Simulator) -> None:
    """heal() lets go what waits: a test need not choose a time that is long enough on every machine."""
    simulator.fail("slow", delay_seconds=600)
    answers: List[Any] = []
    waiting = threading.Thread(target=lambda: answers.extend(send(simulator, body())))
    waiting.start()
    while not simulator.counters.in_flight:
        time.sleep(0.005)
    assert not answers
    simulator.heal()
    waiting.join(60)
    assert [status for status, _, _ in answers] == [200]


@pytest.mark.parametrize("forget", [Simulator.heal, Simulator.reset], ids=["heal", "reset"])
def test_faults_are_forgotten_by_their_own_condition(simulator: Simulator, forget: Callable[[Simulator], None]) -> None:
    """`when` may call heal() although it runs in the server's thread, which must not wait for itself."""

    def once(_: Any) -> bool:
        forget(simulator)
        return True

    simulator.fail("overloaded", when=once)
    statuses = [status for status, _, _ in send(simulator, body(), body())]
    assert statuses == [529, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_refusal_on_demand(simulator: Simulator, stream: bool) -> None:
    """A refusal is a 200 with that stop reason and no text, read by the SDK."""
    simulator.fail("refusal", contains="forbidden")

    async def main() -> Tuple[Any, Any]:
        async with anthropic.AsyncAnthropic(api_key="key", base_url=simulator.url, max_retries=0) as client:
            answers = []
            for prompt in ("something forbidden", "something else"):
                asked: Any = {"messages": [{"role": "user", "content": prompt}]}
                if stream:
                    async with client.messages.stream(model="claude-haiku-4-5", max_tokens=99, **asked) as events:
                        answers.append(await events.get_final_message())
                else:
                    answers.append(await client.messages.create(model="claude-haiku-4-5", max_tokens=99, **asked))
        return answers[0], answers[1]

    refused, answered = asyncio.run(main())
    assert (refused.stop_reason, list(refused.content)) == ("refusal", [])
    assert answered.stop_reason == "end_turn"


def test_the_sdk_maps_faults_to_its_errors(simulator: Simulator) -> None:
    """The SDK takes the simulator's errors for the API's."""
    expected = [
        ("rate_limit", anthropic.RateLimitError),
        ("authentication", anthropic.AuthenticationError),
        ("server_error", anthropic.InternalServerError),
        ("overloaded", anthropic.APIStatusError),
        ("drop", anthropic.APIConnectionError),
        ("cut", anthropic.APIConnectionError),
    ]
    simulator.fail([kind for kind, _ in expected])

    async def main() -> None:
        async with anthropic.AsyncAnthropic(api_key="key", base_url=simulator.url, max_retries=0) as client:
            for kind, error in expected:
                with pytest.raises(error) as raised:
                    await client.messages.create(
                        model="claude-haiku-4-5", max_tokens=99, messages=[{"role": "user", "content": "x"}]
                    )
                if kind == "rate_limit":
                    assert raised.value.request_id.startswith("req_")

    asyncio.run(main())


def test_rules_choose_their_calls(simulator: Simulator) -> None:
    """By text, model, endpoint, a function, a number of times; the first rule that takes a call decides it."""
    simulator.fail("overloaded", contains="storm")
    simulator.fail(500, model="opus", times=1)
    simulator.fail(503, endpoint="count_tokens")
    simulator.fail(400, when=lambda sent: sent["max_tokens"] == 7)
    answers = send(
        simulator,
        body("a storm", model="claude-opus-5-5"),
        body(system="storm"),
        body(model="claude-opus-5-5"),
        body(model="claude-opus-5-5"),
        body(max_tokens=7),
        body(),
    )
    assert [status for status, _, _ in answers] == [529, 529, 500, 200, 400, 200]
    assert send(simulator, {"model": "claude-opus-5-5"}, path="/v1/messages/count_tokens")[0][0] == 503
    simulator.heal()
    assert send(simulator, body("a storm"))[0][0] == 200


def test_probability_is_drawn_with_the_seed() -> None:
    """The same seed takes the same calls, about the share asked for; 0 takes none."""

    def taken(**options: Any) -> List[bool]:
        script = FaultScript()
        script.add(FaultRule.build("overloaded", **options))
        return [script.next("messages", {}) is not None for _ in range(2000)]

    assert taken(probability=0.1, seed=3) == taken(probability=0.1, seed=3)
    assert taken(probability=0.1, seed=3) != taken(probability=0.1, seed=4)
    assert 140 <= sum(taken(probability=0.1, seed=3)) <= 260
    assert sum(taken(probability=0.0)) == 0
    assert sum(taken(times=5)) == 5


def test_sequences_end_or_go_round() -> None:
    """A sequence is for the next calls, one each; with `times` it repeats."""

    def kinds(calls: int, *args: Any, **options: Any) -> List[Any]:
        script = FaultScript()
        script.add(FaultRule.build(*args, **options))
        faults = [script.next("messages", {}) for _ in range(calls)]
        return [fault and fault.kind for fault in faults]

    assert kinds(4, ["drop", None, "cut"]) == ["drop", None, "cut", None]
    assert kinds(6, ["drop", None], times=5) == ["drop", None, "drop", None, "drop", None]
    assert kinds(2, "drop") == ["drop", "drop"]


def test_a_rule_survives_the_wire() -> None:
    """Every rule but one with code comes back equal from JSON, and may be written by hand."""
    for kinds in ("drop", 503, ["drop", None, 500], ["cut"]):
        rule = FaultRule.build(kinds, probability=0.5, contains="x", retry_after_seconds=2.0)
        assert FaultRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    assert FaultRule.from_json({"kinds": "overloaded"}) == FaultRule.build("overloaded")
    assert FaultRule.from_json({"kinds": ["cut"]}) == FaultRule.build(["cut"])
    with pytest.raises(ValueError, match="when="):
        FaultRule.build("drop", when=bool).to_json()


@pytest.mark.parametrize(
    ("kinds", "options"),
    [
        ("nonsense", {}),
        (200, {}),
        ([], {}),
        ("drop", {"probability": 1.5}),
        ("drop", {"endpoint": "nowhere"}),
        ("expired", {}),
        ("missing", {"endpoint": "batch_results"}),
    ],
)
def test_a_wrong_script_is_refused(simulator: Simulator, kinds: Any, options: Dict[str, Any]) -> None:
    """Unknown kinds, statuses that are not errors, and values out of range raise at once."""
    with pytest.raises(ValueError, match=r"fault|probability|endpoint"):
        simulator.fail(kinds, **options)


def test_control_endpoints(simulator: Simulator) -> None:
    """Another process scripts faults, reads counters and log, and resets, all without a key."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session:

            async def control(method: str, what: str, sent: Any = None) -> Tuple[int, Any]:
                async with session.request(method, simulator.url + "/_simulator/" + what, json=sent) as answer:
                    return answer.status, await answer.json()

            rules = [{"kinds": ["overloaded"]}, {"kinds": "server_error", "contains": "x"}]
            assert await control("POST", "faults", rules) == (200, {"rules": 2})
            assert (await control("POST", "faults", {"kinds": "nonsense"}))[0] == 400
            assert (await control("POST", "faults", {"kinds": "drop", "colour": "red"}))[0] == 400
            assert (await control("POST", "faults", 7))[0] == 400
            async with session.post(simulator.url + "/v1/messages", json=body(), headers=HEADERS) as answer:
                assert answer.status == 529
            status, counters = await control("GET", "counters")
            assert (status, counters["calls"], counters["by_status"]) == (200, 1, {"529": 1})
            _, requests = await control("GET", "requests")
            assert [request["path"] for request in requests] == ["/v1/messages"]
            assert "test-key" not in json.dumps(requests)
            assert (await control("DELETE", "faults"))[0] == 200
            assert (await control("POST", "reset"))[0] == 200
            assert (await control("GET", "counters"))[1]["calls"] == 0
            assert (await control("GET", "nothing"))[0] == 404

    asyncio.run(main())


def test_a_storm_of_all_faults_keeps_the_books(caplog: pytest.LogCaptureFixture) -> None:
    """300 calls at once through every fault: nothing is left in flight, and every call is in one place of the books."""
    kinds = [kind for kind in FAULT_KINDS if kind not in ("hang", "held", "silent", "slow") and kind not in ROW_KINDS]

    async def main(simulator: Simulator) -> List[Any]:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            calls = (post(session, simulator, body(str(number), stream=number % 2 == 0)) for number in range(300))
            return await asyncio.gather(*calls)

    with Simulator() as simulator:
        for seed, kind in enumerate(kinds):
            simulator.fail(kind, probability=0.05, seed=seed)
        results = asyncio.run(main(simulator))
        counters = simulator.counters
    assert counters.calls == len(results) == 300
    assert counters.in_flight == 0
    assert set(counters.faults) == set(kinds)
    closed_before_headers = counters.faults["drop"] + counters.faults["lost"]
    assert sum(counters.by_status.values()) == 300 - closed_before_headers
    errors = sum(number for status, number in counters.by_status.items() if status != 200)
    assert counters.completed + counters.cut == 300 - errors - counters.faults["drop"] - counters.faults["html"]
    assert not caplog.records
