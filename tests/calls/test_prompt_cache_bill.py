"""What the prompt cache costs over time: pauses, failures, Stop and rerun, two kernels. The invoice is the simulator's own, to the cent.

Time is the tests' own where it has to pass: the simulator's prompt cache and our gate are given the same clock.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List, Optional, Sequence

import pytest
from support.attachments import pdf, png

from claude_force_nb.calls import prompt_cache
from claude_force_nb.costs.bounds import price_bound
from claude_force_nb.costs.days import today
from claude_force_nb.costs.ledger import Ledger, default_ledger_path
from claude_force_nb.errors import ClaudeForceWarning
from claude_force_nb.messages.cache_mark import CacheMark
from claude_force_nb.messages.usage import Usage
from claude_force_nb.notebook.display.batch_preview import preview_batch
from claude_force_nb.notebook.display.receipts import receipt
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]
MODEL = "claude-sonnet-5-5"
HANDBOOK = " ".join(f"Rule {number}: what every row has to know, said at some length." for number in range(190))
TEMPLATE = "{{ handbook }}\nLabel: {{ text }}"
OPTIONS: Dict[str, Any] = {
    "template": TEMPLATE,
    "variables": {"handbook": HANDBOOK},
    "model": MODEL,
    "max_tokens": 200,
    "thinking": "off",
}


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The clock of simulator and gate."""
    clock = Time()
    monkeypatch.setattr(prompt_cache, "monotonic", clock)
    return clock


@pytest.fixture
def simulator(passing: Time) -> Iterator[Simulator]:
    with Simulator(clock=passing, batch_seconds=0.05) as running:
        yield running


class Bursts:
    """Rows that arrive in groups, with a pause after all of a group are answered; records a message as each ends."""

    def __init__(self, clock: Time, sizes: Sequence[int], pauses: Sequence[float]) -> None:
        self._clock, self._sizes, self._pauses = clock, sizes, pauses
        self._given = self._ended = 0
        self._all_ended: Optional[asyncio.Event] = None

    def __call__(self, row: int, result: Any) -> None:
        self._ended += 1
        if self._all_ended is not None and self._ended == self._given:
            self._all_ended.set()

    async def rows(self) -> AsyncIterator[Dict[str, str]]:
        for size, pause in zip(self._sizes, [*self._pauses, 0.0]):
            for _ in range(size):
                self._given += 1
                yield {"text": f"Review {self._given}"}
            self._all_ended = asyncio.Event()
            if self._ended < self._given:
                await self._all_ended.wait()
            self._clock.now += pause


def writes(batch: BatchResult) -> List[str]:
    """Return the lifetimes for which calls wrote, in order."""
    found = []
    for result in batch:
        usage = result.usage
        found += ["5m"] * bool(usage.cache_write_5m_tokens) + ["1h"] * bool(usage.cache_write_1h_tokens)
    return found


def price(orchestrator: AsyncAgentOrchestrator, batch: BatchResult, kinds: Sequence[str]) -> Decimal:
    """Return what the batch would have cost with these writes, one for each of `kinds`, and reads for all other rows."""
    shared = max(
        usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        for usage in (result.usage for result in batch)
    )
    total = Decimal(0)
    for place, result in enumerate(batch):
        usage = result.usage
        kind = f"cache_write_{kinds[place]}_tokens" if place < len(kinds) else "cache_read_tokens"
        fields: Dict[str, Any] = {kind: shared}
        priced = Usage(usage.total_input_tokens - shared, usage.output_tokens, **fields)
        total += orchestrator.prices.cost(MODEL, priced, on=today()) or Decimal(0)
    return total


def check_books(orchestrator: AsyncAgentOrchestrator, simulator: Simulator, *batches: BatchResult) -> None:
    """Batches, ledger and invoice are one figure."""
    assert orchestrator.ledger is not None
    assert orchestrator.ledger.total().cost == simulator.counters.dollars
    assert sum(batch.cost for batch in batches) == simulator.counters.dollars


