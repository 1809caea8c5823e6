"""A prompt and its options become the body that is sent."""

from __future__ import annotations

import datetime
import json
import warnings
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_force_nb.agents import Agent, AgentLibrary
from claude_force_nb.calls.compose import RequestMaker
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.costs.bounds import input_bound_tokens, is_bounded
from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.errors import (
    ClaudeForceError,
    EmptyPromptError,
    ModelRetirementWarning,
    OptionError,
    UnknownModelError,
)
from claude_force_nb.messages.request import DEFAULT_BASE_URL, ClaudeRequest
from claude_force_nb.prompts.fences import DATA_NOTICE

NOWHERE = Path(__file__).parent / "no-such-folder"
AGENT = Agent("a", "Be an agent.", model="claude-opus-4-6", temperature=0.2, max_tokens=123)


def maker(*, base_url: str = DEFAULT_BASE_URL, **options: Any) -> RequestMaker:
    agents = AgentLibrary(NOWHERE, home=NOWHERE)
    return RequestMaker(CallOptions.of(options), agents=agents, prices=load_prices(), base_url=base_url)


def composed(prompt: str = "p", *, base_url: str = DEFAULT_BASE_URL, **options: Any) -> ClaudeRequest:
    return maker(base_url=base_url, **options).request(prompt, options.get("variables"))


def test_the_plainest_request() -> None:
    """Without options: the default model by its full name, its bound, and the prompt as it is."""
    assert composed("Hi {x} {{ y }}").body == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 16_000,
        "messages": [{"role": "user", "content": "Hi {x} {{ y }}"}],
    }


def test_every_option_has_its_field() -> None:
    """Each option arrives where the API expects it; body= goes last and wins."""
    request = composed(
        model="claude-opus-4-6", system="S", max_tokens=5000, temperature=1, thinking=2000, effort="high", stop="x",
        sample=3, betas="b-2025-01-01", body={"top_p": 0.97, "system": "T"},
    )  # fmt: skip
    assert request.body == {
        "model": "claude-opus-4-6",
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": "p"}],
        "system": "T",
        "temperature": 1,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "high"},
        "stop_sequences": ["x"],
        "top_p": 0.97,
    }
    assert (request.sample, request.betas) == (3, ("b-2025-01-01",))


def test_an_agent_gives_what_the_call_does_not() -> None:
    """The agent's model, temperature and bound hold unless the call says otherwise, 0 being something said."""
    body = composed(agent=AGENT).body
    assert (body["model"], body["temperature"], body["max_tokens"], body["system"]) == (
        "claude-opus-4-6", 0.2, 123, "Be an agent.",
    )  # fmt: skip
    body = composed(agent=AGENT, model="claude-haiku-4-5", temperature=0, max_tokens=7, system="And brief.").body
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("claude-haiku-4-5", 0, 7)
    assert body["system"] == "Be an agent.\n\nAnd brief."
    assert composed(agent="reviewer").agent == "reviewer"


@pytest.mark.parametrize(
    ("agent", "options", "sent", "said"),
    [
        (
            {"temperature": 0.2},
            {"model": "haiku"},
            {"temperature": None},
            "temperature=0.2 is left out: claude-haiku-5-5 does not accept it",
        ),
        (
            {"temperature": 0.2, "thinking": "on"},
            {"model": "claude-opus-4-6"},
            {"temperature": None},
            "temperature=0.2",
        ),
        (
            {"thinking": "on"},
            {"model": "claude-opus-4-6", "temperature": 0.2},
            {"thinking": None, "temperature": 0.2},
            "thinking=on cannot be combined with the other options; it is left out",
        ),
        ({"thinking": "off"}, {"model": "opus"}, {"output_config": {"effort": "low"}}, "effort=low is sent instead"),
        (
            {"effort": "xhigh"},
            {"model": "claude-opus-4-6"},
            {"output_config": {"effort": "high"}},
            "effort=xhigh is lowered: claude-opus-4-6 accepts at most high",
        ),
        ({"max_tokens": 100_000}, {"model": "claude-haiku-4-5"}, {"max_tokens": 64_000}, "writes at most 64,000"),
        ({"thinking": "off", "effort": "low"}, {"model": "haiku"}, {"thinking": {"type": "disabled"}}, ""),
    ],
)
def test_what_an_agent_asks_for_gives_way(
    agent: Dict[str, Any], options: Dict[str, Any], sent: Dict[str, Any], said: str
) -> None:
    """Its file may be older than the model: what does not go is left out or replaced by the nearest, with a notice."""
    request = composed(agent=Agent("a", "Be.", **agent), **options)
    assert {name: request.body.get(name) for name in sent} == sent
    assert said in " ".join(request.adjustments)
    assert bool(request.adjustments) is bool(said)
    assert request.fingerprint == composed(agent=Agent("b", "Be.", **agent), **options).fingerprint


