"""Answers that conform to a schema: read the schema, parse and check answers, and return them as columns. Pure.

pydantic and jsonschema are imported only if a schema needs them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import warnings
from enum import Enum
from functools import lru_cache
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from claude_force_nb.errors import OptionError, SchemaError
from claude_force_nb.messages.models import takes_schemas
from claude_force_nb.messages.nesting import check_depth, is_nested_deeper, load_json

from .references import check_references, registry_of
from .wire import canonical, dereferenced, to_api_schema
from .wrappers import unwrapped

__all__ = ["AnswerSchema", "as_row", "columns", "schema_of"]

_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

_FENCED = re.compile(r"```[A-Za-z]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_MOST_CANDIDATES = 20
_MOST_MISTAKES = 8
_LONGEST_MISTAKE = 200

# Keywords that do not constrain an answer; a schema with only these accepts anything.
_ANNOTATIONS = frozenset(["title", "description", "$schema", "$comment", "$defs", "definitions", "default", "examples"])

# Converts an answer to the object that it describes; raises `_Misfit` if it does not conform.
_Check = Callable[[str, Any], Any]


class _Misfit(ValueError):
    """The answer does not conform to the schema; the message says where and why."""


@dataclasses.dataclass(frozen=True)
class AnswerSchema:
    """The schema of an answer; created by `schema_of`.

    Attributes
    ----------
    name : str
        Name of the class, or the schema's title.
    json_schema : mapping
        The complete JSON schema that answers are checked against.
    columns : tuple of str
        Names of an answer's parts in order; ``("value",)`` for an answer without parts.
    has_parts : bool
        False for an answer that is a single value, such as a list.
    """

    name: str
    json_schema: Mapping[str, Any] = dataclasses.field(compare=False)
    columns: Tuple[str, ...]
    has_parts: bool
    _check: _Check = dataclasses.field(repr=False, compare=False)
    _written: str = dataclasses.field(repr=False, default="")
    _native: Optional[Mapping[str, Any]] = dataclasses.field(repr=False, compare=False, default=None)

    def output_format(self, model: str) -> Optional[Dict[str, Any]]:
        """Return ``output_config.format`` for a model; None if the model or the schema requires `instruction` instead."""
        if self._native is None or not takes_schemas(model):
            return None
        return {"type": "json_schema", "schema": self._native}

    @property
    def instruction(self) -> str:
        """A line for the system prompt, for models without structured outputs and schemas that the API cannot enforce."""
        return (
            "Answer with one JSON value and nothing else, without a code fence. "
            f"It has to be valid under this JSON Schema: {self._written}"
        )

    def parse(self, text: str) -> Any:
        """Parse an answer: return an instance of the class, or JSON data.

        Raises
        ------
        SchemaError
            If the answer does not conform. The message is one line; `SchemaError.text` is the answer.
        """
        first: Optional[str] = None
        for candidate, value in _json_values(text):
            try:
                return self._check(candidate, value)
            except _Misfit as misfit:
                first = first or str(misfit)
            except Exception as error:
                # A validator written by the user raised an unexpected error.
                reason = f"{type(error).__name__}: {error}"
                message = f"a validator of {self.name} failed with {_shortened(reason)}"
                raise SchemaError(message, text=text, repairable=False) from error
        reason = first or ("it contains no JSON" if text.strip() else "it is empty")
        raise SchemaError(f"the answer does not fit {self.name}: {reason}", text=text)


def _refuse(constant: str) -> Any:
    raise ValueError(constant + " is not valid JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)


def _json_values(text: str) -> Iterator[Tuple[str, Any]]:
    """Yield the JSON values in an answer, likeliest first: the whole answer, fenced code, JSON inside prose."""
    whole = text.strip()
    for candidate in (whole, *(match.group(1).strip() for match in _FENCED.finditer(text))):
        try:
            yield candidate, load_json(candidate, parse_constant=_refuse)
        except (ValueError, RecursionError):
            continue
        if candidate == whole:
            return
    place = 0
    for _ in range(_MOST_CANDIDATES):
        opening = _OPENING.search(text, place)
        if opening is None:
            return
        try:
            if is_nested_deeper(text, start=opening.start()):
                raise RecursionError
            value, place = _decoder.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            place = opening.end()
        else:
            yield text[opening.start() : place], value


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_MISTAKE else text[: _LONGEST_MISTAKE - 1] + "…"


def _mistakes(found: Sequence[Tuple[Sequence[Any], str]]) -> str:
    lines = []
    for path, message in found[:_MOST_MISTAKES]:
        where = ".".join(str(part) for part in path)
        lines.append(_shortened(f"{where}: {message}" if where else message))
    if len(found) > _MOST_MISTAKES:
        lines.append(f"and {len(found) - _MOST_MISTAKES} more")
    return "; ".join(lines)


def schema_of(value: Any) -> AnswerSchema:
    """Return the schema for `value`.

    Parameters
    ----------
    value : type or mapping
        A pydantic model, a dataclass, a TypedDict, a type such as ``List[Review]``, or a JSON schema.

    Raises
    ------
    OptionError
        If `value` is none of these, or a JSON schema that is not valid or refers to another document.
    """
    if isinstance(value, AnswerSchema):
        return value
    if isinstance(value, Mapping):
        return _of_json_schema(value)
    if isinstance(value, type):
        try:
            return _of_class(value)
        except TypeError:  # an unhashable class
            return _of_type(value)
    if value is None or isinstance(value, (str, bytes, int, float, list, tuple)) or not _is_annotation(value):
        kind = type(value).__name__
        raise OptionError(f"schema must be a pydantic model, a dataclass, a type or a JSON schema, not {kind}")
    return _of_type(value)


def _is_annotation(value: Any) -> bool:
    named = type(value).__name__ in ("UnionType", "TypeAliasType")
    # Before Python 3.10, a NewType is a function.
    return named or any(getattr(value, name, None) is not None for name in ("__origin__", "__supertype__"))


@lru_cache(maxsize=64)
def _of_class(kind: type) -> AnswerSchema:
    return _of_type(kind)


def _of_type(kind: Any) -> AnswerSchema:
    """Return the schema of a class or annotation; its answers are checked by the version of pydantic that made it."""
    name = getattr(kind, "__name__", None) or str(kind).replace("typing.", "")
    if hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate_json"):
        describe, validate = kind.model_json_schema, kind.model_validate_json
    elif hasattr(kind, "parse_obj") and hasattr(kind, "__fields__"):
        return _made(name, _schema_from(kind.schema, name), _v1_check(kind), fields=tuple(_fields(kind)))
    else:
        if kind in (str, int, float, bool, bytes, dict, list, tuple, set, object, type(None)):
            raise OptionError(
                f"schema={name} does not describe the answer; give a pydantic model, a dataclass or a JSON schema"
            )
        adapter = _adapter(kind, name)
        describe, validate = adapter.json_schema, adapter.validate_json
    schema = _schema_from(describe, name)

    def check(text: str, value: Any) -> Any:
        from pydantic import ValidationError

        try:
            return validate(text)
        except ValidationError as error:
            raise _Misfit(_mistakes([(item["loc"], item["msg"]) for item in error.errors()])) from None

    return _made(name, schema, check, fields=tuple(_fields(kind)))


def _adapter(kind: Any, name: str) -> Any:
    try:
        from pydantic import TypeAdapter
    except ImportError:
        raise OptionError(f"schema={name} needs pydantic 2; give a pydantic model or a JSON schema") from None
    try:
        return TypeAdapter(kind)
    except Exception as error:
        if getattr(error, "code", None) == "typed-dict-version":  # pydantic's restriction before Python 3.12
            raise OptionError(
                f"schema={name} needs another TypedDict on this Python: from typing_extensions import TypedDict"
            ) from None
        raise OptionError(f"schema={name} is not a type that has a JSON schema: {_shortened(str(error))}") from None


def _schema_from(describe: Callable[[], Any], name: str) -> Dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # defaults without a JSON form do not matter for answers
            schema: Dict[str, Any] = describe()
    except Exception as error:
        raise OptionError(f"schema={name} has no JSON schema: {_shortened(str(error))}") from None
    return schema


def _v1_check(model: Any) -> _Check:
    """Return the check for a model of pydantic 1, or of the ``pydantic.v1`` inside pydantic 2."""
    error_type: Any = None
    for kind in model.__mro__:
        if kind.__name__ == "BaseModel":
            package = kind.__module__.rpartition(".")[0]
            error_type = sys.modules[package + ".error_wrappers"].ValidationError

    def check(text: str, value: Any) -> Any:
        try:
            return model.parse_obj(value)
        except error_type as error:
            raise _Misfit(_mistakes([(item["loc"], item["msg"]) for item in error.errors()])) from None

    return check


def _of_json_schema(schema: Mapping[str, Any]) -> AnswerSchema:
    try:
        check_depth(schema)
        schema = json.loads(json.dumps(schema))  # copy it, since the user may change theirs during a run
    except (TypeError, ValueError, RecursionError):
        raise OptionError("schema: a JSON schema holds JSON data only") from None
    schema = unwrapped(schema)
    from jsonschema import SchemaError as BadSchema
    from jsonschema import validators

    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except BadSchema as error:
        where = ".".join(str(part) for part in error.absolute_path)
        raise OptionError(
            f"schema is not a valid JSON schema: {where and where + ': '}{_shortened(error.message)}"
        ) from None
    if schema and not set(schema) & (set(kind.VALIDATORS) | _ANNOTATIONS):
        raise OptionError(
            f"schema says nothing about the answer: {_shortened(', '.join(schema))} are not keywords of JSON Schema"
        )
    check_references(schema)
    validator = kind(schema, registry=registry_of(schema))

    def check(text: str, value: Any) -> Any:
        errors = sorted(validator.iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path])
        if errors:
            raise _Misfit(_mistakes([(error.absolute_path, error.message) for error in errors]))
        return value

    title = schema.get("title")
    return _made(title if isinstance(title, str) and title.strip() else "the schema", schema, check)


def _made(name: str, schema: Mapping[str, Any], check: _Check, *, fields: Tuple[str, ...] = ()) -> AnswerSchema:
    plain = dereferenced(schema)
    whole = canonical(schema) if plain is None else plain
    # Use the attribute names of a class, not their JSON aliases.
    parts = fields if fields and fields[0] not in ("root", "__root__") else tuple(_properties(whole))
    return AnswerSchema(
        name=" ".join(name.split())[:80],
        json_schema=schema,
        columns=parts or ("value",),
        has_parts=bool(parts),
        _check=check,
        _written=_compact(whole),
        _native=None if plain is None else to_api_schema(plain),
    )


def _properties(schema: Mapping[str, Any]) -> List[str]:
    """Return the names of an object's properties, or of all alternatives; empty if the answer need not be an object."""
    names: Dict[str, None] = {}
    found = schema.get("properties")
    if isinstance(found, Mapping):
        names.update(dict.fromkeys(found))
    for part in schema.get("allOf") or ():
        if isinstance(part, Mapping):
            names.update(dict.fromkeys(_properties(part)))
    for several in ("anyOf", "oneOf"):
        parts = [part for part in schema.get(several) or () if isinstance(part, Mapping) and not _is_null(part)]
        inner = [_properties(part) for part in parts]
        if not found and not all(inner):
            return []
        for part_names in inner:
            names.update(dict.fromkeys(part_names))
    return list(names)


