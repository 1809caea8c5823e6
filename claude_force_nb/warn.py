"""How the package warns: one line, once."""

from __future__ import annotations

import warnings
from typing import Any, Dict, Type

from .text_tables import one_line

__all__ = ["warn", "warn_again"]

_SHOWN: Dict[Any, Any] = {}


def warn(message: str, category: Type[Warning]) -> None:
    """Issue a warning as one line that names the package, not a file of this machine and a line of its code.

    A saved notebook keeps what was shown. The same message is shown once in a process, as warnings are by default.
    """
    text = one_line(message)
    warnings.warn_explicit(text, category, "claude_force_nb", 1, module="claude_force_nb", registry=_SHOWN)


def warn_again(category: Type[Warning]) -> None:
    """Let warnings of a category be shown once more, as in a cell that runs again."""
    for key in [key for key in _SHOWN if isinstance(key, tuple) and key[1] is category]:
        del _SHOWN[key]
