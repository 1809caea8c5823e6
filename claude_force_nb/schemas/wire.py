"""Convert a JSON schema to the Messages API's form: canonical, and reduced to what the API can enforce. Pure.

The rules are from the API's documentation, "Structured outputs", section "JSON Schema limitations".
"""

from __future__ import annotations

import json
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Optional, Tuple

from .references import DATA_KEYWORDS, NAMED_KEYWORDS, ReferenceResolver

__all__ = ["CONSTRAINTS", "dereferenced", "to_api_schema", "canonical"]

# Prefix, in the description that the model reads, of the part of a schema that the API cannot enforce.
CONSTRAINTS = "Constraints: "

_FORMATS = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"],
)
_PRIMITIVES = (str, int, float, bool, type(None))
# Keywords that do not constrain values.
_SILENT = frozenset(
    ["title", "examples", "$schema", "$id", "$comment", "discriminator", "deprecated", "readOnly", "writeOnly"]
)
# Keywords that are unnecessary once references are resolved.
_NOT_FOLLOWED = frozenset(["$ref", "$defs", "definitions", "$anchor", "$dynamicAnchor"])
# The API's limits for one schema: optional properties, and properties with more than one type.
_MAX_OPTIONAL = 24
_MAX_UNIONS = 16
_MAX_NODES = 5_000
_MAX_DEPTH = 60


class _NotNative(Exception):
    """The API cannot enforce this schema."""


class _Writer:
    """Rewrites a schema in canonical form; with `follow`, resolves references, and sets `recursive` if that would never end."""

    def __init__(self, root: Mapping[str, Any], *, follow: bool) -> None:
        self._resolver = ReferenceResolver(root) if follow else None
        self._follow = follow
        self._nodes = 0
        self.recursive = False

    def root(self, value: Mapping[str, Any]) -> Dict[str, Any]:
        """Return the whole schema in canonical form."""
        plain: Dict[str, Any] = self._schema(value, self._resolver, frozenset(), 0)
        return plain

    def _schema(self, value: Any, resolver: Optional[ReferenceResolver], inside: FrozenSet[int], depth: int) -> Any:
        if not isinstance(value, Mapping):
            return value
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            self.recursive = True
        if self.recursive:
            return {}
        rest: Mapping[str, Any] = value
        if resolver is not None:
            resolver = resolver.inside(value) if depth else resolver
            rest = {key: item for key, item in value.items() if key not in _NOT_FOLLOWED}
            reference = value.get("$ref")
            if isinstance(reference, str):
                found, there = resolver.lookup(reference)
                if id(found) in inside:
                    self.recursive = True
                    return {}
                target = self._schema(found, there, inside | {id(found)}, depth + 1)
                beside = self._schema(rest, resolver, inside, depth + 1)
                return {**target, **beside} if isinstance(target, dict) else target
            if "$dynamicRef" in value or "$recursiveRef" in value:
                self.recursive = True
                return {}
        plain: Dict[str, Any] = {}
        for key, item in sorted(rest.items()):
            if key in _SILENT:
                continue
            # The order of keywords has no meaning, but models write properties in the order of the schema, so keep
            # that.
            if key in DATA_KEYWORDS:
                plain[key] = sorted(item) if key == "required" else item
            elif key in NAMED_KEYWORDS and isinstance(item, Mapping):
                plain[key] = {name: self._schema(part, resolver, inside, depth + 1) for name, part in item.items()}
            elif isinstance(item, list):
                plain[key] = [self._schema(part, resolver, inside, depth + 1) for part in item]
            else:
                plain[key] = self._schema(item, resolver, inside, depth + 1)
        return _one_spelling(plain)


def _one_spelling(schema: Dict[str, Any]) -> Dict[str, Any]:
    """Convert the variants of different pydantic versions to one form."""
    several = schema.get("allOf")
    if isinstance(several, list) and len(several) == 1 and isinstance(several[0], dict):
        rest = {key: item for key, item in schema.items() if key != "allOf"}
        schema = {**several[0], **rest}
    if "const" in schema:
        schema = dict(schema, enum=[schema["const"]])
        del schema["const"]
    if "enum" in schema:
        schema.pop("type", None)
    return _newest_draft(schema)


