"""A streamed answer: its events put together to the message that a plain call would have given."""

from __future__ import annotations

import json
import time
from typing import Any, Dict, List, Mapping

from claude_force_nb.errors import StreamCutError

from .answer import PartialAnswer
from .failures import error_from_answer

__all__ = ["collect"]


async def collect(stream: Any, partial: PartialAnswer, headers: Mapping[str, str]) -> Dict[str, Any]:
    """Put the events of a stream together to the message that a plain call would have given.

    Event order and meaning: Messages API reference, "Streaming". ``message_delta.usage`` is cumulative: it replaces, and is
    never added to, what ``message_start`` said.
    """
    message: Dict[str, Any] = {}
    blocks: List[Dict[str, Any]] = []
    complete = False
    async for item in stream:
        event = item if isinstance(item, dict) else item.to_dict(mode="json", warnings=False)
        kind = event.get("type")
        if kind == "message_start":
            message = dict(event.get("message") or {})
            message["usage"] = dict(message.get("usage") or {})
        elif kind == "content_block_start":
            blocks.append(dict(event.get("content_block") or {}))
            _show(partial, blocks[-1].get("text"), blocks[-1].get("thinking"))
        elif kind == "content_block_delta" and blocks:
            _add_delta(blocks[-1], event.get("delta") or {}, partial)
        elif kind == "message_delta":
            message.update({key: value for key, value in (event.get("delta") or {}).items() if value is not None})
            message.setdefault("usage", {}).update(
                {key: value for key, value in (event.get("usage") or {}).items() if value is not None}
            )
        elif kind == "message_stop":
            complete = True
        elif kind == "error":
            raise error_from_answer(200, event, headers, now=time.time())
    if not complete:
        raise StreamCutError("the answer was cut off before its end")
    for block in blocks:
        _finish(block)
    message["content"] = blocks
    return message


def _show(partial: PartialAnswer, text: Any, thinking: Any) -> None:
    if text:
        partial.add_text(str(text))
    if thinking:
        partial.add_thinking(str(thinking))


# How each kind of delta continues its block. Parts are collected and joined once at the end.
_DELTAS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


def _add_delta(block: Dict[str, Any], delta: Dict[str, Any], partial: PartialAnswer) -> None:
    kind = delta.get("type")
    name = _DELTAS.get(str(kind))
    if name is not None:
        block.setdefault("_parts", {}).setdefault(name, []).append(str(delta.get(name) or ""))
        _show(partial, delta.get("text"), delta.get("thinking"))
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta.get("citation")]


def _finish(block: Dict[str, Any]) -> None:
    for name, parts in block.pop("_parts", {}).items():
        joined = "".join(parts)
        if name == "partial_json":
            block["input"] = _tool_input(joined)
        else:
            block[name] = str(block.get(name) or "") + joined


def _tool_input(text: str) -> Any:
    """Decode a tool's input; one that max_tokens cut off is kept as the text it is, under the name the API's docs give it."""
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return {"INVALID_JSON": text}
