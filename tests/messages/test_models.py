"""What each model accepts."""

from __future__ import annotations

import datetime
from dataclasses import fields

import pytest

from claude_force_nb.messages.models import (
    COLUMN_SOURCES,
    CURRENT_MODELS,
    ModelRules,
    models_with_temperature,
    retirement_notice,
    rules_for,
    takes_schemas,
)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("us.anthropic.claude-opus-4-6-v1:0", "claude-opus-4-6"),
        ("anthropic/claude-haiku-4.5", "claude-haiku-4-5"),
        ("Claude-Sonnet-5", "claude-sonnet-5"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-mythos-preview", "claude-mythos-preview"),
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    """Dates, vendor prefixes and dots in the version do not matter."""
    assert (rules_for(spelling).name, rules_for(spelling).known) == (name, True)


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("claude-opus-6", "claude-opus-5-5"),
        ("claude-haiku-7-1-20280101", "claude-haiku-5-5"),
        ("my-gateway/sonnet", "claude-sonnet-5-5"),
    ],
)
def test_a_newer_model_is_taken_for_the_newest_of_its_line(name: str, like: str) -> None:
    """Its rules apply, but none of them refuses anything."""
    rules = rules_for(name)
    assert not rules.known
    assert (rules.thinking, rules.context_window) == (rules_for(like).thinking, rules_for(like).context_window)


@pytest.mark.parametrize("name", ["qwen3:8b", "my-model", "claude-marvel-9", "claude-2"])
def test_names_of_no_line(name: str) -> None:
    """Nothing is known about them, except that versions below 4.5 do not accept a schema."""
    rules = rules_for(name)
    assert not rules.known
    assert takes_schemas(name) is (name == "claude-marvel-9")


def test_the_table_is_sound() -> None:
    """Every column has a source, every default is one of the levels, and a model without a way to stop thinking has none."""
    told = {"name", "known", "retirement_announced", "line"}
    assert {item.name for item in fields(ModelRules)} - told == set(COLUMN_SOURCES)
    for rules in CURRENT_MODELS:
        assert rules_for(rules.name) is rules
        assert (rules.default_effort in rules.efforts) if rules.efforts else rules.default_effort is None
        assert rules.thinking & {"adaptive", "enabled"}
        assert rules.always_thinks == (not rules.thinking & {"disabled", "between_tools"})
        assert rules.max_output_tokens <= rules.batch_output_tokens < rules.context_window
    assert models_with_temperature() == ["claude-haiku-4-5", "claude-opus-4-6", "claude-sonnet-4-6"]


@pytest.mark.parametrize(
    ("model", "day", "said"),
    [
        ("claude-sonnet-4-5", "2026-10-30", None),
        ("claude-sonnet-4-5-20250929", "2026-10-31", "will be retired on 2026-11-30; use claude-sonnet-5-5 instead"),
        ("claude-sonnet-4-5", "2026-11-30", "was retired on 2026-11-30"),
        ("claude-opus-4-1", "2026-11-27", "was retired on 2026-08-05; use claude-opus-5-5 instead"),
        ("claude-opus-4-6", "2027-01-20", "is guaranteed only until 2027-02-05; use claude-opus-5-5 instead"),
        ("claude-opus-5-5", "2028-01-01", "look for its successor"),
        ("claude-haiku-4-5", "2026-11-27", None),
        ("claude-opus-9", "2030-01-01", None),
        ("qwen3:8b", "2030-01-01", None),
    ],
)
def test_retirement(model: str, day: str, said: str) -> None:
    """From 30 days before its retirement on, a model is reported together with its successor."""
    notice = retirement_notice(model, datetime.date.fromisoformat(day))
    assert notice is None if said is None else notice is not None and said in notice
