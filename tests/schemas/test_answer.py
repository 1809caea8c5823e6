"""Schemas: what is asked for, how answers are read and checked, and their columns. Without any call."""

from __future__ import annotations

import json
import subprocess
import sys
import typing
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, Dict, List, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator
from typing_extensions import Literal, TypedDict

from claude_force_nb.errors import OptionError, SchemaError
from claude_force_nb.messages.models import takes_schemas
from claude_force_nb.schemas.answer import as_row, columns, schema_of
from claude_force_nb.simulator.output_config import output_config_problem
from claude_force_nb.simulator.patterns import matching
from claude_force_nb.simulator.schema import example, misfit

MODEL = "claude-haiku-5-5"


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Line(BaseModel):
    name: str = Field(min_length=2)
    price: float = Field(ge=0)


class Review(BaseModel):
    """A review."""

    rating: int = Field(ge=1, le=5, description="stars")
    mood: Mood
    on: Optional[date] = None
    lines: List[Line] = []
    kind: Literal["shop"] = "shop"


class Tree(BaseModel):
    name: str
    below: List[Tree] = []


class Scores(BaseModel):
    by_name: Dict[str, int]


class Renamed(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    total: int = Field(alias="Total")


class Reviews(RootModel[List[Review]]):
    pass


@dataclass
class Point:
    x: int
    y: int = 0


class Row(TypedDict):
    a: int
    b: str


DICT_SCHEMA = {
    "title": "Person",
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}
KINDS: List[Any] = [Review, Line, Renamed, Reviews, Point, Row, List[Review], Mood, Union[Line, Point], DICT_SCHEMA]
INSTRUCTED: List[Any] = [Tree, Scores, {"type": "object"}, {"allOf": [{"required": ["a"]}, {"required": ["b"]}]}]


def sent(schema: Any, model: str = MODEL) -> Any:
    output_format = schema_of(schema).output_format(model)
    return None if output_format is None else output_format["schema"]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_api_takes_what_is_sent(kind: Any) -> None:
    """Constraints that the API refuses stand in descriptions; every object is closed."""
    body = {"output_config": {"format": schema_of(kind).output_format(MODEL)}}
    assert body["output_config"]["format"] is not None
    assert output_config_problem(body, MODEL) is None


@pytest.mark.parametrize("kind", INSTRUCTED, ids=str)
def test_what_the_api_has_no_form_for_is_asked_for_in_words(kind: Any) -> None:
    """Recursion, free keys and the like go into the system prompt, whole."""
    assert sent(kind) is None
    written = schema_of(kind).instruction.partition("JSON Schema: ")[2]
    assert isinstance(json.loads(written), dict)
    assert "\n" not in written


def test_a_bound_reaches_the_model_and_the_check() -> None:
    """The API cannot hold a rating to 1..5: the model is told, and 7 is refused here."""
    rating = sent(Review)["properties"]["rating"]
    assert rating == {"type": "integer", "description": 'stars\nConstraints: {"maximum":5,"minimum":1}'}
    with pytest.raises(SchemaError, match=r"does not fit Review: rating: Input should be less than or equal to 5"):
        schema_of(Review).parse('{"rating": 7, "mood": "good"}')


OLDER_DRAFTS: List[Any] = [
    {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 3, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": True}
        },
        "required": ["n"],
    },
    {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "object",
        "properties": {"n": {"type": "number", "minimum": 3, "exclusiveMinimum": False, "maximum": 3}},
        "required": ["n"],
    },
    {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [{"type": "string"}, {"$ref": "#/definitions/a%20b"}],
        "additionalItems": False,
        "minItems": 2,
        "definitions": {"a b": {"type": "boolean"}},
    },
    {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [{"type": "string"}],
        "additionalItems": {"type": "integer", "minimum": 7},
        "minItems": 3,
    },
]


