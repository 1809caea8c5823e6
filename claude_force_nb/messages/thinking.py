"""Thinking and effort: the fields of a request, and what the API refuses beside them. Pure.

The rules are those of "Extended thinking", section "Feature compatibility", and "Adaptive thinking" of the API's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Dict, Optional, Union

from claude_force_nb.errors import OptionError

from .models import takes_adaptive_thinking

__all__ = ["check_reasoning", "thinking_body", "thinking_field"]

_WORDS: Dict[str, Optional[Dict[str, Any]]] = {
    "off": None,
    "on": {"type": "adaptive"},
    "adaptive": {"type": "adaptive"},
}
_LEAST_TOKENS = 1024


def thinking_body(value: Union[bool, int, str, None]) -> Optional[Dict[str, Any]]:
    """Return the request's ``thinking`` object for ``off``, ``on``, ``adaptive`` or a budget in tokens (>= 1024).

    Raises
    ------
    OptionError
        On anything else. The lower bound is the API's ("Extended thinking", ``budget_tokens``).
    """
    if value is None or isinstance(value, bool):
        return _WORDS["on" if value else "off"]
    text = str(value).strip().lower()
    if text in _WORDS:
        return _WORDS[text]
    if re.fullmatch(r"[0-9]+", text) and int(text) >= _LEAST_TOKENS:
        return {"type": "enabled", "budget_tokens": int(text)}
    raise OptionError(f"thinking must be on, off, adaptive or a number of tokens from 1024, not {value!r}")


def thinking_field(value: Union[bool, int, str, None], *, model: str, max_tokens: int) -> Optional[Dict[str, Any]]:
    """Return the ``thinking`` object for a model; ``on`` is adaptive where the model can, else half of `max_tokens`.

    Raises
    ------
    OptionError
        Where the model cannot think adaptively, or `max_tokens` leaves no room for the answer.
    """
    thinking = thinking_body(value)
    if thinking is None:
        return None
    if thinking["type"] == "adaptive":
        if takes_adaptive_thinking(model):
            # Newer models leave their thinking out of the answer unless asked, and bill it all the same.
            return {"type": "adaptive", "display": "summarized"}
        if str(value).strip().lower() == "adaptive":
            message = "{} does not take thinking=adaptive; use thinking=on or a number of tokens"
            raise OptionError(message.format(model))
        thinking = {"type": "enabled", "budget_tokens": max(_LEAST_TOKENS, max_tokens // 2)}
    if thinking["budget_tokens"] >= max_tokens:
        message = "thinking={} needs max_tokens above it; max_tokens is {}"
        raise OptionError(message.format(thinking["budget_tokens"], max_tokens))
    return thinking


def check_reasoning(body: Mapping[str, Any]) -> None:
    """Raise OptionError where a request body thinks and holds what the API refuses beside it."""
    thinking = body.get("thinking")
    if not isinstance(thinking, Mapping) or thinking.get("type") not in ("enabled", "adaptive"):
        return
    if body.get("temperature") not in (None, 1):
        message = "temperature={} cannot be used with thinking; leave one of them out, or set temperature=1"
        raise OptionError(message.format(body["temperature"]))
    if body.get("top_k") is not None:
        raise OptionError("top_k cannot be used with thinking; leave one of them out")
    top_p = body.get("top_p")
    if isinstance(top_p, (int, float)) and not 0.95 <= top_p <= 1:
        raise OptionError(f"with thinking top_p must be from 0.95 to 1, not {top_p}")
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping) and choice.get("type") in ("any", "tool"):
        raise OptionError("tool_choice={} cannot be used with thinking; use auto".format(choice["type"]))