def _newest_draft(schema: Dict[str, Any]) -> Dict[str, Any]:
    """Convert forms of older JSON Schema drafts to those of 2020-12: tuples and exclusive bounds."""
    if isinstance(schema.get("items"), list):
        rest = {key: item for key, item in schema.items() if key not in ("items", "additionalItems")}
        further = {"items": schema["additionalItems"]} if "additionalItems" in schema else {}
        schema = {**rest, **further, "prefixItems": schema["items"]}
    for excluded, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(excluded), bool):
            is_excluded = schema[excluded] and bound in schema
            rest = {
                key: item
                for key, item in schema.items()
                if key not in ((excluded, bound) if is_excluded else (excluded,))
            }
            schema = {**rest, excluded: schema[bound]} if is_excluded else rest
    return schema


def canonical(schema: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the schema without titles, with sorted keywords and with its references unchanged."""
    return _Writer(schema, follow=False).root(schema)


def dereferenced(schema: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """Return the same as `canonical`, but with references resolved; None if the schema is recursive.

    Raises
    ------
    OptionError
        If a reference points nowhere.
    """
    writer = _Writer(schema, follow=True)
    plain = writer.root(schema)
    return None if writer.recursive else plain


def to_api_schema(schema: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """Convert a result of `dereferenced` to the form of ``output_config.format.schema``; None if the API cannot express it.

    A value that conforms to the result and to the constraints in its descriptions also conforms to the original schema.
    """
    try:
        sent = _node(schema)
    except _NotNative:
        return None
    optional, unions = 0, 0
    for part in _parts(sent):
        optional += len(part.get("properties", ())) - len(part.get("required", ()))
        unions += "anyOf" in part
    return None if optional > _MAX_OPTIONAL or unions > _MAX_UNIONS else sent


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    below: List[Any] = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    if "items" in schema:
        below.append(schema["items"])
    for part in below:
        yield from _parts(part)


def _node(schema: Any) -> Dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise _NotNative
    left = dict(schema)
    description = left.pop("description", None)
    sent: Dict[str, Any]
    kind = left.pop("type", None)
    if "enum" in left:
        sent = {"enum": list(left.pop("enum"))}
        if not sent["enum"] or not all(isinstance(value, _PRIMITIVES) for value in sent["enum"]):
            raise _NotNative
    elif "anyOf" in left or "oneOf" in left:
        if kind is not None or ("anyOf" in left and "oneOf" in left):
            raise _NotNative
        sent = {"anyOf": [_node(part) for part in left.pop("anyOf", None) or left.pop("oneOf")]}
    elif isinstance(kind, list):
        sent, left = {"anyOf": [_node(dict(left, type=one)) for one in kind]}, {}
    elif kind == "object":
        sent, left = _object(left)
    elif kind == "array":
        sent, left = _array(left)
    elif kind == "string":
        sent = {"type": "string"}
        if left.get("format") in _FORMATS:
            sent["format"] = left.pop("format")
    elif kind in ("integer", "number", "boolean", "null"):
        sent = {"type": kind}
    else:
        raise _NotNative
    if isinstance(left.get("default"), _PRIMITIVES) and "default" in left:
        sent["default"] = left.pop("default")
    left.pop("default", None)
    if left:
        # Tell the model about constraints that the API cannot enforce; the answer is checked against the whole schema
        # anyway.
        told = CONSTRAINTS + json.dumps(left, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        description = told if not description else f"{description}\n{told}"
    if description:
        sent["description"] = str(description)
    return sent


def _object(left: Dict[str, Any]) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    properties = left.pop("properties", None)
    # An object with arbitrary property names, which the API does not support.
    if not isinstance(properties, Mapping) or not properties or left.pop("additionalProperties", False) is not False:
        raise _NotNative
    required = left.pop("required", [])
    if any(key in left for key in ("patternProperties", "allOf", "not", "if")) or not set(required) <= set(properties):
        raise _NotNative
    sent: Dict[str, Any] = {"type": "object", "properties": {name: _node(part) for name, part in properties.items()}}
    if required:
        sent["required"] = list(required)
    sent["additionalProperties"] = False
    return sent, left


def _array(left: Dict[str, Any]) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    if "items" not in left or "prefixItems" in left:
        raise _NotNative
    sent: Dict[str, Any] = {"type": "array", "items": _node(left.pop("items"))}
    if left.get("minItems") in (0, 1):
        sent["minItems"] = left.pop("minItems")
    return sent, left