@pytest.mark.parametrize(
    ("sizes", "pauses", "kinds"),
    [
        ([12, 12], [200.0], ["5m"]),
        ([12, 12, 12, 12], [400.0, 400.0, 3000.0], ["5m", "1h"]),
        ([12, 12, 12], [4000.0, 4000.0], ["5m", "5m", "5m"]),
        ([1, 1, 1, 1, 1, 1], [600.0] * 5, ["5m", "1h"]),
        ([1, 1, 1, 1], [4000.0] * 3, ["5m"]),
        ([1, 1, 12], [4000.0, 4000.0], ["5m", "5m"]),
    ],
    ids=[
        "short pause",
        "pauses over 5 minutes",
        "pauses over an hour",
        "slow rows",
        "too slow rows",
        "too slow, then many",
    ],
)
def test_a_run_with_pauses_writes_as_seldom_as_it_pays(
    run: Any, make: Make, simulator: Simulator, passing: Time, sizes: List[int], pauses: List[float], kinds: List[str]
) -> None:
    """Once five minutes were too short the prompt is written for an hour; for that it was too slow, it is not written for nobody."""

    async def main() -> None:
        async with make(max_concurrent=4, enable_cache=False) as orchestrator:
            bursts = Bursts(passing, sizes, pauses)
            batch = await orchestrator.run_many(bursts.rows(), on_result=bursts, **OPTIONS)
            assert batch.counts.answered_now == sum(sizes)
            assert writes(batch) == kinds
            check_books(orchestrator, simulator, batch)
            if "1h" in kinds and len(sizes) > 3:
                assert batch.cost < price(orchestrator, batch, ["5m"] * len(sizes))

    run(main())


@pytest.mark.parametrize("lifetime", ["5m", "1h"])
def test_a_lifetime_that_was_asked_for_stays(
    run: Any, make: Make, simulator: Simulator, passing: Time, lifetime: str
) -> None:
    """A lifetime of 5m or 1h that the user sets is not changed."""

    async def main() -> None:
        async with make(max_concurrent=4, enable_cache=False) as orchestrator:
            bursts = Bursts(passing, [6, 6], [400.0])
            batch = await orchestrator.run_many(bursts.rows(), on_result=bursts, prompt_cache=lifetime, **OPTIONS)
            assert writes(batch) == (["5m", "5m"] if lifetime == "5m" else ["1h"])
            check_books(orchestrator, simulator, batch)

    run(main())


def test_a_budget_counts_the_longer_write(run: Any, make: Make, simulator: Simulator, passing: Time) -> None:
    """Where the prompt is to be written for an hour, the price of that is set aside before: a row for which it is not left is not sent."""

    async def main() -> None:
        async with make(max_concurrent=1, enable_cache=False) as orchestrator:
            twice = Bursts(passing, [1, 1], [400.0])
            batch = await orchestrator.run_many(twice.rows(), on_result=twice, **OPTIONS)
            assert writes(batch) == ["5m", "1h"]
            options = {name: value for name, value in OPTIONS.items() if name != "template"}
            options["variables"] = {**options["variables"], "text": "Review 2"}
            request = orchestrator.request(TEMPLATE, **options)
            short, long = (
                price_bound(request.marked(CacheMark("end", ttl)), orchestrator.prices, on=today())
                for ttl in ("5m", "1h")
            )
            for more, sent in ((long, 2), ((short + long) / 2, 1)):
                passing.now += 10_000.0
                twice = Bursts(passing, [1, 1], [400.0])
                bounded = await orchestrator.run_many(
                    twice.rows(), on_result=twice, budget=batch[0].cost + more, **OPTIONS
                )
                assert bounded.counts.answered_now == sent

    run(main())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_failures_do_not_make_everybody_write(run: Any, make: Make, simulator: Simulator, seed: int) -> None:
    """A third of the calls is refused or dropped; each is made again, and the prompt is written once."""

    async def main() -> None:
        async with make(max_concurrent=20, enable_cache=False, max_retries=8) as orchestrator:
            for kind in ("overloaded", "server_error", "drop", "slow"):
                simulator.fail(kind, probability=0.1, seed=seed, delay_seconds=0.05)
            rows = [{"text": f"Review {row}"} for row in range(60)]
            batch = await orchestrator.run_many(rows, **OPTIONS)
            assert batch.counts.answered_now == 60
            assert sum(simulator.counters.faults.values()) > 5
            assert writes(batch) == ["5m"]
            check_books(orchestrator, simulator, batch)

    run(main())


