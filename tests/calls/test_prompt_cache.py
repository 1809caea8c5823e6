"""What rows share is written to the API's prompt cache once and read by the others; the bill is the simulator's own."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from typing import Any, Callable, Dict, List, Optional

import pytest

from claude_force_nb.calls.prompt_cache import MarkChooser, PromptCacheGate
from claude_force_nb.calls.snapshot import Tally
from claude_force_nb.costs.bounds import price_bound
from claude_force_nb.costs.days import today
from claude_force_nb.messages.cache_mark import CacheMark
from claude_force_nb.messages.models import rules_for
from claude_force_nb.messages.usage import Usage
from claude_force_nb.notebook.display.batch_preview import preview_batch
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.prompts.template import RenderedPrompt
from claude_force_nb.rows.opening import open_source
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]
HANDBOOK = " ".join(f"Rule {number}: what every row has to know, said at length." for number in range(120))
FIRST = "{{ handbook }}\nLabel: {{ text }}"
OPTIONS: Dict[str, Any] = {"model": "haiku", "max_tokens": 64, "thinking": "off"}


def rows(number: int, start: int = 0) -> List[Dict[str, str]]:
    return [{"text": f"Review {row}"} for row in range(start, start + number)]


def ask(orchestrator: AsyncAgentOrchestrator, source: Any, template: str = FIRST, **more: Any) -> Any:
    return orchestrator.run_many(source, template=template, variables={"handbook": HANDBOOK}, **{**OPTIONS, **more})


def test_one_row_writes_and_the_others_read(run: Any, make: Make, simulator: Simulator) -> None:
    """Of rows that leave together one pays for the shared part; what is said to be saved is what is saved."""

    async def main() -> None:
        async with make(max_concurrent=20, enable_cache=False) as orchestrator:
            plain = await ask(orchestrator, rows(60), prompt_cache="off")
            before = simulator.counters
            assert (before.cache_write_tokens, before.cache_read_tokens) == (0, 0)
            batch = await ask(orchestrator, rows(60))
            after = simulator.counters
            paid = after.dollars - before.dollars
            assert batch.cost == paid
            assert paid < plain.cost / 4
            assert after.cache_read_tokens == 59 * after.cache_write_tokens > 0
            assert sum(result.usage.cache_write_5m_tokens > 0 for result in batch) == 1
            assert batch.prompt_cache_saved == plain.cost - batch.cost

    run(main())


@pytest.mark.parametrize(
    ("template", "source", "more"),
    [
        ("Label: {{ text }}\n{{ handbook }}", rows(8), {}),
        (FIRST, rows(1), {}),
        (FIRST, rows(8), {"prompt_cache": "off"}),
        ("Label: {{ text }}", rows(8), {}),
        ("{{ handbook[:200] }} {{ text }}", rows(8), {}),
        (FIRST, rows(8), {"body": {"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]}}),
    ],
    ids=["shared part last", "one row", "off", "nothing shared", "too short", "own marks"],
)
def test_what_does_not_pay_is_not_marked(
    run: Any, make: Make, simulator: Simulator, template: str, source: Any, more: Dict[str, Any]
) -> None:
    """No row costs more than it would without the prompt cache."""

    async def main() -> None:
        async with make(enable_cache=False) as orchestrator:
            batch = await ask(orchestrator, source, template, **more)
            assert batch.counts.answered_now == len(source)
        assert simulator.counters.cache_write_tokens == 0

    run(main())


def test_a_rerun_for_one_row_writes_nothing(run: Any, make: Make, simulator: Simulator) -> None:
    """If all rows but one are cached, no row would read what that one writes."""

    async def main() -> None:
        async with make() as orchestrator:
            await ask(orchestrator, rows(12), max_tokens=1000)
            before = simulator.counters
            batch = await ask(orchestrator, [*rows(12), *rows(1, 50)], max_tokens=1000)
            assert batch.counts["cached"] == 12
            after = simulator.counters
            assert after.cache_write_tokens == before.cache_write_tokens > 0
            assert after.cache_read_tokens == before.cache_read_tokens
            # The mark is no part of the question.
            again = await ask(orchestrator, rows(12), prompt_cache="off", max_tokens=1000)
            assert again.counts["cached"] == 12

    run(main())


@pytest.mark.parametrize("fault", ["overloaded", "drop", "cut"])
def test_a_write_that_fails_is_made_by_another(run: Any, make: Make, simulator: Simulator, fault: str) -> None:
    """The row that was to write fails, and is tried again; the others neither wait for ever nor write at once."""

    async def main() -> None:
        async with make(max_concurrent=10, enable_cache=False) as orchestrator:
            simulator.fail(fault, times=1)
            batch = await ask(orchestrator, rows(30))
            assert batch.counts.answered_now == 30
            written = [result for result in batch if result.usage.cache_write_5m_tokens]
            assert len(written) <= (2 if fault == "cut" else 1)

    run(main())


def test_rows_whose_constant_changes_are_no_longer_marked_there(run: Any, make: Make, simulator: Simulator) -> None:
    """What looks the same for all rows and is not, such as a counter, is not written again and again."""
    calls = iter(range(100))

    class Changing:
        def __str__(self) -> str:
            return f"{HANDBOOK} {next(calls)}"

    async def main() -> None:
        async with make(max_concurrent=1, enable_cache=False) as orchestrator:
            batch = await orchestrator.run_many(rows(6), template=FIRST, variables={"handbook": Changing()}, **OPTIONS)
            assert sum(result.usage.cache_write_5m_tokens > 0 for result in batch) <= 1

    run(main())


def test_an_agents_prompt_is_shared_by_plain_prompts(run: Any, make: Make, simulator: Simulator) -> None:
    """Rows without a template share the system prompt."""

    async def main() -> None:
        async with make(enable_cache=False) as orchestrator:
            batch = await orchestrator.run_many([f"p {row}" for row in range(10)], system=HANDBOOK, **OPTIONS)
            assert sum(result.usage.cache_read_tokens > 0 for result in batch) == 9

    run(main())


def test_turns_of_a_conversation_read_the_ones_before(run: Any, make: Make) -> None:
    """From the second turn on the end is marked, and the next turn reads up to there."""

    async def main() -> None:
        async with make(enable_cache=False) as orchestrator:
            used = []
            for turn in range(4):
                question = {"variables": {"h": HANDBOOK}} if turn == 0 else {}
                prompt = "{{ h }} What of it?" if turn == 0 else f"And {turn}?"
                used.append((await orchestrator.run(prompt, use_memory=True, **question, **OPTIONS)).usage)
        assert [bool(usage.cache_write_5m_tokens) for usage in used] == [False, True, True, True]
        assert [bool(usage.cache_read_tokens) for usage in used] == [False, False, True, True]

    run(main())


def test_message_batches_mark_for_an_hour(run: Any, make: Make, simulator: Simulator) -> None:
    """They take longer than five minutes; what they are billed is what the simulator's invoice says."""

    async def main() -> None:
        async with make(enable_cache=False) as orchestrator:
            batch = await ask(orchestrator, rows(10), via="batches")
            assert batch.counts.answered_now == 10
            assert sum(result.usage.cache_write_1h_tokens > 0 for result in batch) == 1
            assert batch.cost == simulator.counters.dollars

    run(main())


