"""Rows through message batches: half price, each distinct request once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Dict, List

import pytest
from support.batches import QUICK, ask, sent

from claude_force_nb.batches.context import BatchLimits
from claude_force_nb.errors import (
    BudgetExceededError,
    OptionError,
)
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import SimulatorProcess


def test_rows_are_answered_at_half_price_and_a_direct_rerun_hits(simulator: Any, build: Any, run: Any) -> None:
    """Results, ledger and the simulator's bill agree to the last digit; the fingerprint is that of the direct request."""

    async def main() -> None:
        async with build() as orchestrator:
            batch = await ask(orchestrator, ["one", "two", "three"])
            assert [result.status for result in batch] == ["ok"] * 3
            assert {result.usage.service_tier for result in batch} == {"batch"}
            assert batch.cost == simulator.counters.dollars > 0
            assert orchestrator.ledger.total().cost == simulator.counters.dollars
            direct = await orchestrator.run_many(["three", "two", "one"], model="haiku", max_tokens=50, thinking="off")
            assert [result.status for result in direct] == ["cached"] * 3
            assert [result.text for result in direct] == batch.texts[::-1]
            again = await ask(orchestrator, ["one", "two", "three"])
            assert again.cost == 0
            assert again.texts == batch.texts
        counters = simulator.counters
        assert counters.completed == counters.completed_in_batches == 3
        assert "messages" not in counters.by_endpoint
        assert [state.state for state in orchestrator.message_batches.all()] == ["done"]

    run(main())


@pytest.mark.parametrize(
    "options",
    [
        {"body": {"speed": "fast"}},
        {"body": {"diagnostics": {"previous_message_id": None}}},
        {"body": {"fallbacks": "default"}, "betas": ["server-side-fallback-2026-07-01"]},
    ],
)
def test_fields_that_batches_do_not_take_are_one_line_before_anything_is_sent(
    simulator: Any, build: Any, run: Any, options: Dict[str, Any]
) -> None:
    async def main() -> None:
        async with build() as orchestrator:
            with pytest.raises(OptionError, match="message batches do not take"):
                await ask(orchestrator, ["a", "b"], **options)
            assert simulator.counters.by_endpoint == {}
            assert orchestrator.message_batches.all() == []

    run(main())


def test_cached_rows_are_not_sent_and_duplicates_are_sent_once(simulator: Any, build: Any, run: Any) -> None:
    """Of six rows, one cached and three distinct, two are paid for in the batch; the events say so."""
    events: List[Any] = []

    async def main() -> None:
        async with build(on_event=events.append) as orchestrator:
            await orchestrator.run("cached", model="haiku", max_tokens=50, thinking="off")
            events.clear()
            batch = await ask(orchestrator, ["a", "cached", "b", "a", "b", "a"])
            assert [result.status for result in batch].count("ok") == 2
            assert batch.counts["cached"] == 4
            assert batch[0].text == batch[3].text == batch[5].text != batch[2].text
            assert orchestrator.ledger.total().cost == simulator.counters.dollars
        assert simulator.counters.completed_in_batches == 2
        kinds = [event.kind for event in events]
        assert (kinds.count("queued"), kinds.count("done"), kinds.count("hit")) == (2, 2, 4)

    run(main())


def test_batches_are_split_by_number_and_by_bytes(simulator: Any, build: Any, run: Any) -> None:
    """No batch has more requests or bytes than its bounds, counted on what the server received; every row is answered."""

    async def main() -> None:
        async with build(limits=BatchLimits(most_requests=3)) as orchestrator:
            batch = await ask(orchestrator, [str(number) for number in range(8)])
            assert batch.counts["ok"] == 8
        bodies = sent(simulator)
        assert [len(body["requests"]) for body in bodies] == [3, 3, 2]
        simulator.reset()
        async with build(limits=BatchLimits(most_bytes=1000)) as orchestrator:
            batch = await ask(
                orchestrator, ["ä" * 100 + str(number) for number in range(6)] + ["x" * 2000], max_tokens=400
            )
            assert batch.counts == {"ok": 6, "cached": 0, "failed": 0, "not_sent": 1}
            assert isinstance(batch[6].error, OptionError)
        sizes = [len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()) for body in sent(simulator)]
        assert len(sizes) > 1
        assert max(sizes) <= 1000 < sizes[0] + sizes[1]

    run(main())


