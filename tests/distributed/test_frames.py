"""The types of answered columns."""

from __future__ import annotations

import enum
from typing import Any, List, Optional

import pytest

from claude_force_nb.distributed.frames import empty_frame, typed_like
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.answer_columns import frame_parts
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.schemas.answer import schema_of

pandas = pytest.importorskip("pandas")
pydantic = pytest.importorskip("pydantic")


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Label(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    stars: int
    sure: Optional[float]
    mood: Mood
    spam: bool
    status: str
    tags: List[str]


@pytest.mark.parametrize(
    "parsed", [None, Label(stars=3, sure=None, mood=Mood.BAD, spam=True, status="new", tags=["a"])]
)
def test_all_partitions_have_the_same_types(parsed: Any) -> None:
    """A partition without any answer has the types of one with answers; the names are those of to_frame."""
    source = pandas.DataFrame({"text": ["a", "b"], "n": [1, 2]})
    schema = schema_of(Label)
    empty = empty_frame(open_source(source), 2, schema)
    assert len(empty) == 0
    results = [ClaudeResult("x", parsed=parsed), ClaudeResult(status="failed", error=ValueError("no"), cost=None)]
    frame = typed_like(empty, BatchResult(results, source=open_source(source), more=frame_parts(schema)).to_frame())
    assert list(frame.columns) == list(empty.columns)
    assert list(frame.dtypes) == list(empty.dtypes)
    assert [str(empty.dtypes[name]) for name in ("stars", "sure", "spam", "cost")] == [
        "Int64",
        "float64",
        "boolean",
        "float64",
    ]
    assert empty.dtypes["status_2"] == empty.dtypes["answer"] == pandas.Series(["a"]).dtype
    assert frame["n"].tolist() == [1, 2]
    if parsed is not None:
        assert frame["stars"][0] == 3
        assert frame["spam"][0]
        assert frame["tags"][0] == ["a"]


@pytest.mark.parametrize(
    ("part", "dtype"),
    [
        ({"type": "integer"}, "Int64"),
        ({"type": ["integer", "null"]}, "Int64"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "boolean"),
        ({"anyOf": [{"type": "boolean"}, {"type": "integer"}]}, "object"),
        ({"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/x"}]}, "object"),
        ({"enum": [1, 2]}, "object"),
        ({"$ref": "#/$defs/x"}, "object"),
        ({}, "object"),
    ],
)
def test_what_may_be_several_types_is_any_object(part: Any, dtype: str) -> None:
    """Only a part of one type has a type of its own."""
    schema = {"type": "object", "properties": {"p": part}, "$defs": {"x": {"type": "integer"}}}
    source = pandas.DataFrame({"text": ["a"]})
    assert str(empty_frame(open_source(source), 1, schema_of(schema)).dtypes["p"]) == dtype
