"""Token estimates: about four characters a token, the same for counting, billing and rate limits. Pure."""

from __future__ import annotations

import json
from typing import Any, List, Mapping

__all__ = ["CHARACTERS_PER_TOKEN", "block_text", "count_input_tokens", "count_text_tokens", "prompt_text"]

CHARACTERS_PER_TOKEN = 4

# What the API adds around each message (role and separators), and roughly what a picture or a page costs.
_PER_MESSAGE = 3
_PER_BINARY_BLOCK = 1500
# The lines that explain a schema to the model, beside the schema itself.
_PER_SCHEMA = 150


def count_text_tokens(text: str) -> int:
    """Return the tokens of `text`: 0 for none, otherwise at least 1."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _count_content(content: Any) -> int:
    if isinstance(content, str):
        return count_text_tokens(content)
    if not isinstance(content, list):
        return 0
    total = 0
    for block in content:
        if not isinstance(block, dict):
            continue
        kind = block.get("type")
        if kind == "text":
            total += count_text_tokens(str(block.get("text", "")))
        elif kind in ("image", "document"):
            total += _PER_BINARY_BLOCK
        elif kind == "tool_result":
            total += _count_content(block.get("content"))
        else:
            total += count_text_tokens(json.dumps(block, separators=(",", ":")))
    return total


def count_input_tokens(body: Mapping[str, Any]) -> int:
    """Return the input tokens of a request body: system, messages, tools and schema."""
    total = _count_content(body.get("system"))
    for message in body.get("messages") or ():
        if isinstance(message, dict):
            total += _PER_MESSAGE + _count_content(message.get("content"))
    for tool in body.get("tools") or ():
        total += count_text_tokens(json.dumps(tool, separators=(",", ":")))
    config = body.get("output_config")
    if isinstance(config, dict) and config.get("format") is not None:
        total += _PER_SCHEMA + count_text_tokens(json.dumps(config["format"], separators=(",", ":")))
    return total


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
    """Return all text that the request carries, system prompt first."""
    parts = [block_text(body.get("system"))]
    messages = body.get("messages")
    if isinstance(messages, list):
        parts.extend(block_text(message.get("content")) for message in messages if isinstance(message, dict))
    return "\n".join(part for part in parts if part)
