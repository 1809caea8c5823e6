"""What the simulator is sent may be nested as deeply as anybody likes: it answers, in a process that has raised its recursion limit too."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, Tuple

import pytest
from support.small_stack import output_with_small_stack

from claude_force_nb.simulator import Simulator
from claude_force_nb.simulator.nesting import is_too_deep, load_body
from claude_force_nb.simulator.patterns import matching

HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01", "content-type": "application/json"}


def post(url: str, body: bytes) -> Tuple[int, Any]:
    request = urllib.request.Request(url + "/v1/messages", body, HEADERS)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def body(content: str) -> bytes:
    start = '{"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}], '
    return (start + content + "}").encode()


@pytest.mark.parametrize("levels", [300, 100_000])
@pytest.mark.parametrize(("before", "behind"), [("[", "]"), ('{"a": ', "}"), ("[", "")])
def test_a_body_that_is_nested_too_deeply(simulator: Simulator, before: str, behind: str, levels: int) -> None:
    """It is refused as the API refuses what it cannot read, and the next request is answered."""
    status, answer = post(simulator.url, body(f'"metadata": {before * levels}1{behind * levels}'))
    assert (status, answer["error"]["message"]) == (400, "The request body is not valid JSON")
    assert post(simulator.url, body('"temperature": 1'))[0] == 200


def test_brackets_in_texts_are_no_levels() -> None:
    """Nor are those beside each other, or behind the value."""
    for text in (
        json.dumps("[" * 500),
        json.dumps([[]] * 500),
        json.dumps({"a": '"\\' + "{" * 500}),
        "[" * 256 + "]" * 256,
    ):
        assert not is_too_deep(text)
        assert load_body(text.encode("utf-16")) == load_body(text) == json.loads(text)
    assert not is_too_deep("[1]" + "[" * 500)
    assert is_too_deep("[" * 257)


def test_patterns_of_many_groups() -> None:
    """A pattern that is too deep is one that the simulator has no text for."""
    assert matching("(" * 20 + "a" + ")" * 20) == "a"
    assert matching("(" * 5_000 + "a" + ")" * 5_000) is None


# In a process of its own, since it would end it. The schema stands in a prompt, where the client writes it for older models.
_RAISED = """
from claude_force_nb.simulator import Simulator
from claude_force_nb.simulator.patterns import matching
from claude_force_nb.simulator.nesting import load_body
from claude_force_nb.simulator.schema import asked_schema

def main():
    deep = '{"a": ' * 100_000
    try:
        load_body(deep)
    except ValueError as error:
        print(error)
    said = "Answer with this JSON Schema: " + deep
    print(asked_schema({"system": said, "messages": [{"role": "user", "content": said}]}), matching("(" * 100_000))
"""


def test_a_raised_recursion_limit() -> None:
    """The stack of a small thread does not overflow."""
    printed = output_with_small_stack(_RAISED, size_bytes=1024 * 1024)
    assert printed == "nested more than 256 levels deep\nNone None\n"
