"""Many prompts through faults over a real socket: every row ends, everything billed is accounted, nothing is paid twice."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from claude_force_nb.costs.ledger import Ledger, default_ledger_path
from claude_force_nb.errors import (
    ApiError,
    AuthenticationError,
    CallTimeoutError,
    InvalidRequestError,
    MalformedAnswerError,
    PermissionDeniedError,
    SpendLimitError,
)
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]
MODEL = "claude-haiku-4-5"

# What a row may end with where the fault is not overcome; an empty tuple where retries must overcome it.
OUTCOMES: Dict[str, Any] = {
    "rate_limit": (),
    "overloaded": (),
    "server_error": (),
    "drop": (),
    "lost": (),
    "cut": (),
    "stream_error": (),
    "slow": (),
    "retry_after_on_success": (),
    "refusal": (),
    "wrong_json": (),
    "html": MalformedAnswerError,
    "truncated_json": MalformedAnswerError,
    "invalid_request": InvalidRequestError,
    "permission": PermissionDeniedError,
    "hang": CallTimeoutError,
    "silent": CallTimeoutError,
}
# The answer was made and billed, but nothing that could be accounted for came back.
BILLED_UNSEEN = ("lost", "cut", "truncated_json")


def prompts(count: int) -> List[str]:
    return [f"Prompt number {number}" for number in range(count)]


def load(run: Any, make: Make, simulator: Simulator, count: int, kinds: List[str], probability: float) -> Any:
    for seed, kind in enumerate(kinds):
        simulator.fail(kind, probability=probability, seed=seed, retry_after_seconds=0.02, delay_seconds=0.05)
    mixed = len(kinds) > 1
    timeout = (1.0 if mixed else 2.0) if {"hang", "silent"} & set(kinds) else 60.0
    # Many at once where calls wait for their time to be up.
    orchestrator = make(max_concurrent=200 if mixed else 50, timeout_seconds=timeout, max_retries=8)

    async def main() -> Any:
        async with orchestrator:
            return await orchestrator.run_many(prompts(count), model=MODEL, max_tokens=64)

    return run(main()), orchestrator


def check_books(simulator: Simulator, orchestrator: AsyncAgentOrchestrator, batch: Any) -> None:
    """The simulator's bill is the ledger's, but for answers that never reached anybody."""
    counters = simulator.counters
    unseen = sum(counters.faults.get(kind, 0) for kind in BILLED_UNSEEN)
    assert isinstance(orchestrator.ledger, Ledger)
    paid = [entry for entry in orchestrator.ledger.entries() if not entry.cached and entry.status != "failed"]
    # A row whose time was up has left a call behind. The API may have answered it all the same; or the call had met one of those
    # faults, and was left before it was billed.
    given_up = sum(isinstance(error, CallTimeoutError) for error in batch.errors.values())
    left = min(given_up, counters.aborted_by_client)
    assert -left <= counters.completed - len(paid) - unseen <= given_up
    assert len(paid) == batch.counts["ok"] + batch.counts["refused"]


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten back-offs to a hundredth."""
    monkeypatch.setattr("claude_force_nb.api.retry.BASE_DELAY_SECONDS", 0.005)
    monkeypatch.setattr("claude_force_nb.api.retry.MAX_DELAY_SECONDS", 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(OUTCOMES))
@pytest.mark.usefixtures("quick_backoff")
def test_each_fault_at_a_tenth_of_the_calls(run: Any, make: Make, simulator: Simulator, kind: str) -> None:
    """Every row ends ok, refused or with its true error, and what the API billed is what the ledger has."""
    batch, orchestrator = load(run, make, simulator, 400, [kind], 0.1)
    assert len(batch) == 400
    assert simulator.counters.faults[kind] > 0
    for result in batch:
        assert result.status == ("refused" if result.stop_reason == "refusal" else "ok") or (
            result.status == "failed" and isinstance(result.error, OUTCOMES[kind] or ())
        ), result.error
    check_books(simulator, orchestrator, batch)


