"""Makes complete answers to requests: content blocks, stop reason and usage. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .bound_thinking import call_id, prompt_digest, sign
from .catalogue import Model
from .faults import Fault
from .model_rules import Thinking
from .prices import TokenUsage
from .schema import asked_schema, example, misfit
from .tokens import block_text, count_text_tokens
from .validation import CheckedRequest
from .words import compose, fixed_size

__all__ = ["Answer", "make_answer"]

_compact = json.JSONEncoder(separators=(",", ":")).encode

# Thinking tokens by effort; the prompt adds a few.
_THINKING_TOKENS = {"low": 100, "medium": 200, "high": 400, "xhigh": 800, "max": 1600}
# Categories of refusals that are billed even before any output; other refusals are free.
_BILLED_CATEGORIES = ("bio", "frontier_llm", "reasoning_extraction")


@dataclass(eq=False)
class Answer:
    """One answer; `content` holds the API's content blocks.

    Attributes
    ----------
    model : Model
    content : tuple of dict
    stop_reason : str
    stop_sequence : str or None
    usage : TokenUsage
        Thinking counts as output.
    thinking_tokens : int
    category : str or None
        Category of a refusal.
    batch : bool
        True for a row of a message batch.
    geo : str
        Region where the answer was made.
    speed : str or None
        ``fast`` or ``standard`` if the request asked for a speed.
    extra : str
        Addition that is unknown to clients: ``new_fields``, ``new_events``, ``new_block`` or ``new_stop_reason``; "" for none.
    diagnostics : dict or None
        Diagnostics of the prompt cache, if the request asked for them.
    declined : tuple of Answer
        Refusals of other models, after which this model answered.
    """

    model: Model
    content: Tuple[Dict[str, Any], ...]
    stop_reason: str
    stop_sequence: Optional[str]
    usage: TokenUsage
    thinking_tokens: int = 0
    category: Optional[str] = None
    batch: bool = False
    geo: str = "not_available"
    speed: Optional[str] = None
    extra: str = ""
    diagnostics: Optional[Dict[str, Any]] = None
    declined: Tuple[Answer, ...] = ()

    @property
    def billed(self) -> bool:
        """False for a refusal that is free although its usage has tokens."""
        said = bool(self.content) and self.content[-1]["type"] != "fallback"
        return self.stop_reason != "refusal" or said or self.category in _BILLED_CATEGORIES

    @property
    def beginner(self) -> Model:
        """The first model that produced output, which a stream names at its start."""
        return next((each.model for each in self.declined if each.content), self.model)

    @property
    def stop_details(self) -> Optional[Dict[str, Any]]:
        """The ``stop_details`` that the API adds to a refusal; None otherwise."""
        if self.stop_reason != "refusal":
            return None
        explanation = None if self.category is None else f"Simulated refusal of category {self.category}."
        return {"type": "refusal", "category": self.category, "explanation": explanation}

    def usage_so_far(self, output_tokens: int) -> Dict[str, Any]:
        """Return the ``usage`` object at the moment when `output_tokens` have been produced."""
        usage = self.usage
        found: Dict[str, Any] = {
            "input_tokens": usage.input_tokens,
            "cache_creation_input_tokens": usage.write_5m_tokens + usage.write_1h_tokens,
            "cache_read_input_tokens": usage.read_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.write_5m_tokens,
                "ephemeral_1h_input_tokens": usage.write_1h_tokens,
            },
            "output_tokens": output_tokens,
            "service_tier": "batch" if self.batch else "standard",
            "inference_geo": self.geo,
        }
        if self.speed is not None:
            found["speed"] = self.speed
        if self.declined:
            found["iterations"] = [
                *(each._iteration("message") for each in self.declined),
                self._iteration("fallback_message"),
            ]
        return found

    def _iteration(self, kind: str) -> Dict[str, Any]:
        usage = self.usage
        return {
            "type": kind,
            "model": self.model.name,
            "input_tokens": usage.input_tokens,
            "cache_creation_input_tokens": usage.write_5m_tokens + usage.write_1h_tokens,
            "cache_read_input_tokens": usage.read_tokens,
            "output_tokens": usage.output_tokens,
        }

    def instead_of(self, declined: Sequence[Answer], *, stream: bool) -> Answer:
        """Return this answer preceded by a ``fallback`` block for each model that declined.

        A stream also has the content that those models had sent by then.
        """
        content: List[Dict[str, Any]] = []
        followers = [*declined[1:], self]
        for before, after in zip(declined, followers):
            if stream:
                content += before.content
            content.append(
                {
                    "type": "fallback",
                    "from": {"model": before.model.name},
                    "to": {"model": after.model.name},
                    "trigger": {"type": "refusal", "category": before.category},
                }
            )
        return replace(self, content=(*content, *self.content), declined=tuple(declined))

    def message(self, message_id: str, *, started_only: bool = False) -> Dict[str, Any]:
        """Return the complete ``message`` object, or with `started_only` the one at the start of a stream."""
        usage = self.usage_so_far(1 if started_only else self.usage.output_tokens)
        if not started_only:
            usage["output_tokens_details"] = {"thinking_tokens": self.thinking_tokens}
        return {
            "model": self.beginner.name if started_only else self.model.name,
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "content": [] if started_only else list(self.content),
            "stop_reason": None if started_only else self.stop_reason,
            "stop_sequence": None if started_only else self.stop_sequence,
            "stop_details": None if started_only else self.stop_details,
            "usage": usage,
            "container": None,
            "diagnostics": self.diagnostics,
        }


def _thinking(
    thinking: Thinking, model: Model, digest: str, room: int, messages: List[Dict[str, Any]]
) -> Tuple[List[Dict[str, Any]], int]:
    """Return the thinking block and its tokens, at most `room`; the text shown is shorter than that number suggests."""
    if not thinking.on or room < 1:
        return [], 0
    usual = _THINKING_TOKENS[thinking.effort]
    tokens = usual + int(digest[:4], 16) % (usual // 4)
    if thinking.budget_tokens is not None:
        tokens = min(tokens, thinking.budget_tokens)
    tokens = min(tokens, room)
    shown = ""
    if thinking.display == "summarized":
        shown = (
            f"Simulated thinking of {model.name} ({digest[:6]}): the simulator does not think; it reads the words of the prompt."
        )[: tokens * model.characters_per_token]
    block = {"type": "thinking", "thinking": shown, "signature": sign(model.name, digest, shown, messages)}
    return [block], tokens


def _forced_tool(body: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    choice = body.get("tool_choice")
    tools: List[Mapping[str, Any]] = body.get("tools") or []
    if not isinstance(choice, dict) or choice.get("type") not in ("tool", "any") or not tools:
        return None
    return next((tool for tool in tools if tool.get("name") == choice.get("name")), tools[0])


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


@dataclass
class _Draft:
    """An unfinished answer, and the number of tokens left for it (`room`)."""

    content: List[Dict[str, Any]]
    thinking_tokens: int
    room: int
    full: str
    stop_reason: str = "end_turn"
    stop_sequence: Optional[str] = None
    spoken_tokens: int = 0

    def add_tool(self, tool: Mapping[str, Any], digest: str, model: str, per_token: int) -> None:
        """Add a call of `tool`; if its arguments do not fit, they are left out."""
        arguments = example(tool.get("input_schema", {}), digest)
        tokens = count_text_tokens(_compact(arguments), per_token)
        fits = tokens <= self.room
        self.stop_reason = "tool_use" if fits else self.full
        self.spoken_tokens = min(tokens, self.room)
        self.content.append(
            {
                "type": "tool_use",
                "id": call_id(digest, model, thought=bool(self.content)),
                "name": tool["name"],
                "input": arguments if fits else {},
                "caller": {"type": "direct"},
            }
        )

    def add_text(self, text: str, stops: List[str], per_token: int) -> None:
        """Add `text`, up to a stop sequence or the limit of tokens."""
        found = [(place, stop) for stop in stops for place in [text.find(stop)] if place >= 0]
        if found:
            place, self.stop_sequence = min(found)
            self.stop_reason, text = "stop_sequence", text[:place]
        if len(text) > self.room * per_token:
            self.stop_reason, self.stop_sequence, text = self.full, None, text[: self.room * per_token]
        if text:
            self.content.append({"type": "text", "text": text})
        self.spoken_tokens = count_text_tokens(text, per_token)


def _cut_in_the_middle(content: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    last = content[-1] if content else None
    if last is None or last["type"] != "text":
        return content[:1]
    return [*content[:-1], {"type": "text", "text": last["text"][: max(1, len(last["text"]) // 2)]}]


def make_answer(
    body: Mapping[str, Any],
    checked: CheckedRequest,
    prompt: TokenUsage,
    *,
    answer_bytes: Optional[int] = None,
    fault: Optional[Fault] = None,
    batch: bool = False,
) -> Answer:
    """Return the answer to a valid request `body`; equal bodies get equal answers.

    Parameters
    ----------
    body : mapping
        The checked request body.
    checked : CheckedRequest
        Result of the check.
    prompt : TokenUsage
        The prompt's tokens by price.
    answer_bytes : int, optional
        Size of a text answer.
    fault : Fault, optional
        May turn the answer into a refusal, give it wrong JSON, or add parts unknown to clients.
    batch : bool
        True for a row of a message batch.
    """
    draft = _draft(body, checked, answer_bytes, "" if fault is None else fault.kind)
    model = checked.model
    kind = "" if fault is None else fault.kind
    return Answer(
        model,
        tuple(draft.content),
        "future_reason" if kind == "new_stop_reason" else draft.stop_reason,
        draft.stop_sequence,
        prompt._replace(output_tokens=draft.thinking_tokens + draft.spoken_tokens),
        draft.thinking_tokens,
        None if fault is None else fault.category,
        batch,
        body.get("inference_geo") or ("global" if model.inference_geo else "not_available"),
        None if body.get("speed") is None else "fast" if checked.fast else "standard",
        kind if kind.startswith("new_") else "",
    )


def _draft(body: Mapping[str, Any], checked: CheckedRequest, answer_bytes: Optional[int], kind: str) -> _Draft:
    """Return thinking and content within the request's limit and the rest of the context window."""
    model = checked.model
    if kind == "refusal":
        return _Draft([], 0, 0, "", "refusal")
    most: int = body["max_tokens"]
    if most == 0:
        return _Draft([], 0, 0, "", "max_tokens")
    left = max(0, checked.window - checked.input_tokens)
    limit, full = (most, "max_tokens") if most <= left else (left, "model_context_window_exceeded")
    digest = prompt_digest(body, body["messages"])
    content, thinking_tokens = _thinking(checked.thinking, model, digest, limit, body["messages"])
    draft = _Draft(content, thinking_tokens, limit - thinking_tokens, full)
    per_token = model.characters_per_token
    tool = _forced_tool(body)
    if draft.room < 1:
        draft.stop_reason = full
    elif tool is not None:
        draft.add_tool(tool, digest, model.name, per_token)
    else:
        text = _text(body, model.name, digest, answer_bytes, kind == "wrong_json")
        draft.add_text(text, body.get("stop_sequences") or [], per_token)
        # Even an empty answer has one token, which ends it.
        draft.spoken_tokens = max(draft.spoken_tokens, 0 if thinking_tokens else 1)
    if kind == "refusal_midway":
        draft.stop_reason, draft.stop_sequence = "refusal", None
        draft.content = _cut_in_the_middle(draft.content)
        draft.spoken_tokens = -(-draft.spoken_tokens // 2)
    return draft
