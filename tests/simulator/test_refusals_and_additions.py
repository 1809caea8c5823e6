"""Refusals by category, what they cost, and parts of an answer that no client knows yet."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any, Dict, Iterator, List, Optional

import aiohttp
import anthropic
import pytest

from claude_force_nb.simulator import Simulator
from claude_force_nb.simulator.additions import ADDED

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2026-10-21"}
MODEL = "claude-haiku-5-5"


def ask(**more: Any) -> Dict[str, Any]:
    return {"model": MODEL, "max_tokens": 4000, "messages": [{"role": "user", "content": "Why?"}], **more}


def post(simulator: Simulator, sent: Dict[str, Any], path: str = "/v1/messages") -> Any:
    async def main() -> Any:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            answer = await session.post(simulator.url + path, json=sent)
            assert answer.status == 200, await answer.text()
            return await answer.text() if sent.get("stream") else await answer.json()

    return asyncio.run(main())


def events(text: str) -> List[Dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("category", "billed"),
    [
        ("bio", True),
        ("frontier_llm", True),
        ("reasoning_extraction", True),
        ("cyber", False),
        ("general_harms", False),
        (None, False),
    ],
)
def test_a_refusal_before_any_output(simulator: Simulator, category: Optional[str], billed: bool, stream: bool) -> None:
    """A 200 with its category and no content; some categories cost the prompt, though all have it in their usage."""
    simulator.fail(["refusal"], category=category)
    found = post(simulator, ask(stream=stream))
    if stream:
        delta = events(found)[-2]
        details, usage = delta["delta"]["stop_details"], delta["usage"]
        assert delta["delta"]["stop_reason"] == "refusal"
        assert not [event for event in events(found) if event["type"] == "content_block_start"]
    else:
        details, usage = found["stop_details"], found["usage"]
        assert (found["stop_reason"], found["content"]) == ("refusal", [])
    assert (details["type"], details["category"]) == ("refusal", category)
    assert usage["input_tokens"] > 0
    counters = simulator.counters
    assert (counters.completed, counters.refused) == (1, 1)
    assert (counters.dollars > 0, counters.input_tokens > 0) == (billed, billed)


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_midway_bills_what_was_said(simulator: Simulator, stream: bool) -> None:
    whole = post(simulator, ask())["usage"]["output_tokens"]
    simulator.reset()
    simulator.fail(["refusal_midway"], category="cyber")
    found = post(simulator, ask(stream=stream))
    if stream:
        assert [event for event in events(found) if event.get("delta", {}).get("type") == "text_delta"]
        usage = events(found)[-2]["usage"]
    else:
        assert found["stop_details"]["category"] == "cyber"
        assert found["content"][-1]["text"]
        usage = found["usage"]
    assert 0 < usage["output_tokens"] < whole
    counters = simulator.counters
    cost = usage["input_tokens"] * Decimal("0.10") + usage["output_tokens"] * Decimal("0.50")
    assert (counters.output_tokens, counters.dollars) == (usage["output_tokens"], cost / 1_000_000)


def test_an_unknown_category_is_not_scripted(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="category must be one of"):
        simulator.fail("refusal", category="boredom")


KINDS = ("new_fields", "new_events", "new_block", "new_stop_reason")


@pytest.mark.parametrize("kind", KINDS)
def test_additions_are_there(simulator: Simulator, kind: str) -> None:
    """Each shows up where it is scripted, in a plain answer or in a stream, and leaves the text as it was."""
    plain = post(simulator, ask())
    simulator.fail(kind)
    changed, streamed = post(simulator, ask()), post(simulator, ask(stream=True))
    assert ADDED in streamed or kind == "new_stop_reason"
    if kind == "new_fields":
        assert all(ADDED in part for part in (changed, changed["usage"], *changed["content"]))
    elif kind == "new_block":
        assert changed["content"][-1]["type"] == ADDED
    elif kind == "new_stop_reason":
        assert changed["stop_reason"] == events(streamed)[-2]["delta"]["stop_reason"] == "future_reason"
    texts = [
        "".join(block.get("text", "") for block in plain["content"]),
        "".join(block.get("text", "") for block in changed["content"]),
        "".join(event["delta"].get("text", "") for event in events(streamed) if event["type"] == "content_block_delta"),
    ]
    assert len(set(texts)) == 1


@pytest.mark.parametrize("kind", ["new_fields", "new_block", "new_stop_reason"])
def test_the_sdk_reads_additions(simulator: Simulator, kind: str) -> None:
    """The official client takes what it does not know, so that whatever breaks is not a matter of the simulator."""
    prompt: Any = [{"role": "user", "content": "Why?"}]

    async def main() -> None:
        async with anthropic.AsyncAnthropic(api_key="key", base_url=simulator.url, max_retries=0) as client:
            message = await client.messages.create(model=MODEL, max_tokens=4000, messages=prompt)
            assert [block for block in message.content if block.type == "text"]

    simulator.fail(kind)
    asyncio.run(main())


def test_rows_of_a_batch_are_refused_and_checked_alone() -> None:
    """A refused row succeeded, with its stop reason; a row that breaks a rule is errored, with the envelope of an error."""
    rows = [
        ("fine", ask()),
        ("no", ask(system="forbidden")),
        ("free", ask(system="harmless")),
        ("model", ask(model="claude-3-haiku-20240307")),
        ("stream", ask(stream=True)),
        ("zero", ask(max_tokens=0)),
        ("warm", ask(temperature=0.5)),
    ]

    async def main(simulator: Simulator) -> Dict[str, Any]:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            url = simulator.url + "/v1/messages/batches"
            sent = {"requests": [{"custom_id": name, "params": params} for name, params in rows]}
            async with session.post(url, json=sent) as created:
                batch_id = (await created.json())["id"]
            while True:
                async with session.get(f"{url}/{batch_id}") as polled:
                    if (await polled.json())["processing_status"] == "ended":
                        break
                await asyncio.sleep(0.01)
            async with session.get(f"{url}/{batch_id}/results") as results:
                lines = [json.loads(line) for line in (await results.text()).splitlines()]
        return {line["custom_id"]: line["result"] for line in lines}

    with Simulator(batch_seconds=0) as simulator:
        simulator.fail("refusal", endpoint="batch_item", contains="forbidden", category="bio")
        simulator.fail("refusal", endpoint="batch_item", contains="harmless", category="cyber")
        found = asyncio.run(main(simulator))
        counters = simulator.counters
    assert {name: result["type"] for name, result in found.items()} == {
        **dict.fromkeys(("fine", "no", "free"), "succeeded"),
        **dict.fromkeys(("model", "stream", "zero", "warm"), "errored"),
    }
    assert found["no"]["message"]["stop_details"]["category"] == "bio"
    assert found["model"]["error"]["type"] == "error"
    assert found["model"]["error"]["error"]["type"] == "not_found_error"
    assert found["warm"]["error"]["error"]["message"] == "temperature: Extra inputs are not permitted"
    assert (counters.completed_in_batches, counters.refused) == (3, 2)
    usages = [found[name]["message"]["usage"] for name in ("fine", "no")]
    full = sum(usage["input_tokens"] * Decimal("0.10") + usage["output_tokens"] * Decimal("0.50") for usage in usages)
    assert counters.dollars == full / 1_000_000 / 2
