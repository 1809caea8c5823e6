"""Options of a call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claude_force_nb.agents import Agent
from claude_force_nb.calls.options import CallOptions

GIVEN = CallOptions(model="haiku", temperature=0.5, stop=("END",), agent=Agent("a", "Be an agent."), variables={"x": 1})


def test_rows_of_a_run_have_the_same_options_but_for_their_variables() -> None:
    """However these differ; also with an empty body, which each row may have of its own."""
    assert GIVEN.same_but_for_variables(GIVEN)
    assert GIVEN.same_but_for_variables(replace(GIVEN, variables={"x": 2}))
    assert replace(GIVEN, body={}).same_but_for_variables(replace(GIVEN, body={}, variables=None))


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
    assert not GIVEN.same_but_for_variables(replace(GIVEN, **changed))
    assert not replace(GIVEN, **changed).same_but_for_variables(GIVEN)


def test_what_can_be_changed_in_place_counts_as_another() -> None:
    """The very same body may have something else in it by then."""
    for mutable in ({"body": {"top_k": 1}}, {"stop": ["END"]}):
        one: CallOptions = replace(GIVEN, **mutable)  # type: ignore[arg-type]
        assert not one.same_but_for_variables(one)


@pytest.mark.parametrize(
    ("stop", "texts"), [(None, ()), ("", ()), ("a", ("a",)), (["a", "b"], ("a", "b")), (("a",), ("a",)), ([], ())]
)
def test_texts_that_stop_an_answer(stop: Any, texts: Any) -> None:
    """None, one or several."""
    assert CallOptions(stop=stop).stop_texts() == texts
