"""Batches in Python: rows in, results out in their order; what has no answer is run again, and nothing else is."""

from __future__ import annotations

import asyncio
import random
import re
import time
from decimal import Decimal
from typing import Any, Callable, Dict, List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples

from claude_force_nb.errors import OptionError, SourceError, UndefinedNameError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]


def test_a_table_in_a_table_out(run: Any, make: Make, simulator: Simulator) -> None:
    """A data frame goes in as it is; its rows come back with their answers, and only a row without a value has none."""
    pandas = pytest.importorskip("pandas")
    reviews = pandas.DataFrame({"text": ["good", "bad", None], "stars": [5, 1, 3]}, index=["x", "y", "z"])
    orchestrator = make()
    batch = run(orchestrator.run_many(reviews, template="Label {{ text.upper() }} with {{ stars }} stars"))
    assert batch.counts == {"ok": 2, "cached": 0, "failed": 0, "not_sent": 1}
    frame = batch.to_frame()
    assert list(frame.index) == ["x", "y", "z"]
    assert frame.loc["x", "answer"] == batch[0].text
    assert frame.loc["z", "error"].startswith("MissingValueError: row 2: text has no value")
    with pytest.raises(UndefinedNameError, match="did you mean 'stars'"):
        run(orchestrator.run_many(reviews, template="{{ star }}"))
    with pytest.raises(SourceError, match="column=text"):
        run(orchestrator.run_many(reviews))
    assert simulator.counters.calls == 2


def test_retry_runs_only_what_has_no_answer(run: Any, make: Make, simulator: Simulator) -> None:
    """retry() asks for the failed rows alone, and gives the whole in the old order; twice is once."""
    orchestrator = make(max_concurrent=1, max_retries=0)
    simulator.fail("invalid_request", contains="bad")
    batch = run(orchestrator.run_many(iter(["a", "bad 1", "c", "bad 2", ""])))
    assert [row.status for row in batch] == ["ok", "failed", "ok", "failed", "failed"]
    assert batch.failed.numbers == (1, 3, 4)
    assert list(batch[2:].errors) == [3, 4]
    simulator.heal()
    calls = simulator.counters.calls
    again = run(batch.retry())
    assert [row.status for row in again] == ["ok", "ok", "ok", "ok", "failed"]
    assert again[0] is batch[0]
    assert simulator.counters.calls == calls + 2
    assert [row.status for row in run(batch[3:].retry())] == ["cached", "failed"]
    assert run(run(again[:4].retry()).retry()).texts == again.texts[:4]
    assert simulator.counters.calls == calls + 2


@pytest.mark.parametrize("via", ["api", "batches"])
def test_what_a_retry_may_cost_is_said_before_anything_is_sent(
    run: Any, make: Make, simulator: Simulator, capsys: Any, via: str
) -> None:
    """One line: rows, what the others cost on average, and a bound that what is billed keeps; what is cached by now is free."""
    orchestrator = make(max_concurrent=1, max_retries=0)
    endpoint = "messages" if via == "api" else "batch_item"
    simulator.fail("invalid_request", contains="bad", endpoint=endpoint)
    prompts = ["a fine one", "bad 1", "bad 2", "bad 1", "bad 3", ""]
    batch = run(orchestrator.run_many(prompts, via=via, model="haiku", max_tokens=500))
    assert batch.counts["failed"] == 5
    simulator.heal()
    run(orchestrator.run("bad 3", model="haiku", max_tokens=500))
    assert capsys.readouterr() == ("", "")
    calls, paid = simulator.counters.calls, simulator.counters.dollars
    lines: List[str] = []

    def tell(line: str) -> None:
        assert simulator.counters.calls == calls
        lines.append(line)

    again = run(batch.retry(tell=tell))
    assert [row.status for row in again[:5]].count("failed") == 0
    assert capsys.readouterr() == ("", "")
    (line,) = lines
    found = re.fullmatch(
        r"retry: sends 3 of 6 rows, about \$([0-9.]+), at most \$([0-9.]+); 1 in the cache by now", line
    )
    assert found is not None, line
    assert 0 < Decimal(found.group(1)) < Decimal(found.group(2))
    assert 0 < simulator.counters.dollars - paid <= Decimal(found.group(2))
    # What still has no answer cannot be sent either.
    run(again.retry())
    assert capsys.readouterr() == ("", "retry: nothing is sent\n")


def test_a_batch_made_by_hand_cannot_be_retried(run: Any) -> None:
    """It is not known how its rows were run."""
    batch = BatchResult([ClaudeResult(status="failed", error=SourceError("x"))])
    with pytest.raises(OptionError, match="run its rows again"):
        run(batch.retry())