def test_stop_and_rerun_pays_for_one_write(run: Any, make: Make, simulator: Simulator) -> None:
    """What was answered before Stop is in our own cache; the others read what the first run wrote."""

    async def main() -> None:
        async with make(max_concurrent=10) as orchestrator:
            rows = [{"text": f"Review {row}"} for row in range(80)]
            ended: List[int] = []

            def stop(row: int, result: Any) -> None:
                ended.append(row)
                if len(ended) == 25:
                    orchestrator.stop_all()

            first = await orchestrator.run_many(rows, on_result=stop, **OPTIONS)
            assert 25 <= first.counts.answered_now < 80
            second = await orchestrator.run_many(rows, **OPTIONS)
            assert second.counts.answered_now + second.counts["cached"] == 80
            assert [*writes(first)] == ["5m"]
            assert sum(result.usage.cache_write_5m_tokens > 0 for result in second if not result.cached) == 0
            check_books(orchestrator, simulator, first, second)

    run(main())


KERNEL = """
import asyncio, sys
from claude_force_nb import AsyncAgentOrchestrator
url, handbook, name = sys.argv[1:]
async def main():
    async with AsyncAgentOrchestrator(base_url=url, api_key="k", max_concurrent=10) as orchestrator:
        rows = [{"text": f"Review {row} of " + name} for row in range(60)]
        batch = await orchestrator.run_many(
            rows, template="{{ handbook }}\\nLabel: {{ text }}", variables={"handbook": handbook}, model="claude-sonnet-5-5",
            max_tokens=200, thinking="off",
        )
        print(batch.counts.answered_now, sum(bool(each.usage.cache_write_5m_tokens) for each in batch), batch.cost)
asyncio.run(main())
"""


@pytest.mark.slow
def test_two_kernels_pay_for_two_writes_at_most() -> None:
    """Each kernel has one row lead; what both spent stands in their ledger, and is the invoice."""
    with Simulator(latency_seconds=0.02) as simulator:
        kernels = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(KERNEL), simulator.url, HANDBOOK, name],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in ("a", "b")
        ]
        said = [kernel.communicate(timeout=120)[0].split() for kernel in kernels]
        assert [line[0] for line in said] == ["60", "60"]
        assert 1 <= sum(int(line[1]) for line in said) <= 2
        ledger = Ledger(default_ledger_path(os.environ, local=True))
        assert ledger.total().cost == sum(Decimal(line[2]) for line in said) == simulator.counters.dollars
        ledger.close()


@pytest.mark.slow
def test_a_thousand_rows_cost_what_was_quoted(run: Any, make: Make, simulator: Simulator) -> None:
    """1,000 rows, 50 at a time, 3,000 shared tokens: one write, 999 reads, at most the quote and within a hundredth of the least."""

    async def main() -> None:
        async with make(max_concurrent=50, enable_cache=False) as orchestrator:
            rows = [{"text": f"Review {row}"} for row in range(1000)]
            shown = (await preview_batch(orchestrator, open_source(rows), OPTIONS))["text/plain"]
            quoted = re.search(r"at most \$([0-9.,]+)", shown)
            assert quoted is not None
            batch = await orchestrator.run_many(rows, **OPTIONS)
            assert writes(batch) == ["5m"]
            assert sum(result.usage.cache_read_tokens > 0 for result in batch) == 999
            least = price(orchestrator, batch, ["5m"])
            assert least <= batch.cost <= least * Decimal("1.01")
            assert batch.cost <= Decimal(quoted.group(1).replace(",", ""))
            check_books(orchestrator, simulator, batch)

    run(main())


@pytest.mark.parametrize(
    ("template", "blocks"),
    [
        ("{{ file('report.pdf') }}\n{{ handbook }}\n{{ text }}", 4),
        ("{{ handbook }} {{ figure }} {{ text }}", 4),
        ("{{ figure | raw }}{{ handbook }}{{ text }}", 3),
        ("{{ handbook }}{{ own | raw }}", 2),
        ("{{ figure | raw }}{{ file('report.pdf') | raw }}{{ own | raw }}", 3),
    ],
    ids=["document first", "image in the middle", "image first", "own image last", "nothing but blocks"],
)
def test_images_and_documents_that_all_rows_share_are_written_once(
    run: Any,
    make: Make,
    simulator: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    template: str,
    blocks: int,
) -> None:
    """What comes before the first value of a row is read from the cache, whatever it is made of."""
    (tmp_path / "report.pdf").write_bytes(pdf(40, extra=b"x" * 100_000))
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        async with make(max_concurrent=8, enable_cache=False) as orchestrator:
            rows = [{"text": f"Question {row}?", "own": png(10 + row, 300)} for row in range(12)]
            options = {**OPTIONS, "template": template, "variables": {"handbook": HANDBOOK, "figure": png(400, 300)}}
            batch = await orchestrator.run_many(rows, **options)
            assert batch.counts.answered_now == 12, batch.errors
            sent = simulator.requests[-1].body["messages"][0]["content"]
            assert len(sent) == blocks
            assert writes(batch) == ["5m"]
            assert sum(result.usage.cache_read_tokens > 0 for result in batch) == 11
            check_books(orchestrator, simulator, batch)

    run(main())


