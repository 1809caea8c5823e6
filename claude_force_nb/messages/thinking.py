"""Convert the options for thinking and effort to the form that a model accepts. Pure.

`models` lists what each model accepts; the forms are from the API's documentation, "Thinking" and "Effort".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple, Union

from claude_force_nb.errors import OptionError
from claude_force_nb.vocabulary import EFFORTS, shown_value

from .models import ModelRules

__all__ = [
    "LEAST_BUDGET_TOKENS",
    "OFF",
    "Reasoning",
    "ThinkingOption",
    "fit_reasoning",
    "least_effort",
    "thinking_body",
]

ThinkingOption = Union[bool, int, str, None]

LEAST_BUDGET_TOKENS = 1024
"""Smallest ``budget_tokens`` ("Thinking", section "Manual mode")."""

OFF = ("disabled", "between_tools")
"""Values of ``thinking.type`` that turn thinking off."""

# Newer models omit their thinking from the answer unless asked to include it, and bill it either way.
_ADAPTIVE: Dict[str, Any] = {"type": "adaptive", "display": "summarized"}


@dataclass(frozen=True)
class Reasoning:
    """The thinking and effort of a request.

    Attributes
    ----------
    thinking : dict or None
        The request's ``thinking``; None leaves the decision to the model.
    effort : str or None
        The request's ``output_config.effort``.
    notices : tuple of str
        What was changed for the model, one line each.
    """

    thinking: Optional[Dict[str, Any]] = None
    effort: Optional[str] = None
    notices: Tuple[str, ...] = ()


def thinking_body(value: ThinkingOption) -> Optional[Dict[str, Any]]:
    """Return the simplest ``thinking`` object for ``off``, ``on``, ``adaptive`` or a budget in tokens (>= 1024); None for None.

    Raises
    ------
    OptionError
        If `value` is anything else.
    """
    if value is None:
        return None
    text = ""
    if isinstance(value, bool):
        text = "on" if value else "off"
    elif isinstance(value, str):
        text = value.strip().lower()
    elif hasattr(value, "__index__"):  # a whole number, of Python or of a library
        text = str(int(value))
    if text in ("on", "adaptive"):
        return {"type": "adaptive"}
    if text == "off":
        return {"type": "disabled"}
    if re.fullmatch(r"[0-9]+", text) and len(text) <= 9 and int(text) >= LEAST_BUDGET_TOKENS:
        return {"type": "enabled", "budget_tokens": int(text)}
    raise OptionError(f"thinking must be on, off, adaptive or a number of tokens from 1024, not {shown_value(value)}")


def fit_reasoning(
    rules: ModelRules,
    *,
    max_tokens: int,
    thinking: ThinkingOption = None,
    effort: Optional[str] = None,
    agent_thinking: ThinkingOption = None,
    agent_effort: Optional[str] = None,
) -> Reasoning:
    """Return thinking and effort in the form that a model accepts.

    Parameters
    ----------
    rules : ModelRules
    max_tokens : int
        Limit of thinking and answer together, in tokens.
    thinking, effort
        The caller's options, which take precedence over the agent's.
    agent_thinking, agent_effort
        The options in the agent's file. The file may be older than the model, so options that the model does not
        support are dropped or replaced by the nearest supported ones, with a notice.

    Raises
    ------
    OptionError
        If the caller asked for something that the model does not support; the message says what it supports.
    """
    if thinking is not None:
        field, notice = _fit_thinking(rules, thinking, max_tokens)
        notices = [notice]
    else:
        field, effort, notices = _fit_agent_thinking(rules, agent_thinking, max_tokens, effort)
    if effort is None and agent_effort is not None:
        effort, notice = _fit_agent_effort(rules, agent_effort, field)
        notices.append(notice)
    return Reasoning(field, effort, tuple(notice for notice in notices if notice))


def least_effort(rules: ModelRules) -> str:
    """Return the end of a sentence that suggests the lowest effort; "" if the model does not support effort."""
    return f"; effort={rules.efforts[0]} makes it think least" if rules.efforts else ""


def _fit_thinking(
    rules: ModelRules, value: ThinkingOption, max_tokens: int
) -> Tuple[Optional[Dict[str, Any]], Optional[str]]:
    """Return the ``thinking`` object, and a line that says how it differs from the requested one."""
    asked = thinking_body(value)
    if asked is None:
        return None, None
    if asked["type"] == "disabled":
        return _turned_off(rules), None
    if asked["type"] == "adaptive":
        if "adaptive" in rules.thinking:
            return dict(_ADAPTIVE), None
        budget = max(LEAST_BUDGET_TOKENS, max_tokens // 2)
        _check_room(budget, max_tokens)
        notice = None
        if str(value).strip().lower() == "adaptive":
            notice = f"{rules.name} does not support adaptive thinking; thinking={budget} is sent instead"
        return {"type": "enabled", "budget_tokens": budget}, notice
    if "enabled" in rules.thinking:
        _check_room(asked["budget_tokens"], max_tokens)
        return asked, None
    return dict(_ADAPTIVE), (
        f"{rules.name} does not support a thinking budget in tokens; thinking=adaptive is sent instead of {value}; "
        "effort= sets how much it thinks, and max_tokens limits thinking and answer together"
    )


def _turned_off(rules: ModelRules) -> Dict[str, Any]:
    for kind in OFF:
        if kind in rules.thinking:
            return {"type": kind}
    if not rules.known:
        return {"type": "disabled"}
    raise OptionError(f"{rules.name} always thinks: leave out thinking=off{least_effort(rules)}")


def _check_room(budget: int, max_tokens: int) -> None:
    if budget >= max_tokens:
        raise OptionError(f"thinking={budget} must be below max_tokens, which is {max_tokens}; raise max_tokens")


def _fit_agent_thinking(
    rules: ModelRules, value: ThinkingOption, max_tokens: int, effort: Optional[str]
) -> Tuple[Optional[Dict[str, Any]], Optional[str], List[Optional[str]]]:
    """Return the ``thinking`` object, the effort that goes with it, and notices."""
    try:
        field, notice = _fit_thinking(rules, value, max_tokens)
    except OptionError:
        wanted = thinking_body(value)
        if wanted is None or wanted["type"] != "disabled":
            return (
                None,
                effort,
                [f"the agent's thinking={value} does not fit below max_tokens={max_tokens}; it is left out"],
            )
        lowest = rules.efforts[0] if rules.efforts and effort is None else effort
        instead = f"effort={lowest} is sent instead" if effort is None and lowest else "it is left out"
        return None, lowest, [f"the agent's thinking=off cannot be used: {rules.name} always thinks; {instead}"]
    if field is not None and field["type"] in OFF and effort is not None and effort not in _efforts(rules, field):
        return (
            None,
            effort,
            [f"{rules.name} does not accept the agent's thinking=off with effort={effort}; it is left out"],
        )
    return field, effort, [notice]


def _efforts(rules: ModelRules, thinking: Optional[Dict[str, Any]]) -> Tuple[str, ...]:
    """Return the levels of effort that a model accepts in combination with a ``thinking`` object."""
    if thinking is not None and thinking.get("type") in OFF:
        return tuple(level for level in rules.efforts if level in rules.thinking_off_efforts)
    return rules.efforts


def _fit_agent_effort(
    rules: ModelRules, effort: str, thinking: Optional[Dict[str, Any]]
) -> Tuple[Optional[str], Optional[str]]:
    levels = _efforts(rules, thinking)
    if effort in levels:
        return effort, None
    below = [level for level in levels if EFFORTS.index(level) < EFFORTS.index(effort)]
    if below:
        return below[-1], f"the agent's effort={effort} is lowered: {rules.name} accepts at most {below[-1]} here"
    return None, f"the agent's effort={effort} is left out: {rules.name} does not support effort"
