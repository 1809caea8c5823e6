"""Answers that fit a schema, over a real socket: asked for, checked, repaired once, paid for once, kept where they do not fit."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from pydantic import BaseModel, Field
from support.batches import quick_batches

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.costs.bounds import input_bound_tokens
from claude_force_nb.errors import (
    ApiError,
    AuthenticationError,
    BudgetExceededError,
    CacheMissError,
    OptionError,
    SchemaError,
)
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.answers import result_bundle
from claude_force_nb.notebook.display.receipts import receipt
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.answer_columns import frame_parts
from claude_force_nb.schemas.answer import as_row, schema_of
from claude_force_nb.schemas.repair import checked, repair_request
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A Messages API that also serves a retired model."""
    with Simulator(extra_models=MODELS[1:]) as running:
        yield running


class Review(BaseModel):
    rating: int = Field(ge=1, le=5)
    summary: str = Field(min_length=3)


# A model whose answers the API holds to a schema, and one that is asked in words: it is retired.
pytestmark = pytest.mark.filterwarnings("ignore::claude_force_nb.errors.ModelRetirementWarning")
MODELS = ["haiku", "claude-opus-4-1-20250805"]
SCHEMAS: List[Any] = [Review, Review.model_json_schema()]


needs_pandas = pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")


def ledger_total(orchestrator: AsyncAgentOrchestrator) -> Any:
    assert orchestrator.ledger is not None
    return orchestrator.ledger.total()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("schema", SCHEMAS, ids=["model", "dict"])
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_an_answer_fits(run: Any, make: Make, simulator: Simulator, model: str, schema: Any, streamed: bool) -> None:
    """One call; parsed is what the schema stands for, again when the cache answers."""

    async def main() -> None:
        async with make() as orchestrator:
            for cached in (False, True):
                partial = PartialAnswer() if streamed else None
                result = await orchestrator.run("Judge it.", model=model, schema=schema, partial=partial)
                assert result.cached is cached
                assert not result.repaired
                row = as_row(result.parsed, schema)
                assert 1 <= row["rating"] <= 5
                assert row == json.loads(result.text)
                assert isinstance(result.parsed, Review) is (schema is Review)

    run(main())
    assert simulator.counters.calls == 1


@pytest.mark.parametrize("model", MODELS)
def test_a_wrong_answer_is_repaired_once_and_paid_once(run: Any, make: Make, simulator: Simulator, model: str) -> None:
    """The second call shows the model what is wrong; the result counts both, and a rerun is free of both."""
    simulator.fail(["wrong_json"])
    events: List[Any] = []

    async def main() -> None:
        async with make(on_event=events.append, budget=5) as orchestrator:
            first = await orchestrator.run("Judge it.", model=model, schema=Review)
            total = ledger_total(orchestrator)
            assert isinstance(first.parsed, Review)
            assert (first.repaired, first.attempts, first.cached, first.status) == (True, 2, False, "ok")
            assert first.fingerprint == orchestrator.request("Judge it.", model=model, schema=Review).fingerprint
            assert (total.calls, total.cost, total.output_tokens) == (2, first.cost, first.usage.output_tokens)
            assert orchestrator.budget.spent == first.cost
            assert first.cost is not None
            assert first.cost > 0
            assert receipt(first).endswith("· repaired")
            again = await orchestrator.run("Judge it.", model=model, schema=Review)
            assert again.parsed == first.parsed
            assert (again.cached, again.status, again.cost, again.attempts) == (True, "cached", Decimal(0), 0)
            assert (again.saved, again.usage) == (first.cost, first.usage)
            assert "repaired" in receipt(again)

    run(main())
    assert simulator.counters.calls == 2
    assert [event.kind for event in events if event.kind in ("sent", "hit")] == ["sent", "sent", "hit", "hit"]


def test_the_repair_is_a_turn_after_the_question() -> None:
    """The wrong answer and what is wrong with it follow what was asked; everything else stays."""
    body: Dict[str, Any] = {
        "model": "m",
        "max_tokens": 9,
        "system": "S",
        "messages": [{"role": "user", "content": "Q"}],
    }
    request = ClaudeRequest(body=body, sample=3, betas=("b",))
    again = repair_request(request, "wrong", "the answer does not fit Review: rating: too high")
    assert [turn["role"] for turn in again.body["messages"]] == ["user", "assistant", "user"]
    assert again.body["messages"][:2] == [*body["messages"], {"role": "assistant", "content": "wrong"}]
    assert "Review: rating: too high." in again.body["messages"][2]["content"]
    assert {**again.body, "messages": 0} == {**request.body, "messages": 0}
    assert (again.sample, again.betas) == (3, ("b",))
    empty = repair_request(request, " ", "it is empty")
    assert [turn["role"] for turn in empty.body["messages"]] == ["user", "user"]


