"""Fallback models that answer in place of one that refuses: the response, the bill, and the client's result."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any, Dict, List, Optional
from urllib.parse import urlsplit

import pytest

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.simulator import Simulator

BETA = "server-side-fallback-2026-07-01"
OPUS, OTHER, THIRD = "claude-opus-5", "claude-opus-4-8", "claude-opus-4-7"


def ask(simulator: Simulator, fallbacks: Any, **more: Any) -> str:
    address = urlsplit(simulator.url)
    connection = HTTPConnection(str(address.hostname), address.port, timeout=30)
    body = {"model": OPUS, "max_tokens": 1000, "messages": [{"role": "user", "content": "q"}], "fallbacks": fallbacks}
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01", "anthropic-beta": BETA}
    connection.request("POST", "/v1/messages", json.dumps({**body, **more}), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, text
    return text


def kinds(message: Dict[str, Any]) -> List[str]:
    return [block["type"] for block in message["content"]]


@pytest.mark.parametrize("fallbacks", [[{"model": OTHER}], "default"])
@pytest.mark.parametrize(("category", "billed"), [("bio", True), ("cyber", False), (None, False)])
def test_another_model_answers(simulator: Simulator, fallbacks: Any, category: Optional[str], billed: bool) -> None:
    """It is named, so is what it stands for; its usage is that of the answer, and refusals are billed as ever."""
    simulator.fail("refusal", model=OPUS, category=category, times=1)
    message = json.loads(ask(simulator, fallbacks))
    assert (message["model"], message["stop_reason"], kinds(message)) == (OTHER, "end_turn", ["fallback", "text"])
    assert message["content"][0] == {
        "type": "fallback",
        "from": {"model": OPUS},
        "to": {"model": OTHER},
        "trigger": {"type": "refusal", "category": category},
    }
    first, second = message["usage"]["iterations"]
    assert (first["type"], first["model"], second["type"], second["model"]) == (
        "message",
        OPUS,
        "fallback_message",
        OTHER,
    )
    assert second["output_tokens"] == message["usage"]["output_tokens"]
    total = first["input_tokens"] * billed + second["input_tokens"]
    assert simulator.counters.input_tokens == total


def test_the_last_refusal_stands(simulator: Simulator) -> None:
    """Where all refuse it is a refusal, of the last model; one that is reached answers."""
    simulator.fail("refusal", category="cyber")
    message = json.loads(ask(simulator, [{"model": OTHER}, {"model": THIRD}]))
    assert (message["model"], message["stop_reason"], kinds(message)) == (THIRD, "refusal", ["fallback", "fallback"])
    assert simulator.counters.dollars == 0
    simulator.heal()
    simulator.fail(["refusal", "refusal"], category="cyber")
    message = json.loads(ask(simulator, [{"model": OTHER}, {"model": THIRD}]))
    assert (message["model"], message["stop_reason"]) == (THIRD, "end_turn")
    simulator.heal()
    assert kinds(json.loads(ask(simulator, [{"model": OTHER}]))) == ["thinking", "text"]
    # This model has none.
    simulator.fail("refusal")
    assert json.loads(ask(simulator, "default", model="claude-haiku-5-5"))["stop_reason"] == "refusal"


@pytest.mark.parametrize("kind", ["refusal", "refusal_midway"])
def test_streams(simulator: Simulator, kind: str) -> None:
    """A refusal before any output names the other model at once; after one in the middle only the end says who went on."""
    simulator.fail(kind, model=OPUS, times=1)
    events = [
        json.loads(line[6:])
        for line in ask(simulator, [{"model": OTHER}], stream=True).splitlines()
        if line[:6] == "data: "
    ]
    assert events[0]["message"]["model"] == (OTHER if kind == "refusal" else OPUS)
    started = {event["index"]: event["content_block"] for event in events if event["type"] == "content_block_start"}
    (place,) = [index for index, block in started.items() if block["type"] == "fallback"]
    assert place == (0 if kind == "refusal" else max(started) - 1)
    assert started[place]["to"] == {"model": OTHER}
    assert not any(event["type"] == "content_block_delta" and event["index"] == place for event in events)
    assert events[-2]["usage"]["iterations"][-1]["type"] == "fallback_message"


def test_a_plain_answer_has_nothing_of_a_model_that_declined_in_the_middle(simulator: Simulator) -> None:
    """What it wrote is billed all the same, and each attempt is told by itself."""
    simulator.fail("refusal_midway", model=OPUS, times=1)
    simulator.fail("refusal", model=OTHER, category="bio", times=1)
    message = json.loads(ask(simulator, [{"model": OTHER}, {"model": THIRD}]))
    assert kinds(message) == ["fallback", "fallback", "text"]
    attempts = message["usage"]["iterations"]
    assert [each["type"] for each in attempts] == ["message", "message", "fallback_message"]
    assert [each["model"] for each in attempts] == [OPUS, OTHER, THIRD]
    assert attempts[0]["output_tokens"] > 0
    assert attempts[1]["output_tokens"] == 0
    assert simulator.counters.output_tokens == sum(each["output_tokens"] for each in attempts)


# What each model does, the last of them by default to answer: kind of refusal and its category.
HOPS: List[Any] = [
    [("refusal", "bio")],
    [("refusal", "cyber")],
    [("refusal", None)],
    [("refusal_midway", "cyber")],
    [("refusal_midway", "bio"), ("refusal", "general_harms")],
    [("refusal", "cyber"), ("refusal_midway", None)],
    [("refusal", "bio"), ("refusal", "frontier_llm")],
    # All three decline.
    [("refusal", "bio"), ("refusal_midway", "cyber"), ("refusal", "cyber")],
    [("refusal", "cyber"), ("refusal", "cyber"), ("refusal_midway", "cyber")],
    [("refusal_midway", None), ("refusal", None), ("refusal", "reasoning_extraction")],
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hops", HOPS, ids=str)
def test_the_client_pays_what_the_api_bills(run: Any, make: Any, simulator: Simulator, stream: bool, hops: Any) -> None:
    """The answer bears the name of the model that gave it, and the price of every attempt that was billed, at its own rates."""
    models = [OPUS, OTHER, THIRD]
    for (kind, category), model in zip(hops, models):
        simulator.fail(kind, model=model, category=category, times=1)

    async def main() -> Any:
        async with make() as orchestrator:
            return await orchestrator.run(
                "q",
                model=OPUS,
                betas=[BETA],
                body={"fallbacks": [{"model": OTHER}, {"model": THIRD}]},
                partial=PartialAnswer() if stream else None,
            )

    result = run(main())
    assert result.model == models[min(len(hops), 2)]
    assert result.status == ("refused" if len(hops) == len(models) else "ok")
    assert result.cost == simulator.counters.dollars
    # A stream has what was said before a refusal in the middle; a plain answer only what the last model said.
    heard = hops if stream else hops[len(models) - 1 :]
    assert bool(result.text) == (result.status == "ok" or "refusal_midway" in [kind for kind, _ in heard])
