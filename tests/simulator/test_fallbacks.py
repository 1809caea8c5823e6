"""Models that answer in the place of one that refuses: what comes back, what is billed, and what the client makes of it."""

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
    """A refusal before any output names the other model at once; one in the middle has a block without deltas."""
    simulator.fail(kind, model=OPUS, times=1)
    events = [
        json.loads(line[6:])
        for line in ask(simulator, [{"model": OTHER}], stream=True).splitlines()
        if line[:6] == "data: "
    ]
    assert events[0]["message"]["model"] == OTHER
    started = {
        event["index"]: event["content_block"]["type"] for event in events if event["type"] == "content_block_start"
    }
    (place,) = [index for index, name in started.items() if name == "fallback"]
    assert place == (0 if kind == "refusal" else max(started) - 1)
    assert not any(event["type"] == "content_block_delta" and event["index"] == place for event in events)


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_reads_it(run: Any, make: Any, simulator: Simulator, stream: bool) -> None:
    """An answer of the model that gave it; its price is not told, since two models were paid."""
    simulator.fail("refusal", model=OPUS, category="bio", times=1)

    async def main() -> Any:
        async with make() as orchestrator:
            return await orchestrator.run(
                "q",
                model=OPUS,
                betas=[BETA],
                body={"fallbacks": [{"model": OTHER}]},
                partial=PartialAnswer() if stream else None,
            )

    result = run(main())
    assert (result.status, result.model, result.cost) == ("ok", OTHER, None)
    assert result.text
