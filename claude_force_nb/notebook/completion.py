"""Tab completion of options, their values, agents and models, from the same table that parses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

from .options import LINE_OPTIONS, OPTIONS

if TYPE_CHECKING:
    from .magics import ClaudeMagics

__all__ = ["complete"]


def complete(magics: ClaudeMagics, event: Any) -> List[str]:
    """Return what may follow in ``%claude …``; IPython keeps what begins with the word at the cursor.

    Parameters
    ----------
    magics : ClaudeMagics
    event : namespace
        IPython's completion event: ``line``, ``symbol``, ``command``, ``text_until_cursor``.
    """
    text = event.text_until_cursor
    if event.command == "%claude_agents":
        return _agents(magics)
    word = "" if text.endswith(" ") else text.split()[-1]
    name, equals, _ = word.lstrip("-").partition("=")
    if equals:
        return _values(magics, name.replace("-", "_"))
    previous = text[: len(text) - len(word)].split()
    if previous and previous[-1].startswith("--") and not word:
        values = _values(magics, previous[-1][2:].replace("-", "_"))
        if values:
            return values
    dashes = "--" if word.startswith("--") else ""
    found = []
    for option_name in LINE_OPTIONS:
        if OPTIONS[option_name].flag:
            found.append("--" + option_name)
        else:
            found.append(dashes + option_name + ("" if dashes else "="))
    return [item for item in found if item.startswith(word)]


def _agents(magics: ClaudeMagics) -> List[str]:
    return [agent.name for agent in magics.session.agents.list()]


def _values(magics: ClaudeMagics, name: str) -> List[str]:
    if name == "agent":
        return _agents(magics)
    if name == "model":
        from claude_force_nb.costs.pricing import load_prices

        prices = load_prices()
        return [*sorted(prices.aliases), *prices.models()]
    option = OPTIONS.get(name)
    if option is None:
        return []
    return list(option.choices) or (["on", "off"] if option.takes.startswith("on") else [])
