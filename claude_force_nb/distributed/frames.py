"""The types of answer columns, the same in every partition whatever it contains. pandas is the user's own."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Optional, Set

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.answer_columns import frame_parts
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.rows.sources import Source
from claude_force_nb.schemas.answer import AnswerSchema

__all__ = ["empty_frame", "typed_like"]

# pandas types that can represent a missing answer.
_BY_JSON_TYPE = {"integer": "Int64", "number": "float64", "boolean": "boolean"}


def empty_frame(source: Source, rows: int, schema: Optional[AnswerSchema]) -> Any:
    """Return the answered frame without its rows.

    Parameters
    ----------
    source : Source
        Source of a pandas frame with the columns and types of all partitions.
    rows : int
        Number of rows in it.
    schema : AnswerSchema, optional
        JSON types become pandas types: integers Int64, numbers float64, booleans boolean, strings the default of the installed
        pandas, everything else object.
    """
    batch = BatchResult([ClaudeResult()] * rows, source=source, more=frame_parts(schema))
    frame = batch.to_frame().iloc[:0]
    text = type(frame.index.to_series())(["a"]).dtype
    types = [text, *_types(schema, text), text, text, text, "float64"]
    return frame.astype(dict(zip(frame.columns[-len(types) :], types)))


def _types(schema: Optional[AnswerSchema], text: Any) -> Iterator[Any]:
    if schema is None:
        return
    found = schema.json_schema.get("properties")
    for name in schema.columns:
        part = found.get(name) if isinstance(found, Mapping) else None
        kinds = _json_types(part) if isinstance(part, Mapping) else set()
        kind = kinds.pop() if len(kinds) == 1 else ""
        yield text if kind == "string" else _BY_JSON_TYPE.get(kind, "object")


def _json_types(schema: Mapping[str, Any]) -> Set[str]:
    """Return the JSON types that a part may have, other than null; an empty set if they are unknown."""
    if isinstance(schema.get("anyOf"), list):
        inner = [_json_types(each) if isinstance(each, Mapping) else set() for each in schema["anyOf"]]
        nulls = [isinstance(each, Mapping) and each.get("type") == "null" for each in schema["anyOf"]]
        return (
            {kind for kinds in inner for kind in kinds}
            if all(each or null for each, null in zip(inner, nulls))
            else set()
        )
    if isinstance(schema.get("enum"), list):
        values = [value for value in schema["enum"] if value is not None]
        return {"string"} if values and all(isinstance(value, str) for value in values) else set()
    kinds = schema.get("type")
    return {
        kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if isinstance(kind, str) and kind != "null"
    }


def typed_like(empty: Any, frame: Any) -> Any:
    """Return an answered partition, converted to the types of `empty_frame`."""
    return frame.astype({name: kind for name, kind in empty.dtypes.items() if frame.dtypes[name] != kind})
