"""What a ledger's file holds is checked as it is read: what we did not write is one line, whatever it is."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any, Iterator, List

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.changed_bytes import SWEEPS, offsets, with_random_edits
from support.ledgers import Clock, answer, hit

from claude_force_nb.costs.daily_budget import DailyBudget
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.ledger_rows import Group, LedgerRow, amount_of, sum_groups
from claude_force_nb.errors import BudgetExceededError, ClaudeForceError, ClaudeForceWarning


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "state" / "ledger.db", clock=Clock())
    ledger.append(answer("0.5"), notebook="a.ipynb", cell="c")
    ledger.append(answer("0.25"))
    ledger.append(hit("0.5"))
    yield ledger
    ledger.close()


def change(ledger: Ledger, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(str(ledger.path), isolation_level=None)) as connection:
        connection.executescript(statement)


NUMBERS = ["'many'", "-1", "0.5", "x'00'", "9223372036854775807", "1e40"]
AMOUNTS = [
    "'NaN'",
    "'-1'",
    "'Infinity'",
    "'1e999999'",
    "'one'",
    "x'ff'",
    "CAST(x'ff' AS TEXT)",
    "printf('%.*c', 999, '1')",
]
EDITS = [
    *(f"input_tokens = {value}" for value in NUMBERS),
    *(f"cache_read_tokens = {value}" for value in NUMBERS),
    *(f"cost = {value}" for value in AMOUNTS),
    *(f"saved = {value}" for value in AMOUNTS),
    *(f"time = {value}" for value in ("'now'", "9e999", "1e300", "x'00'")),
    *(f"{name} = x'80ff'" for name in ("model", "agent", "notebook", "status", "fingerprint", "request_id")),
    "agent = CAST(x'80ff' AS TEXT)",
    "attempts = 'x'",
]


@pytest.mark.parametrize("edit", EDITS)
def test_what_we_did_not_write_is_one_line(ledger: Ledger, edit: str, tmp_path: Path) -> None:
    """Entries and exports refuse in one line; sums do, or are of what is right. New answers are recorded all the same."""
    change(ledger, f"UPDATE entries SET {edit} WHERE id = 1")
    actions: List[Any] = [
        lambda: list(ledger.entries()),
        lambda: ledger.export_csv(tmp_path / "out.csv"),
        ledger.to_frame,
    ]
    for action in actions:
        with pytest.raises(
            ClaudeForceError, match=r"the ledger .* cannot be read \(.*\); move the file away"
        ) as caught:
            action()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
    for by in (None, "model", "agent", "day", "notebook"):
        try:
            rows = ledger.summary(by)
        except ClaudeForceError:
            continue
        assert all(type(row.key) is str and row.cost >= 0 and row.calls >= 0 for row in rows)
        assert sum(row.cost for row in rows) <= Decimal("0.75")
    ledger.append(answer("1"))
    assert ledger.path.exists()


def test_an_edit_of_sums_is_refused_where_it_is_summed(ledger: Ledger) -> None:
    """A cost that is not a valid amount is in no sum."""
    change(ledger, "UPDATE entries SET cost = '-5' WHERE id = 1")
    with pytest.raises(ClaudeForceError, match="a cost is not a valid amount"):
        ledger.total()


@pytest.mark.parametrize(
    "value",
    [None, 1, 0.5, b"1", "", "x", "NaN", "-0.1", "1e13", "Infinity", "1" * 121, "1e-999999", "٣x", "0x10"],
)
def test_what_is_not_an_amount(value: Any) -> None:
    with pytest.raises(ValueError, match="a cost is not a valid amount"):
        amount_of(value)


@given(st.decimals(0, 10**6, allow_nan=False, places=30))
def test_an_amount_comes_back_as_it_was(amount: Decimal) -> None:
    assert amount_of(format(amount, "f")) == amount
    assert amount_of("0") == amount_of("1000000000000") - 10**12 == 0


def test_sums_of_groups() -> None:
    """Hits bring savings, calls bring costs and tokens; what has no price is counted apart."""
    rows = sum_groups(
        [
            Group("m", 0, "0.1", None, "-0.5", 1, 10, 2),
            Group("m", 0, "0.1", None, "0.75", 2, 20, 4),
            Group("m", 0, None, None, None, 2, 20, 4),
            Group("m", 1, "0", "0.2", "0", 5, 50, 10),
            Group("m", 1, "0", None, "0", 1, 1, 1),
        ],
        keys=("none",),
    )
    assert rows == [
        LedgerRow("none"),
        LedgerRow("m", 5, 6, 2, 50, 10, Decimal("0.3"), Decimal("1.0"), 1, Decimal("1.00")),
    ]


@pytest.mark.parametrize(
    "group",
    [
        Group(b"m", 0, "0", None, "0", 1, 1, 1),  # type: ignore[arg-type]
        Group("m", 0, "0", None, "0", 1, -1, 1),
        Group("m", 0, "0", None, "0", 1, 1, 0.5),  # type: ignore[arg-type]
        Group("m", 0, "-1", None, "0", 1, 1, 1),
        Group("m", 1, "0", "x", "0", 1, 1, 1),
        Group("m", 0, "0", None, "much", 1, 1, 1),
        Group("m", 0, "0", None, f"-{10**13}", 1, 1, 1),
    ],
)
def test_a_group_that_we_did_not_write_is_refused(group: Group) -> None:
    with pytest.raises(ValueError, match=r".*"):
        sum_groups([group])


def use_everything(path: Path) -> None:
    """Whatever the file holds, each use ends in an answer or in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClaudeForceWarning)
        ledger, budget = Ledger(path, clock=Clock()), DailyBudget(1, path, clock=Clock())
        for action in (
            lambda: ledger.append(answer("0.1")),
            ledger.total,
            lambda: ledger.summary("day"),
            lambda: list(ledger.entries()),
            lambda: ledger.prune(3600),
            lambda: budget.reserve(Decimal("0.1")).settle(Decimal("0.1")),
        ):
            said = ""
            try:
                action()  # type: ignore[no-untyped-call]
            except (ClaudeForceError, BudgetExceededError) as error:
                said = str(error)
            assert "\n" not in said
        ledger.close()
        budget.close()


