"""A complete answer to a request: content blocks, stop reason and usage. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from .models import Model
from .schema import asked_schema, example, misfit
from .tokens import CHARACTERS_PER_TOKEN, block_text, count_text_tokens
from .words import compose, fixed_size

__all__ = ["Answer", "make_answer", "stream_events"]

_compact = json.JSONEncoder(separators=(",", ":")).encode
_CHUNKS = 5


@dataclass(frozen=True)
class Answer:
    """One answer; `content` holds the API's content blocks.

    Attributes
    ----------
    content : tuple of dict
    stop_reason : str
    stop_sequence : str or None
    input_tokens, output_tokens, thinking_tokens : int
        Thinking is part of the output.
    service_tier : str
        ``standard`` or ``batch``.
    """

    content: Tuple[Dict[str, Any], ...]
    stop_reason: str
    stop_sequence: Optional[str]
    input_tokens: int
    output_tokens: int
    thinking_tokens: int = 0
    service_tier: str = "standard"

    @property
    def stop_details(self) -> Optional[Dict[str, Any]]:
        """What the API adds to a refusal."""
        if self.stop_reason != "refusal":
            return None
        return {"type": "refusal", "category": None, "explanation": None}

    def usage(self, output_tokens: int) -> Dict[str, Any]:
        """Return the ``usage`` object at the moment when `output_tokens` have been produced."""
        usage: Dict[str, Any] = {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output_tokens,
            "service_tier": self.service_tier,
            "inference_geo": "not_available",
        }
        return usage

    def message(self, message_id: str, model: str) -> Dict[str, Any]:
        """Return the complete ``message`` object."""
        usage = self.usage(self.output_tokens)
        usage["output_tokens_details"] = {"thinking_tokens": self.thinking_tokens}
        return {
            "model": model,
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "content": list(self.content),
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "stop_details": self.stop_details,
            "usage": usage,
        }


def _digest(body: Mapping[str, Any]) -> str:
    return sha256(_compact([body.get("system"), body.get("messages")]).encode("ascii")).hexdigest()


def _thinking(body: Mapping[str, Any], model: str, digest: str, max_tokens: int) -> Tuple[List[Dict[str, Any]], int]:
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") not in ("enabled", "adaptive"):
        return [], 0
    text = f"Simulated thinking of {model} ({digest[:6]}): the simulator does not think; it reads the words of the prompt."[
        : max_tokens * CHARACTERS_PER_TOKEN
    ]
    shown = "" if thinking.get("display") == "omitted" else text
    block = {"type": "thinking", "thinking": shown, "signature": "simulated" + digest}
    return [block], count_text_tokens(text)


def _forced_tool(body: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    choice = body.get("tool_choice")
    tools: List[Mapping[str, Any]] = body.get("tools") or []
    if not isinstance(choice, dict) or choice.get("type") not in ("tool", "any") or not tools:
        return None
    return next((tool for tool in tools if tool["name"] == choice.get("name")), tools[0])


def _text(body: Mapping[str, Any], model: str, digest: str, answer_bytes: Optional[int], wrong: bool) -> str:
    schema = asked_schema(body)
    if schema is not None:
        return _compact(misfit(schema) if wrong else example(schema, digest))
    if answer_bytes is not None:
        return fixed_size(answer_bytes, digest)
    messages = body["messages"]
    asked = next((message for message in reversed(messages) if message["role"] == "user"), messages[-1])
    system = body.get("system")
    return compose(block_text(system) if system else "", block_text(asked["content"]), len(messages), model, digest)


def make_answer(
    body: Mapping[str, Any],
    model: Model,
    input_tokens: int,
    *,
    answer_bytes: Optional[int] = None,
    refuse: bool = False,
    wrong: bool = False,
    service_tier: str = "standard",
) -> Answer:
    """Return the answer to a valid request `body`; equal bodies get equal answers.

    Parameters
    ----------
    body : mapping
        Request body that `check_request` passed.
    model : Model
    input_tokens : int
        As `check_request` counted them.
    answer_bytes : int, optional
        Size of a text answer.
    refuse : bool
        Answer with stop reason ``refusal`` and no content.
    wrong : bool
        Answer with JSON that does not fit the schema asked for; without effect where none is.
    service_tier : str
        ``standard`` or ``batch``.
    """
    if refuse:
        return Answer((), "refusal", None, input_tokens, 1, 0, service_tier)
    digest = _digest(body)
    max_tokens: int = body["max_tokens"]
    content, thinking_tokens = _thinking(body, model.name, digest, max_tokens)
    room = (max_tokens - thinking_tokens) * CHARACTERS_PER_TOKEN
    tool = _forced_tool(body)
    if tool is not None:
        arguments = example(tool.get("input_schema", {}), digest)
        text = _compact(arguments)
        cut = len(text) > room
        block = {
            "type": "tool_use",
            "id": "toolu_sim" + digest[:20],
            "name": tool["name"],
            "input": arguments,
            "caller": {"type": "direct"},
        }
        if cut:
            block["input"] = {}
        spent = thinking_tokens + min(count_text_tokens(text), room // CHARACTERS_PER_TOKEN)
        return Answer(
            (*content, block),
            "max_tokens" if cut else "tool_use",
            None,
            input_tokens,
            spent,
            thinking_tokens,
            service_tier,
        )
    text = _text(body, model.name, digest, answer_bytes, wrong)
    stop_reason, stop_sequence = "end_turn", None
    found = [(place, stop) for stop in body.get("stop_sequences") or () for place in [text.find(stop)] if place >= 0]
    if found:
        place, stop_sequence = min(found)
        stop_reason, text = "stop_sequence", text[:place]
    if len(text) > room:
        stop_reason, stop_sequence, text = "max_tokens", None, text[:room]
    if text:
        content.append({"type": "text", "text": text})
    spent = thinking_tokens + count_text_tokens(text)
    return Answer(
        tuple(content), stop_reason, stop_sequence, input_tokens, max(spent, 1), thinking_tokens, service_tier
    )


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    text = _compact(data)
    # The API pads data lines with blanks, so that their length tells nothing; clients must not trip over them.
    return "event: {}\ndata: {}{}\n\n".format(kind, text, " " * (len(text) % 7)).encode("ascii")


def _pieces(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


def stream_events(
    answer: Answer, message_id: str, model: str, *, chunk_tokens: Optional[int] = None
) -> Iterator[Tuple[bytes, int, bool]]:
    """Yield the events of a stream as ``(bytes, output tokens so far, is the end)``.

    Parameters
    ----------
    answer : Answer
    message_id, model : str
    chunk_tokens : int, optional
        Tokens of a delta; None splits each block into about five.
    """
    spent = 1
    start = answer.message(message_id, model)
    start.update(content=[], stop_reason=None, stop_sequence=None, stop_details=None, usage=answer.usage(spent))
    yield _event("message_start", {"type": "message_start", "message": start}), spent, False
    characters = 0
    for index, block in enumerate(answer.content):
        if block["type"] == "thinking":
            field, kind, text = "thinking", "thinking_delta", block["thinking"]
            opened: Dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
        elif block["type"] == "tool_use":
            field, kind, text = "partial_json", "input_json_delta", _compact(block["input"])
            opened = dict(block, input={})
        else:
            field, kind, text = "text", "text_delta", block["text"]
            opened = {"type": "text", "text": ""}
        first = _event("content_block_start", {"type": "content_block_start", "index": index, "content_block": opened})
        if index == 0:
            first += b'event: ping\ndata: {"type": "ping"}\n\n'
        yield first, spent, False
        size = chunk_tokens * CHARACTERS_PER_TOKEN if chunk_tokens else max(1, -(-len(text) // _CHUNKS))
        if block["type"] == "tool_use":
            # The API sends an empty piece before the first.
            empty = {"type": kind, field: ""}
            yield (
                _event("content_block_delta", {"type": "content_block_delta", "index": index, "delta": empty}),
                spent,
                False,
            )
        for piece in _pieces(text, size):
            characters += len(piece)
            spent = min(answer.output_tokens, max(spent, -(-characters // CHARACTERS_PER_TOKEN)))
            delta = {"type": kind, field: piece}
            yield (
                _event("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}),
                spent,
                False,
            )
        if block["type"] == "thinking":
            delta = {"type": "signature_delta", "signature": block["signature"]}
            yield (
                _event("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}),
                spent,
                False,
            )
        yield _event("content_block_stop", {"type": "content_block_stop", "index": index}), spent, False
    ending = {
        "stop_reason": answer.stop_reason,
        "stop_sequence": answer.stop_sequence,
        "stop_details": answer.stop_details,
    }
    usage = {
        "input_tokens": answer.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"thinking_tokens": answer.thinking_tokens},
    }
    yield (
        _event("message_delta", {"type": "message_delta", "delta": ending, "usage": usage})
        + _event("message_stop", {"type": "message_stop"}),
        answer.output_tokens,
        True,
    )
