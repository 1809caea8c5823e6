"""Whatever goes wrong on the wire, with processes and with users: what the API billed never passes a budget."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, List

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.costs.budget import DailyBudget
from claude_force_nb.costs.ledger import default_ledger_path
from claude_force_nb.errors import ApiError, BrokenConnectionError, BudgetExceededError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.filterwarnings("ignore:.*budget is spent")
D = Decimal
MODEL = "claude-haiku-4-5"
Make = Callable[..., AsyncAgentOrchestrator]
ROOT = str(Path(__file__).resolve().parent.parent.parent)
# Every way of failing: before it is billed, after it, in the middle, without end.
KINDS = [
    "rate_limit", "overloaded", "server_error", "invalid_request", "drop", "lost", "cut", "stream_error",
    "hang", "silent", "held", "html", "truncated_json", "refusal", "slow",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claude_force_nb.api.retry.BASE_DELAY_SECONDS", 0.005)
    monkeypatch.setattr("claude_force_nb.api.retry.MAX_DELAY_SECONDS", 0.05)


async def storm(
    orchestrator: AsyncAgentOrchestrator, calls: int, chance: random.Random, cancels: float, timeout: float = 1.5
) -> None:
    """Send `calls` at once, half of them streamed, and cancel some of them at any moment."""

    async def one(number: int) -> None:
        # Each a prompt of its own: equal ones would be one call.
        partial = PartialAnswer() if number % 2 else None
        try:
            await orchestrator.run(
                "Call {} of the storm, {}".format(number, "x" * chance.randrange(300)),
                model=MODEL,
                max_tokens=chance.choice([16, 200, 1000]),
                cache="off",
                timeout_seconds=timeout,
                partial=partial,
            )
        except (ApiError, BudgetExceededError):
            pass

    tasks = [asyncio.ensure_future(one(number)) for number in range(calls)]
    for task in tasks:
        if chance.random() < cancels:
            asyncio.get_running_loop().call_later(chance.random() * timeout / 4, task.cancel)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome


def check(simulator: Simulator, budget: Any, limit: Decimal) -> None:
    """The API's own bill is under the limit, and the books have at least as much."""
    billed = simulator.counters.dollars
    assert simulator.counters.unpriced == 0
    assert billed <= limit
    assert billed <= budget.spent + budget.reserved <= limit


# From nothing that fits to all that is asked for: a call's worst case is $0.0003 to $0.006.
limits = st.integers(2, 400).map(lambda number: D(number) / 2000)


@pytest.mark.slow
@given(
    limit=limits,
    kinds=st.lists(st.sampled_from(KINDS), max_size=6, unique=True),
    rate=st.sampled_from([0.1, 0.5]),
    cancels=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 2**32),
)
@example(limit=D("0.1"), kinds=KINDS, rate=0.5, cancels=0.3, seed=1)
@settings(max_examples=5)
def test_no_bill_passes_a_budget(limit: Decimal, kinds: List[str], rate: float, cancels: float, seed: int) -> None:
    """60 calls at once on a small budget, with faults, retries, time-outs and cancels; both kinds of budget."""
    chance = random.Random(seed)
    with Simulator(tokens_per_second=2000.0) as simulator:
        for number, kind in enumerate(kinds):
            simulator.fail(
                kind, probability=rate / len(kinds), seed=seed + number, retry_after_seconds=0.02, delay_seconds=0.05
            )
        orchestrator = AsyncAgentOrchestrator(
            base_url=simulator.url, api_key="k", max_concurrent=40, max_retries=3, budget=limit, ledger=None
        )

        async def main() -> None:
            await storm(orchestrator, 60, chance, cancels)
            await orchestrator.close()

        asyncio.run(main())
        check(simulator, orchestrator.budget, limit)
        assert orchestrator.budget.reserved == 0


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("seed", range(2))
def test_no_bill_passes_a_budget_with_200_calls_at_once(seed: int, tmp_path: Path) -> None:
    """Twice 200 calls in flight at once through every fault, under a budget of the run and one of the day."""
    chance = random.Random(seed)
    limit = D("0.4")
    day = DailyBudget(D("0.5"), tmp_path / "ledger.db")
    with Simulator(tokens_per_second=2000.0, latency_seconds=0.3) as simulator:
        for number, kind in enumerate(KINDS):
            simulator.fail(kind, probability=0.03, seed=seed + number, retry_after_seconds=0.05, delay_seconds=0.05)

        held: List[Decimal] = []

        async def main() -> List[Decimal]:
            spent = []
            for _ in range(2):
                orchestrator = AsyncAgentOrchestrator(
                    base_url=simulator.url, api_key="k", max_concurrent=200, budget=limit, daily_budget=day, ledger=None
                )
                budget = orchestrator.budget
                orchestrator.add_listener(lambda event, budget=budget: held.append(budget.reserved))
                await storm(orchestrator, 200, chance, 0.2, timeout=4.0)
                spent.append(orchestrator.budget.spent)
                await orchestrator.close()
            return spent

        spent = asyncio.run(main())
        # The money was what they waited for.
        assert max(held) > limit * D("0.9")
        assert all(each <= limit for each in spent)
        check(simulator, day, D("0.5"))
        assert sum(simulator.counters.faults.values()) > 30
    day.close()


