"""Answers that are cut off, refused or lack usage: status, receipt, totals and frame say so, and the price is right."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from support.batches import quick_batches

from claude_force_nb.errors import SchemaError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage
from claude_force_nb.notebook.display.batch_results import batch_bundle, summary_line
from claude_force_nb.notebook.display.receipts import receipt
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator
from claude_force_nb.testing import FakeTransport

Make = Callable[..., AsyncAgentOrchestrator]
NO_THINKING: Dict[str, Any] = {"model": "haiku", "thinking": "off"}


@pytest.mark.parametrize("stream", [False, True])
def test_cut_off(run: Any, make: Make, stream: bool) -> None:
    """The status says it, the receipt says what to do, the text is kept, and the answer is asked for again."""
    from claude_force_nb.api.answer import PartialAnswer

    async def main() -> None:
        async with make() as orchestrator:
            for _ in range(2):
                partial = PartialAnswer() if stream else None
                result = await orchestrator.run("p", max_tokens=5, partial=partial, **NO_THINKING)
                assert (result.status, result.stop_reason, result.cached) == ("cut_off", "max_tokens", False)
                assert result.text
                assert result.cost > 0
                assert receipt(result).endswith("cut off at max_tokens; raise it · not cached")

    run(main())


def test_cut_off_while_thinking(run: Any, make: Make) -> None:
    """An answer that never came for all the thinking says so."""
    result = run(make().run("p", max_tokens=3, model="sonnet", effort="max"))
    assert (result.status, result.text) == ("cut_off", "")
    assert result.usage.thinking_tokens == result.usage.output_tokens == 3
    assert result.shortcoming == "cut off at max_tokens, most of it thinking; raise max_tokens or lower effort"


@pytest.mark.parametrize("category", ["cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms", None])
@pytest.mark.parametrize("kind", ["refusal", "refusal_midway"])
def test_a_refusal_is_paid_as_the_api_bills_it(
    run: Any, make: Make, simulator: Simulator, kind: str, category: Any
) -> None:
    """Before any output some categories are free, after it none is; the simulator keeps its own account."""
    simulator.fail(kind, category=category)
    result = run(make().run("p", **NO_THINKING))
    assert (result.status, result.stop_reason) == ("refused", "refusal")
    assert result.cost == simulator.counters.dollars
    free = kind == "refusal" and category in ("cyber", "general_harms", None)
    assert (result.cost == 0) is free
    assert result.usage.total_input_tokens > 0
    assert result.shortcoming.startswith(f"refused ({category}): Simulated refusal" if category else "refused; ")


def rows_with_every_end(simulator: Simulator, via: str) -> List[str]:
    endpoint = "messages" if via == "api" else "batch_item"
    simulator.fail("refusal_midway", contains="refuse", category="bio", endpoint=endpoint)
    simulator.fail("invalid_request", contains="wrong", endpoint=endpoint)
    return ["fine", "please refuse", "wrong", "fine again"]


@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
@pytest.mark.parametrize("via", ["api", "batches"])
def test_rows_are_counted_shown_and_asked_again(run: Any, make: Make, simulator: Simulator, via: str) -> None:
    """A refused row is not an answered one: in the counts, the summary, the table and the frame; retry asks for it."""
    prompts = rows_with_every_end(simulator, via)

    async def main() -> None:
        async with quick_batches(make()) as orchestrator:
            batch = await orchestrator.run_many(prompts, via=via, **NO_THINKING)
            assert [row.status for row in batch] == ["ok", "refused", "failed", "ok"]
            assert (batch.counts["refused"], batch.counts["cut_off"], batch.counts["ok"]) == (1, 0, 2)
            assert batch.cost == simulator.counters.dollars
            assert "1 refused" in repr(batch)
            assert "1 refused" in summary_line(batch)
            assert "refused (bio): Simulated refusal" in batch_bundle(batch)["text/plain"]
            frame = batch.to_frame()
            assert list(frame["stop_reason"].fillna("")) == ["end_turn", "refusal", "", "end_turn"]
            assert list(frame["answer"].isna()) == [False, True, True, False]
            assert list(frame["error"])[1].startswith("refused (bio)")
            simulator.heal()
            again = await batch.retry()
            assert dict(again.counts) == {"ok": 4, "cached": 0, "failed": 0, "not_sent": 0}

    run(main())


def test_a_file_is_filled_up(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """A row that was cut off is in the file as such, and a second run asks for it again."""
    path = tmp_path / "out.jsonl"

    async def main() -> None:
        async with make() as orchestrator:
            summary = await orchestrator.run_stream(["a", "b"], into=path, max_tokens=5, **NO_THINKING)
            assert (summary.counts["cut_off"], summary.counts["ok"]) == (2, 0)
            assert '"stop_reason": "max_tokens"' in path.read_text(encoding="utf-8")
            before = simulator.counters.calls
            summary = await orchestrator.run_stream(["a", "b"], into=path, max_tokens=5, **NO_THINKING)
            assert simulator.counters.calls == before + 2

    run(main())


def test_who_joins_a_call_is_told_the_same(run: Any, make: Make, simulator: Simulator) -> None:
    """One call answers two; both know that it was cut off, and one paid nothing."""
    simulator.fail("slow", delay_seconds=0.2)

    async def main() -> None:
        async with make() as orchestrator:
            calls = [orchestrator.run("p", max_tokens=5, **NO_THINKING) for _ in range(2)]
            results = await asyncio.gather(*calls)
            assert [result.status for result in results] == ["cut_off", "cut_off"]
            assert sorted(result.cached for result in results) == [False, True]

    run(main())
    assert simulator.counters.calls == 1


def test_an_answer_for_a_schema_that_is_cut_off(run: Any, make: Make) -> None:
    """It is an error that says so, and its row counts as cut off, not as one that did not fit."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }

    async def main() -> None:
        async with make() as orchestrator:
            with pytest.raises(SchemaError, match="cut off at max_tokens") as raised:
                await orchestrator.run("p", schema=schema, max_tokens=2, **NO_THINKING)
            assert raised.value.result.status == "cut_off"
            batch = await orchestrator.run_many(["q"], schema=schema, max_tokens=2, **NO_THINKING)
            assert batch.counts["cut_off"] == 1

    run(main())


