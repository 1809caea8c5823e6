"""A daily budget: kept by all kernels together, also where one of them is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import warnings
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from support.budgets import NOON, D, steps, walk

import claude_force_nb
from claude_force_nb.costs.budget import BudgetGroup, DailyBudget, reserve_in_turn
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.errors import BudgetExceededError, ClaudeForceError, ClaudeForceWarning
from claude_force_nb.messages.result import ClaudeResult

DAY = 86400.0
ROOT = str(Path(claude_force_nb.__file__).parent.parent)
LIMIT = Decimal(1)

# Each call reserves $0.02 and costs $0.012, so 82 fit, and the two processes that live try 100. "bill" is
# printed where a real call would be billed, after the reservation and before the settlement.
WORKER = """
import os, sys, warnings
from decimal import Decimal
from claude_force_nb.costs.budget import DailyBudget
from claude_force_nb.errors import BudgetExceededError
warnings.simplefilter("ignore")
budget = DailyBudget(1, sys.argv[1], clock=lambda: 1793534400.0)

def say(line):
    # In one write: print may take two, and be killed between them.
    os.write(1, (line + "\\n").encode("ascii"))

for _ in range(int(sys.argv[2])):
    try:
        reservation = budget.reserve(Decimal("0.02"))
    except BudgetExceededError as error:
        say("refused" if str(error).startswith("needs up to") else str(error))
        continue
    say("bill")
    reservation.settle(Decimal("0.012"))
    say("settled")
budget.close()
"""


def start(path, calls):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), str(calls)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT},
    )


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_several_processes_and_a_killed_one_keep_a_daily_budget(tmp_path):
    """Three processes on one day, one of them killed in the middle: what was billed never passes the limit."""
    path = tmp_path / "state" / "ledger.db"
    # The first one goes on until it is killed, however late that is.
    workers = [start(path, 10**9), start(path, 50), start(path, 50)]
    said = []
    with workers[0], workers[1], workers[2]:
        lines = [workers[0].stdout.readline() for _ in range(9)]
        workers[0].send_signal(signal.SIGKILL)
        said = lines + workers[0].stdout.readlines()
        for worker in workers[1:]:
            said += worker.stdout.readlines()
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0, 0]

    billed = said.count(b"bill\n") * Decimal("0.012")
    budget = DailyBudget(LIMIT, path, clock=lambda: 1793534400.0)
    try:
        assert billed <= LIMIT
        assert budget.spent + budget.reserved <= LIMIT
        assert billed <= budget.spent + budget.reserved
        # The two that lived ended all of theirs; the killed one left at most one behind, which goes on counting.
        assert budget.reserved in (0, Decimal("0.02"))
        # Refused only for want of money, and not before the last three calls that fit were on their way.
        assert set(said) == {b"bill\n", b"settled\n", b"refused\n"}
        assert budget.spent + budget.reserved > LIMIT - 3 * Decimal("0.02")
        with pytest.raises(BudgetExceededError):
            budget.reserve(LIMIT - budget.spent - budget.reserved + Decimal("0.000001"))
    finally:
        budget.close()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_killed_process_leaves_its_reservation_counting(tmp_path):
    """Killed between reserving and settling, when the call may have been billed: the worst case stays spent that day."""
    path = tmp_path / "ledger.db"
    script = WORKER.replace('say("bill")', 'say("bill"); sys.stdin.read()')
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path), "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    with child:
        assert child.stdout.readline() == b"bill\n"
        child.send_signal(signal.SIGKILL)
    budget = DailyBudget(LIMIT, path, clock=lambda: 1793534400.0)
    assert (budget.spent, budget.reserved, budget.left) == (0, Decimal("0.02"), Decimal("0.98"))
    budget.close()
    tomorrow = DailyBudget(LIMIT, path, clock=lambda: 1793534400.0 + 86400)
    assert tomorrow.left == LIMIT
    tomorrow.close()


LEDGER_AND_BUDGET = """
import sys
import warnings
from decimal import Decimal
from claude_force_nb.costs.budget import BudgetGroup, DailyBudget, reserve_in_turn
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.messages.result import ClaudeResult
ledger, budget = Ledger(sys.argv[1]), DailyBudget(100, sys.argv[1])
for line in sys.stdin:
    reservation = budget.reserve(Decimal("0.02"))
    reservation.settle(Decimal("0.01"))
    ledger.append(ClaudeResult(cost=Decimal("0.01")))
    print(ledger.total().calls, flush=True)