def put(path: Path, content: bytes) -> None:
    for leftover in path.parent.iterdir():
        leftover.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("edits", [60, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_random_edits_of_the_file(
    ledger: Ledger, memory_folder: Path, edits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes changed anywhere, in runs of up to a page: an answer or one line, and the file is never removed."""
    monkeypatch.setattr("claude_force_nb.costs.ledger._BUSY_TIMEOUT_SECONDS", 0.02)
    monkeypatch.setattr("claude_force_nb.costs.daily_budget._BUSY_TIMEOUT_SECONDS", 0.02)
    ledger.append_many([answer("0.1", model=f"m{number}") for number in range(100)])
    ledger.close()
    content = ledger.path.read_bytes()
    path = memory_folder / "ledger.db"
    chance = random.Random(20261101)
    for _ in range(edits):
        put(path, with_random_edits(content, chance))
        use_everything(path)
        assert path.exists()


@pytest.mark.parametrize(("every", "unused"), SWEEPS)
def test_every_byte_of_the_file(
    ledger: Ledger, memory_folder: Path, every: int, unused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed one at a time: an answer or one line, and the file is never removed."""
    monkeypatch.setattr("claude_force_nb.costs.ledger._BUSY_TIMEOUT_SECONDS", 0.02)
    monkeypatch.setattr("claude_force_nb.costs.daily_budget._BUSY_TIMEOUT_SECONDS", 0.02)
    ledger.close()
    content = ledger.path.read_bytes()
    path = memory_folder / "ledger.db"
    for offset in offsets(content, every, unused):
        put(path, content[:offset] + bytes([content[offset] ^ 0xFF]) + content[offset + 1 :])
        use_everything(path)
        assert path.exists()
