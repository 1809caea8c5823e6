"""%claude_config: the settings, and where each comes from."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from claude_force_nb.costs.user_prices import read_prices
from claude_force_nb.notebook.display.bundles import Bundle
from claude_force_nb.notebook.display.tables import table_bundle
from claude_force_nb.notebook.options.line import parse_pairs
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.notebook.options.table import SETTINGS, read_setting

from .reference import Reference, wants_help

__all__ = ["REFERENCE", "config", "config_bundle"]

REFERENCE = Reference(
    magic="%claude_config",
    summary="Shows the settings and where each comes from, or sets some; key=default takes a value back.",
    options=tuple(SETTINGS),
    examples=(
        ("%claude_config", "every setting, its value and who set it"),
        ("%claude_config model=haiku budget=2", "for this session"),
        ("%claude_config model=default", "takes that back"),
    ),
    page="guide.md",
)


def config(settings: Settings, line: str, names: Mapping[str, Any]) -> Bundle:
    """Do what ``%claude_config key=value …`` does: all of it, or nothing where one value cannot be used.

    Parameters
    ----------
    settings : Settings
    line : str
        Behind the magic's name.
    names : mapping
        Names of the notebook; ``prices=`` may name one of them.

    Raises
    ------
    OptionError
        On another name, or a value that cannot be used.
    """
    if wants_help(line):
        return REFERENCE.bundle()
    values: Dict[str, Any] = dict(parse_pairs(line, SETTINGS, "%claude_config"))
    named = names.get(values.get("prices", ""))
    if isinstance(named, Mapping):
        values["prices"] = read_prices(named, source=values["prices"])
    for name, value in values.items():
        if value != "default":
            read_setting(name, value, where="%claude_config")
    for name, value in values.items():
        settings.set(name, value)
    return config_bundle(settings)


def config_bundle(settings: Settings) -> Bundle:
    """Return every setting with its value and where it came from."""
    rows = []
    for name in SETTINGS:
        value, source = settings.lookup(name)
        shown = "" if value is None else ("on" if value else "off") if isinstance(value, bool) else str(value)
        rows.append((name, shown, source, SETTINGS[name].meaning))
    return table_bundle(("setting", "value", "from", "meaning"), rows)
