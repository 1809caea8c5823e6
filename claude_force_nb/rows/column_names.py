"""Column names in a results file, chosen so that none hides another."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Set

__all__ = ["free_names"]

# For a source column whose name is the same as one of ours.
_PREFIX = "source_"


def free_names(columns: Mapping[Any, Any], taken: Set[str]) -> Dict[Any, str]:
    """Return each source column's name in the file, distinct from all others and from those in `taken`.

    A results file may be the source of another run: its answers are in ``source_answer`` then, and in
    ``source_source_answer`` one run later.
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