KERNEL = """
import asyncio, sys, warnings
warnings.simplefilter("ignore")
from claude_force_nb import AsyncAgentOrchestrator

async def main():
    url, name, limit = sys.argv[1:]
    def done(row, result):
        print("row", flush=True)
    async with AsyncAgentOrchestrator(
        base_url=url, api_key="k", max_concurrent=100, max_retries=3, daily_budget=limit, timeout_seconds=60
    ) as orchestrator:
        rows = ("Row %d of kernel %s" % (number, name) for number in range(150))
        await orchestrator.run_many(rows, model="claude-haiku-4-5", max_tokens=300, on_result=done, cache="off")

asyncio.run(main())
"""


def kernels_on_one_day(tmp_path: Path, limit: Decimal, kernels: int, kills: int) -> None:
    with Simulator(latency_seconds=0.05) as simulator:
        for number, kind in enumerate(["lost", "cut", "overloaded", "rate_limit", "server_error", "truncated_json"]):
            simulator.fail(kind, probability=0.02, seed=number, retry_after_seconds=0.05)
        environment = {**os.environ, "PYTHONPATH": ROOT}
        started: List[subprocess.Popen[bytes]] = []

        def start() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", KERNEL, simulator.url, str(len(started)), str(limit)]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, env=environment))
            return started[-1]

        try:
            running = [start() for _ in range(kernels)]
            for _ in range(kills):
                victim = running.pop(0)
                assert victim.stdout is not None
                for _ in range(5):
                    victim.stdout.readline()
                victim.send_signal(signal.SIGKILL)
                running.append(start())
            for process in running:
                process.communicate(timeout=200)
                assert process.returncode == 0
        finally:
            for process in started:
                process.kill()
                process.communicate()
        while simulator.counters.in_flight:  # what the killed ones had asked for
            time.sleep(0.05)
        day = DailyBudget(limit, default_ledger_path(os.environ, local=True))
        try:
            check(simulator, day, limit)
            # The money was the reason to stop: most of it is spent, or was set aside by what was killed, sent or not.
            assert simulator.counters.dollars > 0
            assert day.spent + day.reserved > limit / 2
        finally:
            day.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_kernels_on_one_daily_budget_one_killed(tmp_path: Path) -> None:
    """Two processes ask for more than the day allows, one is killed in the middle and started again."""
    kernels_on_one_day(tmp_path, D("0.03"), kernels=2, kills=1)


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_many_kernels_on_one_daily_budget_several_killed(tmp_path: Path) -> None:
    """Four processes of 100 calls at once, four killed one after the other."""
    kernels_on_one_day(tmp_path, D("0.12"), kernels=4, kills=4)


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_that_gives_up_may_have_been_billed(run: Any, make: Make, simulator: Simulator, status: int) -> None:
    """Nobody can tell whether the API answered behind it: the worst case counts."""
    simulator.fail([status])
    orchestrator = make(budget=1, max_retries=0)

    async def main() -> None:
        with pytest.raises(ApiError):
            await orchestrator.run("hello", model=MODEL, max_tokens=100)
        await orchestrator.close()

    run(main())
    assert orchestrator.budget.spent > D("0.0005")
    assert orchestrator.budget.reserved == 0


def test_a_server_that_is_not_there_bills_nothing(run: Any, make: Make) -> None:
    """Where no connection comes about, however often it is tried, nothing of the budget is gone."""
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        orchestrator = make(budget=1, max_retries=3, base_url=f"http://127.0.0.1:{closed.getsockname()[1]}")

        async def main() -> None:
            for partial in (None, PartialAnswer()):
                with pytest.raises(BrokenConnectionError, match="cannot reach"):
                    await orchestrator.run("hello", model=MODEL, max_tokens=100, partial=partial)
            await orchestrator.close()

        run(main())
    assert (orchestrator.budget.spent, orchestrator.budget.reserved) == (0, 0)


def test_a_call_that_never_left_counts_nothing(run: Any, make: Make, simulator: Simulator) -> None:
    """Cancelled while it waited for its turn, it gives its money back; the one under way may have been billed."""
    simulator.fail("hang")
    orchestrator = make(budget=1, max_concurrent=1)

    async def main() -> None:
        first = asyncio.ensure_future(orchestrator.run("one", model=MODEL, max_tokens=100))
        while simulator.counters.in_flight == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        others = [
            asyncio.ensure_future(orchestrator.run(f"other {number}", model=MODEL, max_tokens=100))
            for number in range(20)
        ]
        while orchestrator.budget.reserved < D("0.01"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for task in [*others, first]:
            task.cancel()
        await asyncio.gather(first, *others, return_exceptions=True)
        await orchestrator.close()

    run(main())
    assert orchestrator.budget.reserved == 0
    assert D("0.0005") < orchestrator.budget.spent < D("0.0015")
