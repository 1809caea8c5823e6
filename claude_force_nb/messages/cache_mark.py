"""Where a request marks its prompt for the API's prompt cache. Pure.

A mark changes what a request costs, not what it asks. So it is not part of the fingerprint, and is added to the body only on sending.
Rules: "Prompt caching" in the API's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Dict, List

__all__ = ["CacheMark", "has_cache_control", "marked_body", "shared_part"]

# Block types that cannot carry a mark ("Prompt caching", "What can be cached").
_NOT_MARKED = ("thinking", "redacted_thinking")


@dataclass(frozen=True, eq=False)
class CacheMark:
    """One mark. Requests marked by the same object share their prompt up to the mark.

    Attributes
    ----------
    place : str
        ``tools`` and ``system`` mark their own end, ``prompt`` the shared part of the last message, ``end`` the end of the prompt.
    ttl : str
        Lifetime, ``5m`` or ``1h``; each read renews it.
    shared_characters : int
        For ``prompt``, how many characters of the last message come before the mark: more than 0, and not all of them.
    """

    place: str
    ttl: str = "5m"
    shared_characters: int = 0

    @property
    def lifetime_seconds(self) -> float:
        """How long the API keeps what was written or read."""
        return 3600.0 if self.ttl == "1h" else 300.0


def marked_body(body: Mapping[str, Any], mark: CacheMark) -> Dict[str, Any]:
    """Return a copy of a body with the mark added, or without it if there is nothing to mark at that place."""
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
            # The API refuses blocks that are only white space.
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
    """Return what comes before the mark: tools, system prompt, and messages or the beginning of the last one."""
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
