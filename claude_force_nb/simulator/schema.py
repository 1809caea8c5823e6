"""Makes small values that fit a JSON schema, for structured answers and forced tools. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, Optional

from .nesting import is_too_deep
from .patterns import matching

__all__ = ["asked_schema", "example", "misfit"]

# Constraints that the output format cannot express reach the model as text: bounds in a description, or a whole schema in
# the system prompt.
_TOLD = re.compile(r"Constraints: (?=\{)")
_NAMED = re.compile(r"JSON Schema: (?=\{)")

_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "simulated@example.com",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "duration": "PT0S",
    "hostname": "simulated.example.com",
}
_DEEPEST = 12


def _json_behind(pattern: re.Pattern[str], text: Any) -> Optional[Mapping[str, Any]]:
    """Return the last JSON object that follows `pattern` in a text; None if there is none."""
    found: Optional[Mapping[str, Any]] = None
    for match in pattern.finditer(text) if isinstance(text, str) else ():
        if is_too_deep(text, match.end()):
            continue
        try:
            value, _ = json.JSONDecoder().raw_decode(text, match.end())
        except (ValueError, RecursionError):
            continue
        found = value
    return found


def asked_schema(body: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    """Return the schema that an answer has to fit, from the output format or the system prompt; None for prose."""
    config = body.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else None
    wanted = wanted or body.get("output_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and isinstance(wanted.get("schema"), dict):
        schema: Mapping[str, Any] = wanted["schema"]
        return schema
    system = body.get("system")
    if isinstance(system, list):
        system = "\n".join(str(block.get("text", "")) for block in system if isinstance(block, dict))
    return _json_behind(_NAMED, system)


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_DEEPEST):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        found: Any = root
        if not reference.startswith("#/") and reference != "#":
            schema = _anchored(root, reference[1:])
            continue
        for part in reference.lstrip("#/").split("/"):
            if part:
                found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
        if not isinstance(found, dict):
            return {}
        schema = found
    return schema


def _anchored(part: Any, name: str) -> Mapping[str, Any]:
    """Return the subschema with this anchor; {} if no subschema has it."""
    if isinstance(part, Mapping):
        if part.get("$anchor") == name:
            return part
        part = list(part.values())
    for item in part if isinstance(part, list) else ():
        found = _anchored(item, name) if isinstance(item, (Mapping, list)) else {}
        if found:
            return found
    return {}


def _number(schema: Mapping[str, Any], *, whole: bool = False) -> float:
    """Return a number within the bounds, as close to 0 as they allow, or a fraction between two close bounds."""
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    value: float = max(0, schema.get("minimum", 0), 0 if above is None else above + 1 if above >= 0 else 0)
    if below is not None and value >= below:
        value = below - 1
        least = max((bound for bound in (above, schema.get("minimum")) if bound is not None), default=value - 1)
        if not whole and value <= least:
            value = (least + below) / 2
    value = min(value, schema.get("maximum", value))
    step = schema.get("multipleOf")
    if step:
        value = -(-value // step) * step
    return value


def _text(schema: Mapping[str, Any], digest: str) -> str:
    named = _FORMATS.get(schema.get("format", ""))
    if named is not None:
        return named
    pattern = schema.get("pattern")
    text = (matching(pattern) if isinstance(pattern, str) else None) or "simulated " + digest[:6]
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", len(text))
    return (text if shortest <= len(text) else text.ljust(shortest, "."))[: max(longest, shortest)]


def _object(schema: Mapping[str, Any], digest: str, root: Mapping[str, Any], depth: int) -> Any:
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    # Include optional properties, but not at depths that suggest a recursive schema.
    wanted = properties if depth < 4 else {name: properties.get(name, {}) for name in required}
    value = {name: _value(part, digest, root, depth + 1) for name, part in wanted.items()}
    also = schema.get("dependentRequired", {})
    needed = [*required, *(name for given in list(value) for name in also.get(given, ()))]
    for name in needed:
        value.setdefault(name, _value(properties.get(name, {}), digest, root, depth + 1))
    return value


def _array(schema: Mapping[str, Any], digest: str, root: Mapping[str, Any], depth: int) -> Any:
    first = schema.get("prefixItems") or ()
    count = max(schema.get("minItems", 0), 1 if depth < 4 and schema.get("maxItems", 1) else 0)
    if first:
        count = min(max(count, len(first)), schema.get("maxItems", max(count, len(first))))
    more = schema.get("items", {"type": "string"})
    parts = [first[place] if place < len(first) else more for place in range(count)]
    return [_value(part, digest, root, depth + 1) for part in parts if part is not False]


def _value(schema: Any, digest: str, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    schema = _resolve(schema, root)
    schema = {**(_json_behind(_TOLD, schema.get("description")) or {}), **schema}
    if "const" in schema:
        return schema["const"]
    choices = schema.get("enum")
    if choices:
        return choices[int(digest[:8], 16) % len(choices)]
    if "default" in schema:
        return schema["default"]
    for several in ("anyOf", "oneOf"):
        if schema.get(several):
            options = [_resolve(option, root) for option in schema[several] if isinstance(option, Mapping)]
            # In a recursive schema only the null of an optional part ends the recursion.
            ends = [option for option in options if option.get("type") == "null"]
            return _value(ends[0] if ends and depth > 3 else options[0], digest, root, depth + 1)
    if schema.get("allOf"):
        merged = dict(schema)
        for part in merged.pop("allOf"):
            part = _resolve(part, root)
            merged["properties"] = {**merged.get("properties", {}), **part.get("properties", {})}
            merged["required"] = [*merged.get("required", []), *part.get("required", [])]
            merged.update({key: item for key, item in part.items() if key not in ("properties", "required")})
        return _value(merged, digest, root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, digest, root, depth)
    if kind == "array":
        return _array(schema, digest, root, depth)
    if kind == "integer":
        return int(_number(schema, whole=True))
    if kind == "number":
        return _number(schema)
    if kind == "boolean":
        return int(digest[:2], 16) % 2 == 0
    if kind == "null":
        return None
    return _text(schema, digest)


def example(schema: Mapping[str, Any], digest: str) -> Any:
    """Return a value that fits `schema`; `digest` (hexadecimal) varies texts and choices.

    Only simple patterns are supported; see `patterns`.
    """
    return _value(schema, digest, schema, 0)


def misfit(schema: Mapping[str, Any]) -> Any:
    """Return JSON of a different type than `schema` requires."""
    wrong = "simulated: wrong on purpose"
    root = _resolve(schema, schema)
    kinds = root.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return [wrong] if "array" not in kinds else {"simulated": wrong}