def test_a_budget_counts_the_write(make: Make) -> None:
    """The most that a marked request can cost has the price of writing in it, for as long as it is marked for."""
    orchestrator = make()
    bounds = []
    for mark in (None, CacheMark("end", "5m"), CacheMark("end", "1h")):
        request = orchestrator.request(HANDBOOK, model="haiku").marked(mark)
        bounds.append(price_bound(request, orchestrator.prices, on=today()))
    assert bounds[0] < bounds[1] < bounds[2]
    own = orchestrator.request(HANDBOOK, model="haiku", body={"cache_control": {"type": "ephemeral"}})
    assert price_bound(own, orchestrator.prices, on=today()) > bounds[1]


@pytest.mark.parametrize(
    ("mode", "turns", "system", "place"),
    [
        ("auto", False, HANDBOOK, None),
        ("auto", True, "", "end"),
        ("off", True, HANDBOOK, None),
        ("1h", False, HANDBOOK, "system"),
        ("5m", False, "", "end"),
        ("5m", False, "short", "end"),
    ],
)
def test_single_calls(mode: str, turns: bool, system: str, place: Optional[str]) -> None:
    """A call that nobody is known to follow is marked only where it is asked for."""
    body = {"system": system, "messages": [{"role": "user", "content": HANDBOOK}]}
    mark = MarkChooser(mode, rules_for("claude-haiku-5-5")).of_call(body, has_turns=turns)
    assert (mark.place if mark else None) == place
    assert mark is None or mark.ttl == ("1h" if mode == "1h" else "5m")
    short = {"messages": [{"role": "user", "content": "hi"}]}
    assert MarkChooser(mode, rules_for("claude-haiku-5-5")).of_call(short, has_turns=turns) is None


