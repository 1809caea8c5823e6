"""One daily budget under several real processes, one of them killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

import claude_force_nb
from claude_force_nb.costs.budget import DailyBudget
from claude_force_nb.errors import BudgetExceededError

ROOT = str(Path(claude_force_nb.__file__).parent.parent)
LIMIT = Decimal(1)

# Each call reserves $0.02 and costs $0.012, so 83 of 150 fit, and the two processes that live try 100. "bill" is
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

for _ in range(50):
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


def start(path):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ROOT}
    )


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_several_processes_and_a_killed_one_keep_a_daily_budget(tmp_path):
    """3 × 50 calls on one day, one process killed in the middle: what was billed never passes the limit."""
    path = tmp_path / "state" / "ledger.db"
    workers = [start(path) for _ in range(3)]
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
        [sys.executable, "-c", script, str(path)],
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
from decimal import Decimal
from claude_force_nb.costs.budget import DailyBudget
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
