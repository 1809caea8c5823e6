"""The definition of one option: its name, its values, and where it may be set."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Tuple

__all__ = ["Option"]


class Option(NamedTuple):  # creating a frozen dataclass takes a millisecond, which `%load_ext` would pay
    """One row of the table.

    Attributes
    ----------
    name : str
        Name as typed.
    read : callable
        Converts the text to the value; raises ValueError if it is invalid, or OptionError to say why.
    takes : str
        Description of the value, for help and errors.
    meaning : str
        One line about what the option does.
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
        True if it is a path; in pyproject.toml it is relative to the file's folder.
    default : object
        Value of the setting if it is not set.
    project : str
        Whether a project file may change the setting: ``free`` (yes), ``tighten`` (only towards less), or ``personal`` (only
        if the user trusts the file, since the setting determines where the key is sent, what is billed, or what is written
        or removed).
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
