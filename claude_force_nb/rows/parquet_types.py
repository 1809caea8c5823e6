"""The types that the columns of a Parquet file need, so that they hold what every row has."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Mapping, Sequence

__all__ = ["schema_of_rows"]


def schema_of_rows(arrow: Any, chunks: Iterable[Sequence[Mapping[str, Any]]]) -> Any:
    """Return the schema of rows that are JSON data: every column that one of them has, and a type that holds all its values.

    Parameters
    ----------
    arrow : module
        pyarrow.
    chunks : iterable of sequence of mapping

    Raises
    ------
    ArrowException or OverflowError
        Where a column has values of different kinds, or one that pyarrow has no type for.
    """
    types: Dict[str, Any] = {}
    for records in chunks:
        for name in dict.fromkeys(name for record in records for name in record):
            found = arrow.array([record.get(name) for record in records]).type
            types[name] = _wider(arrow, name, types.get(name, arrow.null()), found)
    types["cost"] = arrow.float64()
    return arrow.schema([(name, _filled(arrow, kind)) for name, kind in types.items()])


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
    """Return a type in which what never has a value is text: many readers know no column of nothing."""
    if arrow.types.is_null(kind):
        return arrow.string()
    if arrow.types.is_list(kind):
        return arrow.list_(_filled(arrow, kind.value_type))
    if arrow.types.is_struct(kind):
        return arrow.struct([(each.name, _filled(arrow, each.type)) for each in kind])
    return kind