@pytest.mark.parametrize("kind", [*KINDS, *INSTRUCTED[:2], *OLDER_DRAFTS], ids=str)
def test_the_simulator_answers_what_fits(kind: Any) -> None:
    """This holds even if bounds are only in descriptions. Its wrong answer does not fit."""
    schema = schema_of(kind)
    asked = sent(kind) or json.loads(schema.instruction.partition("JSON Schema: ")[2])
    assert schema.parse(json.dumps(example(asked, "ab" * 32))) is not None
    with pytest.raises(SchemaError):
        schema.parse(json.dumps(misfit(asked)))


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{3}-\d{4}$",
        r"\d+",
        r"^(EUR|USD) \d+\.\d\d$",
        r"^[^a-z]+$",
        r"[\w.]+@\w+\.com",
        r"^.{2,4}$",
        r"^a?b*c$",
        "",
        r"^\s\S$",
    ],
)
def test_the_simulator_knows_simple_patterns(pattern: str) -> None:
    """An article number, an amount, a currency: a notebook that asks for them can be tried."""
    schema = schema_of(
        {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]}
    )
    output_format = schema.output_format(MODEL)
    assert output_format is not None
    found = matching(pattern)
    if pattern not in ("", r"^\s\S$"):
        assert found
        assert schema.parse(json.dumps(example(output_format["schema"], "ab" * 32))) == {"a": found}
    assert matching(r"(?=x)y") is matching("(") is matching(r"a{100000}") is None


def test_models_without_schemas() -> None:
    """Models before 4.5, and those whose name says nothing, are asked in words."""
    takes = ["claude-haiku-4-5-20251001", "claude-opus-4-5", "claude-sonnet-5-5", "claude-fable-5-2"]
    assert [takes_schemas(model) for model in takes] == [True] * 4
    assert [takes_schemas(model) for model in ("claude-opus-4-1-20250805", "claude-3-haiku", "x")] == [False] * 3
    assert sent(Review, "claude-opus-4-1-20250805") is None


def test_parsed_is_what_was_asked_for() -> None:
    """`parsed` is an instance of the class, or JSON data."""
    review = schema_of(Review).parse('{"rating": 3, "mood": "bad", "on": "2026-11-23", "lines": []}')
    assert review == Review(rating=3, mood=Mood.BAD, on=date(2026, 11, 23))
    assert schema_of(Point).parse('{"x": 1}') == Point(1)
    assert schema_of(Row).parse('{"a": 1, "b": "c"}') == {"a": 1, "b": "c"}
    assert schema_of(List[Line]).parse('[{"name": "ab", "price": 1}]') == [Line(name="ab", price=1)]
    assert schema_of(DICT_SCHEMA).parse('{"name": "Ada", "age": 36}') == {"name": "Ada", "age": 36}
    assert schema_of(Renamed).parse('{"Total": 2}') == Renamed(total=2)


ANSWER = '{"name": "Ada"}'


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        "\n " + ANSWER + "\n",
        "Here it is:\n```json\n" + ANSWER + "\n```\nAnything else?",
        "```\n" + ANSWER + "```",
        "Of course [1]: " + ANSWER + " as {you} asked.",
        "{not json} and " + ANSWER,
    ],
)
def test_json_is_found_in_an_answer(text: str) -> None:
    """JSON may be alone, fenced, or within prose."""
    assert schema_of(DICT_SCHEMA).parse(text) == {"name": "Ada"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("I cannot say.", "it contains no JSON"),
        ('{"name": "Ada"', "it contains no JSON"),
        ('{"name": NaN}', "it contains no JSON"),
        ("[" * 100_000, "it contains no JSON"),
        ('{"age": 3}', "'name' is a required property"),
        ('{"name": 3, "age": -1}', r"age: -1 is less than the minimum of 0; name: 3 is not of type 'string'"),
        (json.dumps({"name": ["x" * 9000]}), "name: .*…$"),
        (json.dumps([{"name": n} for n in "ab"]), "is not of type 'object'"),
    ],
)
def test_what_does_not_fit_says_why_in_one_line(text: str, why: str) -> None:
    """The error names the place, keeps the answer, and stays short."""
    with pytest.raises(SchemaError, match=why) as raised:
        schema_of(DICT_SCHEMA).parse(text)
    assert raised.value.text == text
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (3, "not int"),
        ("Review", "not str"),
        ([Review], "not list"),
        (int, "does not describe the answer"),
        (dict, "does not describe the answer"),
        (object(), "not object"),
        (len, "not builtin"),
        ({"type": "no such"}, "is not a valid JSON schema"),
        ({"type": "object", "properties": 3}, "is not a valid JSON schema: properties"),
        ({"$ref": "https://example.com/x.json"}, "another document"),
        ({"properties": {"a": {"$ref": "other.json#/x"}}}, "another document"),
        ({"$ref": "#/$defs/missing"}, "leads nowhere"),
        ({"const": {1, 2}}, "JSON data only"),
        (type("Bare", (), {}), "Bare"),
    ],
)
def test_an_invalid_schema_is_one_line(value: Any, why: str) -> None:
    """It is reported before anything is sent."""
    with pytest.raises(OptionError, match=why) as raised:
        schema_of(value)
    assert "\n" not in str(raised.value)