def test_a_run_that_was_stopped_gives_what_it_has(run: Any, make: Make, simulator: Simulator) -> None:
    """Rows that had ended are there, those under way are stopped, the others not sent; and a new run pays for these alone."""
    from claude_force_nb.rows.opening import open_source
    from claude_force_nb.rows.run import ResultCollector

    orchestrator = make(max_concurrent=2)
    prompts = ["a", "b", "hang 1", "hang 2", "c", "d"]
    collectors: List[ResultCollector] = []
    simulator.fail("hang", contains="hang")

    async def stopped() -> BatchResult:
        source = open_source(prompts)
        collected = ResultCollector(source)
        collectors.append(collected)
        task = asyncio.ensure_future(orchestrator.run_stream(source, on_result=collected))
        while len(collected.results) < 2 or simulator.counters.in_flight < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return collected.batch(stopped=SourceError("stopped"))

    batch = run(stopped())
    assert [row.status for row in batch] == ["ok", "ok", "stopped", "stopped", "not_sent", "not_sent"]
    assert dict(enumerate(batch)) == collectors[0].results  # of which a retry tells how many rows it sends
    simulator.heal()
    calls = simulator.counters.calls
    assert run(orchestrator.run_many(prompts)).counts == {"ok": 4, "cached": 2, "failed": 0, "not_sent": 0}
    assert simulator.counters.calls == calls + 4


@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    first=st.lists(st.sampled_from("abcdefghij"), max_size=8),
    second=st.lists(st.sampled_from("abcdefghij"), max_size=12),
    seed=st.integers(0, 10**6),
)
def test_shuffled_rows_pay_only_for_what_is_missing(
    make: Make, simulator: Simulator, first: List[str], second: List[str], seed: int
) -> None:
    """After any run, another one with rows added, removed, doubled and shuffled pays for new prompts alone, in its own order."""
    orchestrator = make()
    # Prompts of their own for each example: the cache lives as long as the test.
    first = [f"{seed} {name} {len(first)}" for name in first]
    second = [f"{seed} {name} {len(first)}" for name in second] + first
    random.Random(seed).shuffle(second)

    async def both() -> Any:
        one = await orchestrator.run_many(first)
        paid = simulator.counters.calls
        two = await orchestrator.run_many(second, max_concurrent=3)
        return one, two, simulator.counters.calls - paid

    one, two, paid = asyncio.run(both())
    known = dict(zip(first, one.texts))
    assert paid <= len(set(second) - set(first))
    assert len(two) == len(second)
    assert all(known.get(prompt, text) == text for prompt, text in zip(second, two.texts))
    assert sorted(set(two.texts)) == sorted({text for text in two.texts})
    assert all(row.status in ("ok", "cached") for row in two)


