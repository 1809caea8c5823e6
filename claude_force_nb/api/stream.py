"""Combine the events of a stream into the message that a plain call would have returned. Pure."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping

from claude_force_nb.errors import MalformedAnswerError, StreamCutError

from .answer import PartialAnswer
from .decoding import Redactor, decode_json, joined
from .failures import error_from_answer

__all__ = ["MessageAssembler"]

# For each kind of delta, the field that it extends and the kind of block it belongs to. Parts are joined once, at the
# end.
_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "thinking"),
    "input_json_delta": ("partial_json", "tool_use"),
}
_MOST_BLOCKS = 10_000


class MessageAssembler:
    """Combines the events of one stream into a message.

    Event order and meaning: Messages API reference, "Streaming". ``message_delta.usage`` is cumulative: it replaces the
    values of ``message_start`` and is never added to them. Unknown events and deltas are ignored, as is anything after
    the end.

    Parameters
    ----------
    partial : PartialAnswer
        Receives text and thinking as they arrive, for display.
    headers : mapping
        Headers of the response, with names in lower case.
    redactor : Redactor
        Removes secrets that arrived in several parts.
    """

    def __init__(self, partial: PartialAnswer, headers: Mapping[str, str], redactor: Redactor) -> None:
        self._partial = partial
        self._headers = headers
        self._redactor = redactor
        self._message: Dict[str, Any] = {}
        self._blocks: Dict[int, _Block] = {}
        self._counted = False
        self.complete = False

    def add(self, event: Any) -> None:
        """Add one event; raise the error of an ``error`` event."""
        kind = event.get("type") if isinstance(event, dict) else None
        if self.complete:
            return
        if kind == "message_start":
            self._partial.begin()
            self._message = dict(_mapping(event.get("message")))
            self._message["usage"] = dict(_mapping(self._message.get("usage")))
        elif kind == "content_block_start":
            self._start_block(event)
        elif kind == "content_block_delta":
            self._add_delta(event)
        elif kind == "message_delta":
            self._message.update(_told(event.get("delta")))
            told = _told(event.get("usage"))
            self._message.setdefault("usage", {}).update(told)
            self._counted = self._counted or "output_tokens" in told
        elif kind == "message_stop":
            self.complete = True
        elif kind == "error":
            raise error_from_answer(200, event, self._headers, now=time.time(), secrets=self._redactor.secrets)

    def message(self) -> Dict[str, Any]:
        """Return the complete message.

        Raises
        ------
        StreamCutError
            If the end event is missing.
        MalformedAnswerError
            If there was an end event but no message.
        """
        if not self.complete:
            raise StreamCutError("the answer was cut off before its end")
        if not self._message and not self._blocks:
            raise MalformedAnswerError(
                "the server sent the end of a stream without a message; check base_url", status=200
            )
        if not self._counted:  # the count in the first event includes only tokens written by then
            self._message.setdefault("usage", {}).pop("output_tokens", None)
        content = [self._blocks[index].finish() for index in sorted(self._blocks)]
        message: Dict[str, Any] = self._redactor.clean({**self._message, "content": content})
        return message

    def _start_block(self, event: Dict[str, Any]) -> None:
        fields = dict(_mapping(event.get("content_block")))
        self._blocks[self._index(event, len(self._blocks))] = _Block(fields)
        self._show(fields)

    def _add_delta(self, event: Dict[str, Any]) -> None:
        delta = _mapping(event.get("delta"))
        kind = str(delta.get("type"))
        field, block_kind = _DELTAS.get(kind, (None, None))
        if field is None and kind != "citations_delta":
            return
        index = self._index(event, max(self._blocks, default=0))
        block = self._blocks.get(index)
        if block is None:  # the event that starts the block is missing
            block = self._blocks[index] = _Block({"type": block_kind or "text"})
        if field is None:
            block.citations.append(delta.get("citation"))
            return
        value = delta.get(field)
        if isinstance(value, str):
            block.add(field, value)
            self._show({field: value})

    def _index(self, event: Dict[str, Any], default: int) -> int:
        index = event.get("index")
        if type(index) is int and 0 <= index < _MOST_BLOCKS:
            return index
        if default >= _MOST_BLOCKS:
            raise MalformedAnswerError(f"the answer has more than {_MOST_BLOCKS:,} blocks", status=200)
        return default

    def _show(self, fields: Mapping[str, Any]) -> None:
        text, thinking = fields.get("text"), fields.get("thinking")
        if isinstance(text, str) and text:
            self._partial.add_text(text)
        if isinstance(thinking, str) and thinking:
            self._partial.add_thinking(thinking)


class _Block:
    """One content block while its parts arrive."""

    def __init__(self, fields: Dict[str, Any]) -> None:
        self._fields = fields
        self._parts: Dict[str, List[str]] = {}
        self.citations: List[Any] = []

    def add(self, field: str, part: str) -> None:
        self._parts.setdefault(field, []).append(part)

    def finish(self) -> Dict[str, Any]:
        fields = self._fields
        for name, parts in self._parts.items():
            if name == "partial_json":
                fields["input"] = _tool_input("".join(parts))
            else:
                first = fields.get(name)
                fields[name] = joined([first, *parts] if isinstance(first, str) else parts)
        if self.citations:
            before = fields.get("citations")
            fields["citations"] = [*(before if isinstance(before, list) else []), *self.citations]
        return fields


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _told(value: Any) -> Dict[str, Any]:
    """Return the fields of an object that are not null."""
    return {key: each for key, each in _mapping(value).items() if each is not None}


def _tool_input(text: str) -> Any:
    """Decode a tool's input. If max_tokens cut it off, keep the text under the name that the API's documentation uses."""
    if not text.strip():
        return {}
    try:
        return decode_json(text.encode("utf-8", "surrogatepass"))
    except MalformedAnswerError:
        return {"INVALID_JSON": text}
