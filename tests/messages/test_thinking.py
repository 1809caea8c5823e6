"""Thinking and effort in the form that each model takes."""

from __future__ import annotations

from typing import Any

import pytest

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.models import CURRENT_MODELS, ModelRules, rules_for
from claude_force_nb.messages.thinking import fit_reasoning, thinking_body

EVERY_MODEL = pytest.mark.parametrize("rules", CURRENT_MODELS, ids=lambda rules: rules.name)


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (None, None), (False, {"type": "disabled"}), ("off", {"type": "disabled"}), (True, {"type": "adaptive"}),
        ("on", {"type": "adaptive"}), ("Adaptive ", {"type": "adaptive"}),
        (1024, {"type": "enabled", "budget_tokens": 1024}), ("2048", {"type": "enabled", "budget_tokens": 2048}),
    ],
)  # fmt: skip
def test_words_and_numbers(value: Any, body: Any) -> None:
    """thinking is a word or a number of tokens."""
    assert thinking_body(value) == body


@pytest.mark.parametrize("value", [1023, 0, -5, "much", "", "1e4", 1500.5, "２０００", "9" * 6000])
def test_what_is_neither(value: Any) -> None:
    """Anything other than a known word or a number is refused."""
    with pytest.raises(OptionError, match="thinking must be"):
        thinking_body(value)


@EVERY_MODEL
def test_off(rules: ModelRules) -> None:
    """Off is the form that the model takes; one that always thinks says so and offers the least."""
    if rules.always_thinks:
        with pytest.raises(OptionError, match=f"{rules.name} always thinks.*effort=low"):
            fit_reasoning(rules, max_tokens=5000, thinking="off")
        fitted = fit_reasoning(rules, max_tokens=5000, agent_thinking="off")
        assert (fitted.thinking, fitted.effort) == (None, "low")
        assert "always thinks; effort=low is sent instead" in fitted.notices[0]
    else:
        fitted = fit_reasoning(rules, max_tokens=5000, thinking="off")
        assert fitted.thinking is not None
        assert fitted.thinking["type"] in rules.thinking
        assert fitted == fit_reasoning(rules, max_tokens=5000, agent_thinking=False)


@EVERY_MODEL
@pytest.mark.parametrize("value", ["on", "adaptive", 2000])
def test_thinking(rules: ModelRules, value: Any) -> None:
    """Whatever the words, the model thinks; a number of tokens is kept where the model takes one, else a notice says so."""
    fitted = fit_reasoning(rules, max_tokens=5000, thinking=value)
    assert fitted.thinking is not None
    kind = fitted.thinking["type"]
    assert kind in rules.thinking & {"adaptive", "enabled"}
    same = value == "on" or kind == {"adaptive": "adaptive", 2000: "enabled"}[value]
    assert bool(fitted.notices) is not same
    if kind == "enabled":
        assert 1024 <= fitted.thinking["budget_tokens"] < 5000
    elif value == 2000:
        assert "thinking=adaptive is sent instead of 2000" in fitted.notices[0]


@pytest.mark.parametrize("value", ["on", 2000])
def test_a_budget_needs_room(value: Any) -> None:
    """A bound of the whole that is no more than that of the thinking is one line; an agent's thinking is left out."""
    rules = rules_for("claude-haiku-4-5")
    with pytest.raises(OptionError, match="must be below max_tokens, which is 1000"):
        fit_reasoning(rules, max_tokens=1000, thinking=value)
    fitted = fit_reasoning(rules, max_tokens=1000, agent_thinking=value)
    assert fitted.thinking is None
    assert "left out" in fitted.notices[0]


@pytest.mark.parametrize(
    ("model", "thinking", "asked", "sent"),
    [
        ("claude-opus-4-6", None, "xhigh", "high"),
        ("claude-opus-4-5", None, "max", "high"),
        ("claude-haiku-4-5", None, "low", None),
        ("claude-haiku-5-5", "off", "max", "high"),
        ("claude-haiku-5-5", None, "max", "max"),
    ],
)
def test_an_agents_effort_is_lowered(model: str, thinking: Any, asked: str, sent: Any) -> None:
    """To the highest level below it that the model takes; the notice says so."""
    fitted = fit_reasoning(rules_for(model), max_tokens=5000, thinking=thinking, agent_effort=asked)
    assert fitted.effort == sent
    assert bool(fitted.notices) is (asked != sent)


def test_the_callers_effort_goes_before_the_agents_thinking() -> None:
    """Where both do not go together, the agent's is left out with a notice."""
    fitted = fit_reasoning(rules_for("claude-opus-5"), max_tokens=5000, effort="max", agent_thinking="off")
    assert (fitted.thinking, fitted.effort) == (None, "max")
    assert "does not accept the agent's thinking=off with effort=max" in fitted.notices[0]


def test_a_model_that_is_not_known() -> None:
    """It gets what the newest of its line would, and plain forms where that one could not."""
    assert fit_reasoning(rules_for("claude-opus-7"), max_tokens=9, thinking="off").thinking == {"type": "disabled"}
    assert fit_reasoning(rules_for("claude-opus-7"), max_tokens=9, thinking=2000).thinking is not None
    assert fit_reasoning(rules_for("qwen3:8b"), max_tokens=5000, thinking=2000).thinking == {
        "type": "enabled",
        "budget_tokens": 2000,
    }
