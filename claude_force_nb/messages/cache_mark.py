"""Where a request marks its prompt for the API's prompt cache. Pure.

A mark changes what a request costs and not what it asks, so it is no part of the fingerprint: it is put into the body when that is sent.
Rules: "Prompt caching" in the API's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Dict, List

__all__ = ["CacheMark", "has_cache_control", "marked_body", "shared_part"]

# What cannot carry a mark ("Prompt caching", "What can be cached").
_NOT_MARKED = ("thinking", "redacted_thinking")


@dataclass(frozen=True, eq=False)
class CacheMark:
    """One mark; requests that are marked by the same object have the same prompt up to it.

    Attributes
    ----------
    place : str
        ``tools`` and ``system`` mark their end, ``prompt`` the part of the last message that is shared, ``end`` the end of all.
    ttl : str
        Lifetime, ``5m`` or ``1h``; each read renews it.
    shared_characters : int
        For ``prompt``, where in the text the mark stands: more than 0, and before its end.
    """

    place: str
    ttl: str = "5m"
    shared_characters: int = 0

    @property
    def lifetime_seconds(self) -> float:
        """How long the API keeps what was written or read."""
        return 3600.0 if self.ttl == "1h" else 300.0


def marked_body(body: Mapping[str, Any], mark: CacheMark) -> Dict[str, Any]:
    """Return a copy of a body with a mark in it; without one where nothing stands at its place that can be marked."""
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
            shared, rest = content[: mark.shared_characters], content[mark.shared_characters :]
            # The API takes no block of nothing but white space.
            whole = shared.strip() and rest.strip()
            parts: Any = [*_marked_end(shared, control), {"type": "text", "text": rest}] if whole else content
        else:
            parts = _marked_end(content, control)
        marked["messages"] = [*before, {**last, "content": parts}]
    return marked


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
    """Return what stands before the mark: tools, system prompt, and messages or the beginning of the last one."""
    before = [body.get("tools"), body.get("system") if mark.place != "tools" else None]
    if mark.place == "end":
        return [*before, body["messages"]]
    if mark.place == "prompt":
        return [*before, body["messages"][-1]["content"][: mark.shared_characters]]
    return before


def has_cache_control(body: Mapping[str, Any]) -> bool:
    """Return whether a body has marks of its own."""
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
