"""Turns an answer into the events of a stream. Pure."""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

from .additions import ADDED, add_fields, strange_block
from .answers import Answer

__all__ = ["stream_events"]

_compact = json.JSONEncoder(separators=(",", ":")).encode
_CHUNKS = 5
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return _padded(kind, _compact(data))


def _padded(kind: str, text: str) -> bytes:
    # The API pads data lines with blanks, so that their length reveals nothing; clients must tolerate them.
    return f"event: {kind}\ndata: {text}{' ' * (len(text) % 7)}\n\n".encode("ascii")


def _pieces(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


class _Stream:
    """The events of one answer, and the number of output tokens sent so far."""

    def __init__(self, answer: Answer, chunk_tokens: Optional[int]) -> None:
        self._answer = answer
        self._per_token = answer.model.characters_per_token
        self._chunk = None if chunk_tokens is None else chunk_tokens * self._per_token
        self._said_characters = 0
        self.spent = min(1, answer.usage.output_tokens)

    def start(self, message_id: str) -> bytes:
        message = self._answer.message(message_id, started_only=True)
        return self._emit("message_start", {"message": message})

    def _emit(self, kind: str, data: Dict[str, Any]) -> bytes:
        data = {"type": kind, **data}
        if self._answer.extra == "new_fields":
            data = add_fields(data)
        event = _event(kind, data)
        if self._answer.extra == "new_events":
            event += _event(ADDED, {"type": ADDED, "value": self.spent})
        return event

    def _delta(self, index: int, kind: str, field: str, piece: str) -> bytes:
        if not self._answer.extra:
            # Nearly all events are of this kind: format them like `_event`, but faster, without building a dict.
            text = (
                f'{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}","{field}":'
                f"{encode_basestring_ascii(piece)}}}}}"
            )
            return _padded("content_block_delta", text)
        return self._emit("content_block_delta", {"index": index, "delta": {"type": kind, field: piece}})

    def _size(self, text: str) -> int:
        return self._chunk or max(1, -(-len(text) // _CHUNKS))

    def block(self, index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
        kind = block["type"]
        if kind == "thinking":
            yield from self._thinking(index, block)
        elif kind == "tool_use":
            yield self._opened(index, dict(block, input={}))
            # The API sends an empty piece first.
            yield self._delta(index, "input_json_delta", "partial_json", "")
            yield from self._said(index, "input_json_delta", "partial_json", _compact(block["input"]))
        elif kind == "text":
            yield self._opened(index, {"type": "text", "text": ""})
            yield from self._said(index, "text_delta", "text", block["text"])
        elif kind == "fallback":
            yield self._opened(index, dict(block))
        else:
            yield self._opened(index, dict(block))
            yield self._emit("content_block_delta", {"index": index, "delta": {"type": ADDED + "_delta", "value": 1}})
        yield self._emit("content_block_stop", {"index": index})

    def _opened(self, index: int, block: Dict[str, Any]) -> bytes:
        event = self._emit("content_block_start", {"index": index, "content_block": block})
        return event if index else event + _PING

    def _said(self, index: int, kind: str, field: str, text: str) -> Iterator[bytes]:
        answer = self._answer
        for piece in _pieces(text, self._size(text)):
            self._said_characters += len(piece)
            tokens = answer.thinking_tokens - (-self._said_characters // self._per_token)
            self.spent = min(answer.usage.output_tokens, max(self.spent, tokens))
            yield self._delta(index, kind, field, piece)

    def _thinking(self, index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
        yield self._opened(index, {"type": "thinking", "thinking": "", "signature": ""})
        text = block["thinking"]
        # Thinking that is not shown has one empty delta.
        pieces = list(_pieces(text, self._size(text))) or [""]
        for number, piece in enumerate(pieces, 1):
            self.spent = max(self.spent, self._answer.thinking_tokens * number // len(pieces))
            yield self._delta(index, "thinking_delta", "thinking", piece)
        yield self._delta(index, "signature_delta", "signature", block["signature"])

    def end(self) -> bytes:
        answer = self._answer
        usage = answer.usage_so_far(answer.usage.output_tokens)
        told = {name: usage[name] for name in _TOLD_AT_THE_END}
        if "iterations" in usage:
            told["iterations"] = usage["iterations"]
        told["output_tokens_details"] = {"thinking_tokens": answer.thinking_tokens}
        delta = {
            "stop_reason": answer.stop_reason,
            "stop_sequence": answer.stop_sequence,
            "stop_details": answer.stop_details,
        }
        return self._emit("message_delta", {"delta": delta, "usage": told}) + _event(
            "message_stop", {"type": "message_stop"}
        )


_TOLD_AT_THE_END = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def stream_events(
    answer: Answer, message_id: str, *, chunk_tokens: Optional[int] = None
) -> Iterator[Tuple[bytes, int, bool]]:
    """Yield the events of a stream as ``(bytes, output tokens so far, is the end)``.

    Parameters
    ----------
    answer : Answer
    message_id : str
    chunk_tokens : int, optional
        Tokens per delta; None splits each block into about five deltas.
    """
    stream = _Stream(answer, chunk_tokens)
    yield stream.start(message_id), stream.spent, False
    blocks = list(answer.content)
    if answer.extra == "new_block":
        blocks.append(strange_block())
    for index, block in enumerate(blocks):
        for event in stream.block(index, block):
            yield event, stream.spent, False
    yield stream.end(), answer.usage.output_tokens, True
