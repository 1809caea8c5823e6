"""The ledger: durable, shared, exact, and never in the way of an answer."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import warnings
from decimal import Decimal
from pathlib import Path

import pytest
from support.ledgers import NOW, Clock, answer, hit

import claude_force_nb
from claude_force_nb.costs.budget import DailyBudget
from claude_force_nb.costs.ledger import Ledger, LedgerRow
from claude_force_nb.errors import ClaudeForceError, ClaudeForceWarning, OptionError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage

ROOT = str(Path(claude_force_nb.__file__).parent.parent)
DAY = 86400.0


def append_over_time(ledger, costs):
    for cost in costs:
        ledger.append(answer(cost))
        ledger._clock.now += 20


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "state" / "ledger.db", clock=Clock())
    yield ledger
    ledger.close()


def test_nothing_is_made_before_the_first_answer(tmp_path):
    """Constructing, reading, pruning and exporting leave no trace."""
    ledger = Ledger(tmp_path / "state" / "ledger.db")
    assert ledger.total() == LedgerRow("total")
    assert ledger.summary("model") == []
    assert list(ledger.entries()) == []
    assert ledger.prune(0) == 0
    assert ledger.export_csv(io.StringIO()) == 0
    ledger.append_many([])
    ledger.append(ClaudeResult(status="not_sent"))
    ledger.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_only_the_user_can_read_it(ledger):
    """The directory is 0700, and every file in it 0600."""
    ledger.append(answer())
    folder = ledger.path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_an_entry_comes_back_as_it_was(ledger):
    """Every column, exact amounts, None where the price is unknown."""
    usage = Usage(1, 2, 3, 4, 5, 6, "batch", "fast")
    ledger.append(answer("0.0000001", usage=usage, request_id="req_1"), notebook="a.ipynb", cell="c1")
    ledger.append(answer(None, saved=None, agent=None, status="failed"))
    first, second = ledger.entries()
    assert (first.time, first.notebook, first.cell, first.agent, first.model) == (
        NOW,
        "a.ipynb",
        "c1",
        "reviewer",
        "claude-sonnet-5-5",
    )
    assert (first.input_tokens, first.output_tokens, first.cache_write_5m_tokens) == (1, 2, 3)
    assert (first.cache_write_1h_tokens, first.cache_read_tokens, first.web_searches) == (4, 5, 6)
    assert (first.service_tier, first.speed, first.request_id, first.attempts) == ("batch", "fast", "req_1", 1)
    assert (first.cost, first.saved, first.cached, first.status) == (Decimal("0.0000001"), Decimal(0), False, "ok")
    assert (second.cost, second.saved, second.agent, second.status) == (None, None, None, "failed")


def test_no_text_of_prompt_or_answer_is_kept(ledger):
    """Neither the answer, the thinking nor the error's text reaches the disk."""
    ledger.append(answer(text="ANSWER", thinking="THOUGHT", error=ValueError("PROBLEM")))
    ledger.close()
    data = ledger.path.read_bytes()
    assert not any(word in data for word in (b"ANSWER", b"THOUGHT", b"PROBLEM"))


def test_sums_are_exact_and_unknown_prices_are_counted_apart(ledger):
    """Ten times 0.1 is 1; a call of unknown price is counted and not summed; hits only save."""
    ledger.append_many([answer("0.1")] * 10)
    ledger.append(answer(None))
    ledger.append_many([hit("0.2"), hit(None)])
    usage = 11 * 512
    assert ledger.total() == LedgerRow("total", 11, 2, 1, usage, 11 * 230, Decimal("1.0"), Decimal("0.2"), 1)


def test_summaries_by_key(ledger):
    """Dearest first, days in order, "" for none; tokens with cache writes and reads."""
    ledger.append(answer("1", usage=Usage(1, 2, 3, 4, 5)), notebook="a.ipynb")
    ledger._clock.now += DAY
    ledger.append(answer("3", model="claude-opus-5-5", agent=None), notebook="b.ipynb")
    ledger.append(hit("2"))
    assert [(row.key, row.cost) for row in ledger.summary("model")] == [
        ("claude-opus-5-5", 3),
        ("claude-sonnet-5-5", 1),
    ]
    assert [(row.key, row.calls, row.hits) for row in ledger.summary("agent")] == [("", 1, 0), ("reviewer", 1, 1)]
    assert [row.key for row in ledger.summary("notebook")] == ["b.ipynb", "a.ipynb", ""]
    assert [(row.key, row.cost, row.saved) for row in ledger.summary("day")] == [
        ("2026-11-01", 1, 0),
        ("2026-11-02", 3, 2),
    ]
    assert (ledger.summary("day")[0].input_tokens, ledger.summary("day")[0].output_tokens) == (13, 2)
    assert ledger.total(since=NOW + 1).cost == 3
    assert ledger.total(since=NOW).cost == 4
    assert [entry.cost for entry in ledger.entries(since=NOW + 1)] == [3, 0]
    with pytest.raises(OptionError, match="by must be model, agent, day or notebook, not 'colour'"):
        ledger.summary("colour")


