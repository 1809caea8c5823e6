"""Completions for the value of an option, and for the source of a batch."""

from __future__ import annotations

import os
import re
from types import ModuleType
from typing import TYPE_CHECKING, Any, List, Mapping, Sequence, Tuple

from claude_force_nb.notebook.options.table import OPTIONS

if TYPE_CHECKING:
    from claude_force_nb.notebook.session.session import NotebookSession

__all__ = ["columns_of", "files", "public_names", "sources", "values_of"]

# Attributes that identify pydantic models, dataclasses and TypedDicts.
_OF_SCHEMAS = ("model_json_schema", "__dataclass_fields__", "__total__", "__fields__")
_ROW_FILES = (".csv", ".tsv", ".jsonl", ".parquet", ".txt")
_MOST_FILES = 100
# Names that IPython defines in every notebook.
_NOT_THE_USERS = frozenset(["In", "Out", "exit", "get_ipython", "open", "quit"])


def public_names(session: NotebookSession) -> Mapping[str, Any]:
    """Return the names that the user defined in the notebook."""
    return {
        name: value
        for name, value in list(session.front_end.names.items())
        if not name.startswith("_") and name not in _NOT_THE_USERS
    }


def values_of(session: NotebookSession, name: str, columns: Sequence[str] = ()) -> List[str]:
    """Return values of an option, the most common first; [] if it takes any text.

    Parameters
    ----------
    session : NotebookSession
    name : str
    columns : sequence of str
        Columns of the batch's source.
    """
    if name in ("agent", "agents"):
        return session.agents.names()
    if name in ("model", "models"):
        prices = session.orchestrators.prices
        return [*sorted(prices.aliases), *sorted(prices.models(), key=_age)]
    if name == "memory":
        return ["on", "off", *session.memory.names()]
    if name in ("column", "agent_column", "model_column"):
        return list(columns)
    if name == "schema":
        return sorted(each for each, value in public_names(session).items() if _is_schema(value))
    if name == "into":
        return sorted(each for each, value in public_names(session).items() if _is_ours(value))
    if name == "prices":
        return files("", (".json", ".toml"))
    if name == "answers":
        return files("", (".jsonl",))
    option = OPTIONS.get(name) or OPTIONS.get(name.replace("_", "-"))
    if option is None or option.flag:
        return []
    return list(option.choices or option.suggestions) or (["on", "off"] if option.takes.startswith("on") else [])


def sources(session: NotebookSession, word: str) -> List[str]:
    """Return names of the notebook, and files of the folder, that can be the source of a batch."""
    names = [name for name, value in public_names(session).items() if _holds_rows(value)]
    return [*sorted(names), *files(word, _ROW_FILES)]


def columns_of(session: NotebookSession, source: Sequence[str]) -> List[str]:
    """Return the columns of the source that the first word names, without computing or reading anything."""
    rows = public_names(session).get(source[0]) if source else None
    if isinstance(rows, (list, tuple)) and rows:
        rows = rows[0]
    if isinstance(rows, Mapping):
        return [each for each in rows if isinstance(each, str)]
    found = getattr(rows, "columns", ()) if _is_frame(rows) else ()
    return [each for each in found if isinstance(each, str)]


def files(word: str, suffixes: Tuple[str, ...]) -> List[str]:
    """Return the files in the folder of the incomplete path `word`, by default the working directory."""
    folder = os.path.dirname(word)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            names = sorted(each.name for each in entries if each.name.lower().endswith(suffixes))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if not re.search(r"[\s'\"]", name)][:_MOST_FILES]


def _age(model: str) -> Tuple[List[int], str]:
    """Return a sort key that puts newer versions first (4.1 for ``claude-opus-4-1-20250805``), then sorts by name."""
    numbers = [int(number) for number in re.findall(r"\d+", model)]
    version = [number for number in numbers if number < 1000]
    return [-number for number in [*version, 0, 0][:2]], model


def _is_schema(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("type"), str) and bool({"properties", "items"} & set(value))
    return (
        isinstance(value, type) and any(hasattr(value, each) for each in _OF_SCHEMAS) and value.__name__ != "BaseModel"
    )


def _is_ours(value: Any) -> bool:
    return type(value).__module__.startswith("claude_force_nb.")


def _is_frame(value: Any) -> bool:
    library = type(value).__module__.partition(".")[0]
    return library in ("pandas", "polars", "pyarrow") and hasattr(value, "columns")


def _holds_rows(value: Any) -> bool:
    if isinstance(value, (str, bytes, type, ModuleType)) or callable(value):
        return False
    kind = type(value)
    return hasattr(kind, "__iter__") or hasattr(kind, "__aiter__") or _is_frame(value)
