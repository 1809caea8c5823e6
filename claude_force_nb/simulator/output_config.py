"""What the API refuses in ``output_config``: schemas that it cannot hold an answer to, and efforts of other models. Pure."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Mapping, Optional

from claude_force_nb.messages.models import model_version, takes_schemas

__all__ = ["output_config_problem"]

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
_EFFORTS = {"low": (4, 5), "medium": (4, 5), "high": (4, 5), "max": (4, 6), "xhigh": (4, 7)}
_MAX_UNIONS = 16
_MAX_OPTIONAL = 24


class _Problem(Exception):
    """The schema is refused."""


def output_config_problem(body: Mapping[str, Any], model: str) -> Optional[str]:
    """Return the message of the refusal of a request's ``output_config``, None where nothing is wrong with it."""
    config = body.get("output_config")
    if config is None:
        return None
    if not isinstance(config, dict):
        return "output_config: Input should be a valid dictionary"
    unknown = sorted(set(config) - {"effort", "format", "task_budget"})
    if unknown:
        return f"output_config.{unknown[0]}: Extra inputs are not permitted"
    return _effort_problem(config.get("effort"), model) or _format_problem(config.get("format"), model)


def _effort_problem(effort: Any, model: str) -> Optional[str]:
    if effort is None:
        return None
    version = model_version(model) or (99, 0)
    supported = sorted(level for level, since in _EFFORTS.items() if version >= since)
    if not supported:
        return "This model does not support the effort parameter."
    if effort not in supported:
        text = "This model does not support effort level '{}'. Supported levels: {}."
        return text.format(effort, ", ".join(supported))
    return None


def _format_problem(wanted: Any, model: str) -> Optional[str]:
    if wanted is None:
        return None
    if (
        not isinstance(wanted, dict)
        or wanted.get("type") != "json_schema"
        or not isinstance(wanted.get("schema"), dict)
    ):
        return "output_config.format: Input tag does not match any of the expected tags: 'json_schema'"
    if not takes_schemas(model):
        return "output_config.format: this model does not support structured outputs"
    check = _Check(wanted["schema"])
    try:
        check.node(wanted["schema"], frozenset())
    except _Problem as problem:
        return f"output_config.format.schema: {problem}"
    if check.unions > _MAX_UNIONS:
        text = (
            "Schemas contains too many parameters with union types ({} parameters with type arrays or anyOf), limit: {}"
        )
        return text.format(check.unions, _MAX_UNIONS)
    if check.optional > _MAX_OPTIONAL:
        return f"Schemas contains too many optional parameters ({check.optional}), limit: {_MAX_OPTIONAL}"
    return None


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
            raise _Problem("format {!r} is not supported".format(schema["format"]))

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
        found: Any = self._root
        for part in reference.lstrip("#/").split("/") if reference.startswith("#") else ["?"]:
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            raise _Problem(f"reference {reference!r} is not supported")
        self.node(found, inside | {reference})