def _is_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "null" or schema.get("enum") == [None]


def columns(schema: Any) -> Tuple[str, ...]:
    """Return the names of an answer's parts, in the order of the schema; ``("value",)`` if it has none.

    Parameters
    ----------
    schema : AnswerSchema, type or mapping
        See `schema_of`.
    """
    return schema_of(schema).columns


def as_row(parsed: Any, schema: Any) -> Dict[str, Any]:
    """Return the parts of an answer by column; None for missing parts.

    Parameters
    ----------
    parsed : object
        `ClaudeResult.parsed`. If it is None, for a row without an answer, every column is None.
    schema : AnswerSchema, type or mapping
        See `schema_of`.

    Returns
    -------
    dict
        Keys are `columns`. Values are plain data: a nested model becomes a dict, an Enum member its value.
    """
    schema = schema_of(schema)
    for name in ("root", "__root__"):  # a root model, which only wraps another type
        if set(_fields(parsed)) == {name}:
            parsed = getattr(parsed, name)
    if not schema.has_parts:
        return {"value": _plain(parsed)}
    if isinstance(parsed, Mapping):
        return {name: _plain(parsed.get(name)) for name in schema.columns}
    return {name: _plain(getattr(parsed, name, None)) for name in schema.columns}


def _fields(value: Any) -> Mapping[str, Any]:
    """Return the fields of a pydantic model or its instance; empty for anything else."""
    kind = value if isinstance(value, type) else type(value)
    for name in ("model_fields", "__fields__"):
        found = getattr(kind, name, None)
        if isinstance(found, Mapping):
            return found
    return {}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if _fields(value):
        return _plain(value.model_dump() if hasattr(value, "model_dump") else value.dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value
