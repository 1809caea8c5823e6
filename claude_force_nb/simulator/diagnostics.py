"""Diagnostics for requests that ask why the prompt cache could not reuse an earlier prompt. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Dict, List, Mapping, Optional, Tuple

__all__ = ["PromptRecords"]

_MAX_RECORDS = 1000


class PromptRecords:
    """The last requests that asked for diagnostics, by the id of their answer."""

    def __init__(self) -> None:
        # Answer id -> request, model that answered, tokens of the prompt.
        self._records: OrderedDict[str, Tuple[Mapping[str, Any], str, int]] = OrderedDict()

    def reset(self) -> None:
        """Forget everything."""
        self._records.clear()

    def diagnose(
        self, message_id: str, body: Mapping[str, Any], model: str, input_tokens: int
    ) -> Optional[Dict[str, Any]]:
        """Record a request under the id of its answer; return the answer's ``diagnostics``.

        Return None if the request does not ask for them, has nothing to compare with, or continues the earlier one.
        """
        asked = body.get("diagnostics")
        if asked is None:
            return None
        previous_id = asked.get("previous_message_id")
        reason = None if previous_id is None else self._reason(previous_id, body, model)
        self._records[message_id] = (body, model, input_tokens)
        if len(self._records) > _MAX_RECORDS:
            self._records.popitem(last=False)
        return None if reason is None else {"cache_miss_reason": reason}

    def _reason(self, previous_id: str, body: Mapping[str, Any], model: str) -> Optional[Dict[str, Any]]:
        if previous_id not in self._records:
            return {"type": "previous_message_not_found"}
        before, its_model, tokens = self._records[previous_id]
        kind = None
        if (model, body.get("speed") or "standard") != (its_model, before.get("speed") or "standard"):
            kind = "model_changed"
        elif _plain(body.get("system")) != _plain(before.get("system")):
            kind = "system_changed"
        elif _plain(body.get("tools") or []) != _plain(before.get("tools") or []):
            kind = "tools_changed"
        else:
            earlier, now = _messages(before), _messages(body)
            if now[: len(earlier)] != earlier:
                kind = "messages_changed"
        return None if kind is None else {"type": kind, "cache_missed_input_tokens": tokens}


def _plain(value: Any) -> Any:
    """Return a part of a prompt without breakpoints; a plain text becomes one block."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if isinstance(value, list):
        return [_plain(item) if isinstance(item, list) else _unmarked(item) for item in value]
    return value


def _unmarked(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    return {name: _plain(part) if name == "content" else part for name, part in item.items() if name != "cache_control"}


def _messages(body: Mapping[str, Any]) -> List[Any]:
    return [(message["role"], _plain(message["content"])) for message in body["messages"]]
