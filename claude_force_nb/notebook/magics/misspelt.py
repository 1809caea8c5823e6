"""Suggests the nearest of our magics after IPython did not find one."""

from __future__ import annotations

import re
from typing import Collection, Iterable

from IPython.core.error import UsageError

from claude_force_nb.vocabulary import did_you_mean

__all__ = ["suggestion"]

# If the name belongs to a magic of the other kind, IPython adds that to its message, and there is nothing to suggest.
_NOT_FOUND = re.compile(r"magic (?:function )?`(%%?\w+)` not found\.$")


def suggestion(error: BaseException, *, ours: Collection[str], others: Iterable[str]) -> str:
    """Return a line that suggests a magic, or "" if none of ours is meant.

    Parameters
    ----------
    error : BaseException
        The error of a cell.
    ours, others : collection of str
        The magics of this extension, and those of IPython and the user, each with its ``%`` or ``%%``.
    """
    found = _NOT_FOUND.search(str(error)) if isinstance(error, UsageError) else None
    if found is None:
        return ""
    near = did_you_mean(found.group(1), [*ours, *others])
    if not any(f"{name!r}?" in near for name in ours):
        return ""
    return f"claude_force_nb: {found.group(1)} is not a magic{near}"
