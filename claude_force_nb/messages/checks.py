"""Detect requests that a model is known to refuse, and explain it in one line before anything is sent. Pure.

The rules are from the API's documentation: "Errors", "Thinking", "Define tools", "Structured outputs" and each model's
migration guide. `models` lists what each model accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Collection, Dict, Optional

from claude_force_nb.errors import OptionError

from .models import ModelRules, models_with_temperature
from .thinking import LEAST_BUDGET_TOKENS, OFF, least_effort

__all__ = ["check_batch_fields", "check_body", "check_messages", "sampling_problem"]

# From this API version on, no model accepts sampling parameters ("Versioning").
_NO_SAMPLING_VERSION = "2026-10-21"
_SAMPLING = ("temperature", "top_p", "top_k")
_LONG_OUTPUT_BETA = "output-300k-"
# Fields that a request in a message batch must not have ("Batch processing").
_NOT_IN_BATCHES = ("speed", "fallbacks", "thread", "diagnostics")


def check_body(body: Mapping[str, Any], rules: ModelRules, *, api_version: str, betas: Collection[str] = ()) -> None:
    """Raise OptionError if the API is known to refuse a request body. Bodies for unknown models always pass.

    Parameters
    ----------
    body : mapping
        The complete body, as it would be sent.
    rules : ModelRules
        Rules of the body's model.
    api_version : str
        ``anthropic-version`` of the request.
    betas : collection of str
        ``anthropic-beta`` of the request.
    """
    problem = sampling_problem(body, rules, api_version=api_version)
    if problem:
        raise OptionError(problem)
    if not rules.known:
        return
    _check_max_tokens(body, rules, betas)
    _check_stop(body)
    _check_thinking(body, rules)
    _check_effort(body, rules)
    _check_tool_choice(body, rules)
    if _has_format(body) and not rules.structured_outputs:
        raise OptionError(
            f"{rules.name} does not support output_config.format; use schema=, which describes the format in the prompt"
        )
    if body.get("inference_geo") is not None and not rules.inference_geo:
        raise OptionError(f"{rules.name} does not support inference_geo; models from 4.6 onwards do")
    check_messages(body, rules)


def check_messages(body: Mapping[str, Any], rules: ModelRules) -> None:
    """Raise OptionError if the API is known to refuse the messages; this is the part of `check_body` that depends on them."""
    if not rules.known:
        return
    prefilled = _is_prefilled(body)
    if prefilled and not rules.prefill:
        raise OptionError(
            f"{rules.name} does not accept a prefilled answer: the last message must be the user's; "
            "use schema= or the system prompt to shape the answer"
        )
    if prefilled and _type(body.get("thinking")) in ("enabled", "adaptive"):
        raise OptionError("a prefilled answer cannot be combined with thinking; leave one of them out")
    if not _has_format(body):
        return
    if prefilled:
        raise OptionError("a prefilled answer cannot be combined with a schema; leave one of them out")
    if _has_citations(body["messages"]):
        raise OptionError("citations cannot be used with a schema; leave one of them out")


def check_batch_fields(body: Mapping[str, Any]) -> None:
    """Raise OptionError if a request body, or a part of one, has a field that message batches do not accept."""
    refused = [name for name in _NOT_IN_BATCHES if body.get(name) is not None]
    if body.get("stream"):
        refused.append("stream")
    if type(body.get("max_tokens")) is int and body["max_tokens"] == 0:
        refused.append("max_tokens=0")
    if refused:
        raise OptionError(
            f"message batches do not take {', '.join(refused)}; leave it out, or send without via=batches"
        )


def sampling_problem(body: Mapping[str, Any], rules: ModelRules, *, api_version: str) -> Optional[str]:
    """Return why the API would refuse a body's temperature, top_p or top_k; None if it accepts them."""
    given = {name: body[name] for name in _SAMPLING if body.get(name) is not None}
    if not given:
        return None
    first_name, first_value = next(iter(given.items()))
    first = f"{first_name}={first_value}"
    if api_version >= _NO_SAMPLING_VERSION:
        return f"API version {api_version} does not accept {first} on any model; leave it out"
    if not rules.known:
        return None
    if rules.sampling == "default":
        return _beyond_default(given, rules)
    if rules.sampling == "one" and "temperature" in given and "top_p" in given:
        return f"{rules.name} takes temperature or top_p, not both; leave one of them out"
    if _type(body.get("thinking")) not in ("enabled", "adaptive"):
        return None
    if given.get("temperature", 1) != 1:
        return f"{first} cannot be used with thinking; leave one of them out, or set temperature=1"
    if "top_k" in given:
        return "top_k cannot be used with thinking; leave one of them out"
    top_p = given.get("top_p")
    if isinstance(top_p, (int, float)) and not 0.95 <= top_p <= 1:
        return f"with thinking top_p must be from 0.95 to 1, not {top_p}"
    return None


