"""Requests of one orchestrator, made one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest

from claude_force_nb.agents import Agent, AgentLibrary
from claude_force_nb.calls.composer import Composer
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.calls.settings import CallSettings
from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.messages.request import DEFAULT_BASE_URL

SETTINGS = CallSettings(
    max_concurrent=1, max_retries=0, timeout_seconds=1.0, default_model="sonnet", default_max_tokens=16_000
)


@pytest.fixture
def composer(tmp_path: Path) -> Composer:
    return Composer(AgentLibrary(tmp_path, home=tmp_path), load_prices(), DEFAULT_BASE_URL, SETTINGS)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"model": "haiku"}),
        ({"model": "haiku"}, {}),
        ({"max_tokens": 5}, {"max_tokens": 6}),
        ({"agent": Agent("a", "one")}, {"agent": Agent("a", "two")}),
        ({"temperature": 0, "model": "claude-haiku-4-5"}, {"temperature": 1, "model": "claude-haiku-4-5"}),
        ({"sample": 1}, {"sample": 2}),
        ({"betas": ("a",)}, {"betas": ("b",)}),
        ({"stop": ["a"]}, {"stop": ["b"]}),
    ],
)
def test_other_options_make_another_request(composer: Composer, first: Dict[str, Any], second: Dict[str, Any]) -> None:
    """What was made ready for the last call serves the next one only where all options are the same."""
    made = [composer.request("p", CallOptions.of(options)) for options in (first, second, first)]
    assert made[0] == made[2] != made[1]


def test_a_body_that_was_changed_in_place_counts(composer: Composer) -> None:
    """The same mapping with something else in it is another request."""
    body = {"metadata": {"user_id": "one"}}
    first = composer.request("p", CallOptions(body=body))
    body["metadata"]["user_id"] = "two"
    assert composer.request("p", CallOptions(body=body)).body["metadata"] == {"user_id": "two"}
    assert first.body["metadata"] == {"user_id": "one"}


def test_an_agents_file_is_read_again(tmp_path: Path, composer: Composer) -> None:
    """An agent given by its name is what its file says now."""
    folder = tmp_path / ".claude" / "agents"
    folder.mkdir(parents=True)
    for words in ("Be one.", "Be the other, at length."):
        (folder / "mine.md").write_text(f"---\nname: mine\ndescription: x\n---\n{words}\n", encoding="utf-8")
        assert composer.request("p", CallOptions(agent="mine")).body["system"] == words
        options = composer.with_agent(CallOptions(agent="mine"))
        assert composer.request("p", options).body["system"] == words


def test_variables_are_those_of_each_call(composer: Composer) -> None:
    """Options that differ in their variables share all else, and nothing of the values."""
    texts = [
        composer.request("{{ x }}", CallOptions(variables={"x": text})).body["messages"][0]["content"]
        for text in ("one", "two", "one\ntwo")
    ]
    assert texts == ["one", "two", '<data name="x">\none\ntwo\n</data>']
