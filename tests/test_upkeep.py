"""Monthly checks: prices, models, and the workflow that runs them."""

from __future__ import annotations

import datetime
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.messages.models import CURRENT_MODELS

ROOT = Path(__file__).resolve().parent.parent
MOST_DAYS = 90


@pytest.fixture(scope="module")
def tool() -> Any:
    return importlib.import_module("update_prices")


@pytest.mark.skipif(
    "CLAUDE_FORCE_SCHEDULED" not in os.environ, reason="for the monthly run: nobody's change is at fault"
)
def test_the_newest_price_is_not_old() -> None:
    """By the table's own date: a source that is no longer kept up does not go unnoticed."""
    dated = datetime.date.fromisoformat(str(load_prices().dated))
    age = (datetime.date.today() - dated).days
    assert age <= MOST_DAYS, f"the newest price is of {dated}, {age} days ago; look for another source of prices"


def test_a_model_without_rules_is_named(tool: Any) -> None:
    """A new model of the price table or the SDK, and one that has retired; nothing of the others."""
    before = min(rules.released for rules in CURRENT_MODELS if rules.released is not None)
    known = [rules.name for rules in CURRENT_MODELS]
    assert (
        tool.models_to_look_at([*known, "claude-2", "claude-3-opus-20240229", "claude-sonnet-4-5-20250929"], before)
        == []
    )
    (line,) = tool.models_to_look_at([*known, "claude-opus-9-1"], before)
    assert line.startswith("claude-opus-9-1: messages/models.py has no rules")
    gone = [rules for rules in CURRENT_MODELS if rules.retirement_announced and rules.retires is not None]
    lines = tool.models_to_look_at(known, datetime.date(2100, 1, 1))
    assert len(lines) == len(gone) > 0
    assert all(rules.name in line for rules, line in zip(gone, lines))


def test_what_changed_in_prices_is_printed(tool: Any) -> None:
    """One line for each model, with both values; none where nothing did."""
    old = {
        "dated": "2026-10-14",
        "models": {"claude-a-1": {"prices": [{"input_mtok": "1"}]}, "claude-b-1": {"prices": []}},
    }
    new = {
        "dated": "2026-11-14",
        "models": {"claude-a-1": {"prices": [{"input_mtok": "2"}]}, "claude-b-1": {"prices": []}},
    }
    assert tool.differences(old, old) == []
    assert tool.differences(old, new) == [
        "dated: 2026-10-14 -> 2026-11-14",
        'claude-a-1: {"prices": [{"input_mtok": "1"}]} -> {"prices": [{"input_mtok": "2"}]}',
    ]


@pytest.mark.slow
def test_the_workflows_are_valid() -> None:
    """By GitHub's schema of workflows, in the copy that check-jsonschema brings along: nothing is fetched."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed (the extra 'dev')")
    files = sorted(map(str, (ROOT / ".github" / "workflows").glob("*.yml")))
    assert len(files) >= 2
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *files]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")
