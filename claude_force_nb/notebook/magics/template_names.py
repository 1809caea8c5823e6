"""Completions inside ``{{ }}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence

from .candidates import public_names

if TYPE_CHECKING:
    from claude_force_nb.notebook.session.session import NotebookSession

__all__ = ["names_inside", "open_expression"]

_FILTER = r"\|\s*\w*$"
_PATH = r"((?:[^\W\d]\w*\.)+)\w*$"
_NAME = r"(?:^|[^\w.'\"])(\w*)$"
_NOTHING = object()


def open_expression(text: str) -> Optional[str]:
    """Return the text after the last unclosed ``{{``, or None if there is none."""
    start = text.rfind("{{")
    return None if start < 0 or "}}" in text[start:] else text[start + 2 :]


def names_inside(session: NotebookSession, expression: str, columns: Sequence[str]) -> List[str]:
    """Return completions for the word at the end of an expression.

    These are filters after a ``|``, columns and attributes after a dot, and otherwise columns of the rows, names of the
    notebook, and built-in names of templates. No expression is evaluated for them.

    Parameters
    ----------
    session : NotebookSession
    expression : str
        The expression up to the cursor.
    columns : sequence of str
        Columns of the batch's source.
    """
    from claude_force_nb.prompts.expressions import BUILTIN_NAMES, filter_names

    names = public_names(session)
    if re.search(_FILTER, expression):
        found = filter_names()
        word = re.split(r"\|\s*", expression)[-1]
    elif re.search(_PATH, expression):
        match = re.search(_PATH, expression)
        path = match.group(1)  # type: ignore[union-attr]
        found = [path + part for part in _parts(names, path.rstrip(".").split("."))]
        word = match.group()  # type: ignore[union-attr]
    else:
        match = re.search(_NAME, expression)
        if match is None:
            return []
        first = [each for each in columns if each.isidentifier()]
        found = [*first, *sorted(each for each in names if each not in first), *session.recent_cells]
        found += sorted(BUILTIN_NAMES)
        word = match.group(1)
    return [each for each in dict.fromkeys(found) if each.startswith(word)]


def _parts(names: Mapping[str, Any], path: Sequence[str]) -> List[str]:
    """Return keys, columns and attributes of the object at a path, if mappings and instance attributes lead to it."""
    value = names.get(path[0], _NOTHING)
    for step in path[1:]:
        held = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
        value = held.get(step, _NOTHING) if isinstance(held, Mapping) else _NOTHING
    if value is _NOTHING:
        return []
    if isinstance(value, Mapping):
        return [each for each in value if isinstance(each, str) and each.isidentifier()]
    found = getattr(value, "columns", ())
    if not hasattr(found, "__iter__"):  # A method or a number, not the columns of a table.
        found = ()
    columns = [each for each in found if isinstance(each, str) and each.isidentifier()]
    return [*columns, *(each for each in dir(value) if not each.startswith("_") and each not in columns)]