def test_cached_rows_leave_the_event_loop_free(run: Any, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many workers find their answers in the cache, other tasks have their turn between the rows of a moment."""
    monkeypatch.setattr("claude_force_nb.rows.yielding._YIELD_SECONDS", 0.002)
    turns = [0]

    async def ask() -> None:
        orchestrator = make(max_concurrent=100)
        await orchestrator.run("same")
        ended = 0

        def count(row: int, result: Any) -> None:
            nonlocal ended
            ended += 1

        async def watch() -> None:
            while ended < 4000:
                turns.append(ended)
                await asyncio.sleep(0)

        await asyncio.gather(watch(), orchestrator.run_many(["same"] * 4000, on_result=count))

    run(ask())
    turns.append(4000)
    assert max(later - before for before, later in zip(turns, turns[1:])) < 1000


def test_cached_rows_are_looked_up_together_and_answered_once_each(run: Any, make: Make, simulator: Simulator) -> None:
    """Whatever stands between them: rows that have to be asked, twins, rows without a prompt, and rows of another model."""

    async def both() -> List[BatchResult]:
        orchestrator = make(max_concurrent=4)
        await orchestrator.run_many([f"known {number}" for number in range(100)])
        rows = [f"known {number}" if number % 23 else f"new {number // 46}" for number in range(100)]
        rows[50], rows[61], rows[62] = "", "new twin", "new twin"
        ended: List[int] = []
        mixed = await orchestrator.run_many(rows, on_result=lambda row, result: ended.append(row))
        assert sorted(ended) == list(range(100))
        return [mixed, await orchestrator.run_many(rows)]

    mixed, again = run(both())
    counts = {"ok": 4, "cached": 95, "failed": 1, "not_sent": 0}
    # Rows 0 and 23, 46 and 69, and the twins ask the same: where one is in flight, the other shares its answer.
    assert mixed.counts == counts, mixed.counts
    assert simulator.counters.calls == 100 + 4
    assert again.counts == {"ok": 0, "cached": 99, "failed": 1, "not_sent": 0}
    assert again.texts == mixed.texts
    assert mixed.numbers == again.numbers == tuple(range(100))


def test_a_source_that_fails_behind_cached_rows_fails_behind_them(run: Any, make: Make, simulator: Simulator) -> None:
    """The rows before it end first, although they were taken together with the failure."""

    def source() -> Any:
        yield from (f"known {number}" for number in range(40))
        raise ValueError("the file is gone")

    async def main() -> List[int]:
        orchestrator = make()
        await orchestrator.run_many([f"known {number}" for number in range(40)])
        ended: List[int] = []
        with pytest.raises(ValueError, match="the file is gone"):
            await orchestrator.run_stream(source(), on_result=lambda row, result: ended.append(row))
        return ended

    assert run(main()) == list(range(40))
    assert simulator.counters.calls == 40


def test_a_stop_among_cached_rows_loses_none_that_were_taken(run: Any, make: Make, simulator: Simulator) -> None:
    """Rows that were looked up ahead of their turn end with their answers, and no further ones are taken."""

    async def main() -> None:
        orchestrator = make()
        prompts = [f"known {number}" for number in range(200)]
        await orchestrator.run_many(prompts)
        taken: List[str] = []
        ended: List[int] = []

        def source() -> Any:
            for prompt in prompts:
                taken.append(prompt)
                yield prompt

        def stop_at_thirty(row: int, result: ClaudeResult) -> None:
            assert result.status == "cached"
            ended.append(row)
            time.sleep(0.001)  # so that the event loop has its turn within the run
            if row == 30:
                running.cancel()

        running = asyncio.ensure_future(orchestrator.run_stream(source(), on_result=stop_at_thirty))
        with pytest.raises(asyncio.CancelledError):
            await running
        assert ended == list(range(len(taken)))
        assert 31 <= len(ended) < 200

    run(main())
    assert simulator.counters.calls == 200


class _BrokenRow(dict):  # type: ignore[type-arg]
    """A row whose own code fails."""

    def values(self) -> Any:
        raise ZeroDivisionError("a row's own code")


@pytest.mark.parametrize("broken", [0, 1, 2, 7, 8, 14, 15, 20])
def test_an_error_among_rows_read_ahead_loses_none_of_them(
    run: Any, make: Make, simulator: Simulator, broken: int
) -> None:
    """Those that were taken from the source and not answered are not sent, wherever in a group the error is."""
    from claude_force_nb.rows.opening import open_source
    from claude_force_nb.rows.run import ResultCollector

    orchestrator = make(max_concurrent=1)
    template = "{{ word }}"
    words: List[Dict[str, str]] = [{"word": f"known {number}"} for number in range(24)]
    rows = [*words[:broken], _BrokenRow(word="broken"), *words[broken + 1 :]]

    async def main() -> BatchResult:
        await orchestrator.run_many(words, template=template)
        source = open_source(iter(rows))
        ended: List[int] = []
        collected = ResultCollector(source, lambda row, result: ended.append(row))
        with pytest.raises(ZeroDivisionError) as raised:
            await orchestrator.run_stream(source, template=template, on_result=collected)
        assert sorted(ended) == sorted(collected.results)
        batch = collected.batch(stopped=raised.value)
        assert batch.numbers == tuple(range(source.taken))
        assert len(set(ended)) == len(ended)
        return batch

    batch = run(main())
    assert batch[broken].status == "not_sent"
    assert {row.status for row in batch} <= {"cached", "not_sent"}
    assert batch.cost == 0
    assert simulator.counters.calls == 24


def test_rows_that_are_sent_are_taken_at_their_turn(run: Any, make: Make) -> None:
    """After cached rows too: a generator is not asked for rows that nobody can send yet."""
    most_ahead: List[int] = []

    async def main() -> None:
        orchestrator = make(max_concurrent=2)
        await orchestrator.run_many([f"known {number}" for number in range(20)])
        taken = 0
        ended = 0

        def source() -> Any:
            nonlocal taken
            for number in range(60):
                taken += 1
                if number >= 40:
                    most_ahead.append(taken - ended)
                yield f"known {number}" if number < 20 else f"new {number}"

        def end(row: int, result: ClaudeResult) -> None:
            nonlocal ended
            ended += 1

        await orchestrator.run_stream(source(), on_result=end)

    run(main())
    assert max(most_ahead) <= 5
