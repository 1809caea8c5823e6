"""Issue the package's warnings: on one line, once."""

from __future__ import annotations

import warnings
from typing import Any, Callable, Dict, Type

from .text_tables import one_line

__all__ = ["divert", "warn", "warn_again"]

_SHOWN: Dict[Any, Any] = {}
_diverted: Dict[Type[Warning], Callable[[str], None]] = {}


def warn(message: str, category: Type[Warning]) -> None:
    """Issue a warning as one line that names the package instead of a file and line on this machine.

    The output is saved in the notebook, so it must not name paths. Each message is shown once per process, like
    Python's warnings by default.
    """
    text = one_line(message)
    listener = _diverted.get(category)
    if listener is not None:
        listener(text)
        return
    warnings.warn_explicit(text, category, "claude_force_nb", 1, module="claude_force_nb", registry=_SHOWN)


def warn_again(category: Type[Warning]) -> None:
    """Allow warnings of a category to be shown once more, for example when a cell runs again."""
    for key in [key for key in _SHOWN if isinstance(key, tuple) and key[1] is category]:
        del _SHOWN[key]


def divert(category: Type[Warning], listener: Callable[[str], None]) -> Callable[[], None]:
    """Pass warnings of exactly this category to a listener, which shows them to the user; works from any thread.

    Returns
    -------
    callable
        Ends the diversion; calling it again does nothing.
    """
    _diverted[category] = listener

    def end() -> None:
        if _diverted.get(category) is listener:
            del _diverted[category]

    return end
