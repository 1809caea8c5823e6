"""The mark for the API's prompt cache in a request. Pure.

A mark changes the cost of a request, not its meaning. So it is not part of the fingerprint, and is added to the body
only when the request is sent. Rules: "Prompt caching" in the API's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

__all__ = ["CacheMark", "beginning_of", "has_cache_control", "marked_body", "prefix_settings", "shared_part"]

# Block types that cannot carry a mark ("Prompt caching", "What can be cached").
_NOT_MARKED = ("thinking", "redacted_thinking")


@dataclass(frozen=True, eq=False)
class CacheMark:
    """One mark. Requests with the same mark object share their prompt up to the mark.

    Attributes
    ----------
    place : str
        ``tools`` or ``system`` marks the end of that part, ``prompt`` the shared part of the last message, ``end`` the
        end of the prompt.
    ttl : str
        Lifetime, ``5m`` or ``1h``; each read renews it.
    shared_characters : int
        For ``prompt``, the number of shared characters in the text that contains the mark; 0 if the mark follows a
        whole block.
    shared_blocks : int
        For ``prompt``, the number of whole blocks of the last message before that text; 0 if the content is text.
    adapts : bool
        True if the user did not choose the lifetime, so that a run may switch to the longer one.
    """

    place: str
    ttl: str = "5m"
    shared_characters: int = 0
    shared_blocks: int = 0
    adapts: bool = False

    @property
    def lifetime_seconds(self) -> float:
        """How long the API keeps an entry after it was written or read, in seconds."""
        return 3600.0 if self.ttl == "1h" else 300.0


def marked_body(body: Mapping[str, Any], mark: CacheMark) -> Dict[str, Any]:
    """Return a copy of a body with the mark added, or an unmarked copy if there cannot be a mark in that place."""
    control: Dict[str, Any] = {"type": "ephemeral"}
    if mark.ttl != "5m":
        control["ttl"] = mark.ttl
    marked = dict(body)
    if mark.place == "tools":
        marked["tools"] = _marked_end(body.get("tools"), control)
    elif mark.place == "system":
        marked["system"] = _marked_end(body.get("system"), control)
    else:
        *before, last = body["messages"]
        content = last["content"]
        if mark.place == "prompt":
            shared, rest = _split(content, mark)
            parts: Any = [*_marked_end(shared, control), *rest] if shared else content
        else:
            parts = _marked_end(content, control)
        marked["messages"] = [*before, {**last, "content": parts}]
    return marked


def _split(content: Any, mark: CacheMark) -> Tuple[List[Any], List[Any]]:
    """Return the blocks of a message before and after a mark; none before it if no block can carry the mark."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    before, rest = blocks[: mark.shared_blocks], blocks[mark.shared_blocks :]
    text = rest[0].get("text") if rest and mark.shared_characters else None
    if isinstance(text, str):
        shared, own = text[: mark.shared_characters], text[mark.shared_characters :]
        if shared.strip() and own.strip():  # the API refuses blocks of nothing but white space
            return [*before, {**rest[0], "text": shared}], [{**rest[0], "text": own}, *rest[1:]]
        if not own and len(rest) > 1:
            return [*before, rest[0]], rest[1:]
    return before, rest


def beginning_of(content: Any, shared_blocks: int, shared_characters: int) -> Tuple[Sequence[Any], str]:
    """Return the first blocks of a message's content, and the first characters of the text after them."""
    if isinstance(content, str):
        return (), content[:shared_characters]
    if not isinstance(content, list):
        return (), ""
    following = content[shared_blocks] if shared_characters and len(content) > shared_blocks else {}
    return content[:shared_blocks], str(following.get("text") or "")[:shared_characters]


def _marked_end(content: Any, control: Mapping[str, Any]) -> Any:
    """Return text or blocks with the mark on the last one."""
    if isinstance(content, str):
        return [{"type": "text", "text": content, "cache_control": control}] if content.strip() else content
    if not isinstance(content, list) or not content or not isinstance(content[-1], Mapping):
        return content
    last: Mapping[str, Any] = content[-1]
    if last.get("type") in _NOT_MARKED or last.get("text") == "":
        return content
    blocks: List[Any] = [*content[:-1], {**last, "cache_control": control}]
    return blocks


def shared_part(body: Mapping[str, Any], mark: CacheMark) -> List[Any]:
    """Return the part of a request before the mark: tools, system prompt, and messages or the beginning of the last one."""
    before = [body.get("tools"), body.get("system") if mark.place != "tools" else None]
    if mark.place == "end":
        return [*before, body["messages"]]
    if mark.place == "prompt":
        blocks, text = beginning_of(body["messages"][-1]["content"], mark.shared_blocks, mark.shared_characters)
        return [*before, [*blocks, text]]
    return before


def has_cache_control(body: Mapping[str, Any]) -> bool:
    """Return whether a body already contains marks."""
    todo: List[Any] = [body]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping):
            if value.get("cache_control") is not None:
                return True
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    return False


def prefix_settings(body: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the settings, by name, that must be equal for a prompt to be found in the prompt cache, in addition to its text.

    Notes
    -----
    "Prompt caching", "What invalidates the cache": if any of these changes, the messages are not found in the cache;
    for some of them, neither are the tools and the system prompt.
    """
    config = body.get("output_config")
    config = config if isinstance(config, Mapping) else {}
    return {
        "model": body.get("model"),
        "tools": body.get("tools") or None,
        "tool_choice": body.get("tool_choice"),
        "the system prompt": body.get("system") or None,
        "thinking": body.get("thinking"),
        "effort": config.get("effort"),
        "the schema": config.get("format"),
        "whether there are images": _has_image(body.get("messages")),
    }


def _has_image(messages: Any) -> bool:
    contents = [message.get("content") for message in messages or () if isinstance(message, Mapping)]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return any(isinstance(block, Mapping) and block.get("type") == "image" for block in blocks)
