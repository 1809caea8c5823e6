"""Turns the options of a cell and the settings into the arguments of a call."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Collection, Dict, Mapping, MutableMapping, Union

from claude_force_nb.memory.conversations import CellRun
from claude_force_nb.notebook.options.names import find_schema
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.prompts.injection_policy import forget_warnings
from claude_force_nb.prompts.variables import LayeredVariables

__all__ = ["call_arguments", "hide_columns", "how_to_continue", "memory_arguments", "take_option"]

# Options of a cell that default to a setting.
_SETTINGS = (
    "agent",
    "model",
    "max_tokens",
    "temperature",
    "thinking",
    "effort",
    "prompt_cache",
    "cache",
    "on_injection",
)


def take_option(options: Dict[str, Any], name: str, settings: Settings) -> Any:
    """Remove an option from a cell's options and return its value, or the setting's if the cell does not set it."""
    value = options.pop(name, None)
    return settings.value(name) if value is None else value


def call_arguments(
    options: Mapping[str, Any],
    settings: Settings,
    local_names: Mapping[str, Any],
    names: MutableMapping[str, Any],
    *,
    further: Mapping[str, Any] = MappingProxyType({}),
) -> Dict[str, Any]:
    """Return the arguments of `AsyncAgentOrchestrator.run`; the cell's options take precedence over the settings.

    Parameters
    ----------
    options : mapping
        Options of the cell; not modified.
    settings : Settings
    local_names : mapping
        Names of the calling function, which take precedence over those of the notebook.
    names : mapping
        Names of the notebook.
    further : mapping
        Names that a template may use if the notebook does not define them.

    Raises
    ------
    OptionError
        If a setting or ``schema=`` is invalid.
    """
    forget_warnings()
    options = dict(options)
    call: Dict[str, Any] = {}
    agent = options.get("agent") or settings.value("agent")
    for name in _SETTINGS:
        if name in options:
            call[name] = options.pop(name)
            continue
        value, source = settings.lookup(name)
        # An agent's own values take precedence over this package's defaults, but not over the user's settings.
        if value is not None and not (source == "default" and name in ("model", "max_tokens", "cache") and agent):
            call[name] = value
    call["timeout_seconds"] = take_option(options, "timeout", settings)
    if options.pop("refresh", False):
        call["cache"] = "refresh"
    visible = LayeredVariables(dict(local_names), names)
    if "schema" in options:
        options["schema"] = find_schema(options["schema"], visible)
    if not options.pop("raw", False):
        call["variables"] = LayeredVariables(visible, further)
    call.update(options)
    return call


def how_to_continue(call: Mapping[str, Any], usual: str, *, kept_in_file: bool = False) -> str:
    """Return what to do after a stop: `usual`, unless the call's ``cache`` makes another run ask for every answer again.

    Answers that are `kept_in_file` need no cache.
    """
    if call.get("cache") == "off" and not kept_in_file:
        return "run again to start over, since cache=off keeps no answers"
    if call.get("cache") == "refresh":
        return "run again with cache=on to continue, since cache=refresh asks for every answer again"
    return usual


def hide_columns(call: Dict[str, Any], columns: Collection[str]) -> None:
    """Take names of columns out of the variables of a call, so that a row that lacks one does not get the notebook's value."""
    if columns and "variables" in call:
        call["variables"] = LayeredVariables(call["variables"], hidden=frozenset(columns))


def memory_arguments(memory: Union[bool, str], memory_tokens: int, turn: CellRun) -> Dict[str, Any]:
    """Return the arguments of `AsyncAgentOrchestrator.run` for a value of ``memory=``."""
    if memory is False:
        return {}
    named = {} if memory is True else {"memory": memory}
    return {"use_memory": True, "turn": turn, "memory_tokens": memory_tokens, **named}