def test_what_stays_wrong_is_an_error_that_keeps_the_text(run: Any, make: Make, simulator: Simulator) -> None:
    """One line; its text, usage and cost are there, and a rerun pays nothing for the same failure."""
    simulator.fail("wrong_json")

    async def main() -> None:
        async with make() as orchestrator:
            for cost in (None, Decimal(0)):
                with pytest.raises(
                    SchemaError, match=r"^even after one repair, the answer does not fit Review: "
                ) as raised:
                    await orchestrator.run("Judge it.", model="haiku", schema=Review)
                error = raised.value
                assert "\n" not in str(error)
                result = error.result
                assert json.loads(error.text) == json.loads(result.text) == ["simulated: wrong on purpose"]
                assert (result.status, result.error, result.parsed) == ("failed", error, None)
                assert result.cost == (ledger_total(orchestrator).cost if cost is None else cost)
                assert "wrong on purpose" in result_bundle(result)["text/plain"]
                copied = pickle.loads(pickle.dumps(error))
                assert (str(copied), copied.text) == (str(error), error.text)

    run(main())
    assert simulator.counters.calls == 2


@pytest.mark.parametrize(
    ("fault", "options", "why"),
    [("refusal", {}, "the model refused"), (None, {"max_tokens": 2}, "it was cut off at max_tokens; raise it")],
)
def test_no_repair_is_paid_for_what_it_cannot_mend(
    run: Any, make: Make, simulator: Simulator, fault: Any, options: Dict[str, Any], why: str
) -> None:
    """A refusal and an answer that was cut off fail at once."""
    if fault:
        simulator.fail(fault)

    async def main() -> None:
        async with make() as orchestrator:
            with pytest.raises(SchemaError, match=why) as raised:
                await orchestrator.run("Judge it.", model="haiku", schema=Review, **options)
            assert raised.value.result.attempts == 1

    run(main())
    assert simulator.counters.calls == 1


def test_a_repair_that_is_not_possible_keeps_the_first_answer(run: Any, make: Make, simulator: Simulator) -> None:
    """No budget, or an API that refuses: the error says both, and the first answer's text and cost are kept."""
    simulator.fail("wrong_json")

    async def main() -> None:
        async with make() as orchestrator:
            request = orchestrator.request("Judge it.", model="haiku", schema=Review, max_tokens=1000)
            bound = orchestrator.prices.bound(
                request.model, input_tokens=input_bound_tokens(request), max_tokens=request.max_tokens
            )
        async with make(budget=bound) as orchestrator:
            with pytest.raises(SchemaError, match="asking again failed: BudgetExceededError") as raised:
                await orchestrator.run("Judge it.", model="haiku", schema=Review, max_tokens=1000)
            assert isinstance(raised.value.__cause__, BudgetExceededError)
            assert raised.value.result.cost > 0
            assert "wrong on purpose" in raised.value.text
            with pytest.raises(SchemaError, match="CacheMissError") as raised:
                await orchestrator.run("Judge it.", model="haiku", schema=Review, max_tokens=1000, cache="only")
            assert isinstance(raised.value.__cause__, CacheMissError)

    run(main())


def test_a_key_refused_for_the_repair_ends_the_run(run: Any, make: Make, simulator: Simulator) -> None:
    """As for any call: what every further row would meet is not hidden behind a schema."""
    simulator.fail(["wrong_json", "authentication"])

    async def main() -> None:
        async with make(max_concurrent=1) as orchestrator:
            batch = await orchestrator.run_many(["a", "b"], model="haiku", schema=Review)
            assert [result.status for result in batch] == ["failed", "not_sent"]
            assert isinstance(batch[0].error, AuthenticationError)

    run(main())