def test_many_entries_come_page_by_page(ledger):
    """The iterator gives every entry once, in order, while others are appended."""
    ledger.append_many(answer(str(number)) for number in range(2500))
    seen = []
    for entry in ledger.entries():
        if len(seen) == 10:
            ledger.append(answer("2500"))
        seen.append(int(entry.cost))
    assert seen == list(range(2501))


def test_prune_removes_what_is_older(ledger):
    """What is exactly as old stays, what is older goes."""
    for days in (3, 2, 1):
        ledger._clock.now = NOW - days * DAY
        ledger.append(answer(str(days)))
    ledger._clock.now = NOW
    assert ledger.prune(2 * DAY) == 1
    assert [entry.cost for entry in ledger.entries()] == [2, 1]


def test_odd_names_and_numbers_from_a_server_cost_nothing(ledger):
    """A lone surrogate, a very long name and an absurd count are recorded somehow, and summed."""
    odd = answer(model="m\ud800" + "x" * 1000, request_id="\udfff", usage=Usage(2**70, 2**70))
    ledger.append_many([odd, odd, odd])
    assert ledger.total().calls == 3
    assert len(next(ledger.entries()).model) == 200


def test_threads_share_a_ledger(ledger):
    """No row is lost or torn."""

    def work():
        for _ in range(100):
            ledger.append(answer("0.1"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (ledger.total().calls, ledger.total().cost) == (800, 80)


def append_many_times(path, number):
    ledger = Ledger(path)
    for _ in range(number):
        ledger.append(answer("0.1"))
    ledger.close()


@pytest.mark.slow
def test_processes_share_a_ledger(tmp_path):
    """Several kernels that start at once on no file at all write every row."""
    path = tmp_path / "state" / "ledger.db"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append_many_times, args=(path, 100)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    ledger = Ledger(path)
    assert ledger.total().calls == 300
    ledger.close()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_what_was_appended_survives_kill(tmp_path):
    """A row is there for others as soon as append returned, and after the process was killed in that moment."""
    path = tmp_path / "ledger.db"
    script = (
        "import sys, time, decimal; from claude_force_nb.costs.ledger import Ledger; "
        "from claude_force_nb.messages.result import ClaudeResult; ledger = Ledger(sys.argv[1]);\n"
        "for number in range(1, 10 ** 9):\n"
        "    ledger.append(ClaudeResult(cost=decimal.Decimal(1)))\n"
        "    print(number, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ROOT}
    )
    with child:
        for _ in range(50):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        said = 50 + child.stdout.read().count(b"\n")
    ledger = Ledger(path)
    assert said <= ledger.total().calls <= said + 1
    ledger.append(answer("1"))
    assert ledger.total().cost == ledger.total().calls
    ledger.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_opens_its_own_connection(ledger):
    """A forked child and its parent both go on writing."""
    ledger.append(answer("1"))
    with ledger._file.lock:  # as a thread of the parent may, which the child does not have
        child = in_fork(lambda: in_thread(lambda: ledger.append(answer("1"))))
    assert os.waitpid(child, 0)[1] == 0
    ledger.append(answer("1"))
    assert ledger.total().cost == 3


def in_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def in_fork(function):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        function()
        status = 0
    finally:
        os._exit(status)


def test_closing_twice_and_using_it_again(ledger):
    """close() is idempotent, and a later append opens the file again."""
    ledger.append(answer("1"))
    ledger.close()
    ledger.close()
    ledger.append(answer("1"))
    assert ledger.total().cost == 2
    assert repr(ledger) == f"Ledger({str(ledger.path)!r})"


def unwritable_parent(path):
    path.parent.write_text("a file where a directory should be")


def corrupt(path):
    path.parent.mkdir()
    path.write_bytes(b"this is not a database" * 100)


def from_the_future(path):
    path.parent.mkdir()
    connection = sqlite3.connect(str(path))
    connection.execute("PRAGMA user_version=99")
    connection.close()


def a_directory(path):
    path.mkdir(parents=True)


@pytest.mark.parametrize("spoil", [unwritable_parent, corrupt, from_the_future, a_directory])
def test_a_ledger_that_cannot_be_written_costs_one_warning(ledger, spoil):
    """append warns once and never raises; asking for sums is a one-line error."""
    spoil(ledger.path)
    with pytest.warns(ClaudeForceWarning, match="cannot be written") as caught:
        append_over_time(ledger, ["1"] * 5)
    assert len(caught) == 1
    if spoil is not unwritable_parent:
        with pytest.raises(ClaudeForceError, match="cannot be read") as error:
            ledger.total()
        assert "\n" not in str(error.value)
        with pytest.raises(ClaudeForceError, match="cannot be pruned"):
            ledger.prune(1)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_directory_costs_one_warning(ledger):
    """As on a machine where the home directory is mounted read-only."""
    ledger.path.parent.mkdir(mode=0o500)
    with pytest.warns(ClaudeForceWarning, match="cannot be written"):
        ledger.append(answer())


def test_rows_wait_for_a_lock_that_goes_away(ledger):
    """Rows of a locked time are written, in order, at the first try after it; tries are rare, and one warning is given."""
    ledger._file._timeout = 0.05
    ledger.append(answer("1"))
    ledger.close()
    other = sqlite3.connect(str(ledger.path), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.warns(ClaudeForceWarning, match="locked") as caught:
        append_over_time(ledger, ["2", "3", "4"])
    assert len(caught) == 1
    other.execute("COMMIT")
    other.close()
    ledger.append(answer("5"))
    assert [entry.cost for entry in ledger.entries()] == [1]
    ledger._clock.now += 31
    ledger.append(answer("6"))
    assert [entry.cost for entry in ledger.entries()] == [1, 2, 3, 4, 5, 6]


def test_what_waits_for_a_lock_is_written_at_the_end(ledger):
    """Closing is the last chance: rows of a locked time are written, however short ago that was."""
    ledger._file._timeout = 0.05
    ledger.append(answer("1"))
    other = sqlite3.connect(str(ledger.path), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.warns(ClaudeForceWarning, match="locked"):
        ledger.append(answer("2"))
    ledger.close()
    other.execute("COMMIT")
    other.close()
    assert [entry.cost for entry in ledger.entries()] == [1]
    ledger.close()
    assert [entry.cost for entry in ledger.entries()] == [1, 2]
    ledger.close()
    assert [entry.cost for entry in ledger.entries()] == [1, 2]


def test_a_full_disk_costs_one_warning(ledger):
    """SQLite says full where the disk is, here because the file may not grow."""
    ledger.append(answer("1"))
    with ledger._file.connection() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.warns(ClaudeForceWarning, match="full"):
        ledger.append_many([answer("1")] * 1000)
    ledger._clock.now += 31
    ledger.append(answer("1"))
    assert ledger.total().calls == 1002


def test_a_warning_made_an_error_leaves_the_ledger_whole(ledger):
    """Where the user turns warnings into errors, the lock is free and the next append works on."""
    corrupt(ledger.path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ClaudeForceWarning):
            ledger.append(answer())
    ledger.append(answer())


def test_nothing_is_left_open(tmp_path):
    """A ledger that is forgotten without close() gives no ResourceWarning (Python 3.13 has one for connections)."""
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append(answer())
    del ledger
    assert not (tmp_path / "ledger.db-wal").exists()


def test_cached_answers_wait_and_are_not_lost(tmp_path: Path) -> None:
    """Cached answers are written together: with the next paid one, on reading, on closing, and at the end of a process."""
    path = tmp_path / "ledger.db"
    hit = ClaudeResult(model="m", cost=Decimal(0), saved=Decimal("0.5"), cached=True, status="cached")
    ledger, other = Ledger(path), Ledger(path)
    ledger.append(hit)
    assert other.total().hits == 0
    ledger.append(ClaudeResult(model="m", cost=Decimal(1)))
    assert (other.total().hits, other.total().calls) == (1, 1)
    ledger.append(hit)
    assert ledger.total().hits == 2
    ledger.append(hit)
    ledger.close()
    assert other.total().hits == 3
    for _ in range(5000):
        ledger.append(hit)
    assert other.total().hits >= 3 + 4000
    code = (
        "import os, sys\nfrom decimal import Decimal\nfrom claude_force_nb.costs.ledger import Ledger\n"
        "from claude_force_nb.messages.result import ClaudeResult\n"
        "ledger = Ledger(sys.argv[1])\n"
        "ledger.append(ClaudeResult(model='child', cost=Decimal(0), saved=Decimal(1), cached=True, status='cached'))\n"
        "os.fork() if hasattr(os, 'fork') else None\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(path)], check=True, timeout=60)
    ledger.close()
    rows = {row.key: row.hits for row in other.summary(by="model")}
    assert rows == {"m": 5003, "child": 1}
    other.close()


def test_what_waits_at_the_end_of_a_process_is_written_without_a_warning(tmp_path):
    """A script that never closes its open ledger: the connection is closed first, and the ledger opens another one."""
    path = tmp_path / "ledger.db"
    script = (
        "import decimal, sys; from claude_force_nb.costs.ledger import Ledger; "
        "from claude_force_nb.messages.result import ClaudeResult; ledger = Ledger(sys.argv[1])\n"
        "ledger.append(ClaudeResult(cost=decimal.Decimal(1)))\n"
        "ledger.append(ClaudeResult(cost=decimal.Decimal(0), saved=decimal.Decimal(1), cached=True, status='cached'))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        encoding="utf-8",
        timeout=100,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    ledger = Ledger(path)
    assert (ledger.total().calls, ledger.total().hits) == (1, 1)
    ledger.close()


def test_cached_answers_are_written_after_so_many_or_so_long(ledger):
    """512 of them, or a second; also where the clock was set back meanwhile."""
    other = Ledger(ledger.path)
    ledger.append_many([hit()] * 511)
    assert other.total().hits == 0
    ledger.append(hit())
    assert other.total().hits == 512
    for seconds, written in ((0.0, 512), (0.9, 512), (0.2, 515), (0.0, 515), (-10.0, 517), (0.9, 517)):
        ledger._clock.now += seconds
        ledger.append(hit())
        assert other.total().hits == written
    other.close()


def test_no_more_rows_wait_for_a_lock_than_memory_allows(ledger, monkeypatch):
    """The oldest are kept: what comes when the bound is reached is not recorded, and no answer is held up for it."""
    monkeypatch.setattr("claude_force_nb.costs.ledger._MOST_PENDING", 3)
    corrupt(ledger.path)
    with pytest.warns(ClaudeForceWarning, match="cannot be written"):
        ledger.append_many([answer("1"), answer("2")])
    for cost in ("3", "4", "5"):
        ledger.append_many([answer(cost)] * 2)
    ledger.path.unlink()
    ledger._clock.now += 31
    ledger.append(answer("6"))
    ledger.append(answer("7"))
    assert [entry.cost for entry in ledger.entries()] == [1, 2, 3, 7]


@pytest.mark.parametrize("older_than", [0, 3600, DAY, 1.5 * DAY])
def test_prune_keeps_the_answers_of_this_day(ledger, older_than):
    """From its first moment on, whatever is asked: a daily budget counts them."""
    midnight = NOW - DAY / 2
    for moment in (midnight - 2 * DAY, midnight - 0.001, midnight, midnight + 1, NOW):
        ledger._clock.now = moment
        ledger.append(answer("1"))
    assert ledger.prune(older_than) == (2 if older_than <= DAY / 2 else 1)
    kept = [entry.time for entry in ledger.entries()]
    assert kept[-3:] == [midnight, midnight + 1, NOW]


def test_prune_keeps_the_reservations_of_two_days(ledger):
    """Those of the day before may still be settled."""
    budget_clock = Clock()
    for days in (3, 2, 1, 0):
        budget_clock.now = NOW - days * DAY
        budget = DailyBudget(1, ledger.path, clock=budget_clock)
        budget.reserve(Decimal("0.5"))
        budget.reserve(Decimal("0.1")).settle(Decimal("0.1"))
        budget.close()
    ledger.prune(0)
    left = []
    for days in (3, 2, 1, 0):
        budget_clock.now = NOW - days * DAY
        budget = DailyBudget(1, ledger.path, clock=budget_clock)
        left.append((budget.reserved, budget.spent))
        budget.close()
    assert left == [(0, 0)] + [(Decimal("0.5"), Decimal("0.1"))] * 3