def test_the_notice_comes_with_a_fence() -> None:
    """Data in a fence brings the sentence that says what a fence is, and nothing else does."""
    fenced = composed("{{ x }}", variables={"x": "a\nb"})
    assert fenced.body["system"] == DATA_NOTICE
    assert "system" not in composed("{{ x }}", variables={"x": "a"}).body
    assert composed("{{ x }}", variables={"x": "a\nb"}, system="S").body["system"] == "S\n\n" + DATA_NOTICE


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperatur": 1}, "unknown option 'temperatur'; did you mean 'temperature'?"),
        ({"cache": "refesh"}, "did you mean 'refresh'?"),
        ({"effort": "hihg"}, "did you mean 'high'?"),
        ({"temperature": 1.5}, "temperature must be a number from 0 to 1"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"temperature": True}, "temperature must be"),
        ({"max_tokens": 0}, "max_tokens must be a whole number from 1"),
        ({"max_tokens": 1.5}, "max_tokens must be"),
        ({"timeout_seconds": 0}, "timeout must be seconds"),
        ({"timeout_seconds": float("inf")}, "timeout must be seconds"),
        ({"sample": 0}, "sample must be a whole number from 1"),
        ({"sample": "2"}, "sample must be"),
        ({"stop": 5}, "stop must be"),
        ({"stop": ["a", ""]}, "stop must be"),
        ({"system": 5}, "system must be text"),
        ({"model": 5}, "model must be text"),
        ({"agent": 5}, "agent must be a name or an Agent"),
        ({"variables": ["x"]}, "variables must be a mapping"),
        ({"body": [1]}, "body must be a mapping"),
        ({"use_memory": "yes"}, "use_memory must be True or False"),
        ({"memory": "a"}, "memory= has no effect without use_memory=True"),
        ({"turn": "a"}, "turn= has no effect without use_memory=True"),
        ({"use_memory": True, "memory": "../a"}, "memory must name a conversation"),
        ({"use_memory": True, "memory": "on"}, "memory must name a conversation"),
        ({"use_memory": True, "turn": ""}, "turn must be a non-empty text"),
        ({"use_memory": True, "memory_tokens": 0}, "memory_tokens must be a whole number from 1"),
        ({"use_memory": True, "body": {"messages": []}}, "body cannot have messages"),
        ({"thinking": 20_000, "model": "claude-haiku-4-5"}, "must be below max_tokens"),
        ({"body": {"max_tokens": "many"}}, "max_tokens must be a whole number"),
        ({"body": {"x": float("nan")}}, "must be a finite number"),
    ],
)
def test_options_that_cannot_be(options: Dict[str, Any], said: str) -> None:
    """A wrong option is one line that names it and says what it can be."""
    with pytest.raises(OptionError) as raised:
        composed(**options)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("prompt", ["", " ", "\n\t\u3000"])
def test_empty_prompts(prompt: str) -> None:
    """Nothing but white space is not a prompt."""
    with pytest.raises(EmptyPromptError):
        composed(prompt)


def test_models_of_other_servers() -> None:
    """On other servers a name that is not a Claude model is accepted; at the official API it is a typing error."""
    assert composed(model="qwen3:8b", base_url="http://localhost:11434").model == "qwen3:8b"
    with pytest.raises(UnknownModelError):
        composed(model="qwen3:8b")


options = st.fixed_dictionaries(
    {},
    optional={
        "model": st.one_of(st.sampled_from(["haiku", "claude-opus-5-5"]), st.text()),
        "temperature": st.one_of(st.floats(), st.integers(), st.text()),
        "max_tokens": st.one_of(st.integers(), st.floats()),
        "thinking": st.one_of(st.booleans(), st.integers(), st.text()),
        "effort": st.text(),
        "stop": st.one_of(st.text(), st.lists(st.text())),
        "sample": st.one_of(st.integers(), st.booleans()),
        "variables": st.dictionaries(st.text(), st.text()),
        "system": st.text(),
        "body": st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.floats(), st.text())),
    },
)