def _beyond_default(given: Dict[str, Any], rules: ModelRules) -> Optional[str]:
    """Return why a model that accepts only the default values would refuse the given ones."""
    refused = [name for name, default in (("temperature", 1), ("top_p", 0.99)) if given.get(name, default) != default]
    refused += ["top_k"] if "top_k" in given else []
    if not refused and len(given) < 2:
        return None
    name = refused[0] if refused else "top_p"
    only = {"temperature": " (only 1)", "top_p": " (only 0.99, without temperature)", "top_k": ""}[name]
    return (
        f"{rules.name} does not accept {name}={given[name]}{only}: leave it out, use sample=N for independent answers, "
        f"or a model that takes it: {', '.join(models_with_temperature())}"
    )


def _type(value: Any) -> Optional[str]:
    kind = value.get("type") if isinstance(value, Mapping) else None
    return kind if isinstance(kind, str) else None


def _check_max_tokens(body: Mapping[str, Any], rules: ModelRules, betas: Collection[str]) -> None:
    long_output = any(beta.startswith(_LONG_OUTPUT_BETA) for beta in betas)
    most = rules.batch_output_tokens if long_output else rules.max_output_tokens
    if isinstance(body["max_tokens"], int) and body["max_tokens"] > most:
        raise OptionError(f"{rules.name} writes at most {most:,} tokens; lower max_tokens={body['max_tokens']}")


def _check_stop(body: Mapping[str, Any]) -> None:
    stop = body.get("stop_sequences")
    if isinstance(stop, list) and any(isinstance(text, str) and not text.strip() for text in stop):
        raise OptionError("the API does not accept a stop sequence that is only white space; use another one")


def _check_thinking(body: Mapping[str, Any], rules: ModelRules) -> None:
    kind = _type(body.get("thinking"))
    if kind is None:
        return
    if kind not in rules.thinking:
        remedies = {
            "enabled": "use thinking=adaptive, and effort= to set how much",
            "adaptive": "use thinking=on, or a number of tokens",
            "disabled": f"leave it out{least_effort(rules)}" if rules.always_thinks else "use thinking=off",
            "between_tools": "use thinking=off",
        }
        raise OptionError(f"{rules.name} does not support thinking.type {kind!r}; {remedies.get(kind, 'leave it out')}")
    if kind == "enabled":
        budget = body["thinking"].get("budget_tokens")
        if isinstance(budget, int) and not LEAST_BUDGET_TOKENS <= budget < body["max_tokens"]:
            raise OptionError(
                f"thinking.budget_tokens must be from {LEAST_BUDGET_TOKENS} to below max_tokens={body['max_tokens']}, "
                f"not {budget}"
            )
    if kind == "between_tools" and len(body["thinking"]) > 1:
        raise OptionError("thinking.type 'between_tools' takes no other fields")


def _check_effort(body: Mapping[str, Any], rules: ModelRules) -> None:
    config = body.get("output_config")
    effort = config.get("effort") if isinstance(config, Mapping) else None
    if not isinstance(effort, str):
        return
    if not rules.efforts:
        raise OptionError(f"{rules.name} does not support effort={effort}; leave it out, or use a newer model")
    if effort not in rules.efforts:
        raise OptionError(f"{rules.name} takes effort={', '.join(rules.efforts)}, not {effort}")
    if _type(body.get("thinking")) in OFF and effort not in rules.thinking_off_efforts:
        raise OptionError(
            f"{rules.name} takes effort={effort} only while it thinks: leave out thinking=off, "
            f"or use effort={rules.thinking_off_efforts[-1]}"
        )


def _is_prefilled(body: Mapping[str, Any]) -> bool:
    """Return whether the messages end with a prefilled answer; a turn paused at a server tool ends with the tool's block."""
    last = body["messages"][-1] if isinstance(body["messages"], list) and body["messages"] else None
    if not isinstance(last, Mapping) or last.get("role") != "assistant":
        return False
    content = last.get("content")
    return isinstance(content, str) or (
        isinstance(content, list) and all(_type(block) in ("text", "thinking") for block in content)
    )


def _check_tool_choice(body: Mapping[str, Any], rules: ModelRules) -> None:
    kind = _type(body.get("tool_choice"))
    if kind not in ("any", "tool"):
        return
    if not rules.forced_tools:
        raise OptionError(
            f"{rules.name} does not support tool_choice={kind}; use auto, and say in the prompt what to use"
        )
    if _type(body.get("thinking")) == "enabled":
        raise OptionError(f"tool_choice={kind} cannot be used with a thinking budget; use auto, or leave thinking out")


def _has_format(body: Mapping[str, Any]) -> bool:
    config = body.get("output_config")
    return isinstance(config, Mapping) and config.get("format") is not None


def _has_citations(value: Any) -> bool:
    if isinstance(value, Mapping):
        citations = value.get("citations")
        if isinstance(citations, Mapping) and citations.get("enabled") is True:
            return True
        content = value.get("content")
        return isinstance(content, (list, Mapping)) and _has_citations(content)
    return isinstance(value, list) and any(_has_citations(item) for item in value)
