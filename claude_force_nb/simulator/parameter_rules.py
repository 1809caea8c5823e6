"""Rules that the API keeps for every model, about fields other than the messages: tools, stop sequences, warm-ups. Pure."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Mapping

from .catalogue import Model
from .failures import invalid
from .output_config import NO_SCHEMAS, SchemaLimits, format_of
from .request_shapes import tool_kind

__all__ = ["check_parameter_rules"]

_MAX_STRICT_TOOLS = 20
_FALLBACK_BETAS = {"server-side-fallback-2026-07-01", "server-side-fallback-2026-06-01"}
_DEFAULT_FALLBACK_BETA = "server-side-fallback-2026-07-01"
_MAX_FALLBACKS = 3
_NO_FALLBACK_LINE = "haiku"


def check_parameter_rules(body: Mapping[str, Any], model: Model, *, betas: FrozenSet[str], batch: bool) -> None:
    """Raise ApiFailure for what no model takes. Parts that may be absent are absent where tokens are counted only."""
    _check_tools(body)
    _check_schemas(body, model)
    _check_stop_sequences(body)
    _check_fallbacks(body, model, betas)
    if body.get("max_tokens") == 0:
        _check_warm_up(body)
    if batch:
        _check_batch(body)


def _check_tools(body: Mapping[str, Any]) -> None:
    tools: List[Dict[str, Any]] = body.get("tools") or []
    names = [tool["name"] for tool in tools if "name" in tool]
    if len(set(names)) < len(names):
        raise invalid("tools: Tool names must be unique.")
    for place, tool in enumerate(tools):
        if tool.get("allowed_domains") and tool.get("blocked_domains"):
            raise invalid(f"tools.{place}: only one of `allowed_domains` and `blocked_domains` may be specified")
        if tool_kind(tool) == "custom" and tool["input_schema"].get("type") != "object":
            raise invalid(f"tools.{place}.custom.input_schema.type: Input should be 'object'")
    if tools and all(tool.get("defer_loading") for tool in tools):
        raise invalid("At least one tool must have defer_loading=false. All tools cannot be deferred.")
    choice = body.get("tool_choice")
    if choice is None or choice["type"] == "none":
        return
    if not tools:
        raise invalid("tool_choice: may only be specified while providing tools")
    if choice["type"] == "tool" and choice["name"] not in names:
        raise invalid(f"Tool '{choice['name']}' not found in provided tools")


def _check_schemas(body: Mapping[str, Any], model: Model) -> None:
    limits = SchemaLimits()
    wanted = format_of(body)
    if wanted is not None:
        if not model.structured_outputs:
            raise invalid(NO_SCHEMAS)
        limits.add(wanted, "output_config.format.schema")
    strict = [(place, tool) for place, tool in enumerate(body.get("tools") or ()) if tool.get("strict")]
    if len(strict) > _MAX_STRICT_TOOLS:
        raise invalid(f"tools: Too many strict tools ({len(strict)}). The maximum number of strict tools is 20.")
    for place, tool in strict:
        if tool_kind(tool) == "custom":
            limits.add(tool["input_schema"], f"tools.{place}.custom")
    limits.check()


def _check_stop_sequences(body: Mapping[str, Any]) -> None:
    if any(not stop.strip() for stop in body.get("stop_sequences") or ()):
        raise invalid("stop_sequences: each stop sequence must contain non-whitespace")


def _check_fallbacks(body: Mapping[str, Any], model: Model, betas: FrozenSet[str]) -> None:
    fallbacks = body.get("fallbacks")
    if fallbacks is None:
        return
    known = betas & _FALLBACK_BETAS
    if not known:
        raise invalid("fallbacks: Extra inputs are not permitted")
    if fallbacks == "default":
        if _DEFAULT_FALLBACK_BETA not in known:
            raise invalid("fallbacks: Input should be a valid list")
        return
    if not isinstance(fallbacks, list) or not all(isinstance(entry, dict) for entry in fallbacks):
        raise invalid("fallbacks: Input should be a valid list")
    if _NO_FALLBACK_LINE in model.name:
        raise invalid(f"fallbacks: {model.name} does not support fallback models.")
    if len(fallbacks) > _MAX_FALLBACKS:
        raise invalid(f"fallbacks: List should have at most {_MAX_FALLBACKS} items after validation")
    names = [entry.get("model") for entry in fallbacks]
    if len(set(map(str, names))) < len(names) or model.name in names:
        raise invalid("fallbacks: entries must be distinct from each other and from the requested model")


def _check_warm_up(body: Mapping[str, Any]) -> None:
    """Refuse what a request that only fills the prompt cache cannot have."""
    if body.get("stream"):
        raise invalid("max_tokens: 0 is not supported with stream: true")
    if format_of(body) is not None:
        raise invalid("max_tokens: 0 is not supported with output_config.format")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise invalid("max_tokens: 0 is not supported with a tool_choice that forces tool use")


def _check_batch(body: Mapping[str, Any]) -> None:
    """Refuse what a row of a message batch cannot have."""
    if body.get("stream"):
        raise invalid("stream: streaming is not supported in batches")
    if body.get("max_tokens") == 0:
        raise invalid("max_tokens: 0 is not supported in batches")
    for name in ("speed", "fallbacks", "thread", "diagnostics"):
        if body.get(name) is not None:
            raise invalid(f"{name}: not supported in batches")
