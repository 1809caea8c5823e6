"""Requests that the API is known to refuse are refused in one line, and no others."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.checks import check_batch_fields, check_body
from claude_force_nb.messages.models import rules_for

DOCUMENT = {"type": "document", "source": {"type": "text", "data": "d"}, "citations": {"enabled": True}}


def check(model: str, version: str = "2023-06-01", betas: Any = (), **fields: Any) -> None:
    body: Dict[str, Any] = {
        "model": model,
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": "q"}],
        **fields,
    }
    check_body(body, rules_for(model), api_version=version, betas=betas)


def prefilled(*blocks: Any) -> Any:
    return [{"role": "user", "content": "q"}, {"role": "assistant", "content": list(blocks) or "{"}]


REFUSED = [
    ("haiku-5-5", {"temperature": 0.2}, "does not accept temperature=0.2 (only 1): leave it out, use sample=N"),
    ("opus-4-7", {"temperature": 0}, "or a model that takes it: claude-haiku-4-5, claude-opus-4-6, claude-sonnet-4-6"),
    ("fable-5-2", {"top_p": 1}, "top_p=1 (only 0.99"),
    ("sonnet-5", {"top_k": 5}, "does not accept top_k=5"),
    ("sonnet-5", {"temperature": 1, "top_p": 0.99}, "without temperature"),
    ("haiku-4-5", {"temperature": 0.2, "top_p": 0.5}, "temperature or top_p, not both"),
    ("opus-4-6", {"temperature": 0.2, "thinking": {"type": "adaptive"}}, "cannot be used with thinking"),
    ("opus-4-6", {"top_k": 3, "thinking": {"type": "adaptive"}}, "top_k cannot be used with thinking"),
    ("opus-4-6", {"top_p": 0.5, "thinking": {"type": "adaptive"}}, "from 0.95 to 1"),
    ("haiku-4-5", {"max_tokens": 64_001}, "writes at most 64,000 tokens"),
    ("haiku-5-5", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, "use thinking=adaptive"),
    ("haiku-4-5", {"thinking": {"type": "adaptive"}}, "use thinking=on"),
    ("opus-5-5", {"thinking": {"type": "disabled"}}, "effort=low"),
    ("sonnet-5-5", {"thinking": {"type": "disabled"}}, "use thinking=off"),
    ("opus-5", {"thinking": {"type": "between_tools"}}, "use thinking=off"),
    ("sonnet-5-5", {"thinking": {"type": "between_tools", "display": "omitted"}}, "no other fields"),
    ("opus-4-6", {"thinking": {"type": "enabled", "budget_tokens": 5000}}, "below max_tokens=5000"),
    ("opus-4-6", {"thinking": {"type": "enabled", "budget_tokens": 1000}}, "from 1024"),
    ("haiku-4-5", {"output_config": {"effort": "low"}}, "does not support effort=low"),
    ("sonnet-4-6", {"output_config": {"effort": "xhigh"}}, "takes effort=low, medium, high, max, not xhigh"),
    (
        "haiku-5-5",
        {"output_config": {"effort": "max"}, "thinking": {"type": "disabled"}},
        "only while it thinks: leave out thinking=off, or use effort=high",
    ),
    ("opus-4-6", {"messages": prefilled()}, "the last message must be the user's"),
    ("sonnet-5-5", {"messages": prefilled({"type": "text", "text": "{"})}, "the last message must be the user's"),
    (
        "haiku-4-5",
        {"messages": prefilled(), "thinking": {"type": "enabled", "budget_tokens": 2000}},
        "cannot be combined with thinking",
    ),
    ("opus-5-5", {"tool_choice": {"type": "any"}}, "does not support tool_choice=any; use auto"),
    ("fable-5-1", {"tool_choice": {"type": "tool", "name": "t"}}, "does not support tool_choice=tool"),
    (
        "opus-4-6",
        {"tool_choice": {"type": "any"}, "thinking": {"type": "enabled", "budget_tokens": 2000}},
        "cannot be used with a thinking budget",
    ),
    ("opus-4-1", {"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "use schema="),
    (
        "opus-5",
        {
            "output_config": {"format": {"type": "json_schema", "schema": {}}},
            "messages": [{"role": "user", "content": [DOCUMENT]}],
        },
        "citations cannot be used with a schema",
    ),
    ("opus-5", {"stop_sequences": ["x", " \n"]}, "a stop sequence that is only white space"),
    ("haiku-4-5", {"inference_geo": "us"}, "does not support inference_geo"),
]


@pytest.mark.parametrize(("model", "fields", "why"), REFUSED)
def test_what_is_refused(model: str, fields: Dict[str, Any], why: str) -> None:
    """One line that says what is wrong and what to do; a model that is not known is let through."""
    with pytest.raises(OptionError) as raised:
        check("claude-" + model, **fields)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)
    check("claude-opus-9", **fields)
    check("qwen3:8b", **fields)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("haiku-5-5", {"temperature": 1}),
        ("haiku-5-5", {"top_p": 0.99}),
        ("haiku-5-5", {"temperature": None}),
        ("haiku-4-5", {"temperature": 0.2, "top_k": 5}),
        ("sonnet-4-6", {"temperature": 0.2, "top_p": 0.5}),
        ("opus-4-6", {"tool_choice": {"type": "any"}, "thinking": {"type": "adaptive"}}),
        ("haiku-5-5", {"tool_choice": {"type": "any"}}),
        ("haiku-4-5", {"messages": prefilled()}),
        (
            "opus-5-5",
            {"messages": prefilled({"type": "server_tool_use", "id": "srvtoolu_1", "name": "n", "input": {}})},
        ),
        ("opus-4-6", {"max_tokens": 300_000, "betas": ["output-300k-2026-03-24"]}),
        ("opus-4-6", {"thinking": 5, "tool_choice": [], "output_config": "x", "messages": "q"}),
    ],
)
def test_what_is_let_through(model: str, fields: Dict[str, Any]) -> None:
    """Malformed bodies are let through too, since the API describes best what is wrong."""
    check("claude-" + model, **fields)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-5-5", "claude-opus-9"])
def test_the_newer_version_of_the_api_takes_no_sampling(model: str) -> None:
    """Whatever the model, and also at the default value."""
    with pytest.raises(OptionError, match="API version 2026-10-21 does not accept temperature=1 on any model"):
        check(model, version="2026-10-21", temperature=1)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"speed": "fast"}, "do not take speed;"),
        ({"speed": "standard", "fallbacks": "default"}, "do not take speed, fallbacks;"),
        ({"thread": {"id": "t"}}, "do not take thread;"),
        ({"diagnostics": {"previous_message_id": None}}, "do not take diagnostics;"),
        ({"stream": True}, "do not take stream;"),
        ({"max_tokens": 0}, "do not take max_tokens=0;"),
    ],
)
def test_what_message_batches_do_not_take(fields: Dict[str, Any], why: str) -> None:
    with pytest.raises(OptionError) as raised:
        check_batch_fields(fields)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_message_batches_take() -> None:
    """A field without a value is not refused; tools and a schema are allowed."""
    check_batch_fields(
        {"speed": None, "stream": False, "max_tokens": 1, "tools": [], "cache_control": {"type": "ephemeral"}}
    )
