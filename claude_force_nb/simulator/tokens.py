"""Token estimates with a fixed number of characters per token, for counting, billing and rate limits alike. Pure."""

from __future__ import annotations

import json
from typing import Any, List, Mapping

__all__ = [
    "MESSAGE_TOKENS",
    "block_text",
    "block_tokens",
    "count_content",
    "count_text_tokens",
    "json_tokens",
    "prompt_text",
]

# Tokens that the API adds for each message (role and separators), and approximate tokens of an image or a page.
MESSAGE_TOKENS = 3
_PER_BINARY_BLOCK = 1500

_compact = json.JSONEncoder(separators=(",", ":")).encode


def count_text_tokens(text: str, characters_per_token: int) -> int:
    """Return the tokens of `text`: 0 for an empty text, otherwise at least 1."""
    return -(-len(text) // characters_per_token)


def json_tokens(value: Any, characters_per_token: int) -> int:
    """Return the tokens of `value` as JSON."""
    return count_text_tokens(_compact(value), characters_per_token)


def block_tokens(block: Mapping[str, Any], characters_per_token: int) -> int:
    """Return the tokens of a content block."""
    kind = block.get("type")
    if kind == "text":
        return count_text_tokens(str(block.get("text", "")), characters_per_token)
    if kind in ("image", "document"):
        return _PER_BINARY_BLOCK
    if kind in ("tool_result", "mid_conv_system"):
        return count_content(block.get("content"), characters_per_token)
    if kind in ("thinking", "redacted_thinking"):
        # The model does not read the signature.
        return count_text_tokens(str(block.get("thinking", "")), characters_per_token)
    if "cache_control" in block:
        block = {key: value for key, value in block.items() if key != "cache_control"}
    return json_tokens(block, characters_per_token)


def count_content(content: Any, characters_per_token: int) -> int:
    """Return the tokens of a message's content or of a system prompt."""
    if isinstance(content, str):
        return count_text_tokens(content, characters_per_token)
    if not isinstance(content, list):
        return 0
    return sum(block_tokens(block, characters_per_token) for block in content if isinstance(block, dict))


def block_text(content: Any) -> str:
    """Return the text of a message's content or of a system prompt."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts: List[str] = []
    for block in content:
        if isinstance(block, dict):
            text = block.get("text") if block.get("type") == "text" else block_text(block.get("content"))
            if isinstance(text, str) and text:
                parts.append(text)
    return "\n".join(parts)


def prompt_text(body: Mapping[str, Any]) -> str:
    """Return all text in the request, system prompt first."""
    parts = [block_text(body.get("system"))]
    messages = body.get("messages")
    if isinstance(messages, list):
        parts.extend(block_text(message.get("content")) for message in messages if isinstance(message, dict))
    return "\n".join(part for part in parts if part)