@pytest.mark.slow
@pytest.mark.parametrize("count", [100, 1000])
@pytest.mark.usefixtures("quick_backoff")
def test_all_faults_mixed(run: Any, make: Make, simulator: Simulator, count: int) -> None:
    """With every fault at a tenth of the calls, so that four of five calls fail, each row still ends, and the books agree."""
    kinds = sorted(OUTCOMES)
    batch, orchestrator = load(run, make, simulator, count, kinds, 0.1)
    assert set(simulator.counters.faults) == set(kinds) or count < 1000
    assert len(batch) == count
    assert all(result.status in ("ok", "refused", "failed") for result in batch)
    assert all(isinstance(error, ApiError) for error in batch.errors.values())
    check_books(simulator, orchestrator, batch)


@pytest.mark.parametrize(("kind", "error"), [("spend_limit", SpendLimitError), ("authentication", AuthenticationError)])
def test_what_all_would_meet_ends_the_sending(
    run: Any, make: Make, simulator: Simulator, kind: str, error: type
) -> None:
    """After a spend limit or a refused key, finished rows are kept, and no further call is made."""
    simulator.fail([None] * 60 + [kind] * 100)  # type: ignore[arg-type]
    orchestrator = make(max_concurrent=5)
    batch = run(orchestrator.run_many(prompts(200), model=MODEL, max_tokens=64))
    assert batch.counts["ok"] == 60
    assert 1 <= batch.counts["failed"] <= 5
    assert batch.counts["not_sent"] == 200 - 60 - batch.counts["failed"]
    assert all(isinstance(reason, error) for reason in batch.errors.values())
    assert simulator.counters.calls <= 65


@pytest.mark.slow
@pytest.mark.usefixtures("quick_backoff")
def test_an_outage_is_not_made_worse_by_retries(run: Any, make: Make, simulator: Simulator) -> None:
    """Where everything fails, the retries of 400 rows stop at the budget instead of being 1,600."""
    simulator.fail("server_error")
    orchestrator = make(max_concurrent=10, max_retries=4)
    batch = run(orchestrator.run_many(prompts(400), model=MODEL, max_tokens=64))
    assert batch.counts["failed"] == 400
    # A full reserve, a fifth of the calls, and ten a second.
    assert simulator.counters.calls <= 400 + 100 + 80 + 10 * (batch.duration_seconds + 1)


@pytest.mark.slow
def test_a_refused_call_holds_back_the_others(run: Any, make: Make) -> None:
    """A 429 pauses the family: nothing is sent inside its retry-after, and all are answered after it."""
    # What was on its way when the 429 came is nobody's fault, and on a busy machine the way may take a while.
    with Simulator(retry_after_grace_seconds=1.0) as simulator:
        simulator.fail([None] * 20 + ["rate_limit"], retry_after_seconds=3.0)  # type: ignore[arg-type]
        orchestrator = make(max_concurrent=10, base_url=simulator.url)
        batch = run(orchestrator.run_many(prompts(100), model=MODEL, max_tokens=64))
        assert batch.counts["ok"] == 100
        assert simulator.counters.sent_inside_retry_after == 0
        assert simulator.counters.calls == 101


@pytest.mark.slow
@pytest.mark.parametrize("state", ["calls", "back-off", "pause"])
def test_cancelling_leaves_nothing_behind(make: Make, simulator: Simulator, state: str) -> None:
    """Cancelled during 500 calls, back-off or pause: no task, no warning, no open connection."""
    orchestrator = make(max_concurrent=500)
    seen: List[str] = []

    async def main() -> None:
        enough = asyncio.Event()
        await orchestrator.run("warm", model=MODEL)
        fault = {"calls": "hang", "pause": "rate_limit", "back-off": "overloaded"}[state]
        simulator.fail(fault, retry_after_seconds=None if state == "calls" else 60.0)

        def on_event(event: Any) -> None:
            seen.append(event.kind)
            if seen.count("sent") >= 500 if state == "calls" else "retry" in seen:
                enough.set()

        orchestrator.on_event = on_event
        task = asyncio.ensure_future(orchestrator.run_many(prompts(600), model=MODEL, max_tokens=64))
        await enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await orchestrator.close()
        for _ in range(5):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main(), debug=True)