def test_a_validator_that_breaks_is_not_the_model_s_fault() -> None:
    """It is named, its error is kept, and asking again is not worth anything."""

    class Broken(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def check(cls, value: int) -> int:
            return {}[value]  # type: ignore[no-any-return]

    with pytest.raises(SchemaError, match="a validator of Broken failed with KeyError: 3") as raised:
        schema_of(Broken).parse('{"n": 3}')
    assert isinstance(raised.value.__cause__, KeyError)
    assert not raised.value.repairable


def test_pydantic_1_models_work() -> None:
    """The models that pydantic 2 brings along for old code."""
    v1 = pytest.importorskip("pydantic.v1")
    if sys.version_info >= (3, 14):
        pytest.skip("pydantic.v1 does not work on Python 3.14")

    class Old(v1.BaseModel):  # type: ignore[misc,name-defined]
        a: int
        b: Optional[str] = None

    schema = schema_of(Old)
    assert schema.columns == ("a", "b")
    assert schema.parse('{"a": 1}') == Old(a=1)
    assert as_row(Old(a=1), Old) == {"a": 1, "b": None}
    assert output_config_problem({"output_config": {"format": schema.output_format(MODEL)}}, MODEL) is None
    with pytest.raises(SchemaError, match="a: value is not a valid integer"):
        schema.parse('{"a": "x"}')


def test_one_schema_in_many_spellings_is_sent_in_one() -> None:
    """References or not, titles, the order of keywords, and what versions of pydantic write for a constant."""
    spellings: List[Dict[str, Any]] = [
        {
            "title": "A",
            "type": "object",
            "properties": {"p": {"$ref": "#/$defs/P"}, "k": {"const": "a", "type": "string", "title": "K"}},
            "required": ["p", "k"],
            "$defs": {"P": {"type": "integer", "minimum": 1, "title": "P"}},
        },
        {
            "required": ["k", "p"],
            "properties": {"p": {"allOf": [{"$ref": "#/definitions/Q"}], "title": "p"}, "k": {"enum": ["a"]}},
            "definitions": {"Q": {"minimum": 1, "type": "integer"}},
            "type": "object",
        },
    ]
    first, second = (schema_of(spelling) for spelling in spellings)
    assert json.dumps(first.output_format(MODEL)) == json.dumps(second.output_format(MODEL))
    assert first.instruction == second.instruction


def test_nothing_is_imported_for_those_who_ask_for_no_schema() -> None:
    """pydantic and jsonschema cost time: composing without a schema imports neither."""
    code = (
        "import sys, claude_force_nb.calls.compose; print([m for m in ('pydantic', 'jsonschema') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_columns_are_the_parts_in_their_order() -> None:
    """Attribute names of a class, property names of a JSON schema, "value" for what has no parts."""
    assert columns(Review) == ("rating", "mood", "on", "lines", "kind")
    assert columns(Renamed) == ("total",)
    assert columns(DICT_SCHEMA) == ("name", "age")
    assert columns(Point) == ("x", "y")
    assert columns(Row) == ("a", "b")
    assert columns(List[Review]) == columns(Mood) == columns(Reviews) == ("value",)
    assert columns(Union[Line, Point]) == ("name", "price", "x", "y")


def test_rows_are_plain_data() -> None:
    """Nested models are dicts, enums their values; what is missing is None."""
    review = Review(rating=3, mood=Mood.BAD, lines=[Line(name="ab", price=1)])
    row = as_row(review, Review)
    assert row == {
        "rating": 3, "mood": "bad", "on": None, "lines": [{"name": "ab", "price": 1.0}], "kind": "shop",
    }  # fmt: skip
    assert as_row(None, Review) == dict.fromkeys(columns(Review))
    assert as_row([Line(name="ab", price=1)], List[Line]) == {"value": [{"name": "ab", "price": 1.0}]}
    assert as_row(Reviews([review]), Reviews)["value"][0]["rating"] == 3
    assert as_row(Mood.GOOD, Mood) == {"value": "good"}
    assert as_row(Point(1, 2), Union[Line, Point]) == {"name": None, "price": None, "x": 1, "y": 2}
    assert as_row(Renamed(total=2), Renamed) == {"total": 2}
    optional = {"type": "object", "properties": {"value": {"type": "integer"}}}
    assert as_row({}, optional) == {"value": None}


NAMES = st.text(min_size=1, max_size=8)
SCHEMAS = st.recursive(
    st.one_of(
        st.builds(
            lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
            st.integers(-9, 9),
            st.integers(0, 9),
        ),
        st.builds(
            lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
            st.integers(0, 9),
            st.integers(0, 9),
        ),
        st.builds(
            lambda values: {"enum": values}, st.lists(st.one_of(st.text(), st.integers(), st.none()), min_size=1)
        ),
        st.sampled_from([{"type": kind} for kind in ("boolean", "null", "number")]),
    ),
    lambda inner: st.one_of(
        st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 3)),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
        st.builds(
            lambda parts, some: {
                "type": "object",
                "properties": parts,
                "required": sorted(set(list(parts)[:some])),
                "description": "d",
            },
            st.dictionaries(NAMES, inner, min_size=1, max_size=4),
            st.integers(0, 4),
        ),
    ),
    max_leaves=12,
)


