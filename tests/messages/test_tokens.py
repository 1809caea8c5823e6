"""Estimates of tokens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.messages.tokens import content_tokens, text_tokens


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ("", 0),
        ("abcd", 1),
        ("abcde", 2),
        ("ééé", 3),
        ("日本語", 3),
        ("日本語 abc", 4),
        ([{"type": "text", "text": "abcd"}, {"type": "text", "text": "abcd"}], 2),
        ([{"role": "user", "content": "x" * 400}], 101),
        ([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 10**6}}], 1600),
        ([{"type": "document", "source": {"type": "base64", "data": "A" * 4_000_000}}], 120_000),
        ([{"type": "document", "source": {"type": "base64", "data": "A"}}], 1600),
        ([{"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}], 1600),
        ([{"type": "document", "source": {"type": "text", "data": "abcdefgh"}}], 2),
        ([{"name": "tool", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}], 9),
        (None, 0),
        (3, 0),
    ],
)
def test_the_estimate(content: Any, tokens: int) -> None:
    """Four letters a token for text; an image and a document by what they cost, not by the letters they travel as."""
    assert content_tokens(content) == tokens


def test_documents_can_be_left_out() -> None:
    """They are left out if the caller mentions documents separately."""
    document = {"type": "document", "source": {"type": "base64", "data": "A" * 4_000_000}}
    assert content_tokens([{"type": "text", "text": "abcd"}, document], documents=False) == 1


@given(st.text(), st.text())
def test_a_longer_text_has_no_fewer_tokens(one: str, other: str) -> None:
    """Tokens of two texts add up to those of both together, except for rounding by one token."""
    together = text_tokens(one + other)
    assert max(text_tokens(one), text_tokens(other)) <= together <= text_tokens(one) + text_tokens(other)
