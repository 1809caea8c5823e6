"""Thinking that a request sends back: it must be as it was, and where the API says so, in the conversation that it was made in. Pure."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, Dict, List, Mapping, Sequence

from .catalogue import Model
from .failures import invalid
from .model_rules import Thinking

__all__ = ["check_bound_thinking", "prompt_digest", "sign"]

_MARK = "simulated"
_KINDS = ("thinking", "redacted_thinking")

_compact = json.JSONEncoder(separators=(",", ":")).encode


def _plain(content: Any) -> Any:
    """Return content without breakpoints and thinking, a text as one block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [
        {key: value for key, value in block.items() if key != "cache_control"}
        for block in content or ()
        if block.get("type") not in _KINDS
    ]


def prompt_digest(body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str:
    """Return a digest of system prompt, tools and `messages`, whichever way they are written down."""
    # Content that is one text, the usual case, is put in the form of blocks here; all else by _plain.
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


def sign(model: str, digest: str, shown: str) -> str:
    """Return the signature of thinking that was `shown` so in the answer to the prompt with this `digest`."""
    return f"{_MARK}/{model}/{digest[:24]}/{sha256(shown.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def check_bound_thinking(
    body: Mapping[str, Any], model: Model, thinking: Thinking, *, new_account: bool, batch: bool
) -> None:
    """Raise ApiFailure for thinking of this simulator that was changed, or that belongs to another conversation.

    What another model made is dropped by the API, and foreign signatures cannot be read here; both are passed over.
    """
    messages: List[Dict[str, Any]] = body["messages"]
    latest = max((number for number, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    bound = model.bound_thinking == "always" or (
        model.bound_thinking == "new_accounts" and (new_account or thinking.asked_for_binding)
    )
    drops = thinking.on_mismatch == "drop_block" or (batch and not thinking.asked_for_binding)
    for number, message in enumerate(messages):
        for place, block in enumerate(message["content"] if isinstance(message["content"], list) else ()):
            if block["type"] != "thinking":
                continue
            mark, _, rest = block["signature"].partition("/")
            name, _, digests = rest.partition("/")
            if mark != _MARK or name != model.name:
                continue
            where = f"messages.{number}.content.{place}"
            if sign(name, digests, block["thinking"]).rpartition("/")[2] != digests.rpartition("/")[2]:
                raise invalid(_changed(where, latest=number == latest))
            if not bound or drops:
                continue
            if digests.partition("/")[0] != prompt_digest(body, messages[:number])[:24]:
                raise invalid(
                    f"{where}: Invalid `signature` in `thinking` block. The block is bound to a different conversation. "
                    "Send system, tools and all messages before it as they were, or leave the block out."
                )


def _changed(where: str, *, latest: bool) -> str:
    if latest:
        return (
            f"{where}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. "
            "These blocks must remain as they were in the original response."
        )
    return f"{where}: Invalid `signature` in `thinking` block"
