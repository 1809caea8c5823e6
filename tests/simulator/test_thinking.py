"""Thinking of the simulated models: defaults, cost, display, and how it must be sent back."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Dict, Iterator, List, Tuple

import aiohttp
import pytest

from claude_force_nb.simulator import Simulator

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2026-10-21"}
THINKS = (
    *("claude-fable-5-2", "claude-mythos-5-2", "claude-fable-5-1", "claude-mythos-5-1", "claude-fable-5"),
    *("claude-mythos-5", "claude-mythos-preview", "claude-opus-5-5", "claude-opus-5", "claude-sonnet-5-5"),
    *("claude-sonnet-5", "claude-haiku-5-5"),
)
DOES_NOT = (
    *("claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-4-5"),
    *("claude-sonnet-4-5", "claude-haiku-4-5"),
)
USER = {"role": "user", "content": "Why is the sky blue?"}
TOOLS = [{"name": "store", "input_schema": {"type": "object"}}]


def ask(model: str = "claude-haiku-5-5", **more: Any) -> Dict[str, Any]:
    return {"model": model, "max_tokens": 4000, "messages": [USER], **more}


def post(simulator: Simulator, *bodies: Dict[str, Any], beta: str = "") -> List[Tuple[int, Any]]:
    headers = dict(HEADERS, **({"anthropic-beta": beta} if beta else {}))

    async def main() -> List[Tuple[int, Any]]:
        answers = []
        async with aiohttp.ClientSession(headers=headers) as session:
            for sent in bodies:
                async with session.post(simulator.url + "/v1/messages", json=sent) as answer:
                    read = await answer.text() if sent.get("stream") else await answer.json()
                    answers.append((answer.status, read))
        return answers

    return asyncio.run(main())


def answer(simulator: Simulator, sent: Dict[str, Any]) -> Any:
    ((status, message),) = post(simulator, sent)
    assert status == 200, message
    return message


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.mark.parametrize(("models", "thinks"), [(THINKS, True), (DOES_NOT, False)])
def test_a_models_defaults(simulator: Simulator, models: Tuple[str, ...], thinks: bool) -> None:
    """Thinking is part of the output, and comes first; by default nothing of it is shown."""
    for model in models:
        message = answer(simulator, ask(model))
        kinds = [block["type"] for block in message["content"]]
        assert kinds == (["thinking", "text"] if thinks else ["text"]), model
        thought = message["usage"]["output_tokens_details"]["thinking_tokens"]
        assert (thought > 64) == thinks
        assert message["usage"]["output_tokens"] > thought
        if thinks:
            assert message["content"][0]["thinking"] == ""
            assert message["content"][0]["signature"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_small_limit_ends_in_the_middle_of_thinking(simulator: Simulator, stream: bool) -> None:
    """A label in 64 tokens needs thinking off: otherwise they are spent, billed, and there is no text."""
    found = answer(simulator, ask(max_tokens=64, stream=stream))
    if stream:
        events = [json.loads(line[6:]) for line in found.splitlines() if line.startswith("data: ")]
        starts = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
        assert starts == ["thinking"]
        assert events[-2]["delta"]["stop_reason"] == "max_tokens"
        usage = events[-2]["usage"]
    else:
        assert [block["type"] for block in found["content"]] == ["thinking"]
        assert found["stop_reason"] == "max_tokens"
        usage = found["usage"]
    assert usage["output_tokens"] == usage["output_tokens_details"]["thinking_tokens"] == 64
    assert simulator.counters.output_tokens == simulator.counters.thinking_tokens == 64
    off = answer(simulator, ask(max_tokens=64, thinking={"type": "disabled"}))
    assert [block["type"] for block in off["content"]] == ["text"]


def test_more_effort_is_more_thinking(simulator: Simulator) -> None:
    """An explicit default has the same effect as an omitted one."""
    levels = ("low", "medium", "high", "xhigh", "max")
    spent = [
        answer(simulator, ask(output_config={"effort": level}))["usage"]["output_tokens_details"]["thinking_tokens"]
        for level in levels
    ]
    assert spent == sorted(set(spent))
    default = answer(simulator, ask())["usage"]["output_tokens_details"]["thinking_tokens"]
    assert default == spent[1]
    budget = {"type": "enabled", "budget_tokens": 1024}
    old = answer(simulator, ask("claude-haiku-4-5", thinking=budget))
    assert 0 < old["usage"]["output_tokens_details"]["thinking_tokens"] <= 1024
    assert old["content"][0]["thinking"].startswith("Simulated thinking")


def test_thinking_that_is_not_shown_has_one_empty_delta(simulator: Simulator) -> None:
    for display, shown in (("omitted", False), ("summarized", True)):
        sent = ask(stream=True, thinking={"type": "adaptive", "display": display})
        events = [json.loads(line[6:]) for line in answer(simulator, sent).splitlines() if line.startswith("data: ")]
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta" and event["index"] == 0]
        assert deltas[-1]["type"] == "signature_delta"
        pieces = [delta["thinking"] for delta in deltas[:-1]]
        assert (len(pieces) > 1 and all(pieces)) if shown else pieces == [""]


def test_off_and_between_tools_and_a_forced_tool(simulator: Simulator) -> None:
    """All three answer without thinking; a forced tool does so on Haiku 5.5 only."""
    for sent in (
        ask(thinking={"type": "disabled"}),
        ask("claude-sonnet-5-5", thinking={"type": "between_tools"}),
        ask(tools=TOOLS, tool_choice={"type": "any"}),
    ):
        message = answer(simulator, sent)
        assert [block["type"] for block in message["content"]] in (["text"], ["tool_use"])
        assert message["usage"]["output_tokens_details"] == {"thinking_tokens": 0}
    forced = answer(simulator, ask("claude-opus-5", tools=TOOLS, tool_choice={"type": "any"}))
    assert [block["type"] for block in forced["content"]] == ["thinking", "tool_use"]


def test_an_answer_may_fill_the_window() -> None:
    """Prompt and limit together may be more than the window; the answer then ends where the window does."""
    with Simulator(context_window=30) as simulator:
        message = answer(simulator, ask("claude-haiku-4-5"))
    assert message["stop_reason"] == "model_context_window_exceeded"
    assert message["usage"]["input_tokens"] + message["usage"]["output_tokens"] == 30


def replay(simulator: Simulator, model: str, change: Any = None, **more: Any) -> Tuple[int, str]:
    """Have an answer, send it back, changed, and return status and message."""
    first = ask(model, system="Be brief.", thinking={"type": "adaptive", "display": "summarized"})
    content = answer(simulator, first)["content"]
    second = dict(
        first, messages=[USER, {"role": "assistant", "content": content}, {"role": "user", "content": "And?"}]
    )
    second.update(more)
    if change is not None:
        change(second)
    ((status, got),) = post(simulator, second, beta="thinking-binding-controls-2026-08-01")
    return status, got["error"]["message"] if status != 200 else ""


def edit_thinking(sent: Dict[str, Any]) -> None:
    sent["messages"][1]["content"][0]["thinking"] += "!"


def edit_system(sent: Dict[str, Any]) -> None:
    sent["system"] = "Be very brief."


def edit_question(sent: Dict[str, Any]) -> None:
    sent["messages"][0] = {"role": "user", "content": "Why is the sea blue?"}


def rewrite_the_same(sent: Dict[str, Any]) -> None:
    mark = {"type": "ephemeral"}
    sent["system"] = [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    sent["messages"][0] = {"role": "user", "content": [{"type": "text", "text": USER["content"]}]}
    sent.update(max_tokens=3000, output_config={"effort": "low"}, metadata={"user_id": "me"})


def drop_thinking(sent: Dict[str, Any]) -> None:
    del sent["messages"][1]["content"][0]


@pytest.mark.parametrize("model", ["claude-fable-5-2", "claude-opus-5-5", "claude-opus-5"])
def test_thinking_goes_back_as_it_came(simulator: Simulator, model: str) -> None:
    """Unchanged, or left out; one that was edited is refused by every model."""
    assert replay(simulator, model)[0] == 200
    assert replay(simulator, model, rewrite_the_same)[0] == 200
    assert replay(simulator, model, drop_thinking)[0] == 200
    status, message = replay(simulator, model, edit_thinking)
    assert status == 400
    assert "blocks in the latest assistant message cannot be modified" in message
    other = "claude-opus-4-8"
    assert replay(simulator, model, lambda sent: (edit_thinking(sent), sent.update(model=other)))[0] == 200


@pytest.mark.parametrize(
    ("model", "new_account", "bound"),
    [
        ("claude-fable-5-2", False, True),
        ("claude-opus-5-5", False, False),
        ("claude-opus-5-5", True, True),
        ("claude-sonnet-5-5", True, True),
        ("claude-haiku-5-5", True, True),
        ("claude-fable-5-1", True, True),
        ("claude-mythos-5-1", True, False),
        ("claude-opus-5", True, False),
    ],
)
@pytest.mark.parametrize("change", [edit_system, edit_question])
def test_thinking_is_bound_to_its_conversation(model: str, new_account: bool, bound: bool, change: Any) -> None:
    """On the newest model always, on others for accounts made since; a request may ask for it, or have it dropped."""
    with Simulator(new_account=new_account) as simulator:
        status, message = replay(simulator, model, change)
        assert status == (400 if bound else 200)
        if bound:
            assert message.startswith(
                "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound"
            )
        for behavior, fails in (("drop_block", False), ("error", bound or model == "claude-opus-5-5")):
            thinking = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": behavior}}
            assert replay(simulator, model, change, thinking=thinking)[0] == (400 if fails else 200)


def converse(simulator: Simulator, model: str, turns: int) -> Dict[str, Any]:
    """Hold a conversation of so many answers, each sent back as it came; return the request that goes on with it."""
    sent: Dict[str, Any] = {"model": model, "max_tokens": 2000, "messages": []}
    for number in range(turns):
        sent["messages"].append({"role": "user", "content": f"Question {number}?"})
        ((status, message),) = post(simulator, sent)
        assert status == 200
        sent["messages"].append({"role": "assistant", "content": message["content"]})
    sent["messages"].append({"role": "user", "content": "And?"})
    return sent


@pytest.mark.parametrize(
    ("left_out", "taken"),
    [((), True), ((0,), True), ((0, 1), True), ((0, 1, 2), True), ((1,), False), ((1, 2), True), ((0, 2), True)],
)
def test_thinking_that_is_kept_is_an_unbroken_run(simulator: Simulator, left_out: Tuple[int, ...], taken: bool) -> None:
    """From the beginning any number may be left out; out of the middle none, where thinking is bound."""
    for model, bound in (("claude-fable-5-2", True), ("claude-opus-5", False)):
        sent = converse(simulator, model, 3)
        for number in left_out:
            del sent["messages"][2 * number + 1]["content"][0]
        ((status, got),) = post(simulator, sent)
        assert (status == 200) is (taken or not bound), got
        if status == 400:
            assert got["error"]["message"].startswith("messages.5.content.0: Invalid `signature` in `thinking` block.")


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "disabled"}])
def test_thinking_before_a_call_of_a_tool_goes_back(simulator: Simulator, thinking: Dict[str, Any]) -> None:
    """The answer that called the tool is refused without its thinking, unless thinking is off by then."""
    tool = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
    sent: Dict[str, Any] = {
        "model": "claude-opus-5",
        "max_tokens": 2000,
        "messages": [USER],
        "tools": [tool],
        "tool_choice": {"type": "any"},
    }
    ((_, message),) = post(simulator, sent)
    assert [block["type"] for block in message["content"]] == ["thinking", "tool_use"]
    answered = {"type": "tool_result", "tool_use_id": message["content"][1]["id"], "content": "fine"}
    del sent["tool_choice"]
    sent["messages"] += [{"role": "assistant", "content": message["content"]}, {"role": "user", "content": [answered]}]
    assert post(simulator, sent)[0][0] == 200
    sent["messages"][1] = {"role": "assistant", "content": message["content"][1:]}
    ((status, got),) = post(simulator, {**sent, "thinking": thinking})
    assert status == (400 if thinking["type"] == "adaptive" else 200)
    if status == 400:
        assert got["error"]["message"].startswith(
            "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest"
        )
    # Another model never sees it.
    assert post(simulator, {**sent, "model": "claude-opus-4-8", "thinking": thinking})[0][0] == 200
