"""Variables from several mappings."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any, Dict, FrozenSet, Iterator, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.prompts.variables import LayeredVariables

NAMES = st.sampled_from("abcdef")


class Unavailable(Mapping):  # type: ignore[type-arg]
    """Has names whose values cannot be computed now."""

    def __getitem__(self, name: str) -> Any:
        if name != "broken":
            raise KeyError(name)
        raise RuntimeError("looked up")

    def __contains__(self, name: object) -> bool:
        return name == "broken"

    def __iter__(self) -> Iterator[str]:
        return iter(["broken"])

    def __len__(self) -> int:
        return 1


@given(st.lists(st.dictionaries(NAMES, st.integers()), max_size=4), st.frozensets(NAMES))
def test_the_first_layer_that_has_a_name_gives_its_value(layers: List[Dict[str, int]], hidden: FrozenSet[str]) -> None:
    """As ChainMap does; hidden names are in no layer."""
    variables = LayeredVariables(*layers, hidden=hidden)
    expected = {name: value for name, value in ChainMap(*layers).items() if name not in hidden}
    assert dict(variables) == expected
    assert len(variables) == len(expected)
    assert {name for name in "abcdefg" if name in variables} == set(expected)
    for name in "abcdefg":
        assert variables.get(name) == expected.get(name)


def test_names_are_listed_without_looking_up_a_value() -> None:
    """A misspelt name is compared with all names, one of which may have no value yet."""
    variables = LayeredVariables({"a": 1}, LayeredVariables(Unavailable(), {"b": 2}), hidden=frozenset("b"))
    assert bool(variables)
    assert (sorted(variables), len(variables), "broken" in variables, "b" in variables) == (
        ["a", "broken"],
        2,
        True,
        False,
    )
    assert not LayeredVariables({}, {})
    with pytest.raises(RuntimeError, match="looked up"):
        variables["broken"]
