"""Distinct names for a table's columns, so that no value is lost."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

from claude_force_nb.errors import ClaudeForceWarning, SourceError
from claude_force_nb.prompts.plain import free_name
from claude_force_nb.prompts.tables import column_name, index_names
from claude_force_nb.warn import warn

__all__ = ["distinct_names", "named_values", "text_names"]


def text_names(names: Iterable[Any], *, source: str, text: Callable[[Any], str] = column_name) -> Tuple[str, ...]:
    """Return the names of columns as text.

    Parameters
    ----------
    names : iterable
    source : str
        Name of the table in the error message.
    text : callable
        Returns one name as text.

    Raises
    ------
    SourceError
        If the class of a name fails to do so.
    """
    found = []
    for name in names:
        try:
            found.append(text(name))
        except Exception as error:  # such as the RecursionError of a ``__str__`` that calls itself
            raise SourceError(
                f"{source} has a column whose name, of class {type(name).__name__}, cannot be written as text"
                f" ({type(error).__name__}); rename it"
            ) from None
    return tuple(found)


def distinct_names(names: Sequence[str], *, source: str) -> List[str]:
    """Return the column names with duplicates numbered (the second ``text`` is ``text_2``), and warn once about them.

    Parameters
    ----------
    names : sequence of str
    source : str
        Name of the table in the warning.
    """
    if len(set(names)) == len(names):
        return list(names)
    found: List[str] = []
    renamed: List[str] = []
    for name in names:
        free = free_name(name, [*names, *found]) if name in found else name
        if free != name:
            renamed.append(free)
        found.append(free)
    warn(f"{source} has columns with the same name; the later ones are called {', '.join(renamed)}", ClaudeForceWarning)
    return found


def named_values(row: Any) -> Optional[Dict[str, Any]]:
    """Return a row's values by name, or None if the row has no names.

    Rows with names are named tuples (as `DataFrame.itertuples` yields), numpy records, pandas series, and pairs of label
    and series (as `DataFrame.iterrows` yields). A label that is not a number is returned as ``index``, as for a data frame.
    """
    if isinstance(row, tuple):
        fields = getattr(row, "_fields", None)
        if isinstance(fields, tuple):
            return dict(zip(fields, row))
        if len(row) == 2 and _is_series(row[1]):
            return _series_values(row[1], row[0])
        return None
    if _is_series(row):
        return _series_values(row, None)
    fields = getattr(getattr(row, "dtype", None), "names", None)
    return dict(zip(fields, row.tolist())) if fields and getattr(row, "shape", None) == () else None


def _is_series(value: Any) -> bool:
    """Return whether a value is a pandas series. Those of other libraries have no labels that could serve as names."""
    kind = type(value)
    return kind.__name__ == "Series" and kind.__module__.partition(".")[0] == "pandas"


def _series_values(series: Any, label: Any) -> Dict[str, Any]:
    names = distinct_names(text_names(series.index, source="a row"), source="a row")
    values = dict(zip(names, series.tolist()))
    if label is None or isinstance(label, Integral):
        return values
    levels = label if isinstance(label, tuple) else (label,)
    return {**values, **dict(zip(index_names([None] * len(levels), names), levels))}
