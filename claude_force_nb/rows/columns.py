"""The names of a table's columns: each of them once, so that no value is lost."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from claude_force_nb.errors import ClaudeForceWarning
from claude_force_nb.prompts.plain import free_name
from claude_force_nb.warn import warn

__all__ = ["distinct_names", "named_values"]


def distinct_names(names: Sequence[str], *, source: str) -> List[str]:
    """Return the names of columns, the second ``text`` as ``text_2`` and so on; one warning says so.

    Parameters
    ----------
    names : sequence of str
    source : str
        How the warning calls the table.
    """
    if len(set(names)) == len(names):
        return list(names)
    found: List[str] = []
    renamed: List[str] = []
    for name in names:
        free = free_name(name, [*names, *found]) if name in found else name
        if free != name:
            renamed.append(f"{name!r} ({free})")
        found.append(free)
    warn(f"{source} has columns with the same name: the later ones are {', '.join(renamed)}", ClaudeForceWarning)
    return found


def named_values(row: Any) -> Optional[Dict[str, Any]]:
    """Return the values of a row that is a named tuple, as `DataFrame.itertuples` gives, or a record of numpy; None for others."""
    fields = getattr(row, "_fields", None)
    if isinstance(row, tuple) and isinstance(fields, tuple):
        return dict(zip(fields, row))
    fields = getattr(getattr(row, "dtype", None), "names", None)
    return dict(zip(fields, row.tolist())) if fields and getattr(row, "shape", None) == () else None
