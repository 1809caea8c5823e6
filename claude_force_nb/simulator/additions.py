"""Additions unknown to clients: the API may add fields, events, blocks and values to a version at any time. Pure."""

from __future__ import annotations

from typing import Any, Dict

__all__ = ["ADDED", "add_fields", "add_to_message", "strange_block"]

# Name of everything that is added.
ADDED = "future_thing"


def strange_block() -> Dict[str, Any]:
    """Return a content block of an unknown type."""
    return {"type": ADDED, "id": "future_1", "value": {"nested": [1, None]}}


def add_fields(data: Any) -> Any:
    """Return a copy of JSON data with one more field in every object, except in JSON that the model wrote itself."""
    if isinstance(data, dict):
        changed = {key: value if key in ("input", "partial_json") else add_fields(value) for key, value in data.items()}
        return {**changed, ADDED: {"value": 1}}
    return [add_fields(item) for item in data] if isinstance(data, list) else data


def add_to_message(message: Dict[str, Any], extra: str) -> Dict[str, Any]:
    """Return a complete message with the addition named `extra`; see ``Answer.extra``."""
    if extra == "new_fields":
        changed: Dict[str, Any] = add_fields(message)
        return changed
    if extra == "new_block":
        return {**message, "content": [*message["content"], strange_block()]}
    return message
