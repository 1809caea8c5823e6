"""Reads the values of options and settings as typed, and makes the rows of ``--help``, from the table in `table`."""

from __future__ import annotations

from typing import Any, Iterable, List, Tuple

from claude_force_nb.errors import OptionError
from claude_force_nb.vocabulary import did_you_mean

from .option import Option
from .table import LINE_OPTIONS, OPTIONS, SETTINGS
from .values import read_name

__all__ = ["help_rows", "is_tighter", "read_option", "read_setting"]

# From least to most strict.
_STRICTNESS = ("off", "warn", "block")
# More than any setting needs. Error messages quote an invalid value, so its length is limited.
_LONGEST_VALUE = 2000


def _value(option: Option, text: Any, where: str = "") -> Any:
    if option.choices and text not in option.choices:
        near = did_you_mean(text, option.choices)
        allowed = ", ".join(option.choices)
        raise OptionError(f"{where}{option.name} must be one of {allowed}, not {text!r}{near}")
    try:
        return option.read(text)
    except OptionError as error:
        raise OptionError(f"{where}{error}") from None
    except (ValueError, OverflowError):
        takes = "a variable name" if option.read is read_name else option.takes
        if option.name == "into" and "." in text:
            takes += ", and in %claude_batch also a file that ends in .jsonl or .parquet"
        raise OptionError(f"{where}{option.name} takes {takes}, not {text!r}") from None


def read_option(name: str, text: str) -> Any:
    """Return the value of an option given as text; raises OptionError if it is invalid."""
    return _value(OPTIONS[name], text)


def read_setting(name: str, text: Any, *, where: str) -> Any:
    """Return the value of a setting given as text, or as a number, boolean or mapping from TOML or traitlets.

    Raises
    ------
    OptionError
        If the setting does not exist or the value is invalid; the message says where it was set.
    """
    if name not in SETTINGS:
        raise OptionError(f"{where}: unknown setting {name!r}{did_you_mean(name, SETTINGS)}")
    if isinstance(text, bool):
        text = "on" if text else "off"
    if name != "prices":
        text = str(text)
        if len(text) > _LONGEST_VALUE:
            raise OptionError(f"{where}: the value of {name} is longer than {_LONGEST_VALUE} characters")
    return _value(SETTINGS[name], text, where + ": ")


def is_tighter(name: str, value: Any, default: Any) -> bool:
    """Return whether a value of a ``tighten`` setting allows no more than its default."""
    if name == "on_injection":
        return _STRICTNESS.index(value) >= _STRICTNESS.index(default)
    if name.endswith("budget"):  # US dollars as text; any budget is tighter than none
        from claude_force_nb.costs.reservation import parse_budget

        limits = [parse_budget(each) if each is not None else None for each in (value, default)]
        return limits[1] is None or (limits[0] is not None and limits[0] <= limits[1])
    return bool(value <= default)


def help_rows(names: Iterable[str] = LINE_OPTIONS) -> List[Tuple[str, str, str]]:
    """Return rows of the help table: the option as typed, its meaning, and its values with the default."""
    rows = []
    for name in names:
        option = OPTIONS[name]
        typed = "--" + name if option.flag else name + "="
        takes = ", ".join(option.choices) or option.takes
        default = "" if option.default is None else f"default {_shown(option.default)}"
        rows.append((typed, option.meaning, "; ".join(part for part in (takes, default) if part)))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
