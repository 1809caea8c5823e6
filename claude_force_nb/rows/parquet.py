"""Writes answers to a Parquet file, with column types that hold the values of every row, and reads them back."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, Mapping, Sequence

from claude_force_nb.messages.nesting import load_json
from claude_force_nb.storage.regular_file import open_regular

__all__ = ["ParquetTypeError", "parquet_records", "write_parquet"]

_ROWS = 10_000
# Marks a column that is stored as JSON text, since it has objects that are always empty, for which Parquet has no type.
_JSON_MARK = {b"claude_force_nb": b"json"}


class ParquetTypeError(Exception):
    """Parquet has no type for the values of a column; the message names it."""


def write_parquet(file: IO[Any], records: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
    """Write records of JSON data.

    Parameters
    ----------
    file : binary file
    records : callable
        Returns all of them. It is called twice, since columns and types are known only after every record was seen.

    Raises
    ------
    ParquetTypeError
        If a column has values of different kinds, or one that Parquet has no type for.
    """
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    try:
        schema = schema_of_rows(arrow, _chunks(records()))
        as_text = [field.name for field in schema if field.metadata == _JSON_MARK]
        with parquet.ParquetWriter(file, schema) as writer:
            for chunk in _chunks(records()):
                rows = [_with_text(record, as_text) for record in chunk] if as_text else chunk
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
    except (arrow.ArrowException, OverflowError) as error:
        raise ParquetTypeError(" ".join(str(error).split())) from None


def parquet_records(path: Path) -> Iterator[Dict[str, Any]]:
    """Yield the records of a file that `write_parquet` wrote.

    Raises
    ------
    ValueError or OSError
        If it is not Parquet; pyarrow's errors are subclasses of these.
    """
    parquet = import_module("pyarrow.parquet")
    with open_regular(path) as opened, parquet.ParquetFile(opened) as file:
        as_text = [
            field.name for field in file.schema_arrow if (field.metadata or {}).get(b"claude_force_nb") == b"json"
        ]
        for batch in file.iter_batches(_ROWS):
            for record in batch.to_pylist():
                for name in as_text:
                    record[name] = None if record[name] is None else load_json(record[name])
                yield record


def _with_text(record: Mapping[str, Any], names: Sequence[str]) -> Dict[str, Any]:
    found = dict(record)
    for name in names:
        if found.get(name) is not None:
            found[name] = json.dumps(found[name], ensure_ascii=False)
    return found


def _chunks(records: Iterable[Mapping[str, Any]]) -> Iterator[List[Mapping[str, Any]]]:
    chunk: List[Mapping[str, Any]] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == _ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def schema_of_rows(arrow: Any, chunks: Iterable[Sequence[Mapping[str, Any]]]) -> Any:
    """Return a schema for rows of JSON data: all columns that occur, each with a type that holds all its values."""
    types: Dict[str, Any] = {}
    for records in chunks:
        for name in dict.fromkeys(name for record in records for name in record):
            try:
                found = arrow.array([record.get(name) for record in records]).type
            except (arrow.ArrowException, OverflowError) as error:
                raise arrow.ArrowInvalid(f"column {name}: {error}") from None
            types[name] = _wider(arrow, name, types.get(name, arrow.null()), found)
    types["cost"] = arrow.float64()
    return arrow.schema([_field(arrow, name, kind) for name, kind in types.items()])


def _field(arrow: Any, name: str, kind: Any) -> Any:
    if _has_empty_struct(arrow, kind):
        return arrow.field(name, arrow.string(), metadata=_JSON_MARK)
    return arrow.field(name, _filled(arrow, kind))


def _has_empty_struct(arrow: Any, kind: Any) -> bool:
    if arrow.types.is_list(kind):
        return _has_empty_struct(arrow, kind.value_type)
    if arrow.types.is_struct(kind):
        return not kind.num_fields or any(_has_empty_struct(arrow, each.type) for each in kind)
    return False


def _wider(arrow: Any, name: str, one: Any, other: Any) -> Any:
    """Return a type that holds the values of both."""
    is_a = arrow.types
    if one == other or is_a.is_null(other):
        return one
    if is_a.is_null(one):
        return other
    if {one, other} == {arrow.int64(), arrow.float64()}:
        return arrow.float64()
    if is_a.is_list(one) and is_a.is_list(other):
        return arrow.list_(_wider(arrow, name, one.value_type, other.value_type))
    if is_a.is_struct(one) and is_a.is_struct(other):
        fields = {each.name: each.type for each in one}
        for each in other:
            fields[each.name] = _wider(arrow, name, fields.get(each.name, arrow.null()), each.type)
        return arrow.struct(list(fields.items()))
    raise arrow.ArrowInvalid(f"column {name} is {one} in some and {other} in others")


def _filled(arrow: Any, kind: Any) -> Any:
    """Return a type with text in place of null types: many readers do not support a column that is always null."""
    if arrow.types.is_null(kind):
        return arrow.string()
    if arrow.types.is_list(kind):
        return arrow.list_(_filled(arrow, kind.value_type))
    if arrow.types.is_struct(kind):
        return arrow.struct([(each.name, _filled(arrow, each.type)) for each in kind])
    return kind
