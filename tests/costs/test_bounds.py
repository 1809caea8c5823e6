"""The maximum cost of a request is known only if the request contains everything that is billed."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.costs.bounds import (
    bound_tokens,
    content_bytes,
    input_bound_tokens,
    is_bounded,
    paced_bytes,
    price_bound,
    unbounded_part,
)
from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.messages.request import ClaudeRequest

DAY = datetime.date(2026, 11, 27)
MODEL = "claude-sonnet-5-5"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}


def request(**body: Any) -> ClaudeRequest:
    given: Dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
    return ClaudeRequest(body={**given, **body})


def asking(*blocks: Any) -> ClaudeRequest:
    return request(messages=[{"role": "user", "content": list(blocks)}])


KNOWN: List[ClaudeRequest] = [
    request(),
    request(
        system="S", temperature=0.5, top_p=0.9, top_k=3, stop_sequences=["x"], stream=True, metadata={"user_id": "u"}
    ),
    request(
        system=[{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
        cache_control={"type": "ephemeral"},
    ),
    request(thinking={"type": "adaptive"}, output_config={"effort": "low"}, tool_choice={"type": "auto"}),
    request(
        tools=[{"name": "t", "input_schema": {"type": "object"}}, {"type": "custom", "name": "u", "input_schema": {}}]
    ),
    request(speed="fast"),
    request(speed=None, service_tier="standard_only", inference_geo="us", diagnostics={"previous_message_id": None}),
    request(context_management={"edits": [{"type": "clear_tool_uses_20250919"}, {"type": "clear_thinking_20251015"}]}),
    request(mcp_servers=[], container=None, fallbacks=[]),
    request(messages=[{"role": "user", "content": "a", "output_config": {"effort": "low"}}]),
    asking(IMAGE, {"type": "text", "text": "what is it?"}),
    asking({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "text"}}),
    asking({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "t"}, IMAGE]}}),
    asking({"type": "tool_use", "id": "i", "name": "n", "input": {"type": "url", "source": {"type": "file"}}}),
    asking(
        {"type": "tool_result", "tool_use_id": "i", "content": [IMAGE]}, {"type": "tool_result", "tool_use_id": "j"}
    ),
    asking({"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "t"}]}),
    asking({"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}),
]

BY_ADDRESS = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
BY_FILE = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
UNKNOWN = {
    "mcp_servers": [request(mcp_servers=[{"type": "url", "url": "https://x"}])],
    "container": [request(container="c_1"), request(container={"skills": []})],
    "fallbacks": [request(fallbacks="default"), request(fallbacks=[{"model": "claude-opus-5-5"}])],
    "thread": [request(thread={"type": "continue", "previous_message_id": "m"})],
    "compaction": [request(compaction={"type": "summarize"})],
    "n": [request(n=5)],
    "a_field_of_next_year": [request(a_field_of_next_year=True), request(a_field_of_next_year=0.5)],
    "speed": [request(speed="ludicrous")],
    "service_tier": [request(service_tier="priority_plus")],
    "context_management": [
        request(context_management={"edits": [{"type": "compact_20260112"}]}),
        request(context_management={"edits": [{"type": "summarize_2027"}]}),
        request(context_management={"edits": ["clear_tool_uses_20250919"]}),
        request(context_management={"edits": [], "memory": True}),
        request(context_management="auto"),
    ],
    "tools": [
        request(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        request(tools=[{"name": "t"}, {"type": "computer_20251124", "name": "computer"}]),
        request(tools=["bash"]),
    ],
    "system": [request(system=[BY_FILE]), request(system={"type": "text"})],
    "messages": [
        asking(BY_ADDRESS),
        asking(IMAGE, BY_FILE),
        asking({"type": "container_upload", "file_id": "f"}),
        asking({"type": "a_block_of_next_year"}),
        asking({"type": "document", "source": {"type": "content", "content": [BY_ADDRESS]}}),
        asking({"type": "tool_result", "tool_use_id": "i", "content": [{"type": "text", "text": "t"}, BY_FILE]}),
        asking({"type": "search_result", "source": "s", "title": "t", "content": [BY_ADDRESS]}),
        asking({"type": "image", "source": "https://example.org/a.png"}),
        asking("text"),
        request(messages=[{"role": "user", "content": "a", "ref": "msg_1"}]),
        request(messages=["hello"]),
        request(messages=[{"role": "user", "content": 5}]),
    ],
}


@pytest.mark.parametrize("known", KNOWN, ids=str)
def test_what_is_whole_in_the_request_has_a_bound(known: ClaudeRequest) -> None:
    assert unbounded_part(known) is None
    assert is_bounded(known)
    assert (price_bound(known, load_prices(), on=DAY) or Decimal(0)) > 0 or known.body.get("speed") == "fast"


@pytest.mark.parametrize(
    ("part", "unknown"), [(part, unknown) for part, requests in UNKNOWN.items() for unknown in requests]
)
def test_what_may_cost_more_than_it_says_has_none(part: str, unknown: ClaudeRequest) -> None:
    """It is named, and its price is not known, so that a budget refuses it unless such calls are allowed."""
    assert unbounded_part(unknown) == part
    assert not is_bounded(unknown)
    assert bound_tokens(unknown, 1_000_000) is None
    assert price_bound(unknown, load_prices(), on=DAY) is None


@given(
    st.dictionaries(
        st.text(min_size=1), st.one_of(st.integers(1), st.text(min_size=1), st.lists(st.integers(), min_size=1))
    )
)
def test_a_field_that_is_not_on_the_list_has_no_bound(fields: Dict[str, Any]) -> None:
    """Whatever its name, since the API may add fields in the future."""
    body = {f"x_{name}": value for name, value in fields.items()}
    assert is_bounded(request(**body)) is (not body)


@pytest.mark.parametrize(
    ("body", "alike", "added"),
    [
        ({"output_config": {"effort": "low"}}, {"output_confim": {"effort": "low"}}, 0),
        ({"output_config": None}, {"output_confim": None}, 0),
        ({"tools": [{"name": "t", "input_schema": {}}]}, {"toolz": [{"name": "t", "input_schema": {}}]}, 512),
        ({"output_config": {"format": {"schema": {}}}}, {"output_config": {"formal": {"schema": {}}}}, 512),
    ],
)
def test_tools_and_schemas_come_with_a_system_prompt_of_the_api(
    body: Dict[str, Any], alike: Dict[str, Any], added: int
) -> None:
    """Either of them makes room for it, in the bound and in what pacing guesses from; a field as long that is neither does not."""
    for size in (input_bound_tokens, paced_bytes):
        assert size(request(**body)) - size(request(**alike)) == added
        assert 512 < size(request()) - content_bytes(request()) < 600


def test_settings_are_not_read_by_the_model() -> None:
    """What an estimate takes for proportional to the tokens is the same with thinking off, another model or less effort, and more with more to read."""
    plain = content_bytes(request())
    settings: Dict[str, Any] = {
        "thinking": {"type": "disabled"},
        "temperature": 0.5,
        "output_config": {"effort": "low"},
    }
    assert content_bytes(request(**settings, stop_sequences=["x" * 50], metadata={"user_id": "u" * 50})) == plain
    for read in (
        {"system": "s" * 40},
        {"tools": [{"name": "t" * 40}]},
        {"output_config": {"effort": "low", "format": {"schema": {"title": "t" * 40}}}},
    ):
        assert content_bytes(request(**read)) >= plain + 40


def test_the_price_of_fast_output_bounds_what_is_asked_to_be_fast() -> None:
    """Where the model has one; and that of the region that is asked for."""
    prices = load_prices()
    for speed, fast in (("fast", True), ("standard", False), (None, False)):
        body = request(model="claude-opus-5-5", speed=speed)
        bound = prices.bound(
            "claude-opus-5-5",
            input_tokens=input_bound_tokens(body),
            max_tokens=100,
            on=DAY,
            batch=False,
            fast=fast,
            inference_geo="global",
        )
        assert price_bound(body, prices, on=DAY) == bound
    slow, quick = (price_bound(request(model="claude-opus-5-5", speed=each), prices, on=DAY) for each in (None, "fast"))
    assert slow != quick


def test_pacing_takes_images_and_documents_for_what_they_usually_are() -> None:
    """An image for 1,600 tokens of four bytes, however few bytes it has; a PDF for its bytes, up to 100 long pages."""
    plain = content_bytes(asking())
    assert content_bytes(asking(IMAGE)) - plain == 6400

    def pdf(length: int) -> Any:
        source = {"type": "base64", "media_type": "application/pdf", "data": "A" * length}
        return asking({"type": "document", "source": source})

    assert content_bytes(pdf(1000)) - plain == 1000
    assert content_bytes(pdf(2_000_000)) - plain == 1_200_000
