"""Checks replayed thinking: it must be unchanged and, where the API requires it, in its original conversation. Pure."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .catalogue import Model
from .failures import invalid
from .model_rules import Thinking

__all__ = ["call_id", "check_bound_thinking", "prompt_digest", "sign"]

_MARK = "simulated"
_KINDS = ("thinking", "redacted_thinking")

_compact = json.JSONEncoder(separators=(",", ":")).encode


def _plain(content: Any) -> Any:
    """Return content without breakpoints and thinking; a plain text becomes one block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [
        {key: value for key, value in block.items() if key != "cache_control"}
        for block in content or ()
        if block.get("type") not in _KINDS
    ]


def prompt_digest(body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str:
    """Return a digest of system prompt, tools and `messages`, the same for equivalent forms of their content."""
    # Plain text, the usual case, is converted to a block here for speed; anything else by _plain.
    prompt: List[Any] = [
        _plain(body["system"]) if "system" in body else (),
        _plain(body["tools"]) if "tools" in body else (),
    ]
    for message in messages:
        content = message["content"]
        prompt.append(
            (message["role"], ({"type": "text", "text": content},) if type(content) is str else _plain(content))
        )
    return sha256(_compact(prompt).encode("ascii")).hexdigest()


def _short(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def sign(model: str, digest: str, shown: str, messages: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the signature of thinking with the text `shown`, in answer to the prompt with this `digest` and `messages`."""
    before = "-"
    for message in messages:
        content = message["content"]
        for block in content if type(content) is list else ():
            if block["type"] == "thinking" and _signed_by(block, model) is not None:
                before = _short(block["signature"])
    return f"{_MARK}/{model}/{digest[:24]}/{before}/{_short(shown)}"


def _signed_by(block: Mapping[str, Any], model: str) -> Optional[List[str]]:
    """Return the digests in a model's signature (prompt, earlier thinking, text shown); None for a foreign signature."""
    parts: List[str] = block["signature"].split("/")
    return parts[2:] if len(parts) == 5 and parts[:2] == [_MARK, model] else None


def call_id(digest: str, model: str, *, thought: bool) -> str:
    """Return the id of a tool call, which encodes whether the answer began with thinking."""
    return f"toolu_sim{'t' if thought else 'n'}{_short(model)[:4]}{digest[:16]}"


def check_bound_thinking(
    body: Mapping[str, Any], model: Model, thinking: Thinking, *, new_account: bool, batch: bool
) -> None:
    """Raise ApiFailure for thinking of this simulator that was changed or left out, or belongs to another conversation.

    Thinking of other models, which the API drops, and foreign signatures, which cannot be read here, are skipped.
    """
    messages: List[Dict[str, Any]] = body["messages"]
    latest = max((number for number, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    bound = model.bound_thinking == "always" or (
        model.bound_thinking == "new_accounts" and (new_account or thinking.asked_for_binding)
    )
    drops = thinking.on_mismatch == "drop_block" or (batch and not thinking.asked_for_binding)
    kept = ""
    for number, message in enumerate(messages):
        for place, block in enumerate(message["content"] if isinstance(message["content"], list) else ()):
            signed = _signed_by(block, model.name) if block["type"] == "thinking" else None
            if signed is None:
                continue
            digest, before, shown = signed
            where = f"messages.{number}.content.{place}"
            if _short(block["thinking"]) != shown:
                raise invalid(_changed(where, latest=number == latest))
            # Thinking may be left out at the beginning, but not in the middle.
            whole = not kept or before == _short(kept)
            kept = block["signature"]
            if bound and not drops and (not whole or digest != prompt_digest(body, messages[:number])[:24]):
                raise invalid(
                    f"{where}: Invalid `signature` in `thinking` block. The block is bound to a different conversation. "
                    "Send system, tools and all messages before it as they were, or leave the block out."
                )
    if thinking.on and latest >= 0:
        _check_not_left_out(messages[latest], latest, model)


def _check_not_left_out(message: Mapping[str, Any], number: int, model: Model) -> None:
    """Refuse the latest answer if it called a tool after thinking and is sent back without the thinking."""
    content = message["content"]
    if not isinstance(content, list) or any(block["type"] in _KINDS for block in content):
        return
    thought = f"toolu_simt{_short(model.name)[:4]}"
    if any(block["type"] == "tool_use" and block["id"].startswith(thought) for block in content):
        raise invalid(_changed(f"messages.{number}.content.0", latest=True))


def _changed(where: str, *, latest: bool) -> str:
    if latest:
        return (
            f"{where}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. "
            "These blocks must remain as they were in the original response."
        )
    return f"{where}: Invalid `signature` in `thinking` block"
