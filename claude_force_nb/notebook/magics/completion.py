"""Tab completion of options, their values, agents and models, from the same tables that parse."""

from __future__ import annotations

import re
from typing import Any, Callable, List, Sequence, Tuple

from claude_force_nb.notebook.options.table import AGENT_OPTIONS, BATCH_OPTIONS, LINE_OPTIONS, OPTIONS, SETTINGS
from claude_force_nb.vocabulary import MEMORY_ACTIONS

from .claude_magics import ClaudeMagics

__all__ = ["complete", "make_matcher"]

_MAGIC = r"(?s)(?:^|=)\s*%{1,2}(claude\w*)\s+(.*)$"
# What pydantic models, dataclasses and TypedDicts have.
_OF_SCHEMAS = ("model_json_schema", "__dataclass_fields__", "__total__", "__fields__")


def complete(magics: ClaudeMagics, text_until_cursor: str) -> List[str]:
    """Return what may stand instead of the word at the cursor; [] outside the magics' lines.

    Parameters
    ----------
    magics : ClaudeMagics
    text_until_cursor : str
        The line with the magic, up to the cursor. IPython's words end at ``=``: behind one, only the value is completed.
    """
    match = re.search(_MAGIC, text_until_cursor)
    if match is None:
        return []
    magic, rest = match.groups()
    word = "" if not rest or rest[-1].isspace() else rest.split()[-1]
    name, equals, value = word.partition("=")
    name = name.lstrip("-").replace("-", "_")
    first = not rest[: len(rest) - len(word)].split()
    if magic == "claude_agents" or (magic == "claude_agent" and first):
        found, word = _agents(magics), word
    elif magic == "claude_agent":
        found, word = (_values(magics, name), value) if equals else ([each + "=" for each in AGENT_OPTIONS], word)
    elif magic == "claude_memory":
        found = list(MEMORY_ACTIONS) if first else magics.session.memory.names()
    elif magic == "claude_cache":
        from claude_force_nb.notebook.commands.cache import ACTIONS

        found = list(ACTIONS)
    elif magic == "claude_answers":
        from claude_force_nb.notebook.commands.answers import ACTIONS as ANSWER_ACTIONS

        found = list(ANSWER_ACTIONS) if first else []
    elif magic in ("claude_doctor", "claude_doctor_async"):
        found = ["--online", "--help"]
    elif magic == "claude_cost":
        from claude_force_nb.costs.report import GROUPS
        from claude_force_nb.notebook.commands.cost import COST_OPTIONS

        found = list(GROUPS) if name == "by" else [] if equals else [each + "=" for each in COST_OPTIONS]
        word = value if equals else word
    elif magic == "claude_config":
        found, word = (_values(magics, name), value) if equals else ([each + "=" for each in SETTINGS], word)
    elif magic in ("claude", "claude_async", "claude_fix", "claude_fix_async", "claude_batch", "claude_batch_async"):
        before = rest[: len(rest) - len(word)].split()
        after_dashes = before[-1][2:].replace("-", "_") if before and before[-1].startswith("--") else ""
        if equals:
            found, word = _values(magics, name), value
        else:
            names = BATCH_OPTIONS if "batch" in magic else LINE_OPTIONS
            found = _values(magics, after_dashes) or _options("--" if word.startswith("-") else "", names)
    else:
        return []
    return [item for item in found if item.startswith(word)]


def _options(dashes: str, names: Sequence[str]) -> List[str]:
    plain = [dashes + name + ("" if dashes else "=") for name in names if not OPTIONS[name].flag]
    return [*plain, *("--" + name for name in names if OPTIONS[name].flag)]


def _agents(magics: ClaudeMagics) -> List[str]:
    return magics.session.agents.names()


def _values(magics: ClaudeMagics, name: str) -> List[str]:
    if name == "agent":
        return _agents(magics)
    if name == "model":
        prices = magics.session.orchestrators.prices
        return [*sorted(prices.aliases), *sorted(prices.models(), key=_age)]
    if name == "memory":
        return ["on", "off", *magics.session.memory.names()]
    if name == "schema":
        return sorted(each for each, value in magics.session.front_end.names.items() if _is_schema(each, value))
    option = OPTIONS.get(name)
    if option is None or option.flag:
        return []
    return list(option.choices) or (["on", "off"] if option.takes.startswith("on") else [])


def _age(model: str) -> Tuple[List[int], str]:
    """Sort newer versions before older ones: of ``claude-opus-4-1-20250805`` the 4.1 counts, and then the date."""
    numbers = [int(number) for number in re.findall(r"\d+", model)]
    version = [number for number in numbers if number < 1000]
    return [-number for number in [*version, 0, 0][:2]], model


def _is_schema(name: str, value: Any) -> bool:
    if name.startswith("_"):
        return False
    if isinstance(value, dict):
        return isinstance(value.get("type"), str) and bool({"properties", "items"} & set(value))
    return (
        isinstance(value, type) and any(hasattr(value, each) for each in _OF_SCHEMAS) and value.__name__ != "BaseModel"
    )


def make_matcher(magics: ClaudeMagics, completer: Any) -> Callable[..., Any]:
    """Return a matcher for ``completer.custom_matchers``: on the magics' lines, nothing but what they take is offered."""
    try:
        from IPython.core.completer import SimpleCompletion, context_matcher
    except ImportError:  # IPython before 8.6: a matcher gets the word, and the line stands in the completer

        def old_matcher(word: str) -> List[str]:
            return complete(magics, completer.text_until_cursor)

        return old_matcher

    @context_matcher()  # type: ignore[untyped-decorator]
    def claude_matcher(context: Any) -> Any:
        found = complete(magics, context.text_until_cursor)
        completions = [SimpleCompletion(text=item, type="magic") for item in found]
        # In our order: aliases before full names, and the newest first.
        return {"completions": completions, "suppress": bool(found), "ordered": True}

    return claude_matcher  # type: ignore[no-any-return]
