"""Usage, results and batches of results."""

from __future__ import annotations

import decimal
import json
import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.errors import OverloadedError, StoppedError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import UNKNOWN_CATEGORY, Usage
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.rows.retry import budget_left

counts = st.integers(0, 10**9)
usages = st.builds(
    Usage, counts, counts, counts, counts, counts, counts, st.sampled_from(["standard", "batch"]), st.just("standard")
)


@pytest.mark.parametrize(
    ("given", "geo"), [("us", "us"), ("global", "global"), ("not_available", "global"), (None, "global")]
)
def test_the_region_is_read(given, geo):
    """If the API does not state a region, it is the default."""
    usage = Usage.from_api({"input_tokens": 1, "inference_geo": given})
    assert usage.inference_geo == geo
    assert Usage.from_record(usage.to_record()) == usage


def test_usage_of_the_api() -> None:
    """Cache writes are split by lifetime; nothing is counted twice."""
    usage = Usage.from_api(
        {
            "input_tokens": 10,
            "output_tokens": 20,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 4000,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
            "server_tool_use": {"web_search_requests": 2},
            "service_tier": "batch",
        }
    )
    assert usage == Usage(10, 20, 100, 200, 4000, 2, "batch")
    assert usage.total_input_tokens == 4310


def test_usage_of_a_compaction_is_counted() -> None:
    """The API leaves it out of the sums; each other iteration is in them already."""
    usage = Usage.from_api(
        {
            "input_tokens": 23_000,
            "output_tokens": 1000,
            "speed": "fast",
            "iterations": [
                {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500, "cache_read_input_tokens": 7},
                {"type": "message", "input_tokens": 23_000, "output_tokens": 1000},
            ],
        }
    )
    assert usage == Usage(203_000, 4500, cache_read_tokens=7, speed="fast")


MILLION = 1_000_000


def entry(kind: str, model: Any, input_tokens: int, output_tokens: int) -> Any:
    return {"type": kind, "model": model, "input_tokens": input_tokens, "output_tokens": output_tokens}


# Which attempts are billed beside that of claude-opus-4-8, and what they cost in dollars; None where nobody can say.
ATTEMPTS: Any = [
    # Declined before any output: free or not by its category.
    ([entry("message", "claude-opus-5", MILLION, 0)], ["cyber"], 0),
    ([entry("message", "claude-opus-5", MILLION, 0)], [None], 0),
    ([entry("message", "claude-opus-5", MILLION, 0)], ["bio"], 5),
    ([entry("message", "claude-opus-5", MILLION, 0)], ["a category of tomorrow"], 5),
    ([entry("message", "claude-opus-5", MILLION, 0)], [UNKNOWN_CATEGORY], None),
    ([entry("message", "claude-opus-5", MILLION, 0)], [], None),
    # Declined in the middle: at the rates of the model that ran it.
    ([entry("message", "claude-fable-5-2", MILLION, MILLION)], ["cyber"], 48),
    ([entry("message", "claude-fable-5-2", MILLION, MILLION)], [UNKNOWN_CATEGORY], 48),
    # Each by itself; the turns of one attempt are one.
    (
        [entry("message", "claude-fable-5-2", MILLION, 0), entry("message", "claude-opus-5", MILLION, 0)],
        ["cyber", "frontier_llm"],
        5,
    ),
    ([entry("message", "claude-opus-5", MILLION, MILLION), entry("message", "claude-opus-5", 0, 0)], [None], 30),
    # Earlier turns of the model that answered are in the counts at the top.
    ([entry("message", "claude-opus-4-8", MILLION, MILLION)], [], 0),
    ([entry("message", None, MILLION, MILLION)], [], None),
    ([entry("message", "a-model-without-a-price", MILLION, 5)], [], None),
]


@pytest.mark.parametrize(("attempts", "declined", "dollars"), ATTEMPTS)
def test_attempts_of_models_that_declined_are_priced_by_themselves(attempts: Any, declined: Any, dollars: Any) -> None:
    """The counts at the top are those of the model that answered; what others read and wrote is billed at their own rates."""
    served = entry("fallback_message", "claude-opus-4-8", MILLION, 0)
    given = {"input_tokens": MILLION, "output_tokens": MILLION, "iterations": [*attempts, served]}
    usage = Usage.from_api(given, declined=declined)
    assert (usage.input_tokens, usage.output_tokens) == (MILLION, MILLION)
    cost = load_prices().cost("claude-opus-4-8", usage)
    assert cost == (None if dollars is None else 30 + dollars)
    again = Usage.from_record(json.loads(json.dumps(usage.to_record())))
    assert load_prices().cost("claude-opus-4-8", again) == cost
    assert load_prices().cost("claude-opus-4-8", usage.in_batch()) == (None if cost is None else cost / 2)


def test_where_nobody_declined_every_turn_is_in_the_counts() -> None:
    """A gateway may name the model in its own way, and a model that is asked again after a refusal answers alone."""
    for iterations in ([entry("message", "vendor/opus", 9, 9)], [entry("fallback_message", "claude-opus-4-8", 9, 9)]):
        usage = Usage.from_api({"input_tokens": 9, "output_tokens": 9, "iterations": iterations})
        assert usage == Usage(9, 9)
        assert usage.known


