"""Options of a call."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from support.endless import Endless

from claude_force_nb.agents import Agent
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.errors import OptionError

GIVEN = CallOptions(model="haiku", temperature=0.5, stop=("END",), agent=Agent("a", "Be an agent."), variables={"x": 1})


def test_rows_of_a_run_have_the_same_options_but_for_their_variables() -> None:
    """However these differ; also with an empty body, which each row may have of its own."""
    values = GIVEN.shared_values()
    assert values is not None
    assert GIVEN.has_values(values)
    assert replace(GIVEN, variables={"x": 2}).has_values(values)
    assert replace(GIVEN, body={}, variables=None).has_values(values)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "sonnet"},
        {"temperature": None},
        {"stop": ("END", "STOP")},
        {"agent": None},
        {"system": "S"},
        {"sample": 2},
    ],
)
def test_any_other_difference_counts(changed: Any) -> None:
    values, others = GIVEN.shared_values(), replace(GIVEN, **changed).shared_values()
    assert values is not None
    assert others is not None
    assert not replace(GIVEN, **changed).has_values(values)
    assert not GIVEN.has_values(others)


def test_what_can_be_changed_in_place_counts_as_another() -> None:
    """Even the very same body may have changed meanwhile."""
    for mutable in ({"body": {"top_k": 1}}, {"stop": ["END"]}):
        one: CallOptions = replace(GIVEN, **mutable)  # type: ignore[arg-type]
        assert one.shared_values() is None
    values = GIVEN.shared_values()
    assert values is not None
    assert not replace(GIVEN, body={"top_k": 1}).has_values(values)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model": "haiku", "variables": {"x": 1}, "body": {"top_k": 1}},
        {"schema": {"type": "object"}, "sample": 2, "stop": ["END"]},
        {"use_memory": True, "memory": "notes", "turn": "1", "memory_tokens": 5},
    ],
)
def test_keyword_arguments_are_what_the_constructor_takes(options: Any) -> None:
    """`of` gives the same options, each with a body of its own; in the same order, which comparing them needs."""
    made = CallOptions.of(options)
    assert repr(made) == repr(CallOptions(**options))
    assert made.body is not CallOptions.of({}).body
    assert list(made.__dict__) == [item.name for item in fields(CallOptions)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample": None}, "sample must be a whole number from 1"),
        ({"memory_tokens": True}, "memory_tokens must be a whole number from 1"),
        ({"max_tokens": 10_000_001}, "max_tokens must be a whole number from 1 to 10000000, not 10000001"),
        ({"use_memory": True, "memory_tokens": 10**10}, "must be a whole number from 1 to 1000000000, not 10000000000"),
        ({"timeout_seconds": 0}, "timeout must be seconds"),
        ({"body": None}, "body must be a mapping of names to values, not NoneType"),
        ({"effort": "hihg"}, "effort must be one of .*high"),
        ({"turn": "1"}, "turn= has no effect without use_memory=True"),
        ({"use_memory": True, "body": {"messages": []}}, "body cannot have messages of its own"),
        ({"modle": "haiku"}, "unknown option 'modle'.*model"),
    ],
)
def test_an_option_that_is_not_valid_is_named(options: Any, words: str) -> None:
    """Both `of` and the constructor name it."""
    with pytest.raises(OptionError, match=words):
        CallOptions.of(options)
    if "modle" not in options:
        with pytest.raises(OptionError, match=words):
            CallOptions(**options)


@pytest.mark.parametrize(
    ("stop", "texts"), [(None, ()), ("", ()), ("a", ("a",)), (["a", "b"], ("a", "b")), (("a",), ("a",)), ([], ())]
)
def test_texts_that_stop_an_answer(stop: Any, texts: Any) -> None:
    """There may be none, one or several."""
    assert CallOptions(stop=stop).stop_texts() == texts


@pytest.mark.parametrize("value", [Endless(), [Endless()], (Endless(), 1), {"a": Endless()}, {Endless(): 1}], ids=type)
def test_a_value_that_cannot_be_shown_is_refused_in_one_line(value: Any) -> None:
    """Whichever the option: all but those that take any value, or that are checked later."""
    refused = {}
    for name in [each.name for each in fields(CallOptions)]:
        try:
            CallOptions.of({name: value})
        except OptionError as error:
            refused[name] = str(error)
    assert {"max_tokens", "temperature", "effort", "use_memory", "memory", "timeout_seconds", "sample"} <= set(refused)
    assert not any("\n" in line for line in refused.values())
    refusal = f"max_tokens must be a whole number from 1 to 10000000, not <{type(value).__name__} object>"
    assert refused["max_tokens"] == refusal
