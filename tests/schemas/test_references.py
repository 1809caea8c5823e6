"""References in JSON schemas, and wrappers around schemas."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from claude_force_nb.errors import OptionError, SchemaError
from claude_force_nb.schemas.answer import schema_of
from claude_force_nb.schemas.wire import dereferenced

TEXT = {"type": "string"}


def with_reference(reference: str, **more: Any) -> Dict[str, Any]:
    return {"type": "object", "properties": {"a": {"$ref": reference}}, "required": ["a"], **more}


GOOD = {
    "percent": with_reference("#/$defs/My%20Type", **{"$defs": {"My Type": TEXT}}),
    "percent of a slash": with_reference("#/$defs/a~1b%25", **{"$defs": {"a/b%": TEXT}}),
    "not ASCII": with_reference("#/$defs/%C3%9C", **{"$defs": {"Ü": TEXT}}),
    "anchor": with_reference("#it", **{"$defs": {"x": {"$anchor": "it", **TEXT}}}),
    "own address": with_reference("https://x.org/s#/$defs/x", **{"$id": "https://x.org/s", "$defs": {"x": TEXT}}),
    "own address, relative": with_reference("s#/$defs/x", **{"$id": "https://x.org/s", "$defs": {"x": TEXT}}),
    "address of a part": with_reference("part", **{"$id": "https://x.org/s", "$defs": {"x": {"$id": "part", **TEXT}}}),
    "anchor of draft 7": with_reference(
        "#it", **{"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"x": {"$id": "#it", **TEXT}}}
    ),
    "a chain": with_reference("#/$defs/x", **{"$defs": {"x": {"$ref": "#/$defs/y"}, "y": TEXT}}),
}


@pytest.mark.parametrize("schema", GOOD.values(), ids=GOOD)
def test_references_inside_the_schema(schema: Dict[str, Any]) -> None:
    """Each is resolved, for checking answers and in what the API receives."""
    made = schema_of(schema)
    assert made.parse('{"a": "x"}') == {"a": "x"}
    with pytest.raises(SchemaError, match="a: 5 is not of type 'string'"):
        made.parse('{"a": 5}')
    assert made.output_format("claude-haiku-5-5") == {
        "type": "json_schema",
        "schema": {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False},
    }


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("#/$defs/nowhere", "leads nowhere"),
        ("#nowhere", "leads nowhere"),
        ("https://example.com/s.json", "points to another document"),
        ("other.json#/x", "points to another document"),
        ("file:///etc/passwd", "points to another document"),
    ],
)
def test_references_to_anything_else(reference: str, said: str) -> None:
    """Nothing is fetched; one line names the reference."""
    with pytest.raises(OptionError, match=said) as raised:
        schema_of(with_reference(reference))
    assert repr(reference) in str(raised.value)


def test_what_only_looks_like_a_reference() -> None:
    """A property with that name, and data, are not references."""
    schema = {"type": "object", "properties": {"$ref": TEXT, "b": {"enum": [{"$ref": "https://x.org"}]}}}
    assert schema_of(schema).parse('{"$ref": "x"}') == {"$ref": "x"}


def test_a_schema_that_contains_itself() -> None:
    """By pointer, by anchor or by its address: it has no form without references, and answers are checked all the same."""
    for own, more in (("#", {}), ("#me", {"$anchor": "me"}), ("https://x.org/s", {"$id": "https://x.org/s"})):
        schema = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": own}}, **more}
        assert dereferenced(schema) is None
        made = schema_of(schema)
        assert made.parse('{"v": 1, "next": {"v": 2}}')["next"]["v"] == 2
        with pytest.raises(SchemaError, match=r"next\.next\.v"):
            made.parse('{"next": {"next": {"v": "x"}}}')


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"type": "array", "prefixItems": [{"type": "integer"}, TEXT], "items": False, "minItems": 2},
            '[1, "x"]',
            '["x", 1]',
        ),
        ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}, "4", "5"),
        (
            {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "type": "number",
                "maximum": 5,
                "exclusiveMaximum": True,
            },
            "4.9",
            "5",
        ),
        ({"type": "object", "properties": {"a": {"type": "number", "exclusiveMinimum": 0}}}, '{"a": 1}', '{"a": 0}'),
    ],
)
def test_bounds_and_places(schema: Dict[str, Any], good: str, bad: str) -> None:
    """Constraints that the API cannot enforce are told to the model in words, and checked here."""
    made = schema_of(schema)
    made.parse(good)
    with pytest.raises(SchemaError):
        made.parse(bad)
    words = [word for word in ("exclusiveM", "prefixItems") if word in repr(schema)]
    told = made.output_format("claude-haiku-5-5") or made.instruction
    assert all(word in repr(told) for word in words)


SCHEMA = {"type": "object", "properties": {"city": TEXT}, "required": ["city"]}
WRAPPED = {
    "a tool": {"name": "weather", "description": "Says it.", "input_schema": SCHEMA},
    "a tool with more": {"type": "custom", "name": "weather", "strict": True, "input_schema": SCHEMA},
    "a tool of MCP": {"name": "weather", "title": "Weather", "inputSchema": SCHEMA},
    "name and schema": {"name": "weather", "schema": SCHEMA},
    "a format of this API": {"type": "json_schema", "schema": SCHEMA},
    "a format of another": {
        "type": "json_schema",
        "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA},
    },
    "a function of another": {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}},
}


@pytest.mark.parametrize("wrapped", WRAPPED.values(), ids=WRAPPED)
def test_wrapped_schemas(wrapped: Dict[str, Any]) -> None:
    """The schema inside is used: an answer that does not fit it is refused."""
    made = schema_of(wrapped)
    assert made.columns == ("city",)
    assert made.name == ("weather" if "weather" in repr(wrapped) else "the schema")
    with pytest.raises(SchemaError):
        made.parse('{"town": "x"}')


@pytest.mark.parametrize(
    "schema", [{"name": "x"}, {"name": "x", "fields": {"a": "text"}}, {"city": "string"}, {"input_schema": "x"}]
)
def test_mappings_that_say_nothing(schema: Dict[str, Any]) -> None:
    """A schema by which no validator would ever refuse anything is itself refused."""
    with pytest.raises(OptionError, match="schema says nothing about the answer"):
        schema_of(schema)


def test_a_property_may_be_called_like_a_wrapping() -> None:
    """An object whose schema has a field called ``schema`` or ``parameters`` is no wrapping."""
    schema = {"type": "object", "properties": {"schema": TEXT, "parameters": TEXT}, "required": ["schema"]}
    assert schema_of(schema).columns == ("schema", "parameters")


def test_named_types() -> None:
    """An alias made with ``type`` stands for its type, as a NewType does."""
    typing_extensions = pytest.importorskip("typing_extensions")
    pytest.importorskip("pydantic", minversion="2")
    from typing import Dict as D
    from typing import NewType

    alias = typing_extensions.TypeAliasType("Scores", D[str, int])
    made = schema_of(alias)
    assert (made.name, made.parse('{"a": 1}')) == ("Scores", {"a": 1})
    with pytest.raises(SchemaError):
        made.parse('{"a": "x"}')
    assert schema_of(NewType("Scores", D[str, int])).parse('{"a": 1}') == {"a": 1}
