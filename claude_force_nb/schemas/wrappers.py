"""Unwrap schemas from a tool definition or an API's response format. Pure."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

__all__ = ["unwrapped"]

# Fields that contain the schema: of tools of this API, and of tools and response formats of others.
_INSIDE = ("input_schema", "inputSchema", "schema", "parameters", "json_schema", "function")
# Other keys that a wrapper may have. A mapping with any further key is itself a schema, in which such a field is an
# annotation.
_BESIDE = frozenset(
    [
        *("name", "title", "description", "type", "strict", "cache_control", "annotations", "defer_loading"),
        *("input_examples", "allowed_callers", "eager_input_streaming"),
    ]
)
_JSON_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")


def unwrapped(schema: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the schema inside a tool definition or response format, with its name as title; return any other unchanged."""
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