def test_an_adviser_is_paid_beside_the_answer() -> None:
    """It is paid at the rates of its own model; totals keep models apart."""
    advice = entry("advisor_message", "claude-opus-5-5", MILLION, MILLION)
    usage = Usage.from_api({"input_tokens": MILLION, "output_tokens": MILLION, "iterations": [advice, None, advice]})
    assert load_prices().cost("claude-sonnet-5-5", usage) == 12 + 2 * 24
    assert (usage + usage).other_models == (("claude-opus-5-5", Usage(4 * MILLION, 4 * MILLION)),)
    nameless = {"input_tokens": 5, "output_tokens": 5, "iterations": [entry("advisor_message", None, 5, 5)]}
    assert load_prices().cost("claude-sonnet-5-5", Usage.from_api(nameless)) is None


def test_an_iteration_of_a_kind_of_tomorrow_has_no_price() -> None:
    given = {
        "input_tokens": 5,
        "output_tokens": 5,
        "iterations": [entry("message", None, 5, 5), entry("new", "x", 5, 5)],
    }
    usage = Usage.from_api(given)
    assert (usage.input_tokens, usage.service_tier) == (5, "mixed")
    assert load_prices().cost("claude-sonnet-5-5", usage) is None


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "cache_read_input_tokens"])
def test_an_impossible_count_has_no_price(name: str) -> None:
    """A number of 31 digits would exhaust every budget."""
    usage = Usage.from_api({"input_tokens": 5, "output_tokens": 5, name: 10**30})
    assert not usage.known
    assert usage.total_input_tokens + usage.output_tokens <= 10
    assert load_prices().cost("claude-sonnet-5-5", usage) is None


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        [],
        "usage",
        5,
        {"input_tokens": None, "output_tokens": "7", "cache_read_input_tokens": -3, "cache_creation": 5},
        {"iterations": 5},
        {"iterations": [5, None, {}, {"type": "message"}, {"type": "compaction", "iterations": [{"type": "x"}]}]},
        {"input_tokens": True, "output_tokens": 1.5, "server_tool_use": [], "service_tier": None},
    ],
    ids=repr,
)
def test_usage_of_a_server_that_is_not_the_api(nonsense: Any) -> None:
    """What is missing, null, negative or of a wrong type counts as nothing, never raises, and is never a price of nothing."""
    usage = Usage.from_api(nonsense)
    assert usage == Usage()
    assert not usage.known
    assert load_prices().cost("claude-haiku-5-5", usage) is None


@pytest.mark.parametrize(
    ("usage", "answered", "known"),
    [
        ({"input_tokens": 0, "output_tokens": 0}, True, False),
        ({"input_tokens": 0, "output_tokens": 7}, True, False),
        ({"input_tokens": 7}, True, False),
        ({"input_tokens": 7, "output_tokens": 0}, True, False),
        ({"input_tokens": 7, "output_tokens": 0}, False, True),
        ({"cache_read_input_tokens": 7, "output_tokens": 1}, True, True),
    ],
)
def test_usage_that_cannot_be_all(usage: Any, answered: bool, known: bool) -> None:
    """Every request and every answer has tokens, so a server that reports 0 has not counted."""
    read = Usage.from_api(usage, answered=answered)
    assert read.known is known
    assert (read + Usage(1, 1)).known is known
    assert (load_prices().cost("claude-haiku-5-5", read) is not None) is known


def test_every_counter_is_read() -> None:
    """Thinking and fetched pages have a field; what the API may add is kept by its path and adds up."""
    usage = Usage.from_api(
        {
            "input_tokens": 5,
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 40, "dreaming_tokens": 3},
            "server_tool_use": {"web_fetch_requests": 2, "code_execution_requests": 1},
            "new_tokens": 9,
            "new_word": "x",
        }
    )
    assert (usage.thinking_tokens, usage.web_fetches) == (40, 2)
    assert usage.other == {
        "output_tokens_details.dreaming_tokens": 3,
        "server_tool_use.code_execution_requests": 1,
        "new_tokens": 9,
    }
    assert Usage.from_record(json.loads(json.dumps(usage.to_record()))) == usage
    assert (usage + usage).other["new_tokens"] == 18


def test_a_refusal_that_is_not_billed() -> None:
    """Its tokens are known and cost nothing, also where the model's price is not known."""
    free = Usage(5000, 0, billed=False)
    assert load_prices().cost("claude-haiku-5-5", free) == load_prices().cost("qwen3:8b", free) == 0


@given(usages)
def test_usage_survives_its_record(usage: Usage) -> None:
    """A usage comes back from its record, which holds only what is not the default."""
    record = usage.to_record()
    assert Usage.from_record(record) == usage
    assert 0 not in record.values()


