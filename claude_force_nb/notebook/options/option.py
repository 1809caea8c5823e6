"""One option: what it is called, what it takes, where it may be set."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Tuple

__all__ = ["Option"]


class Option(NamedTuple):  # a frozen dataclass takes a millisecond to make, and `%load_ext` makes this one
    """One row of the table.

    Attributes
    ----------
    name : str
        As typed.
    read : callable
        Turns the text into the value; raises ValueError if it cannot, or OptionError to say why.
    takes : str
        What the value is, for help and errors.
    meaning : str
        One line.
    choices : tuple of str
        The allowed values, if they are limited.
    suggestions : tuple of str
        Common values, offered on Tab, if any text is allowed.
    flag : bool
        True if it takes no value.
    line : bool
        True if it is an option of ``%%claude`` and ``%claude``.
    setting : bool
        True if ``%claude_config``, traitlets, the environment and pyproject.toml may set it.
    path : bool
        True if it is a path, which pyproject.toml gives relative to its own folder.
    default : object
        Value of the setting if it is not set.
    project : str
        What a project file may do with the setting: ``free``, ``tighten`` (only towards less), or ``personal`` (nothing,
        unless the user trusts the file), since it decides where the key goes, what is billed, or what is written or removed.
    """

    name: str
    read: Callable[[str], Any]
    takes: str
    meaning: str
    choices: Tuple[str, ...] = ()
    suggestions: Tuple[str, ...] = ()
    flag: bool = False
    line: bool = True
    setting: bool = False
    path: bool = False
    default: Any = None
    project: str = "free"
