"""Rules that differ between models: thinking, effort, sampling, forced tools and so on, with the API's messages. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, FrozenSet, Mapping, Optional

from .catalogue import Model
from .failures import invalid

__all__ = ["Thinking", "check_effort", "check_model_rules", "thinking_of"]

_LONG_OUTPUT_BETA = "output-300k-2026-03-24"
_FAST_BETA = "fast-mode-2026-02-01"
_FORCED = ("any", "tool")
_ABOVE_HIGH = ("xhigh", "max")
# Tool versions that the models from 5.5 on, and Fable from 5.2 on, do not support.
_OLD_COMPUTER_TOOLS = re.compile(r"computer_\d")
_NEW_COMPUTER_MODEL = re.compile(r"claude-([a-z]+-5-5|fable-5-2|mythos-5-2)")


@dataclass(frozen=True)
class Thinking:
    """The thinking of a request.

    Attributes
    ----------
    kind : str
        ``adaptive``, ``enabled``, ``between_tools`` or ``disabled``; the model's default if the request does not say.
    on : bool
        True if the answer begins with thinking.
    display : str
        ``summarized``, ``omitted`` or ``updates``.
    effort : str
    budget_tokens : int or None
        Budget of ``enabled``.
    on_mismatch : str
        What happens to replayed thinking of another conversation: ``error`` or ``drop_block``.
    asked_for_binding : bool
        True if the request itself sets `on_mismatch`.
    """

    kind: str
    on: bool
    display: str
    effort: str
    budget_tokens: Optional[int] = None
    on_mismatch: str = "error"
    asked_for_binding: bool = False


def _effort(body: Mapping[str, Any]) -> Optional[str]:
    config = body.get("output_config")
    effort = config.get("effort") if isinstance(config, dict) else None
    return effort if isinstance(effort, str) else None


def _forced(body: Mapping[str, Any]) -> bool:
    choice = body.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") in _FORCED


def thinking_of(body: Mapping[str, Any], model: Model) -> Thinking:
    """Return the thinking of a valid request to `model`."""
    asked = body.get("thinking") or {}
    kind: str = asked.get("type") or ("adaptive" if model.thinks else "disabled")
    on = kind in ("adaptive", "enabled")
    if model.forced_tools_stop_thinking and _forced(body):
        on = False
    binding = asked.get("block_binding") or {}
    return Thinking(
        kind,
        on,
        asked.get("display") or model.display,
        _effort(body) or model.default_effort,
        asked.get("budget_tokens"),
        binding.get("prefix_mismatch_behavior") or "error",
        bool(binding.get("prefix_mismatch_behavior")),
    )


def check_model_rules(
    body: Mapping[str, Any], model: Model, *, betas: FrozenSet[str], counting: bool, batch: bool
) -> None:
    """Raise ApiFailure if `model` refuses a parameter or value that the API knows."""
    if not counting:
        _check_max_tokens(body, model, batch and _LONG_OUTPUT_BETA in betas)
    check_effort(_effort(body), model)
    _check_thinking(body, model, counting)
    _check_sampling(body, model)
    _check_tool_choice(body, model)
    _check_tool_types(body, model)
    if body.get("inference_geo") is not None and not model.inference_geo:
        raise invalid(f"inference_geo: `inference_geo` is not supported on {model.name}.")
    if body.get("speed") == "fast":
        _check_speed(model, betas)


def _check_max_tokens(body: Mapping[str, Any], model: Model, long_output: bool) -> None:
    most = model.batch_output_tokens if long_output else model.max_output_tokens
    max_tokens: int = body["max_tokens"]
    if max_tokens > most:
        raise invalid(
            f"max_tokens: {max_tokens} > {most}, which is the maximum allowed number of output tokens for {model.name}"
        )


def check_effort(effort: Optional[str], model: Model) -> None:
    """Raise ApiFailure if `model` does not accept an effort; None means that none was given."""
    if effort is None:
        return
    if not model.efforts:
        raise invalid("This model does not support the effort parameter.")
    if effort not in model.efforts:
        levels = ", ".join(sorted(model.efforts))
        raise invalid(f"This model does not support effort level '{effort}'. Supported levels: {levels}.")


_USE_ADAPTIVE = 'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'


def _refused_thinking(kind: str, model: Model) -> str:
    if kind == "adaptive":
        return "adaptive thinking is not supported on this model"
    if kind == "disabled" and "between_tools" in model.thinking_types:
        return (
            'To turn thinking off on this model, send "thinking": {"type": "between_tools"} instead of "disabled". '
            "Any short progress updates between tool calls then come back as thinking blocks."
        )
    text = f'"thinking.type.{kind}" is not supported for this model.'
    return text if kind == "between_tools" else f"{text} {_USE_ADAPTIVE}"


def _check_thinking(body: Mapping[str, Any], model: Model, counting: bool) -> None:
    asked = body.get("thinking")
    if asked is None:
        return
    kind: str = asked["type"]
    if kind not in model.thinking_types:
        raise invalid(_refused_thinking(kind, model))
    effort = _effort(body)
    if kind in ("disabled", "between_tools") and model.off_needs_low_effort and effort in _ABOVE_HIGH:
        raise invalid(
            f"output_config.effort '{effort}' is not supported when thinking is disabled on this model. "
            "Use effort 'high' or below, or enable thinking."
        )
    if kind == "enabled" and not counting:
        if body["max_tokens"] == 0:
            raise invalid("thinking.type.enabled is not supported with max_tokens: 0.")
        if asked["budget_tokens"] >= body["max_tokens"]:
            raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_sampling(body: Mapping[str, Any], model: Model) -> None:
    temperature, top_p, top_k = body.get("temperature"), body.get("top_p"), body.get("top_k")
    if temperature is None and top_p is None and top_k is None:
        return
    if model.sampling == "strict":
        if temperature not in (None, 1):
            raise invalid("`temperature` may only be set to 1 on this model.")
        if top_p not in (None, 0.99):
            raise invalid("`top_p` may only be set to 0.99 on this model.")
        if temperature is not None and top_p is not None:
            raise invalid("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
        if top_k is not None:
            raise invalid("`top_k` must be unset on this model.")
        return
    if model.sampling == "one" and temperature is not None and top_p is not None:
        raise invalid("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    if (body.get("thinking") or {}).get("type") in ("enabled", "adaptive"):
        if temperature not in (None, 1):
            raise invalid("`temperature` may only be set to 1 when thinking is enabled.")
        if top_k is not None:
            raise invalid("`top_k` must be unset when thinking is enabled.")
        if top_p is not None and top_p < 0.95:
            raise invalid("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")


def _check_tool_choice(body: Mapping[str, Any], model: Model) -> None:
    if not _forced(body):
        return
    if not model.forced_tools:
        raise invalid('tool_choice: type "tool" and "any" are not supported for this model.')
    if (body.get("thinking") or {}).get("type") == "enabled":
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")


def _check_tool_types(body: Mapping[str, Any], model: Model) -> None:
    if not _NEW_COMPUTER_MODEL.match(model.name):
        return
    kinds = [str(tool.get("type")) for tool in body.get("tools") or ()]
    refused = sorted(kind for kind in kinds if _OLD_COMPUTER_TOOLS.match(kind))
    if refused:
        raise invalid(
            f"'{model.name}' does not support tool types: {', '.join(refused)}. "
            "Did you mean one of computer_toolset_20260801?"
        )


def _check_speed(model: Model, betas: FrozenSet[str]) -> None:
    if model.fast == "preview" and _FAST_BETA not in betas:
        raise invalid("speed: Extra inputs are not permitted")
    if model.fast == "no":
        raise invalid(f"speed: '{model.name}' does not support the `speed` parameter.")