@given(usages, usages)
def test_usage_adds_up(one: Usage, other: Usage) -> None:
    """The sum of two usages has the sum of their tokens."""
    assert (one + other).total_input_tokens == one.total_input_tokens + other.total_input_tokens
    assert (one + other).output_tokens == one.output_tokens + other.output_tokens
    assert (one + other).service_tier == (one.service_tier if one.service_tier == other.service_tier else "mixed")


def test_result_is_its_text() -> None:
    """str() is the answer, repr() is short."""
    result = ClaudeResult(text="x" * 100, model="m", cost=Decimal("0.01"))
    assert str(result) == f"{result}" == "x" * 100
    assert len(repr(result)) < 140


def test_result_survives_its_record() -> None:
    """What the cache keeps gives the answer back as a cached one, without what belonged to one run."""
    result = ClaudeResult(
        text="t", model="m", usage=Usage(1, 2), cost=Decimal(1), stop_reason="end_turn", request_id="req_1",
        call_seconds=1.5, duration_seconds=9.0, attempts=3, thinking="hm", agent="reviewer", fingerprint="f",
    )  # fmt: skip
    again = ClaudeResult.from_record(result.to_record(), fingerprint="f", age_seconds=60.0)
    assert (again.text, again.thinking, again.usage, again.stop_reason) == ("t", "hm", Usage(1, 2), "end_turn")
    assert (again.cached, again.status, again.cost, again.age_seconds) == (True, "cached", Decimal(0), 60.0)
    assert (again.attempts, again.duration_seconds, again.agent) == (0, 0.0, None)


@pytest.mark.parametrize("record", [{}, {"text": "t"}, {"text": "t", "model": "m", "usage": {"evil": 1}}])
def test_other_records_are_refused(record: Any) -> None:
    """What is not such a record raises KeyError or TypeError."""
    with pytest.raises((KeyError, TypeError)):
        ClaudeResult.from_record(record, fingerprint="f", age_seconds=0)


def batch() -> BatchResult:
    return BatchResult(
        [
            ClaudeResult(text="a", cost=Decimal("0.25"), usage=Usage(1, 2)),
            ClaudeResult(
                text="b", cost=Decimal(0), saved=Decimal("0.5"), cached=True, status="cached", usage=Usage(3, 4)
            ),
            ClaudeResult(status="failed", error=OverloadedError("busy", status=529)),
            ClaudeResult(status="not_sent"),
        ],
        duration_seconds=2.0,
    )


def test_batch_is_a_sequence() -> None:
    """A batch has length, rows, slices and comparison like any sequence, and reports what became of its rows."""
    rows = batch()
    assert (len(rows), rows[0].text, rows[-1].status) == (4, "a", "not_sent")
    assert rows[:2].texts == ["a", "b"]
    assert [str(row) for row in rows] == rows.texts == ["a", "b", "", ""]
    assert rows == batch()
    assert rows != batch()[:2]
    assert rows.counts == {"ok": 1, "cached": 1, "failed": 1, "not_sent": 1}
    assert list(rows.errors) == [2]
    assert repr(rows) == "BatchResult(4 rows: 1 ok, 1 cached, 1 failed, 1 not_sent)"
    assert repr(BatchResult([])) == "BatchResult(0 rows: empty)"


def test_stopped_rows_are_neither_failed_nor_answered() -> None:
    """They are a part of their own, counted where there are such rows."""
    stopped = ClaudeResult(status="stopped", error=StoppedError("stopped"), cost=None)
    rows = BatchResult([*batch(), stopped])
    assert not stopped.answered
    assert not stopped.incomplete
    assert (rows.stopped.numbers, rows.failed.numbers) == ((4,), (2,))
    assert list(rows[rows.stopped]) == [stopped]
    assert (rows.counts["stopped"], rows.counts.answered) == (1, 2)
    assert "stopped" not in batch().counts


def test_batch_sums_are_exact_or_unknown() -> None:
    """Costs add up exactly; one unknown price makes the sum unknown, never smaller."""
    rows = batch()
    assert (rows.cost, rows.saved, rows.usage) == (Decimal("0.25"), Decimal("0.5"), Usage(4, 6))
    assert BatchResult([*rows, ClaudeResult(cost=None)]).cost is None
    assert BatchResult([*rows, ClaudeResult(saved=None)]).saved is None


def test_sums_are_exact_whatever_the_notebook_does_with_decimals() -> None:
    """A notebook that works with three digits gets the whole of what its batch cost."""
    rows = BatchResult([ClaudeResult(cost=Decimal(amount), saved=Decimal(amount)) for amount in ("1000", "0.01")])
    with decimal.localcontext() as context:
        context.prec = 3
        assert (rows.cost, rows.saved) == (Decimal("1000.01"), Decimal("1000.01"))
        assert budget_left(Decimal("1234.5"), Decimal("1000.01")) == Decimal("234.49")


def test_results_survive_pickling() -> None:
    """A batch with errors goes through pickle, as multiprocessing and notebooks' tools do with it."""
    again = pickle.loads(pickle.dumps(batch()))
    assert again == batch()
    error = again.errors[2]
    assert (type(error), str(error), error.status) == (OverloadedError, "busy", 529)
