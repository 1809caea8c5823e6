"""Estimates of token counts; only the API knows the exact ones. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["CHARACTERS_PER_TOKEN", "content_tokens", "text_tokens"]

CHARACTERS_PER_TOKEN = 4
"""For Latin script; Anthropic's glossary says about 3.5 for English."""

# The most tokens of an image on models up to 2025 ("Vision", image costs).
_IMAGE_TOKENS = 1_600
# A PDF page has 1,500 to 3,000 tokens ("PDF support"), and usually 50 to 100 kB.
_DOCUMENT_BYTES_PER_TOKEN = 25
# Keys of the message format. They cost nothing, since the model does not see them.
_FORM = ("type", "role", "content", "text", "source", "data", "media_type", "cache_control")


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text: one for every four ASCII characters, and one for each other character.

    Notes
    -----
    Scripts other than Latin have one token per character or more; the estimate for accented letters is a little too
    high.
    """
    if text.isascii():
        return -(-len(text) // CHARACTERS_PER_TOKEN)
    ascii_characters = len(text.encode("ascii", "ignore"))
    return math.ceil(ascii_characters / CHARACTERS_PER_TOKEN) + len(text) - ascii_characters


def content_tokens(content: Any, *, documents: bool = True) -> int:
    """Estimate the tokens of a part of a request's body; the result is the same in every process and on every Python version.

    Parameters
    ----------
    content : str, list or mapping
        A message's content, a list of messages, or tools; anything else counts as 0.
    documents : bool
        Whether to count documents that are not plain text.
    """
    if isinstance(content, str):
        return text_tokens(content)
    if isinstance(content, list):
        return sum(content_tokens(item, documents=documents) for item in content)
    if not isinstance(content, Mapping):
        return 0
    kind, source = content.get("type"), content.get("source")
    if kind == "image" and isinstance(source, Mapping):
        return _IMAGE_TOKENS
    if kind == "document" and isinstance(source, Mapping) and source.get("type") != "text":
        data = source.get("data")
        size_bytes = len(data) * 3 // 4 if isinstance(data, str) else 0
        return max(_IMAGE_TOKENS, size_bytes // _DOCUMENT_BYTES_PER_TOKEN) if documents else 0
    return sum(
        content_tokens(item, documents=documents) + (0 if name in _FORM else text_tokens(str(name)))
        for name, item in content.items()
        if name != "type"
    )
