"""Validates requests by the rules of the other modules, in the API's order and with its messages. Pure."""

from __future__ import annotations

import json
from typing import Any, Dict, FrozenSet, Mapping, NamedTuple, Optional, Tuple

from .bound_thinking import check_bound_thinking
from .catalogue import Model
from .conversation import Conversation, read_conversation
from .failures import ApiFailure, invalid
from .fallbacks import check_fallbacks
from .model_rules import Thinking, check_effort, check_model_rules, thinking_of
from .models import ModelTable
from .output_config import format_of
from .parameter_rules import check_parameter_rules
from .prompt_cache import CachePlan, plan_cache
from .request_shapes import check_parameters
from .tokens import json_tokens

__all__ = ["API_VERSIONS", "CheckedRequest", "Headers", "Validator", "check_headers"]

API_VERSIONS = ("2023-06-01", "2026-10-21")

# Tokens of the text that explains a schema to the model, in addition to the schema itself.
_SCHEMA_TOKENS = 150
# Number of parameter sets whose validation is cached, since a notebook sends the same ones with every row.
_MAX_REMEMBERED = 1000
_MAX_REMEMBERED_CHARACTERS = 64 * 1024

_compact = json.JSONEncoder(separators=(",", ":")).encode


class Headers(NamedTuple):
    """The headers that affect how a request's body is validated.

    Attributes
    ----------
    api_version : str
        ``anthropic-version``.
    betas : frozenset of str
        ``anthropic-beta``.
    """

    api_version: str = API_VERSIONS[0]
    betas: FrozenSet[str] = frozenset()


class CheckedRequest(NamedTuple):
    """A request that the API accepts.

    Attributes
    ----------
    model : Model
    thinking : Thinking
    input_tokens : int
        Tokens of the whole prompt.
    fast : bool
        True if it is answered and billed in fast mode.
    cache : CachePlan or None
        Its use of the prompt cache; None without breakpoints.
    window : int
        Maximum tokens of prompt and answer together.
    """

    model: Model
    thinking: Thinking
    input_tokens: int
    fast: bool
    cache: Optional[CachePlan]
    window: int


class _Parameters(NamedTuple):
    """Facts about the parts of a request other than its messages and system prompt."""

    model: Model
    thinking: Thinking
    tokens: int
    overhead: Tuple[int, int]
    fast: bool
    marked: bool


def check_headers(headers: Mapping[str, str]) -> Headers:
    """Return the headers that affect validation; raises ApiFailure without a key or a version.

    Any key is accepted unless it contains "invalid". If there are two keys, ``x-api-key`` counts.
    """
    key = headers.get("x-api-key")
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if not key and scheme.lower() == "bearer":
        key = bearer.strip()
        name = "bearer token"
    else:
        name = "x-api-key"
    if not key:
        raise ApiFailure(401, "x-api-key header is required")
    if "invalid" in key:
        raise ApiFailure(401, f"invalid {name}" if name == "x-api-key" else f"Invalid {name}")
    version = headers.get("anthropic-version")
    if not version:
        raise invalid("anthropic-version: header is required")
    if version not in API_VERSIONS:
        raise invalid(f'anthropic-version: "{version}" is not a valid version. The newest is "{API_VERSIONS[-1]}".')
    betas = headers.get("anthropic-beta")
    if not betas:
        return _PLAIN_HEADERS[version]
    return Headers(version, frozenset(beta.strip() for beta in betas.split(",") if beta.strip()))


_PLAIN_HEADERS = {version: Headers(version) for version in API_VERSIONS}


