"""Fixtures for the tests of budgets and ledgers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest
from support.budgets import NOON
from support.ledgers import clock, ledger

from claude_force_nb.costs.budget import DailyBudget

__all__ = ["clock", "daily", "ledger", "path"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def daily(path: Path) -> Iterator[Callable[..., DailyBudget]]:
    made: List[DailyBudget] = []

    def make(limit: Any, **given: Any) -> DailyBudget:
        given.setdefault("clock", lambda: NOON)
        made.append(DailyBudget(limit, path, **given))
        return made[-1]

    yield make
    for budget in made:
        budget.close()