"""


def test_a_process_that_goes_takes_nothing_from_those_that_stay(tmp_path):
    """Ledger and budget are two connections of one process to one file: neither loses its locks to the other's opening.

    Without its locks a process is overlooked, and another one that closes its last connection removes the log in use.
    """
    path = tmp_path / "ledger.db"
    command = [sys.executable, "-c", LEDGER_AND_BUDGET, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": {**os.environ, "PYTHONPATH": ROOT}}
    with subprocess.Popen(command, **pipes) as stays:
        for turn in range(1, 4):
            stays.stdin.write(b"go\n")
            stays.stdin.flush()
            assert stays.stdout.readline() == b"%d\n" % (2 * turn - 1)
            with subprocess.Popen(command, **pipes) as goes:
                said, _ = goes.communicate(b"go\n")
            assert said == b"%d\n" % (2 * turn)
            assert goes.returncode == 0
        stays.stdin.close()
        assert stays.wait() == 0


def test_a_daily_budget_is_shared(daily):
    """Reservations and spending of one kernel are visible to another at once."""
    one, two = daily(1), daily(1)
    reservation = one.reserve(D("0.7"))
    assert (two.reserved, two.left) == (D("0.7"), D("0.3"))
    with pytest.raises(BudgetExceededError) as caught:
        two.reserve(D("0.4"))
    assert str(caught.value) == (
        "needs up to $0.4000 but $0.3000 of the $1.00 daily budget is left; raise it with daily_budget=… or lower max_tokens="
    )
    reservation.settle(D("0.1"))
    assert (two.spent, two.reserved, two.left) == (D("0.1"), 0, D("0.9"))
    two.reserve(D("0.4")).release()
    assert one.left == D("0.9")


def test_amounts_below_its_unit_are_rounded_up(daily):
    """A daily budget counts in 10**-12 dollars, never less than was spent."""
    budget = daily(1)
    budget.reserve(D("1e-15")).settle(D("1e-15"))
    budget.reserve(D("0.000000000001")).settle(D("0.000000000001"))
    assert budget.spent == D("0.000000000002")


def test_each_day_has_its_own(daily):
    """At midnight UTC the budget is whole again, and a late settlement counts for the day of its reservation."""
    clock = iter([NOON, NOON + DAY / 2 - 1, NOON + DAY / 2, NOON + DAY / 2, NOON + DAY / 2]).__next__
    budget = daily(1, clock=clock)
    late = budget.reserve(D("0.7"))
    with pytest.raises(BudgetExceededError):
        budget.reserve(D("0.4"))
    budget.reserve(D("0.9")).settle(D("0.25"))
    late.settle(D("0.7"))
    assert budget.spent == D("0.25")
    assert budget.reserved == 0


def test_it_warns_once_a_day_when_it_is_nearly_spent(daily):
    """At 80 %, however little the call cost that passed it; again on another day, and after another limit was set."""
    clock = [NOON]
    budget, other = daily(1, clock=lambda: clock[0]), daily(1, clock=lambda: clock[0])
    budget.reserve(D("0.79")).settle(D("0.79"))
    with pytest.warns(ClaudeForceWarning, match=r"^\$0\.8000 of the \$1\.00 daily budget is spent$"):
        budget.reserve(D("0.01")).settle(D("0.01"))
    budget.reserve(D("0.01")).settle(D("0.01"))
    other.reserve(D("0.01")).release()  # nothing was spent by it: it is not its place to say so
    budget.limit = 2
    budget.reserve(D("0.5")).settle(D("0.5"))
    with pytest.warns(ClaudeForceWarning, match=r"\$1\.6100 of the \$2\.00"):
        budget.reserve(D("0.3")).settle(D("0.3"))
    clock[0] += DAY
    budget.reserve(D("1.5")).settle(D("1.5"))
    with pytest.warns(ClaudeForceWarning, match=r"\$1\.7000 of the \$2\.00"):
        budget.reserve(D("0.2")).settle(D("0.2"))


def test_the_ledgers_morning_counts(daily, path):
    """Calls of the day that were recorded before, or without, the budget count; calls of both count once."""
    clock = [NOON - DAY]
    ledger = Ledger(path, clock=lambda: clock[0])
    ledger.append(ClaudeResult(cost=D(100)))
    clock[0] = NOON - 3600
    ledger.append_many([ClaudeResult(cost=D("0.3")), ClaudeResult(cost=None), ClaudeResult(cached=True, cost=D(0))])
    budget = daily(1)
    assert (budget.spent, budget.left) == (D("0.3"), D("0.7"))
    clock[0] = NOON
    budget.reserve(D("0.4")).settle(D("0.4"))
    ledger.append(ClaudeResult(cost=D("0.4")))
    assert budget.spent == D("0.7")
    # An answer that was billed and lost is in no ledger, and counts beside what is.
    budget.reserve(D("0.05")).settle(None)
    ledger.close()
    assert budget.spent == D("0.75")
    with pytest.raises(BudgetExceededError):
        budget.reserve(D("0.26"))


def test_pruning_keeps_todays_reservations(daily, path):
    """Even pruning everything does not free what is reserved or spent today."""
    budget = daily(1)
    budget.reserve(D("0.5"))
    budget.reserve(D("0.2")).settle(D("0.2"))
    ledger = Ledger(path, clock=lambda: NOON)
    ledger.prune(0)
    ledger.close()
    assert budget.left == D("0.3")


def test_a_file_that_cannot_be_written_refuses(daily, path):
    """No promise without a file: reserving is refused in one line, and reading says why."""
    path.parent.mkdir()
    path.write_bytes(b"this is not a database" * 100)
    budget = daily(1)
    with pytest.raises(
        BudgetExceededError, match=r"the daily budget cannot be enforced: .*; fix that or set daily_budget=none"
    ):
        budget.reserve(D("0.1"))
    with pytest.raises(ClaudeForceError, match="cannot be read"):
        _ = budget.spent


def test_a_settlement_that_cannot_be_written_costs_one_warning(daily, path):
    """The answer is not lost; what was reserved goes on counting."""
    budget = daily(1)
    first, second = budget.reserve(D("0.1")), budget.reserve(D("0.2"))
    budget.close()
    moved = path.with_name("moved")
    path.rename(moved)
    path.mkdir()
    with pytest.warns(ClaudeForceWarning, match="counts the worst case of each call as spent") as caught:
        first.settle(D(0))
    second.release()
    assert len(caught) == 1
    path.rmdir()
    moved.rename(path)
    assert budget.reserved == D("0.3")


@given(steps)
def test_no_order_of_steps_passes_a_daily_limit(tmp_path_factory, steps):
    """The same as for one process, through the file."""
    budget = DailyBudget(1, tmp_path_factory.mktemp("daily") / "ledger.db", clock=lambda: NOON)
    try:
        walk(budget, steps)
    finally:
        budget.close()


def test_a_day_is_from_its_first_moment_to_its_last(daily, path):
    """The first moment of a day counts for it, the last one too, and the first of the next day does not."""
    midnight = NOON - DAY / 2
    now = [0.0]
    ledger = Ledger(path, clock=lambda: now[0])
    for moment, cost in ((-0.001, "0.01"), (0.0, "0.02"), (DAY - 0.001, "0.04"), (DAY, "0.08"), (DAY + 1, "0.16")):
        now[0] = midnight + moment
        ledger.append(ClaudeResult(cost=D(cost)))
    ledger.close()
    assert daily(1).spent == D("0.06")
    assert daily(1, clock=lambda: midnight - 1).spent == D("0.01")
    assert daily(1, clock=lambda: midnight + DAY).spent == D("0.24")


def test_a_day_that_a_budget_has_read_grows_with_the_ledger(daily, path):
    """What was read is not read again, and nothing after it is missed; another day begins with nothing."""
    now = [NOON]
    ledger = Ledger(path, clock=lambda: now[0])
    budget = daily(10, clock=lambda: now[0])
    for count in range(1, 4):
        ledger.append(ClaudeResult(cost=D("0.5")))
        assert budget.spent == D("0.5") * count
    now[0] += DAY
    assert budget.spent == 0
    ledger.append(ClaudeResult(cost=D("0.25")))
    assert budget.spent == D("0.25")
    now[0] -= DAY
    assert budget.spent == D("1.5")
    ledger.close()


@pytest.mark.parametrize("limit", ["1", None])
def test_a_raised_daily_limit_lets_those_go_who_wait(run, daily, limit):
    """Raising or removing it wakes the first who waits, though nothing was settled."""

    async def main():
        budget = daily("0.5")
        group = BudgetGroup([budget])
        await reserve_in_turn(group, D("0.4"))
        waiting = asyncio.ensure_future(reserve_in_turn(group, D("0.3")))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        budget.limit = limit
        assert (await asyncio.wait_for(waiting, 10)).amount == D("0.3")

    run(main())


SPOILS = [
    "UPDATE days SET spent = 'much'",
    "UPDATE days SET spent = 0.5",
    "UPDATE days SET spent = -1",
    "UPDATE days SET spent = x'00ff'",
    "UPDATE reservations SET amount = 'little'",
    "UPDATE reservations SET amount = -1",
    "UPDATE reservations SET amount = 1e30",
    "UPDATE reservations SET amount = -9e18",
    "INSERT INTO reservations (day, amount) SELECT day, 9223372036854775807 FROM days; "
    "INSERT INTO reservations (day, amount) SELECT day, 9223372036854775807 FROM days",
    "UPDATE entries SET cost = 'NaN'",
    "UPDATE entries SET cost = 'sNaN'",
    "UPDATE entries SET cost = '-0.5'",
    "UPDATE entries SET cost = 'Infinity'",
    "UPDATE entries SET cost = '1e999999999'",
    "UPDATE entries SET cost = '1e-999999999'",
    "UPDATE entries SET cost = x'80'",
    "UPDATE entries SET cost = CAST(x'ff' AS TEXT)",
    "UPDATE entries SET cost = printf('%.*c', 100000, '1')",
    "CREATE TRIGGER free AFTER INSERT ON reservations BEGIN UPDATE reservations SET amount = 0; END",
    "DROP TABLE days; CREATE VIEW days AS SELECT '2026-11-01' AS day, 0 AS spent",
    "DROP TABLE reservations; CREATE VIEW reservations AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    " SELECT x AS id, '2026-11-01' AS day, 0 AS amount FROM n",
    "DROP TABLE entries",
]


@pytest.mark.parametrize("spoil", SPOILS)
def test_sums_that_are_not_amounts_are_refused_in_one_line(daily, path, spoil):
    """A budget that cannot know what was spent lets nothing pass, says so in one line, and removes nothing."""
    with_ledger = Ledger(path, clock=lambda: NOON)
    with_ledger.append(ClaudeResult(cost=D("0.1")))
    with_ledger.close()
    budget = daily(1)
    budget.reserve(D("0.2")).settle(D("0.1"))
    pending = budget.reserve(D("0.3"))
    with contextlib.closing(sqlite3.connect(str(path), isolation_level=None)) as connection:
        connection.executescript(spoil)
    before = path.read_bytes()
    # One that has read an entry goes on with what it read.
    for asked in [daily(1)] if spoil.startswith("UPDATE entries") else [budget, daily(1)]:
        with pytest.raises(BudgetExceededError, match=r"the daily budget cannot be enforced: .*ledger\.db") as caught:
            asked.reserve(D("0.1"))
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
        with pytest.raises(ClaudeForceError, match="cannot be read") as unread:
            _ = asked.left
        assert "\n" not in str(unread.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClaudeForceWarning)
        pending.settle(D("0.1"))
    assert path.exists()
    assert len(path.read_bytes()) >= len(before)