@given(st.text(st.characters()), options)
@example("p", {"body": {"\x1e": float("inf")}})
def test_whatever_is_given_is_sent_or_refused_in_one_line(prompt: str, given_options: Dict[str, Any]) -> None:
    """Any prompt with any options gives a request that is JSON, or an error of ours in one line."""
    said = ""
    try:
        request = composed(prompt, **given_options)
        assert len(request.fingerprint) == 64
        assert request.max_tokens >= 1
    except ClaudeForceError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).filter(str.strip))
def test_the_bound_is_a_bound(prompt: str) -> None:
    """A request has fewer tokens than bytes, so the bytes of all its text bound them."""
    assert input_bound_tokens(composed(prompt, system="S" * 100)) > len(prompt.encode("utf-8")) + 100


TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(TEXTS, inner, max_size=8),
)


@given(JSON)
def test_the_bound_counts_what_json_adds(value: Any) -> None:
    """Tools are shown to the model as JSON: a list of a thousand letters has more bytes of quotes and commas than of letters."""
    body = composed(body={"tools": [{"name": "t", "input_schema": {"enum": [value]}}]}).body
    shown = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    assert input_bound_tokens(ClaudeRequest(body=body)) >= len(shown)


@pytest.mark.parametrize(
    ("body", "bounded"),
    [
        ({}, True),
        ({"tools": [{"name": "t", "input_schema": {"type": "object"}}]}, True),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, False),
        ({"mcp_servers": [{"type": "url", "url": "https://x"}]}, False),
        ({"fallbacks": [{"model": "claude-opus-5-5"}]}, False),
        ({"fallbacks": "default"}, False),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, False),
        ({"compaction": {"type": "summarize"}}, False),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, False),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, True),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "aGk="}}]}
                ]
            },
            True,
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "u"}}]}]},
            False,
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            False,
        ),
    ],
)
def test_what_has_a_bound(body: Dict[str, Any], bounded: bool) -> None:
    """What the API fetches, holds, summarises or runs itself may be more than it was sent, and another model may be dearer."""
    assert is_bounded(composed(body=body)) is bounded


def test_one_maker_makes_what_a_new_one_makes() -> None:
    """What is looked up once is the same for every prompt; with a fence, without one, with an agent and with messages of `body`."""
    shapes: Tuple[Dict[str, Any], ...] = (
        {},
        {"agent": AGENT, "system": "S", "thinking": "off", "model": "haiku"},
        {"schema": {"type": "object", "properties": {"x": {"type": "integer"}}}},
        {"body": {"messages": [{"role": "user", "content": "mine"}], "tools": [{"name": "t"}]}},
    )
    for options in shapes:
        one = maker(**options)
        for prompt, value in (
            ("a {{ x }}", "1"),
            ("b {{ x }}", "two\nlines"),
            ("c {{ x }}", "3"),
            ("d {{ x }}", "4\n5"),
        ):
            made = one.request(prompt, {"x": value})
            fresh = composed(prompt, variables={"x": value}, **options)
            assert made == fresh
            assert made.fingerprint == fresh.fingerprint
            assert (made.agent, made.notices, made.adjustments) == (fresh.agent, fresh.notices, fresh.adjustments)


def test_a_maker_checks_every_prompt() -> None:
    """What the first prompt passed, the second one has to pass as well."""
    one = maker()
    one.request("fine")
    with pytest.raises(EmptyPromptError):
        one.request(" ")
    with pytest.raises(OptionError, match="prompt must be text"):
        one.request(3)  # type: ignore[arg-type]
    assert one.request("x {{ y }}", {"y": "a\u200bb"}).notices == ("1 invisible character removed from y",)
    assert one.request("fine").notices == ()


def test_a_model_that_will_be_retired_is_named_on_the_day_that_is_given() -> None:
    """A month before it is, and not without a day, nor where there is time."""

    def compose_on(day: Any, model: str = "claude-sonnet-4-5-20250929") -> None:
        agents = AgentLibrary(NOWHERE, home=NOWHERE)
        RequestMaker(
            CallOptions(model=model), agents=agents, prices=load_prices(), base_url=DEFAULT_BASE_URL, today=day
        ).request("p")

    with pytest.warns(ModelRetirementWarning, match="will be retired on 2026-11-30"):
        compose_on(datetime.date(2026, 11, 27))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compose_on(None)
        compose_on(datetime.date(2026, 1, 1))
        compose_on(datetime.date(2026, 11, 27), model="claude-sonnet-5-5")


@pytest.mark.parametrize("agent", [None, AGENT])
def test_the_agents_name_is_the_requests(agent: Any) -> None:
    """Receipts and ledger have it; without an agent there is none."""
    assert composed(agent=agent).agent == (None if agent is None else "a")