def test_settings_that_differ_between_rows_are_said_once(
    run: Any, make: Make, simulator: Simulator, tmp_path: Any
) -> None:
    """Two agents with the same words and different effort: each has the shared part written anew, and a person reads so."""
    for name, effort in (("quick", "low"), ("deep", "high")):
        folder = tmp_path / ".claude" / "agents"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text(f"---\nname: {name}\ndescription: d\neffort: {effort}\n---\nLabel.\n")

    async def main() -> None:
        async with make(enable_cache=False) as orchestrator:
            rows = [{"text": f"Review {row}", "who": ("quick", "deep")[row % 2]} for row in range(8)]
            with pytest.warns(ClaudeForceWarning, match="rows differ in effort") as told:
                batch = await orchestrator.run_many(rows, agent_column="who", **OPTIONS)
            assert len(told) == 1
            assert writes(batch) == ["5m", "5m"]
            same = [{**row, "who": "quick"} for row in rows]
            await orchestrator.run_many(same, agent_column="who", **OPTIONS)

    run(main())


def test_a_conversation_says_what_made_it_be_read_anew(run: Any, make: Make, simulator: Simulator) -> None:
    """The turn whose effort or system prompt is another one pays for all that was said before, and its receipt says why."""

    async def main() -> None:
        async with make(enable_cache=False) as orchestrator:
            options = {"model": MODEL, "max_tokens": 4096, "use_memory": True}
            await orchestrator.run("{{ h }} What of it?", variables={"h": HANDBOOK}, **options)
            await orchestrator.run("And?", **options)
            usual = await orchestrator.run("And now?", **options)
            assert usual.usage.cache_read_tokens
            assert "prompt cache again" not in receipt(usual)
            other = await orchestrator.run("And then?", effort="low", **options)
            assert not other.usage.cache_read_tokens
            assert "effort changed: written to the prompt cache again" in receipt(other)
            again = await orchestrator.run("At last?", effort="low", system="Be brief.", **options)
            assert "the system prompt changed" in receipt(again)

    run(main())


@pytest.mark.parametrize(("lifetime", "via"), [("1h", "api"), ("5m", "api"), ("auto", "batches")])
def test_the_quote_has_the_price_of_the_lifetime_asked_for(
    run: Any, make: Make, simulator: Simulator, lifetime: str, via: str
) -> None:
    """An hour is dearer to write than five minutes; in message batches every row may have to write, and "at most" says so."""

    async def main() -> None:
        async with make(enable_cache=False) as orchestrator:
            rows = [{"text": f"Review {row}"} for row in range(3)]
            options = {**OPTIONS, "prompt_cache": lifetime, "via": via}
            shown = (await preview_batch(orchestrator, open_source(rows), options))["text/plain"]
            prompts = Decimal(re.findall(r"\$([0-9.]+)", shown)[0])
            batch = await orchestrator.run_many(rows, **options)
            answers = sum(
                orchestrator.prices.cost(
                    MODEL, Usage(0, each.usage.output_tokens, service_tier=each.usage.service_tier), on=today()
                )
                for each in batch
            )
            if via == "api":
                assert abs(prompts - (batch.cost - answers)) < prompts / 20
            else:
                quoted = [Decimal(amount) for amount in re.findall(r"\$([0-9.]+)", shown.split("via=batches")[1])]
                # Had nobody found what the others wrote; at half price.
                worst = price(orchestrator, batch, ["1h"] * 3) / 2
                assert batch.cost < worst <= quoted[1]

    run(main())