@pytest.mark.parametrize("usage", [None, "many", [1, 2], {}, {"input_tokens": 0, "output_tokens": 0}], ids=repr)
def test_usage_that_was_not_told(run: Any, make: Make, usage: Any) -> None:
    """The price is unknown, never nothing, and the budget counts the worst case."""

    def answer(request: Any) -> Dict[str, Any]:
        return {"content": [{"type": "text", "text": "fine"}], "stop_reason": "end_turn", "usage": usage}

    async def main() -> None:
        async with make(transport=FakeTransport(answer), budget=1) as orchestrator:
            result = await orchestrator.run("p", model="haiku", max_tokens=1000)
            assert (result.status, result.cost) == ("ok", None)
            assert "price unknown" in receipt(result)
            left = orchestrator.snapshot().budgets[0].left
            assert Decimal("0.9") < left < 1
            cached = await orchestrator.run("p", model="haiku", max_tokens=1000)
            assert (cached.status, cached.cost, cached.saved) == ("cached", 0, None)
            assert orchestrator.snapshot().budgets[0].left == left

    run(main())


def test_the_same_counts_have_no_price_where_usage_is_not_known(run: Any, make: Make) -> None:
    """Answers alike in every count are priced apart where the server said of one only in part what it bills."""

    async def main() -> None:
        async with make(transport=FakeTransport(lambda request: "x")) as orchestrator:
            model = orchestrator.request("a").model
            for prompt, known in (("a", True), ("b", False), ("c", True)):
                usage = Usage(input_tokens=1_000_000, known=known)
                assert orchestrator.cache.put(orchestrator.request(prompt), ClaudeResult("x", model, usage))
            saved = [(await orchestrator.run(prompt)).saved for prompt in ("a", "b", "c")]
        assert saved[1] is None
        assert saved[0] == saved[2] != 0

    run(main())