RUN = """
    import asyncio, sys
    from claude_force_nb import AsyncAgentOrchestrator

    async def main():
        def done(row, result):
            print(row, flush=True)
        async with AsyncAgentOrchestrator(base_url=sys.argv[1], api_key="k", max_concurrent=8) as orchestrator:
            batch = await orchestrator.run_many(
                ("Prompt number %d" % n for n in range(200)), model="claude-haiku-4-5", max_tokens=64, on_result=done
            )
        print("counts", batch.counts["ok"], batch.counts["cached"], flush=True)

    asyncio.run(main())
"""


@pytest.mark.slow
def test_killed_in_the_middle_a_rerun_pays_only_for_what_had_not_come_back(tmp_path: Path) -> None:
    """Every row reported before a kill is in cache and ledger; the rerun asks for the others only."""
    script = tmp_path / "job.py"
    script.write_text(textwrap.dedent(RUN))
    with Simulator(latency_seconds=0.01) as simulator:
        command = [sys.executable, str(script), simulator.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
            assert process.stdout is not None
            reported = [process.stdout.readline() for _ in range(60)]
            process.kill()
            reported += process.stdout.readlines()
        rows = {line.strip() for line in reported if line.endswith("\n")}
        before = simulator.counters.completed
        assert 60 <= len(rows) <= before < 200
        again = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
        fresh, cached = map(int, again.stdout.splitlines()[-1].split()[1:])
        assert fresh + cached == 200
        assert cached >= len(rows)
        # Paid twice are at most the eight calls that were under way, and the three answers that may wait to be written meanwhile.
        assert simulator.counters.completed <= 200 + 8 + 3
    ledger = Ledger(default_ledger_path(os.environ, local=True))
    try:
        assert ledger.total().calls >= len(rows) + fresh
    finally:
        ledger.close()


_PEAK = """
import asyncio, resource, sys
from pathlib import Path
from claude_force_nb import AsyncAgentOrchestrator
from claude_force_nb.testing import FakeTransport

folder, kind, count = Path(sys.argv[1]), sys.argv[2], 100_000

def source(count):
    made = ({"text": f"Review {number}: it works. " * 5} for number in range(count))
    return list(made) if kind == "list" else folder / f"{count}.jsonl"

def answer(request):
    transport.requests.clear()  # the fake keeps all that was sent, and it is the rows that are measured
    return "positive " * 20

transport = FakeTransport(answer)

async def main():
    async with AsyncAgentOrchestrator(transport=transport, cache_dir=folder / "cache", ledger=None) as orchestrator:
        options = {"template": "Label {{ text }}", "model": "haiku", "on_result": lambda row, result: None}
        await orchestrator.run_stream(source(2000), **options)
        rows = source(count)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for status in ("ok", "cached"):
            summary = await orchestrator.run_stream(rows, **options)
            assert summary.counts[status] >= count - 2000, summary
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["file", pytest.param("list", marks=pytest.mark.exhaustive)])
def test_memory_is_flat(tmp_path: Path, kind: str) -> None:
    """Fifty times as many rows take no more than caches of fixed size do, whether they are paid for or cached.

    These are 16 MB of verified answers and 16 MB of SQLite's pages; to keep each row's result would take over 150 MB.
    """
    pytest.importorskip("resource")
    for count in (2000, 100_000) if kind == "file" else ():
        with (tmp_path / f"{count}.jsonl").open("w") as file:
            file.writelines(json.dumps({"text": f"Review {number}: it works. " * 5}) + "\n" for number in range(count))
    command = [sys.executable, "-c", _PEAK, str(tmp_path), kind]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    more_mb = int(said.stdout) / (2**20 if sys.platform == "darwin" else 2**10)
    assert more_mb < 80, f"{more_mb:.0f} MB more"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_what_waits(tmp_path: Path) -> None:
    """20,000 prompts with answers of 200 bytes stay under 80 MB above the start, of which caches of fixed size may take 32."""
    bench = Path(__file__).parent.parent / "benchmarks" / "dispatch.py"
    said = subprocess.run(
        [sys.executable, str(bench), "--large", "20000"], stdout=subprocess.PIPE, text=True, check=True
    )
    assert float(said.stdout.rpartition("peak memory ")[2].split()[0]) < 80