@given(SCHEMAS)
def test_any_schema_is_sent_whole_answered_and_put_into_columns(schema: Dict[str, Any]) -> None:
    """What the API would take is sent; what fits it parses to itself, and its columns hold all of it."""
    asked = schema_of(schema)
    output_format = asked.output_format(MODEL)
    if output_format is not None:
        assert output_config_problem({"output_config": {"format": output_format}}, MODEL) is None
        value = example(output_format["schema"], "12" * 32)
    else:
        value = example(json.loads(asked.instruction.partition("JSON Schema: ")[2]), "12" * 32)
    parsed = asked.parse(json.dumps(value))
    assert parsed == value
    row = as_row(parsed, asked)
    assert tuple(row) == columns(asked)
    if not asked.has_parts:
        assert row == {"value": value}
    else:
        assert {name: part for name, part in row.items() if name in (value or {})} == (value or {})


def turned_round(value: Any) -> Any:
    """Return a schema with its keywords, and what a set of names is, in another order; properties keep theirs."""
    if isinstance(value, list):
        return [turned_round(item) for item in value]
    if not isinstance(value, dict):
        return value
    parts: Dict[str, Any] = {}
    for key, item in reversed(list(value.items())):
        if key == "properties":
            parts[key] = {name: turned_round(part) for name, part in item.items()}
        else:
            parts[key] = item if key == "enum" else item[::-1] if key == "required" else turned_round(item)
    return {"title": "T", **parts}


@given(SCHEMAS)
def test_the_order_of_keywords_does_not_change_the_request(schema: Dict[str, Any]) -> None:
    """Equal schemas are sent alike to the last byte, whichever way they are asked for."""
    one, other = schema_of(schema), schema_of(turned_round(schema))
    assert json.dumps(one.output_format(MODEL)) == json.dumps(other.output_format(MODEL))
    assert one.instruction == other.instruction


@given(st.dictionaries(NAMES, st.integers(), max_size=5), st.text(max_size=20), st.text(max_size=20))
def test_json_alone_or_fenced_comes_back_whole(value: Dict[str, int], before: str, after: str) -> None:
    """Whatever stands around the fence, but for further fences and brackets."""
    schema = schema_of({"type": "object", "additionalProperties": {"type": "integer"}})
    assert schema.parse(json.dumps(value)) == value
    clean = [text.replace("`", "").replace("{", "").replace("[", "") for text in (before, after)]
    assert schema.parse(f"{clean[0]}\n```json\n{json.dumps(value)}\n```\n{clean[1]}") == value


@given(st.text(max_size=200))
def test_any_text_parses_or_is_refused_with_its_text(text: str) -> None:
    """No answer of a model can break the reader."""
    error: Any = None
    try:
        schema_of(DICT_SCHEMA).parse(text)
    except SchemaError as raised:
        error = raised
    assert error is None or (error.text == text and "\n" not in str(error))


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="from Python 3.12 on pydantic takes the TypedDict of typing as well"
)
def test_the_older_typed_dict_is_named_with_its_remedy() -> None:
    """pydantic needs that of typing_extensions; the line says so instead of pointing to pydantic's pages."""

    class Older(typing.TypedDict):
        a: int

    said = "schema=Older needs another TypedDict on this Python: from typing_extensions import TypedDict"
    with pytest.raises(OptionError, match=f"^{said}$"):
        schema_of(Older)