def test_rows_of_a_batch(run: Any, make: Make, simulator: Simulator) -> None:
    """Rows are parsed or repaired; one that stays wrong is failed, keeps its text, and costs what it cost."""
    simulator.fail(["wrong_json"], contains="mend me")
    simulator.fail("wrong_json", contains="hopeless")

    async def main() -> None:
        async with make() as orchestrator:
            batch = await orchestrator.run_many(
                ["good", "mend me", "hopeless", "good"], model="haiku", schema=Review, cache="on"
            )
            assert [result.status for result in batch] == ["ok", "ok", "failed", "cached"]
            assert [isinstance(result.parsed, Review) for result in batch] == [True, True, False, True]
            assert [result.repaired for result in batch] == [False, True, True, False]
            assert isinstance(batch[2].error, SchemaError)
            assert "wrong on purpose" in batch[2].text
            assert batch.cost == ledger_total(orchestrator).cost
            assert batch.parsed == [result.parsed for result in batch]
            mended = await batch.retry()
            assert [result.status for result in mended] == ["ok", "ok", "failed", "cached"]

    run(main())
    assert simulator.counters.calls == 5


@needs_pandas
def test_the_frame_of_a_batch_has_the_parts_of_the_answers(run: Any, make: Make, simulator: Simulator) -> None:
    """In the order of the schema, empty where a row does not fit."""
    simulator.fail("wrong_json", contains="hopeless")

    async def main() -> None:
        async with make() as orchestrator:
            batch = await orchestrator.run_many(["good", "hopeless"], model="haiku", schema=Review)
            frame = batch.to_frame()
            assert list(frame.columns)[-7:] == [
                "answer", "rating", "summary", "status", "stop_reason", "error", "cost",
            ]  # fmt: skip
            assert frame["summary"].tolist()[0] == batch[0].parsed.summary
            assert frame["summary"].isna().tolist() == [False, True]

    run(main())


def test_rows_of_a_message_batch_are_checked_and_repaired_by_a_retry(
    run: Any, make: Make, simulator: Simulator
) -> None:
    """No call is made for a misfit at once; the retry makes one, by itself, and leaves the others alone."""
    simulator.fail(["wrong_json"], endpoint="batch_item", contains="mend me")

    async def main() -> None:
        async with quick_batches(make()) as orchestrator:
            batch = await orchestrator.run_many(
                ["good", "mend me"], model="haiku", schema=Review, via="batches", budget=1
            )
            assert [result.status for result in batch] == ["ok", "failed"]
            assert isinstance(batch[1].error, SchemaError)
            assert "wrong on purpose" in batch[1].text
            assert simulator.counters.completed == simulator.counters.completed_in_batches == 2
            mended = await batch.retry()
            assert [result.status for result in mended] == ["ok", "ok"]
            assert mended.parsed[0] == batch.parsed[0]
            assert isinstance(mended.parsed[1], Review)
            assert mended[1].repaired
            assert simulator.counters.completed == 3
            total = ledger_total(orchestrator)
            assert batch.cost is not None
            assert total.cost == batch.cost + mended[1].cost

    run(main())


def test_a_part_called_as_a_column_of_the_frame_keeps_apart() -> None:
    """The frame's own status is distinct from a part of that name."""
    schema = schema_of({"type": "object", "properties": {"status": {"type": "string"}, "status_2": {"type": "string"}}})
    parts = frame_parts(schema)
    assert parts is not None
    assert parts(ClaudeResult(parsed={"status": "a", "status_2": "b"})) == {"status_3": "a", "status_2": "b"}
    assert parts(ClaudeResult()) == {"status_3": None, "status_2": None}
    assert frame_parts(None) is None


def test_a_result_that_came_another_way_is_checked_without_a_call() -> None:
    """What a message batch brings: parsed, or failed with its text; nothing is made of an error."""
    schema = schema_of(Review)
    good = checked(ClaudeResult(text='{"rating": 3, "summary": "fine"}', stop_reason="end_turn"), schema)
    assert good.parsed == Review(rating=3, summary="fine")
    bad = checked(ClaudeResult(text='{"rating": 9}', stop_reason="end_turn", cost=Decimal("0.5")), schema)
    assert (bad.status, bad.text, bad.cost) == ("failed", '{"rating": 9}', Decimal("0.5"))
    assert isinstance(bad.error, SchemaError)
    failed = ClaudeResult(status="failed", error=ValueError("x"))
    assert checked(failed, schema) is failed
    plain = ClaudeResult(text="x")
    assert checked(plain, None) is plain


