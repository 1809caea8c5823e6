"""``python -m claude_force_nb cost``."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from support.ledgers import Clock, paid

from claude_force_nb.__main__ import main
from claude_force_nb.costs.ledger import Ledger

DAY = 86400.0


def test_the_command_does_the_same(
    ledger: Ledger, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """``python -m claude_force_nb cost``: the table in two forms, the daily budget, the export, pruning."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAUDE_FORCE_DAILY_BUDGET", "20")
    clock.now = time.time()
    ledger.append(paid("1.5"))
    clock.now -= 40 * DAY
    ledger.append(paid("0.5", "claude-haiku-5-5"))
    ledger.close()

    def said(*words: str) -> str:
        assert main(["cost", *words]) == 0
        return str(capsys.readouterr().out)

    text = said()
    assert "claude-opus-5-5" in text
    assert "█" * 20 in text
    assert text.rstrip().endswith("$18.50 of the $20.00 daily budget left")
    assert "haiku" not in said("--since", "7d")
    assert said("--format", "markdown").startswith("| model | calls |")
    assert said("--daily-budget", "30").rstrip().endswith("$28.50 of the $30.00 daily budget left")
    assert said("--csv", "costs.csv") == "2 answers written to costs.csv\n"
    assert said("--prune", "30d").startswith("1 answer older than 30d removed")
    assert main(["cost", "--csv", "costs.txt"]) == 1
    assert capsys.readouterr().err == "error: export takes the name of a .csv file, not 'costs.txt'\n"
    for words, reason in (
        (("--csv", ""), "export takes"),
        (("--prune", ""), "prune must be"),
        (("--prune", "1d", "--since", "7d"), "--prune cannot be combined"),
    ):
        assert main(["cost", *words]) == 1
        assert capsys.readouterr().err.startswith("error: " + reason)
    assert "claude-opus-5-5" in said()


def test_the_command_writes_into_an_old_encoding(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on Windows has no place for bars and many names: the numbers come all the same."""
    ledger.append(paid("1.5", "模型"))
    ledger.close()
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="cp1252", write_through=True))
    assert main(["cost"]) == 0
    assert b"$1.50" in written.getvalue()
