"""Marks for the prompt cache change nothing else in the body, and not the fingerprint."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.messages.cache_mark import CacheMark, has_cache_control, marked_body, shared_part
from claude_force_nb.messages.request import ClaudeRequest

BODY: Dict[str, Any] = {
    "model": "m",
    "max_tokens": 5,
    "tools": [{"name": "a"}, {"name": "b"}],
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "abcdef"},
    ],
}
FIVE, HOUR = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}


def test_each_place() -> None:
    """The mark stands on the last tool, on the system prompt, inside the last message or at its end."""
    assert marked_body(BODY, CacheMark("tools"))["tools"] == [{"name": "a"}, {"name": "b", "cache_control": FIVE}]
    assert marked_body(BODY, CacheMark("system", "1h"))["system"] == [
        {"type": "text", "text": "Be brief.", "cache_control": HOUR}
    ]
    assert marked_body(BODY, CacheMark("prompt", shared_characters=2))["messages"] == [
        *BODY["messages"][:2],
        {
            "role": "user",
            "content": [{"type": "text", "text": "ab", "cache_control": FIVE}, {"type": "text", "text": "cdef"}],
        },
    ]
    assert marked_body(BODY, CacheMark("end"))["messages"][-1]["content"] == [
        {"type": "text", "text": "abcdef", "cache_control": FIVE}
    ]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    with_image = {**BODY, "messages": [{"role": "user", "content": [image]}]}
    assert marked_body(with_image, CacheMark("end"))["messages"][-1]["content"] == [{**image, "cache_control": FIVE}]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"system": " \n"}, "system"),
        ({"system": []}, "system"),
        ({"tools": []}, "tools"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}]}]},
            "end",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "end"),
    ],
)
def test_what_cannot_be_marked_is_left_alone(changes: Dict[str, Any], place: str) -> None:
    """Empty text, white space and thinking carry no mark: the API refuses it there."""
    body = {**BODY, **changes}
    assert marked_body(body, CacheMark(place)) == body


@given(
    text=st.text(st.characters(blacklist_categories=["Cs"]), min_size=2),
    ttl=st.sampled_from(["5m", "1h"]),
    data=st.data(),
)
def test_a_mark_changes_no_word(text: str, ttl: str, data: st.DataObject) -> None:
    """Wherever a text is split, its two parts are the text; the fingerprint and the body that is kept do not know of it."""
    place = data.draw(st.integers(1, len(text) - 1))
    request = ClaudeRequest({**BODY, "messages": [{"role": "user", "content": text}]})
    before = json.dumps(request.body)
    marked = request.marked(CacheMark("prompt", ttl, place))
    sent = marked.sent_body
    blocks = sent["messages"][0]["content"]
    if isinstance(blocks, str):  # a part of nothing but white space is not marked
        assert blocks == text
        assert not (text[:place].strip() and text[place:].strip())
    else:
        assert "".join(block["text"] for block in blocks) == text
    assert {**sent, "messages": request.body["messages"]} == request.body
    assert (marked.fingerprint, marked, json.dumps(marked.body)) == (request.fingerprint, request, before)
    assert request.sent_body is request.body


def test_a_callers_own_marks_are_seen_anywhere() -> None:
    """At the top, on a tool, deep in a message; a field that only looks like one in a text is none."""
    assert not has_cache_control({**BODY, "system": "cache_control"})
    assert has_cache_control({**BODY, "cache_control": FIVE})
    assert has_cache_control({**BODY, "tools": [{"name": "a", "cache_control": FIVE}]})
    assert has_cache_control(
        {**BODY, "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": FIVE}]}]}
    )


def test_the_part_before_a_mark() -> None:
    """Tools come before the system prompt, and that before the messages."""
    assert shared_part(BODY, CacheMark("tools")) == [BODY["tools"], None]
    assert shared_part(BODY, CacheMark("system")) == [BODY["tools"], "Be brief."]
    assert shared_part(BODY, CacheMark("prompt", shared_characters=2)) == [BODY["tools"], "Be brief.", ["ab"]]
    assert shared_part(BODY, CacheMark("end")) == [BODY["tools"], "Be brief.", BODY["messages"]]