class Validator:
    """Checks requests.

    Parameters
    ----------
    models : ModelTable
    context_window : int, optional
        Context window in tokens, instead of the model's own.
    new_account : bool
        See `SimulatorOptions`.
    """

    def __init__(self, models: ModelTable, *, context_window: Optional[int] = None, new_account: bool = False) -> None:
        self._models = models
        self._context_window = context_window
        self._new_account = new_account
        self._remembered: Dict[Tuple[str, Headers, bool, bool], _Parameters] = {}

    def check(self, body: Any, headers: Headers, *, counting: bool = False, batch: bool = False) -> CheckedRequest:
        """Validate a request body.

        Parameters
        ----------
        body : object
            Decoded JSON.
        headers : Headers
        counting : bool
            True for ``/v1/messages/count_tokens``, which accepts fewer fields.
        batch : bool
            True for a row of a message batch, which may not have all fields.

        Raises
        ------
        ApiFailure
            With the API's status, type and message.
        """
        parameters = self._check_parameters(body, headers, counting, batch)
        model = parameters.model
        conversation = read_conversation(body, model, headers.api_version, headers.betas)
        if conversation.kinds:
            self._check_together(body, parameters, conversation, batch)
        elif body["messages"][-1]["role"] == "assistant":
            _check_prefill(body, parameters)
        if conversation.efforts:
            _check_efforts(parameters, conversation)
        if conversation.unopened is not None:
            raise invalid(f"{conversation.unopened}: Extra inputs are not permitted")
        tokens = parameters.tokens + conversation.tokens
        window = self._context_window or model.context_window
        if tokens > window and not counting:
            raise invalid(f"prompt is too long: {tokens} tokens > {window} maximum")
        cache = None
        if parameters.marked or conversation.marked:
            cache = _plan(body, parameters, conversation)
        return CheckedRequest(model, parameters.thinking, tokens, parameters.fast, cache, window)

    def _check_parameters(self, body: Any, headers: Headers, counting: bool, batch: bool) -> _Parameters:
        if not isinstance(body, dict):
            raise invalid("Input should be a valid dictionary")
        rest = {name: value for name, value in body.items() if name not in ("messages", "system")}
        key = (_compact(rest), headers, counting, batch)
        known = self._remembered.get(key)
        if known is not None and "messages" in body:
            return known
        check_parameters(body, api_version=headers.api_version, betas=headers.betas, counting=counting)
        model = self._models.get(body["model"])
        if model is None:
            raise ApiFailure(404, f"model: {body['model']}")
        check_model_rules(body, model, betas=headers.betas, counting=counting, batch=batch)
        check_parameter_rules(body, model, batch=batch)
        if body.get("fallbacks") is not None:
            check_fallbacks(body, model, self._models, headers.betas)
        found = _summarize(body, model)
        if len(key[0]) < _MAX_REMEMBERED_CHARACTERS:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = found
        return found

    def _check_together(
        self, body: Mapping[str, Any], parameters: _Parameters, conversation: Conversation, batch: bool
    ) -> None:
        """Check rules that involve both messages and parameters."""
        if format_of(body) is not None and (any(conversation.citing) or any(conversation.citing_results)):
            raise invalid("output_config.format: structured outputs cannot be combined with citations")
        if body["messages"][-1]["role"] == "assistant":
            _check_prefill(body, parameters)
        if "tool_result" in conversation.kinds:
            _check_references(body)
        if conversation.kinds & {"thinking", "tool_use"}:
            check_bound_thinking(
                body, parameters.model, parameters.thinking, new_account=self._new_account, batch=batch
            )


def _summarize(body: Mapping[str, Any], model: Model) -> _Parameters:
    per_token = model.characters_per_token
    tools = body.get("tools") or ()
    for_tools = for_schema = 0
    if tools:
        choice = body.get("tool_choice") or {}
        for_tools = model.tool_tokens[choice.get("type") in ("any", "tool")]
    schema = format_of(body)
    if schema is not None:
        for_schema = _SCHEMA_TOKENS + json_tokens(schema, per_token)
    plain = ({key: value for key, value in tool.items() if key != "cache_control"} for tool in tools)
    tokens = for_tools + for_schema + sum(json_tokens(tool, per_token) for tool in plain)
    fast = body.get("speed") == "fast" and model.fast in ("yes", "preview")
    marked = bool(body.get("cache_control")) or any(tool.get("cache_control") for tool in tools)
    return _Parameters(model, thinking_of(body, model), tokens, (for_tools, for_schema), fast, marked)


def _plan(body: Mapping[str, Any], parameters: _Parameters, conversation: Conversation) -> CachePlan:
    thinking = parameters.thinking
    return plan_cache(
        body,
        parameters.model,
        # An explicit default counts as the same setting as an omitted one.
        settings=[
            thinking.kind,
            thinking.budget_tokens,
            thinking.effort,
            body.get("tool_choice") or {"type": "auto"},
            format_of(body),
        ],
        overhead=parameters.overhead,
        cites=any(conversation.citing) or any(conversation.citing_results),
        pictures=bool(conversation.images),
    )


def _check_prefill(body: Mapping[str, Any], parameters: _Parameters) -> None:
    """Refuse parameters that cannot be combined with a prefill, on models that accept one."""
    content = body["messages"][-1]["content"]
    first = content[0]["type"] if isinstance(content, list) and content else "text"
    if parameters.model.prefill == "unless_thinking" and parameters.thinking.on and first == "text":
        place = len(body["messages"]) - 1
        raise invalid(
            f"messages.{place}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`. "
            "When `thinking` is enabled, a final `assistant` message must start with a thinking block."
        )
    if format_of(body) is not None:
        raise invalid("output_config.format: structured outputs cannot be combined with assistant message prefill")


def _check_efforts(parameters: _Parameters, conversation: Conversation) -> None:
    """Refuse messages that change the effort to one that the model does not know, or while thinking is off."""
    before = parameters.thinking.effort
    for number, effort in conversation.efforts:
        check_effort(effort, parameters.model)
        if effort != before and parameters.thinking.kind in ("disabled", "between_tools"):
            raise invalid(
                f"messages.{number}: output_config.effort '{effort}' differs from the '{before}' in effect before it; "
                "the effort cannot change while thinking is off."
            )
        before = effort


def _check_references(body: Mapping[str, Any]) -> None:
    names = {tool.get("name") for tool in body.get("tools") or ()}
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            inner = block.get("content") if block["type"] == "tool_result" else None
            for part in inner if isinstance(inner, list) else ():
                if part["type"] == "tool_reference" and part["tool_name"] not in names:
                    raise invalid(f"Tool reference '{part['tool_name']}' not found in available tools")
