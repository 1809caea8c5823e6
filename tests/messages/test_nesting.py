"""`messages.nesting`: data that is nested thousands of levels deep, or contains itself, is refused before anything goes down into it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Callable, Dict, List

import pytest
from support.small_stack import output_with_small_stack

from claude_force_nb.api.decoding import decode_json
from claude_force_nb.errors import ClaudeForceError, MalformedAnswerError, OptionError
from claude_force_nb.messages.nesting import MOST_DEPTH, check_depth, is_nested_deeper, load_json, load_toml
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.prompts.plain import json_data, literal
from claude_force_nb.prompts.tables import without_tables
from claude_force_nb.schemas.answer import schema_of

BODY = {"model": "claude-haiku-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}


@dataclass
class Node:
    """A record."""

    below: Any


def nested(make: Callable[[Any], Any], levels: int) -> Any:
    """Return data with so many levels."""
    value: Any = 1
    for _ in range(levels):
        value = make(value)
    return value


def endless() -> List[Any]:
    """Return data that contains itself, by several ways."""
    loop: Dict[str, Any] = {}
    loop["self"] = loop
    items: List[Any] = [1]
    items.append({"items": (items,)})
    return [loop, items]


SHAPES: Dict[str, Callable[[Any], Any]] = {
    "list": lambda value: [value],
    "tuple": lambda value: (value,),
    "dict": lambda value: {"a": value},
}
TOO_DEEP = [*(nested(make, 5_000) for make in SHAPES.values()), *endless()]
NAMES = [*SHAPES, "dict in itself", "list in itself"]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_deepest_data_that_is_taken(shape: str) -> None:
    """Data may have MOST_DEPTH levels and not one more, whichever way it comes in."""
    deepest = nested(SHAPES[shape], MOST_DEPTH)
    check_depth(deepest)
    assert json_data(deepest) == json.loads(json.dumps(deepest))
    literal(deepest)
    without_tables(deepest)
    for measure in (check_depth, json_data, literal, without_tables):
        with pytest.raises(RecursionError, match="200 levels"):
            measure(SHAPES[shape](deepest))


@pytest.mark.parametrize("value", TOO_DEEP, ids=NAMES)
def test_requests_schemas_and_values(value: Any) -> None:
    """A request, a schema and a value of a prompt are refused in one line."""
    with pytest.raises(OptionError, match="nested too deeply, or contains itself"):
        ClaudeRequest(body={**BODY, "metadata": value})
    with pytest.raises(OptionError, match="JSON data"):
        schema_of({"type": "object", "properties": {"a": value}})
    for measure in (json_data, literal, without_tables):
        with pytest.raises(RecursionError, match="contains itself"):
            measure(value)


def test_records_and_keys() -> None:
    """Records and the parts of keys count as levels."""
    loop = Node(None)
    loop.below = loop
    for value in (loop, {nested(SHAPES["tuple"], 5_000): 1}):
        for measure in (json_data, literal):
            with pytest.raises(RecursionError, match="200 levels"):
                measure(value)


@pytest.mark.parametrize("levels", [MOST_DEPTH + 1, 100_000])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}"), ("[", ""), ('{"a":[', "")])
def test_text_that_is_nested_too_deeply(begin: str, end: str, levels: int) -> None:
    """JSON and TOML are measured before a parser goes down into them."""
    text = begin * levels + "1" + end * levels
    assert is_nested_deeper(text)
    for data in (text, text.encode(), text.encode("utf-16")):
        with pytest.raises(ValueError, match="levels deep"):
            load_json(data)
    with pytest.raises(MalformedAnswerError, match="levels deep"):
        decode_json(text.encode())
    with pytest.raises(ValueError, match="levels deep"):
        load_toml(f"a = {text}")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps("[" * 5_000),
        json.dumps({"a": "[" * 5_000 + '"\\' + "{" * 5_000}),
        json.dumps([[]] * 5_000),
        json.dumps(nested(SHAPES["list"], MOST_DEPTH)),
        '"' + '\\"' * 300 + "[" * 300 + '"',
    ],
    ids=["text", "object", "wide", "deepest", "quotes"],
)
def test_brackets_that_are_not_levels(text: str) -> None:
    """Brackets in texts do not count, nor do those beside each other, nor those behind the value."""
    assert load_json(text) == json.loads(text)
    assert not is_nested_deeper("[1]" + "[" * 5_000)
    if isinstance(json.loads(text), str):
        assert load_toml(f"a = {text}") == {"a": json.loads(text)}
        assert load_toml("# " + "[" * 500 + "\na = '" + "{" * 500 + "'\n[b]\n") == {"a": "{" * 500, "b": {}}


def test_names_of_toml_that_nest() -> None:
    """Names with dots nest as brackets do."""
    with pytest.raises(ValueError, match="levels deep"):
        load_toml(".".join(["a"] * 1_000) + " = 1")


def test_an_unfinished_text_takes_no_longer_than_its_length() -> None:
    """A text that never ends, full of quotation marks, is looked at once."""
    assert not is_nested_deeper("[" * 150 + '"' + '\\"' * 1_000_000 + "[" * 100)


# In a process of its own, since it would end it.
_LOST = """
from claude_force_nb.errors import OptionError
from claude_force_nb.messages.request import ClaudeRequest

def down(levels):
    if levels:
        down(levels - 1)

class Finalised:
    def __del__(self):
        down(30)

class Data(dict):
    def items(self):
        Finalised()
        return super().items()

def main():
    data = Data()
    data["self"] = data
    try:
        ClaudeRequest(body={"model": "m", "max_tokens": 1, "messages": ["x"], "metadata": data})
    except OptionError as error:
        print(error)

main()  # with the usual stack first
"""


def test_data_that_would_end_the_process() -> None:
    """Neither objects that are finalised on the way down nor a small stack with a high recursion limit end the process."""
    assert output_with_small_stack(_LOST) == "the request is nested too deeply, or contains itself\n" * 2


@pytest.mark.parametrize("option", ["thinking", "effort", "stop", "memory", "sample", "model", "system", "temperature"])
@pytest.mark.parametrize(
    "value", [*TOO_DEEP, nested(lambda value: frozenset([value]), 5_000)], ids=[*NAMES, "frozenset"]
)
def test_options_that_cannot_be_shown(claude_fake: Any, option: str, value: Any) -> None:
    """An option with such a value is refused by its name, and not by a crash on the way to the message."""
    with pytest.raises(ClaudeForceError) as raised:
        claude_fake().request("x", **{option: value})
    assert str(raised.value).startswith(f"{option} is nested more than 200 levels deep")
