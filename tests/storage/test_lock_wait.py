"""Writes that wait for other processes: as long as those get on, and not for one that holds the database."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from support.answers import answer, question

from claude_force_nb.batches.records import Job
from claude_force_nb.batches.store import JobStore
from claude_force_nb.cache.response_cache import ResponseCache
from claude_force_nb.costs.daily_budget import DailyBudget
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.errors import CacheWarning
from claude_force_nb.messages.result import ClaudeResult

SECRET = "a secret of the tests, long enough"
ROOT = str(Path(__file__).resolve().parent.parent.parent)


def hold(path: Path, statement: str, seconds: float, times: int, begun: threading.Event) -> None:
    """Hold the database's lock by one writing transaction after the other, without a pause."""
    other = sqlite3.connect(str(path), isolation_level=None)
    for number in range(times):
        other.execute("BEGIN IMMEDIATE")
        other.execute(statement, (number,))
        begun.set()
        time.sleep(seconds)
        other.execute("COMMIT")
    other.close()


def waiting_for(path: Path, statement: str, seconds: float, times: int) -> threading.Thread:
    begun = threading.Event()
    thread = threading.Thread(target=hold, args=(path, statement, seconds, times, begun))
    thread.start()
    assert begun.wait(30)
    return thread


HITS = "UPDATE Settings SET value = ? WHERE key = 'hits'"


@pytest.mark.slow
def test_others_that_write_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their transactions together take longer than one that does not end would be waited for; the answer is kept, without a warning."""
    # Four times as long as by default, so that a busy machine does not look like somebody who holds the database.
    monkeypatch.setattr("claude_force_nb.cache.lifecycle.LOCK_WAIT_SECONDS", 4.0)
    cache = ResponseCache(tmp_path, secret=SECRET)
    assert cache.put(question("first"), answer("one"))
    others = waiting_for(tmp_path / "cache.db", HITS, 1.0, 6)
    assert cache.put(question("second"), answer("two"))
    others.join()
    found: Any = ResponseCache(tmp_path, secret=SECRET).get(question("second"))
    assert found.text == "two"
    cache.close()


@pytest.mark.slow
def test_one_that_holds_it_is_not(tmp_path: Path) -> None:
    """After a second the answer is returned without the cache, with a warning."""
    cache = ResponseCache(tmp_path, secret=SECRET)
    assert cache.put(question("first"), answer("one"))
    other = waiting_for(tmp_path / "cache.db", HITS, 4, 1)
    began = time.monotonic()
    with pytest.warns(CacheWarning, match="database is locked"):
        assert not cache.put(question("second"), answer("two"))
    assert time.monotonic() - began < 3.5
    other.join()
    cache.close()


def ledger_write(path: Path) -> Callable[[], Any]:
    ledger = Ledger(path)
    ledger.append(ClaudeResult(cost=Decimal(1)))

    def write() -> None:
        ledger.append(ClaudeResult(cost=Decimal(2)))
        ledger.close()
        assert [entry.cost for entry in Ledger(path).entries()] == [1, 2]

    return write


def budget_write(path: Path) -> Callable[[], Any]:
    budget = DailyBudget(10, path)
    budget.reserve(Decimal(1)).settle(Decimal(1))

    def write() -> None:
        reservation = budget.reserve(Decimal(2))
        assert (budget.spent, budget.reserved) == (1, 2)
        reservation.settle(Decimal(2))
        assert (budget.spent, budget.reserved) == (3, 0)
        budget.close()

    return write


def jobs_write(path: Path) -> Callable[[], Any]:
    store = JobStore(path)

    def plan(name: str) -> None:
        job = Job(name, time.time(), None, None, None, "claude-haiku-4-5", "https://api.anthropic.com", True)
        store.plan(job, [name.encode("ascii").ljust(32)], "0" * 32, None)

    plan("00000a")

    def write() -> None:
        plan("00000b")
        assert sorted(job.id for job in store.jobs()) == ["00000a", "00000b"]
        store.close()

    return write


RESERVATION = "INSERT INTO reservations (day, amount) VALUES ('2000-01-01', ?)"
# By what writes: how it begins, and a statement of somebody else's that its file takes.
WRITERS: Dict[str, Any] = {
    "costs.ledger": (ledger_write, RESERVATION),
    "costs.daily_budget": (budget_write, RESERVATION),
    "batches.store": (jobs_write, "INSERT INTO requests (part, fingerprint) VALUES (-1, ?)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("module", WRITERS)
def test_money_and_jobs_wait_for_others_that_write(
    tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write longer than one that does not end would be waited for: nothing is refused, late or twice, and nobody is warned."""
    # Longer than a busy machine sleeps, and shorter than all the others together.
    monkeypatch.setattr(f"claude_force_nb.{module}._BUSY_TIMEOUT_SECONDS", 3.0)
    begin, statement = WRITERS[module]
    write = begin(tmp_path / "file.db")
    others = waiting_for(tmp_path / "file.db", statement, 0.5, 10)
    write()
    others.join()


WORKER = """
import sys, warnings
from decimal import Decimal
from claude_force_nb.costs.daily_budget import DailyBudget
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.messages.result import ClaudeResult
warnings.simplefilter("error")
path, times = sys.argv[1], int(sys.argv[2])
ledger, budget = Ledger(path, clock=lambda: 1793534400.0), DailyBudget(10**6, path, clock=lambda: 1793534400.0)
for _ in range(times):
    reservation = budget.reserve(Decimal("0.02"))
    ledger.append_many([ClaudeResult(cost=Decimal("0.001"))] * 300)
    reservation.settle(Decimal("0.3"))
"""


@pytest.mark.slow
def test_processes_that_all_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Six processes write ledger and daily budget of one file without a pause: no warning, no refusal, every cent once."""
    path = tmp_path / "ledger.db"
    command = [sys.executable, "-c", WORKER, str(path), "40"]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) for _ in range(6)]
    said = [worker.communicate()[1].decode("utf-8", "replace") for worker in workers]
    assert [(worker.returncode, text) for worker, text in zip(workers, said)] == [(0, "")] * 6
    budget = DailyBudget(10**6, path, clock=lambda: 1793534400.0)
    assert (budget.spent, budget.reserved) == (Decimal("0.3") * 240, 0)
    budget.close()
    ledger = Ledger(path)
    assert (ledger.total().calls, ledger.total().cost) == (300 * 240, Decimal("0.3") * 240)
    ledger.close()
