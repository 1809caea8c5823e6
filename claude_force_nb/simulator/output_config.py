"""Checks the schemas of structured outputs, and refuses unsupported ones with the API's own messages. Pure."""

from __future__ import annotations

import re
from typing import Any, Dict, FrozenSet, Mapping, Optional

from .failures import ApiFailure, invalid
from .models import ModelTable

__all__ = ["NO_SCHEMAS", "SchemaLimits", "format_of", "is_circular", "output_config_problem"]

NO_SCHEMAS = "output_config.format: structured outputs are not supported on this model."

# "Structured outputs", sections "Supported features" and "Not supported".
_TYPES = frozenset(["object", "array", "string", "integer", "number", "boolean", "null"])
_KNOWN = frozenset(
    [
        *("type", "properties", "required", "additionalProperties", "items", "minItems", "enum", "const", "anyOf"),
        *("allOf", "$ref", "$defs", "definitions", "description", "title", "default", "format", "pattern"),
    ]
)
_FORMATS = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"],
)
# Lookaround, backreferences and word boundaries.
_NOT_IN_PATTERNS = re.compile(r"\(\?(?:[=!]|<[=!])|(?<!\\)(?:\\\\)*\\[1-9bB]")
_MAX_UNIONS = 16
_MAX_OPTIONAL = 24


class _Problem(Exception):
    """The schema is refused."""


def format_of(body: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """Return the schema of a request's output format, from the newer or the older field; None if there is none."""
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    return schema if isinstance(schema, dict) else None


def output_config_problem(body: Mapping[str, Any], model: str) -> Optional[str]:
    """Return the message with which `model` refuses a request's schema; None if it accepts it or there is none."""
    schema = format_of(body)
    if schema is None:
        return None
    known = ModelTable(accept_any=True).get(model)
    if known is not None and not known.structured_outputs:
        return NO_SCHEMAS
    limits = SchemaLimits()
    try:
        limits.add(schema, "output_config.format.schema")
        limits.check()
    except ApiFailure as failure:
        return failure.message
    return None


def is_circular(schema: Any) -> bool:
    """Return whether the references of a schema form a cycle."""

    def leads_back(part: Any, inside: FrozenSet[str]) -> bool:
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str) and reference in inside:
                return True
            if isinstance(reference, str) and leads_back(_referred(schema, reference), inside | {reference}):
                return True
            return any(leads_back(item, inside) for name, item in part.items() if name not in ("$defs", "definitions"))
        return isinstance(part, list) and any(leads_back(item, inside) for item in part)

    return leads_back(schema, frozenset(["#"]))


def _referred(root: Any, reference: str) -> Any:
    """Return the target of a local reference; None if it does not exist."""
    found: Any = root
    for part in reference.lstrip("#/").split("/") if reference.startswith("#") else ["?"]:
        found = found.get(part) if isinstance(found, dict) else None
    return found


class SchemaLimits:
    """Checks all schemas of one request: each when it is added, and their totals at the end."""

    def __init__(self) -> None:
        self._unions = 0
        self._optional = 0

    def add(self, schema: Dict[str, Any], path: str) -> None:
        """Add a schema; raises ApiFailure if the API does not support it."""
        check = _Check(schema)
        try:
            check.node(schema, frozenset())
        except _Problem as problem:
            raise invalid(f"{path}: {problem}") from None
        except RecursionError:
            raise invalid("Schema is too complex for compilation.") from None
        except (AttributeError, TypeError):
            raise invalid(f"{path}: the schema is not a valid JSON schema") from None
        self._unions += check.unions
        self._optional += check.optional

    def check(self) -> None:
        """Raise ApiFailure if all schemas together exceed the API's limits."""
        if self._unions > _MAX_UNIONS:
            raise invalid(
                f"Schemas contains too many parameters with union types ({self._unions} parameters with type arrays or "
                f"anyOf), limit: {_MAX_UNIONS}"
            )
        if self._optional > _MAX_OPTIONAL:
            raise invalid(f"Schemas contains too many optional parameters ({self._optional}), limit: {_MAX_OPTIONAL}")


class _Check:
    def __init__(self, root: Dict[str, Any]) -> None:
        self._root = root
        self.unions = 0
        self.optional = 0

    def node(self, schema: Any, inside: FrozenSet[str]) -> None:
        if not isinstance(schema, dict):
            raise _Problem("Schema must be an object")
        unknown = sorted(set(schema) - _KNOWN)
        if unknown:
            raise _Problem(f"property '{unknown[0]}' is not supported")
        reference = schema.get("$ref")
        if reference is not None:
            self._reference(str(reference), inside)
            return
        kind = schema.get("type")
        kinds = kind if isinstance(kind, list) else [] if kind is None else [kind]
        if not set(kinds) <= _TYPES:
            raise _Problem(f"type {kind!r} is not supported")
        if any(isinstance(part, dict) and "$ref" in part for part in schema.get("allOf", ())):
            raise _Problem("'allOf' with '$ref' is not supported")
        for part in [*schema.get("anyOf", ()), *schema.get("allOf", ())]:
            self.node(part, inside)
        self.unions += "anyOf" in schema or len(kinds) > 1
        values = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
        if any(isinstance(value, (dict, list)) for value in values):
            raise _Problem("enum values must be strings, numbers, booleans or null")
        if not kinds and not any(key in schema for key in ("anyOf", "allOf", "enum", "const")):
            raise _Problem("Schema type is required")
        if "object" in kinds:
            self._object(schema, inside)
        if "array" in kinds:
            if schema.get("minItems", 0) not in (0, 1):
                raise _Problem("For 'array' type, 'minItems' values other than 0 or 1 are not supported")
            if "items" in schema:
                self.node(schema["items"], inside)
        if schema.get("format", "date") not in _FORMATS:
            raise _Problem(f"format {schema['format']!r} is not supported")
        if _NOT_IN_PATTERNS.search(schema.get("pattern", "")):
            raise _Problem(f"pattern {schema['pattern']!r} is not supported")

    def _object(self, schema: Dict[str, Any], inside: FrozenSet[str]) -> None:
        if schema.get("additionalProperties") is not False:
            raise _Problem("For 'object' type, 'additionalProperties' must be explicitly set to false")
        properties = schema.get("properties", {})
        missing = sorted(set(schema.get("required", ())) - set(properties))
        if missing:
            raise _Problem(f"required property {missing[0]!r} is not among the properties")
        self.optional += len(properties) - len(schema.get("required", ()))
        for part in properties.values():
            self.node(part, inside)

    def _reference(self, reference: str, inside: FrozenSet[str]) -> None:
        if reference in inside:
            raise _Problem("Too many recursive definitions in schema")
        found = _referred(self._root, reference)
        if found is None:
            raise _Problem(f"reference {reference!r} is not supported")
        self.node(found, inside | {reference})
