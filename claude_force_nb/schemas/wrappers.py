"""Schemas wrapped for another use: in a tool definition, or in an API's response format. Pure."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

__all__ = ["unwrapped"]

# The field in which each kind of wrapping has the schema: tools of this API, tools and response formats of others.
_INSIDE = ("input_schema", "inputSchema", "schema", "parameters", "json_schema", "function")
# The keys it may have besides. With any other key it is a schema itself, in which such a field is an annotation.
_BESIDE = frozenset(
    [
        *("name", "title", "description", "type", "strict", "cache_control", "annotations", "defer_loading"),
        *("input_examples", "allowed_callers", "eager_input_streaming"),
    ]
)
_JSON_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")


def unwrapped(schema: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the JSON schema in a tool's definition or in a response format, titled by its name; any other as it is."""
    inner = _inside(schema)
    if inner is None:
        return dict(schema)
    found = unwrapped(inner)
    name = schema.get("name")
    return {"title": name, **found} if isinstance(name, str) and name.strip() else found


def _inside(schema: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    if schema.get("type") in _JSON_TYPES or isinstance(schema.get("type"), list):
        return None
    for field in _INSIDE:
        if isinstance(schema.get(field), Mapping) and _BESIDE.issuperset(set(schema) - {field}):
            inner: Mapping[str, Any] = schema[field]
            return inner
    return None
