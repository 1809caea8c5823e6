"""Column names in a results file, chosen so that none hides another."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Set

__all__ = ["free_names"]

# Of a column of the source that is called as one of ours.
_PREFIX = "source_"


def free_names(columns: Mapping[Any, Any], taken: Set[str]) -> Dict[Any, str]:
    """Return a name in the file for each source column, so that none hides another or one of `taken`.

    A file may be the source of the next: its answer is ``source_answer`` there, and ``source_source_answer`` in the third.
    """
    used = set(taken)
    kept: Dict[Any, str] = {}
    for name in columns:
        if str(name) not in used:
            used.add(str(name))
            kept[name] = str(name)
    for name in columns:
        if name not in kept:
            free = _PREFIX + str(name)
            while free in used:
                free = _PREFIX + free
            used.add(free)
            kept[name] = free
    return {name: kept[name] for name in columns}
