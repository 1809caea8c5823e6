"""%claude_config: shows the settings and where each comes from, or changes them."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

from claude_force_nb.cache.addresses import shown_address
from claude_force_nb.costs.pricing import load_prices, resolve_model
from claude_force_nb.costs.user_prices import read_prices
from claude_force_nb.errors import OptionError
from claude_force_nb.messages.request import DEFAULT_BASE_URL, normalise_base_url
from claude_force_nb.notebook.display.bundles import Bundle
from claude_force_nb.notebook.display.preview import secrets_of
from claude_force_nb.notebook.display.tables import table_bundle
from claude_force_nb.notebook.options.addresses import SIMULATOR
from claude_force_nb.notebook.options.key import describe_key
from claude_force_nb.notebook.options.line import parse_pairs
from claude_force_nb.notebook.options.reading import read_setting
from claude_force_nb.notebook.options.saving import PLACES, save_settings
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.notebook.options.table import SETTINGS
from claude_force_nb.storage.user_folders import home_relative
from claude_force_nb.vocabulary import did_you_mean

from .reference import Reference, wants_help

__all__ = ["REFERENCE", "config", "config_bundle"]

REFERENCE = Reference(
    magic="%claude_config",
    summary="Shows the settings and where each comes from, or changes them; key=default resets one.",
    words=(
        ("--all", "show every setting, including those left at their default", ""),
        (
            "--save",
            "write what the line sets, or all that is set in this session, to a file",
            "--save=project or --save=user",
        ),
        ("trust=", "let pyproject.toml decide everything, as long as it does not change", "on or off"),
    ),
    options=tuple(SETTINGS),
    examples=(
        ("%claude_config --all", "every setting, its value and where it comes from"),
        ("%claude_config model=haiku budget=2", "for this session"),
        ("%claude_config model=default", "resets it"),
        ("%claude_config model=haiku --save=user", "for this session and all later ones"),
    ),
    page="how-to/configure.md",
)


def config(settings: Settings, line: str, *, names: Mapping[str, Any], environ: Mapping[str, str]) -> Bundle:
    """Run ``%claude_config key=value …``; if one value is invalid, nothing changes.

    Parameters
    ----------
    settings : Settings
    line : str
        The text after the magic's name.
    names : mapping
        Names of the notebook; ``prices=`` may name one of them.
    environ : mapping
        Environment variables, one of which holds the API key.

    Raises
    ------
    OptionError
        If a name is unknown or a value is invalid.
    """
    if wants_help(line):
        return REFERENCE.bundle()
    everything, save, line = _flags(line)
    values: Dict[str, Any] = dict(parse_pairs(line, (*SETTINGS, "trust"), "%claude_config"))
    trust = values.pop("trust", None)
    if trust not in (None, "on", "off"):
        raise OptionError(f"%claude_config: trust must be on or off, not {trust!r}")
    named = names.get(values.get("prices", ""))
    if isinstance(named, Mapping):
        values["prices"] = read_prices(named, source=values["prices"])
    for name, value in values.items():
        if value != "default":
            read_setting(name, value, where="%claude_config")
    _check_model(settings, values)
    if trust is not None:
        settings.trust_project(trust == "on")
    note = "" if save is None else _save(settings, values, save, environ)
    for name, value in values.items():
        settings.set(name, value)
    return config_bundle(settings, environ, everything=everything, note=note)


def _flags(line: str) -> Tuple[bool, Optional[str], str]:
    """Return whether to show everything, where to save ("" if not stated, None for nowhere), and the remaining words."""
    everything, save, left = False, None, []
    for word in line.split(" "):
        name, _, place = word.partition("=")
        if word == "--all":
            everything = True
        elif name == "--save":
            save = place
        elif word.startswith("--"):
            raise OptionError(
                f"%claude_config does not take {word!r}{did_you_mean(name, ('--all', '--save', '--help'))}"
            )
        else:
            left.append(word)
    if save and save not in PLACES:
        raise OptionError(f"--save goes to {' or '.join(PLACES)}, not {save!r}{did_you_mean(save, PLACES)}")
    return everything, save, " ".join(left)


def _save(settings: Settings, values: Mapping[str, Any], place: str, environ: Mapping[str, str]) -> str:
    """Save the settings of the line, or all that this session has changed; return a line that says where."""
    given = values or settings.typed
    if not given:
        raise OptionError("nothing is set in this session: %claude_config model=haiku --save, for one")
    path = save_settings(settings, given, place=place or None, secrets=secrets_of(environ))
    return f"saved in {home_relative(path)}: {', '.join(given)}"


def _check_model(settings: Settings, values: Mapping[str, Any]) -> None:
    """Raise UnknownModelError if a model looks like a mistyped alias, so that it does not fail in each cell later."""
    model = values.get("model", "default")
    if model == "default":
        return
    given = {
        name: read_setting(name, value, where="%claude_config") for name, value in values.items() if value != "default"
    }
    prices = given.get("prices", settings.value("prices"))
    server = given.get("base_url", settings.value("base_url"))
    official = server in (None, SIMULATOR) or normalise_base_url(server) == DEFAULT_BASE_URL
    resolve_model(model, load_prices() if prices is None else prices.table, official=official)


def config_bundle(
    settings: Settings, environ: Mapping[str, str], *, everything: bool = False, note: str = ""
) -> Bundle:
    """Return the settings that are set and where they come from, and always the server and the masked key.

    Parameters
    ----------
    settings : Settings
    environ : mapping
        Environment variables.
    everything : bool
        True to include settings left at their default.
    note : str
        Line below the table.
    """
    rows: List[Tuple[str, str, str, str]] = []
    for name, option in SETTINGS.items():
        value, source = settings.lookup(name)
        if name == "base_url" and value != SIMULATOR:
            value = normalise_base_url(value)  # without credentials
        elif source == "default" and not everything:
            continue
        elif name == "cache_url" and value:
            value = shown_address(value)
        rows.append((name, _shown(value), source, option.meaning))
    if settings.value("base_url") == SIMULATOR:
        rows.append(("API key", "not needed", "", "no key is sent to the simulator"))
    else:
        key = describe_key(environ)
        rows.append(("API key", key.shown, key.source, "never shown, logged or kept"))
    project = settings.project
    if project.path is not None:
        state = "on" if project.trusted else "changed since" if project.changed else "off"
        rows.append(("trust", state, str(project.path), "whether the project's file decides everything"))
    hint = "" if everything else "%claude_config --all also shows settings left at their default"
    footer = " · ".join(part for part in (note, hint) if part)
    return table_bundle(("setting", "value", "from", "meaning"), rows, footer=footer)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