def test_unknown_models_are_marked_only_on_request() -> None:
    """A gateway may not accept the field."""
    body = {"system": HANDBOOK, "messages": [{"role": "user", "content": "x"}]}
    rules = rules_for("some-local-model")
    assert MarkChooser("auto", rules).of_row(body, RenderedPrompt("x"), fenced=False) is None
    asked = MarkChooser("5m", rules).of_row(body, RenderedPrompt("x"), fenced=False)
    assert asked is not None
    assert asked.place == "system"


def test_the_gate_knows_how_long_a_prompt_is_kept(run: Any) -> None:
    """After the lifetime one call writes again; each read renews it, and a write that failed is another's duty."""
    now = [0.0]
    gate = PromptCacheGate(lambda: now[0])
    mark, other = CacheMark("system"), CacheMark("system")

    async def main() -> None:
        first = await gate.enter(mark)
        assert first is not None
        assert await gate.enter(other) is not None  # nothing to do with it
        waiting = asyncio.ensure_future(gate.enter(mark))
        await asyncio.sleep(0)
        assert not waiting.done()
        first.end()  # without a beginning: it failed
        second = await waiting
        assert second is not None
        readers = [asyncio.ensure_future(gate.enter(mark)) for _ in range(3)]
        await asyncio.sleep(0)
        second.begin()
        assert [await reader for reader in readers] == [None, None, None]
        now[0] = 290.0
        assert await gate.enter(mark) is None
        gate.keep(mark, 290.0)
        now[0] = 580.0
        assert await gate.enter(mark) is None
        now[0] = 600.0
        again = await gate.enter(mark)
        assert again is not None
        again.begin()
        again.end()
        assert await gate.enter(mark) is None

    run(main())


def test_sums_stay_exact(run: Any, make: Make, simulator: Simulator) -> None:
    """The ledger, the batch and the simulator's invoice are one figure, to the last digit."""

    async def main() -> None:
        async with make(max_concurrent=8) as orchestrator:
            tally = Tally()
            orchestrator.add_listener(tally)
            batch = await ask(orchestrator, rows(40), max_tokens=200)
            assert orchestrator.ledger is not None
            await ask(orchestrator, rows(40), max_tokens=200)  # from our own cache: that saves nothing more at the API
            total = orchestrator.ledger.total()
            assert batch.cost == simulator.counters.dollars == total.cost
            assert batch.prompt_cache_saved == total.prompt_cache_saved > 0
            assert sum(model.prompt_cache_saved for model in tally.models()) == total.prompt_cache_saved
            assert isinstance(batch.cost, Decimal)

    run(main())


def test_a_dry_run_quotes_the_bill(run: Any, make: Make, simulator: Simulator) -> None:
    """What the dry run says the prompts cost, with and without the prompt cache, is what they cost."""

    async def main() -> None:
        async with make(enable_cache=False) as orchestrator:
            source = open_source(rows(50))
            arguments = {"template": FIRST, "variables": {"handbook": HANDBOOK}, **OPTIONS}
            shown = (await preview_batch(orchestrator, source, arguments))["text/plain"]
            quoted = [Decimal(amount) for amount in re.findall(r"\$([0-9.]+)", shown)]
            price, most, without = quoted[:3]
            batch = await ask(orchestrator, rows(50))
            plain = await ask(orchestrator, rows(50), prompt_cache="off")
            answers = [
                orchestrator.prices.cost(each.model, Usage(output_tokens=each.usage.output_tokens)) for each in batch
            ]
            prompts = batch.cost - sum(answers)
            assert abs(price - prompts) < prompts / 20
            assert abs(without - (plain.cost - sum(answers))) < without / 20
            assert price < without / 4
            assert batch.cost < most

    run(main())


def test_a_dry_run_says_what_would_save_more(run: Any, make: Make) -> None:
    """A long value that all rows share, behind the first of a row, is named with what moving it saves."""

    async def shown(template: str, **more: Any) -> str:
        async with make(enable_cache=False) as orchestrator:
            source = open_source(rows(50))
            source.check(template, {"handbook": HANDBOOK})
            arguments = {"template": template, "variables": {"handbook": HANDBOOK}, **OPTIONS, **more}
            return (await preview_batch(orchestrator, source, arguments))["text/plain"]

    async def main() -> None:
        last = await shown("Label {{ text }} by {{ handbook }}")
        assert "put {{ handbook }} at the front of the template: about $0.0" in last
        assert "to save more" not in await shown(FIRST)
        assert "to save more" not in await shown("Label {{ text }} by {{ handbook[:100] }}")
        assert "to save more" not in await shown("Label {{ text }} by {{ handbook }}", prompt_cache="off")

    run(main())
