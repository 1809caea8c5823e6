"""Opens the source of a batch: a sequence, iterator, mapping, table, file, or the results of another batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, AsyncIterable, Callable, Mapping, Optional

from claude_force_nb.errors import SourceError
from claude_force_nb.vocabulary import did_you_mean, whole_number_fault

from .columns import named_values, text_names
from .frames import as_table
from .readers import FILE_KINDS, AsyncBufferedIterator, BufferedIterator, FileRows, file_kind
from .results import BatchResult
from .sources import Source

__all__ = ["open_source"]

_KINDS = "a list, a table, or a path to .txt, .csv, .jsonl or .parquet"


def open_source(
    value: Any,
    *,
    name: str = "the source",
    column: Optional[str] = None,
    limit: Optional[int] = None,
    keep: bool = True,
) -> Source:
    """Return a value's rows as a `Source`.

    Parameters
    ----------
    value : object
        A sequence or iterator of texts, values or mappings; a mapping, whose entries are rows with ``key`` and ``item``, or
        whose values are columns if they are lists of the same length; a data frame or series; the results of another batch,
        i.e. its rows with their answers; or a path to .txt (each line is a row), .csv with a header, .jsonl or .parquet.
    name : str
        Name of the source in error messages.
    column, limit
        See `Source`.
    keep : bool
        False forgets the rows of an iterator as they are read.

    Raises
    ------
    SourceError
        If the value has no rows, cannot be read, or needs a package that is not installed.
    """
    make: Callable[..., Source] = lambda rows, **more: Source(rows, name=name, column=column, limit=limit, **more)  # noqa: E731
    if isinstance(value, Source):
        return value
    fault = "" if limit is None else whole_number_fault(limit, "limit", 1)
    if fault:
        raise SourceError(fault)
    if isinstance(value, (str, os.PathLike)):
        return _open_file(value, make)
    if isinstance(value, BatchResult):
        if value.is_of_a_table:
            value = value.to_frame()  # a frame of the user's own library, with its index
        else:
            records = tuple(value.records())
            return make(records, columns=tuple(records[0]) if records else None, total=len(records))
    table = as_table(value, name)
    if table is not None:
        return make(table, columns=table.columns, total=len(table), table=table)
    if isinstance(value, Mapping):
        return _open_mapping(value, make, name)
    if isinstance(value, AsyncIterable):
        return make(AsyncBufferedIterator(value, keep))
    if isinstance(value, (bytes, bytearray)) or callable(value) or not hasattr(value, "__iter__"):
        raise SourceError(f"{name} is {_a(type(value).__name__)}, which has no rows; give {_KINDS}")
    if hasattr(value, "__len__"):
        # A copy, so that changing the list during the run does not shift its rows.
        rows = value if isinstance(value, (tuple, range)) else tuple(value)
        if rows and named_values(rows[0]) is not None:
            rows = tuple(map(_with_names, rows))
        return make(rows, total=len(rows))
    return make(BufferedIterator(map(_with_names, value), keep))


def _with_names(row: Any) -> Any:
    """Return a row with named values (see `named_values`) as a mapping, and any other row unchanged."""
    named = named_values(row) if type(row) is not dict and type(row) is not str else None
    return row if named is None else named


def _open_file(value: Any, make: Callable[..., Source]) -> Source:
    path = Path(os.path.expanduser(value))
    if file_kind(path) not in FILE_KINDS:
        shown = repr(str(value)) if len(str(value)) <= 60 else "a long text"
        raise SourceError(f"{shown} is not a source of rows; give {_KINDS}")
    if not os.path.exists(str(path)):
        near = did_you_mean(path.name, [item.name for item in path.parent.glob("*" + path.suffix)])
        raise SourceError(f"there is no file {value}{near}")
    file = FileRows(path)
    return make(file, columns=file.columns)


def _open_mapping(value: Mapping[Any, Any], make: Callable[..., Source], name: str) -> Source:
    columns = list(value.values())
    if columns and all(isinstance(item, (list, tuple)) and len(item) == len(columns[0]) for item in columns):
        names = text_names(value, source=name, text=str)
        rows = tuple(dict(zip(names, items)) for items in zip(*columns))
        return make(rows, columns=names, total=len(rows))
    rows = tuple(
        {"key": key, **item} if isinstance(item, Mapping) else {"key": key, "item": item} for key, item in value.items()
    )
    plain = all("item" in row and len(row) == 2 for row in rows)
    return make(rows, columns=("key", "item") if plain else None, total=len(rows), prompts="item" if plain else None)


def _a(noun: str) -> str:
    return ("an " if noun[:1].lower() in "aeiou" else "a ") + noun