@pytest.mark.slow
def test_the_schema_is_part_of_the_fingerprint(make: Make) -> None:
    """Another schema is another question; the same one is the same question in every process."""
    orchestrator = make()
    requests = [orchestrator.request("q", model="haiku", schema=schema) for schema in (Review, None, {"type": "array"})]
    assert len({request.fingerprint for request in requests}) == 3
    same = orchestrator.request("q", model="haiku", schema=json.loads(json.dumps(Review.model_json_schema())))
    assert same.fingerprint == requests[0].fingerprint
    here = Path(__file__).parent
    code = (
        f"import sys; sys.path[:0] = {[str(here), str(here.parent)]!r}; from test_repair import Review; "
        "from claude_force_nb.testing import FakeTransport; from claude_force_nb import AsyncAgentOrchestrator; "
        "o = AsyncAgentOrchestrator(transport=FakeTransport(lambda r: ''), enable_cache=False, ledger=None, base_url=None); "
        f"print([o.request('q', model=m, schema=Review).fingerprint for m in {MODELS!r}])"
    )
    outputs = {
        subprocess.check_output([sys.executable, "-W", "ignore", "-c", code], env=_environment(seed), text=True)
        for seed in ("0", "1")
    }
    assert len(outputs) == 1


def _environment(seed: str) -> Dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": seed}


def test_a_schema_beside_other_options(run: Any, make: Make, simulator: Simulator) -> None:
    """Effort and further fields of output_config stay; two formats are refused before anything is sent."""
    orchestrator = make()
    body = orchestrator.request("q", model="haiku", schema=Review, effort="low").body
    assert body["output_config"]["effort"] == "low"
    assert body["output_config"]["format"]["type"] == "json_schema"
    body = orchestrator.request("q", model=MODELS[1], schema=Review, system="Be kind.").body
    assert "output_config" not in body
    assert body["system"].startswith("Be kind.\n\nAnswer with one JSON value")
    with pytest.raises(OptionError, match="not both"):
        orchestrator.request("q", schema=Review, body={"output_config": {"format": {}}})
    with pytest.raises(OptionError, match="schema must be"):
        orchestrator.request("q", schema="Review")


def test_thinking_is_counted_shown_and_kept(run: Any, make: Make, simulator: Simulator) -> None:
    """Streamed or not, from the API or the cache: folded in HTML, in output tokens and cost."""

    async def main() -> None:
        async with make() as orchestrator:
            plain = await orchestrator.run("Why?", model="haiku", thinking="off")
            for sample, partial in enumerate((None, PartialAnswer()), 1):
                options: Dict[str, Any] = {"model": "haiku", "thinking": "on", "effort": "low", "sample": sample}
                fresh = await orchestrator.run("Why?", partial=partial, **options)
                assert fresh.thinking.startswith("Simulated thinking")
                assert "Simulated thinking" not in fresh.text
                assert partial is None or partial.thinking == fresh.thinking
                assert fresh.usage.output_tokens > plain.usage.output_tokens
                assert fresh.cost > plain.cost
                cached = await orchestrator.run("Why?", **options)
                assert (cached.cached, cached.thinking) == (True, fresh.thinking)
                assert cached.saved == fresh.cost
                html = result_bundle(cached)["text/html"]
                assert html.index("<details><summary>Thinking</summary>") < html.index("Simulated thinking")
                assert html.index("</details>") < html.index("saved")

    run(main())


@pytest.mark.parametrize("fault", ["server_error", "overloaded", "drop", "lost"])
def test_a_failure_of_the_repair_is_a_schema_error(run: Any, make: Make, simulator: Simulator, fault: str) -> None:
    """Whatever ends the second call, the row has an answer that does not fit: its text, what it cost, and why no other came."""
    simulator.fail(["wrong_json", *[fault] * 3], retry_after_seconds=0.01)

    async def main() -> None:
        async with make(max_retries=2) as orchestrator:
            batch = await orchestrator.run_many(["Judge it."], model="haiku", schema=Review)
            error = batch[0].error
            assert isinstance(error, SchemaError)
            assert isinstance(error.__cause__, ApiError)
            assert "asking again failed" in str(error)
            assert error.text == batch[0].text != ""
            assert (batch[0].status, batch[0].attempts) == ("failed", 4)
            # What was lost on its way back may be billed: nobody knows what it cost.
            assert (batch[0].cost is None) is (fault in ("drop", "lost"))

    run(main())
    assert simulator.counters.calls == 4