def test_a_budget_holds_the_worst_case_at_batch_price(simulator: Any, build: Any, run: Any) -> None:
    """A job that does not fit is refused whole, in one line, with nothing sent, also where it takes several batches."""

    async def main() -> None:
        async with build(budget="0.0002", limits=BatchLimits(most_requests=2)) as orchestrator:
            with pytest.raises(BudgetExceededError) as caught:
                await ask(orchestrator, [str(number) for number in range(8)])
            assert "\n" not in str(caught.value)
            assert sent(simulator) == []
            assert orchestrator.budget.reserved == orchestrator.budget.spent == 0
            batch = await ask(orchestrator, ["1"])
            assert batch.counts["ok"] == 1
            assert orchestrator.budget.spent == simulator.counters.dollars
            assert orchestrator.budget.reserved == 0
            direct = orchestrator.prices.bound("claude-haiku-4-5", input_tokens=10, max_tokens=50)
            assert (
                orchestrator.prices.bound("claude-haiku-4-5", input_tokens=10, max_tokens=50, batch=True) == direct / 2
            )
        states = [state.state for state in orchestrator.message_batches.all()]
        assert states == ["done", "not sent"]

    run(main())


def test_two_runs_at_once_send_each_request_once(simulator: Any, build: Any, run: Any) -> None:
    """The second waits for the first one's batch, with the cache and without it."""

    async def main() -> None:
        async with build() as one, build() as other:
            for cache in ("on", "off"):
                before = simulator.counters.completed
                prompts = [f"{cache} {number}" for number in range(20)]
                first, second = await asyncio.gather(
                    ask(one, prompts, cache=cache), ask(other, [*prompts[::-1], "more " + cache], cache=cache)
                )
                assert simulator.counters.completed - before == 21
                assert first.texts == second.texts[-2::-1]
                assert first.counts["ok"] + second.counts["ok"] == 21
            assert one.ledger.total().cost == simulator.counters.dollars

    run(main())


def test_refresh_and_only(simulator: Any, build: Any, run: Any) -> None:
    """``refresh`` sends what is cached, ``only`` sends nothing."""

    async def main() -> None:
        async with build() as orchestrator:
            await ask(orchestrator, ["a"])
            assert (await ask(orchestrator, ["a"], cache="refresh"))[0].status == "ok"
            assert simulator.counters.completed == 2
            only = await ask(orchestrator, ["a", "b"], cache="only")
            assert only.counts == {"ok": 0, "cached": 1, "failed": 0, "not_sent": 1}
            assert simulator.counters.completed == 2

    run(main())


def test_templates_and_streams_of_rows(simulator: Any, build: Any, run: Any) -> None:
    """Rows whose prompt cannot be made fail alone; a stream keeps nothing and reports every row."""
    seen: Dict[int, Any] = {}

    async def main() -> None:
        async with build(limits=BatchLimits(most_requests=7)) as orchestrator:
            rows = ({"text": str(number)} if number != 3 else {"txt": "3"} for number in range(20))
            summary = await orchestrator.run_stream(
                rows,
                template="Label {{ text }}",
                via="batches",
                model="haiku",
                max_tokens=50,
                thinking="off",
                on_result=lambda row, result: seen.setdefault(row, result),
            )
            assert summary.counts == {"ok": 19, "cached": 0, "failed": 1, "not_sent": 0}
            assert sorted(seen) == list(range(20))
            assert "row 3" in str(seen[3].error)
            assert summary.cost == simulator.counters.dollars

    run(main())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_rows(run: Any, tmp_path: Path) -> None:
    """In one process, from a generator, in the memory of a notebook; all paid once, and free the second time."""
    resource = pytest.importorskip("resource")
    rows = 100_000

    async def main(simulator: SimulatorProcess) -> None:
        async with AsyncAgentOrchestrator(base_url=simulator.url, api_key="k", cache_max_size_mb=4000) as orchestrator:
            orchestrator.message_batches.schedule = QUICK
            for status in ("ok", "cached"):
                seen = bytearray(rows)

                def count(row: int, result: Any, seen: bytearray = seen) -> None:
                    seen[row] += 1

                source = ("Label number {}: {}".format(number, "words " * 20) for number in range(rows))
                summary = await orchestrator.run_stream(
                    source, via="batches", model="haiku", max_tokens=200, thinking="off", on_result=count
                )
                assert summary.counts[status] == rows
                assert seen == b"\x01" * rows
            assert orchestrator.ledger.total().cost == simulator.counters.dollars
        assert simulator.counters.completed_in_batches == rows

    with SimulatorProcess(batch_seconds=0.0, answer_bytes=200, log_size=1) as simulator:
        run(main(simulator))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < 10**9
