"""Kernels killed at every step of a batch job: whoever continues pays for nothing twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest
from support.batches import quick_batches
from support.killed_batch import prompts_of

from claude_force_nb.batches.context import BatchLimits
from claude_force_nb.costs.ledger import Ledger, default_ledger_path
from claude_force_nb.errors import JobError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

CHILD = Path(__file__).parent.parent / "support" / "killed_batch.py"
ROWS = 600

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL"),
    # Depends on how far the batch has come when it is looked for.
    pytest.mark.filterwarnings("ignore:job .* nothing is sent again until that has ended"),
]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(batch_seconds=0.1) as running:
        yield running


@pytest.fixture
def start(simulator: Simulator) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the rows in a process of their own."""
    children: List[subprocess.Popen[str]] = []

    def start(*, rows: int = ROWS, step: int = -1, most_requests: int = 1000) -> subprocess.Popen[str]:
        root = str(CHILD.parent.parent)
        environ = dict(os.environ, PYTHONPATH=os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        command = [sys.executable, str(CHILD), simulator.url, str(rows), str(step), str(most_requests)]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


@pytest.fixture
def build(make: Callable[..., AsyncAgentOrchestrator]) -> Callable[..., AsyncAgentOrchestrator]:
    def build(**options: Any) -> AsyncAgentOrchestrator:
        return quick_batches(make(**options), limits=BatchLimits(most_requests=1000))

    return build


def until_stuck(simulator: Simulator, kind: str) -> None:
    """Wait until a fault of `kind` holds a call."""
    until = time.monotonic() + 120
    while not simulator.counters.faults.get(kind):
        assert time.monotonic() < until, f"no fault {kind!r} within 120 s"
        time.sleep(0.01)


def kill_once_stuck(child: subprocess.Popen[str], simulator: Simulator, kind: str) -> None:
    """Kill the process once a fault of `kind` holds it."""
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    until_stuck(simulator, kind)
    ledger = Ledger(default_ledger_path(os.environ, local=True))
    until = time.monotonic() + (30 if kind == "silent" else 0)
    while not ledger.total().calls and time.monotonic() < until:
        time.sleep(0.02)
    ledger.close()
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    simulator.heal()


# Where the process is killed: before the first two nothing was sent.
STEPS = [
    ("hang", "batch_list"),
    ("hang", "batch_create"),
    ("held", "batch_create"),
    ("hang", "batch_poll"),
    ("silent", "batch_results"),
]


def again(orchestrator: AsyncAgentOrchestrator, rows: int = ROWS, step: int = -1) -> Any:
    return orchestrator.run_many(prompts_of(rows, step)[::-1], via="batches", model="haiku", max_tokens=400)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "endpoint"), STEPS)
def test_running_the_cell_again_pays_for_nothing_twice(
    simulator: Simulator, start: Any, build: Any, run: Any, kind: str, endpoint: str
) -> None:
    """Killed before, in and after the create, while polling, and in the middle of the results."""
    simulator.fail([kind], endpoint=endpoint)
    kill_once_stuck(start(), simulator, kind)

    async def main() -> None:
        async with build(budget="5") as orchestrator:
            before = orchestrator.ledger.total().calls
            assert before == (200 if endpoint == "batch_results" else 0)
            batch = await again(orchestrator)
            assert batch.counts["ok"] + batch.counts["cached"] == ROWS
            assert {result.text for result in batch} != {""}
            total = orchestrator.ledger.total()
            assert total.cost == simulator.counters.dollars
            assert total.calls == ROWS
            assert orchestrator.budget.reserved == 0
        assert simulator.counters.completed == ROWS

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "endpoint"), STEPS)
def test_attach_collects_what_was_sent(
    simulator: Simulator, start: Any, build: Any, run: Any, kind: str, endpoint: str
) -> None:
    """Attaching collects what was sent, and says so if nothing was."""
    simulator.fail([kind], endpoint=endpoint)
    kill_once_stuck(start(rows=ROWS), simulator, kind)

    async def main() -> None:
        async with build() as orchestrator:
            (state,) = orchestrator.message_batches.all()
            if (kind, endpoint) in STEPS[:2]:
                assert state.state == ("interrupted" if endpoint == "batch_list" else "lost")
                with pytest.raises(JobError, match="was never sent"):
                    await orchestrator.message_batches.attach(state.job.id)
                assert simulator.counters.completed == 0
                return
            batch = await orchestrator.message_batches.attach(state.job.id)
            assert batch.counts["ok"] == ROWS
            total = orchestrator.ledger.total()
            assert (total.cost, total.calls) == (simulator.counters.dollars, ROWS)
            direct = await orchestrator.run_many(prompts_of(ROWS), model="haiku", max_tokens=400)
            assert direct.counts["cached"] == ROWS
        assert simulator.counters.completed == ROWS

    run(main())


@pytest.mark.slow
def test_two_kernels_and_the_death_of_one(simulator: Simulator, start: Any, build: Any, run: Any) -> None:
    """The second waits while the first one lives, and takes over when it is killed with its create under way."""
    simulator.fail(["held"], endpoint="batch_create")
    child = start(rows=200)

    async def main() -> None:
        async with build() as orchestrator:
            await asyncio.get_running_loop().run_in_executor(None, until_stuck, simulator, "held")
            task = asyncio.ensure_future(again(orchestrator, 210))
            await asyncio.sleep(1.0)
            assert not task.done()
            assert simulator.counters.completed == 210
            child.kill()
            batch = await task
            assert batch.counts["ok"] == 210
        assert simulator.counters.completed == 210

    run(main())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_before_and_after_every_commit(simulator: Simulator, start: Any, build: Any, run: Any) -> None:
    """Each process dies one step later than the one before, on rows of its own, until one lives to its end."""
    step = 0
    while True:
        child = start(rows=210, step=step, most_requests=250)
        child.wait()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL

        async def main(step: int) -> None:
            async with build() as orchestrator:
                batch = await again(orchestrator, 210, step)
                assert batch.counts["ok"] + batch.counts["cached"] == 210
                assert simulator.counters.completed == 210 * (step + 1)
                total = orchestrator.ledger.total()
                assert (total.cost, total.calls) == (simulator.counters.dollars, 210 * (step + 1))

        run(main(step))
        step += 1
    assert step >= 16
