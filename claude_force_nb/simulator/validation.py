"""What the API refuses, with its own words. Pure."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from claude_force_nb.messages.models import takes_adaptive_thinking

from .blocks import refusal_of
from .models import Model, ModelTable
from .output_config import output_config_problem
from .tokens import count_input_tokens

__all__ = ["ERROR_TYPES", "ApiFailure", "check_headers", "check_request", "error_body"]

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

# Fields of CreateMessageParams, and the beta fields of the newest SDK.
_FIELDS = frozenset(
    [
        "model",
        "messages",
        "max_tokens",
        "system",
        "metadata",
        "stop_sequences",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "thinking",
        "tools",
        "tool_choice",
        "output_config",
        "output_format",
        "service_tier",
        "container",
        "context_management",
        "mcp_servers",
        "cache_control",
        "diagnostics",
        "inference_geo",
        "speed",
        "billing_policy",
        "compaction",
        "fallback_credit_token",
        "fallbacks",
        "thread",
        "user_profile_id",
        "workspace_id",
    ]
)
_COUNT_FIELDS = _FIELDS - {"max_tokens", "stream", "stop_sequences", "temperature", "top_p", "top_k", "metadata"}

# From this version on the newer models take no sampling parameters.
_NO_SAMPLING_VERSION = "2026-10-21"
_NEWER_MODEL = re.compile(r"claude-[a-z]+-[5-9](-|$)")
_MINIMUM_THINKING_TOKENS = 1024


class ApiFailure(Exception):
    """The request gets an error body instead of an answer.

    Parameters
    ----------
    status : int
        HTTP status.
    message : str
        ``error.message``.
    error_type : str, optional
        ``error.type``; by default the one that belongs to the status.
    retry_after_seconds : float, optional
        Sent as ``retry-after``.
    details : mapping, optional
        ``error.details``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_type: Optional[str] = None,
        retry_after_seconds: Optional[float] = None,
        details: Optional[Mapping[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_type = error_type or ERROR_TYPES.get(status, "api_error" if status >= 500 else ERROR_TYPES[400])
        self.retry_after_seconds = retry_after_seconds
        self.details = details


def error_body(failure: ApiFailure, request_id: Optional[str]) -> Dict[str, Any]:
    """Return the API's error object; without `request_id` inside streams, where the API leaves it out as well."""
    error: Dict[str, Any] = {"type": failure.error_type, "message": failure.message}
    if failure.details is not None:
        error["details"] = dict(failure.details)
    body: Dict[str, Any] = {"type": "error", "error": error}
    if request_id is not None:
        body["request_id"] = request_id
    return body


def _invalid(message: str) -> ApiFailure:
    return ApiFailure(400, message)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise ApiFailure unless there is a key and a version.

    Any key is taken but one that contains "invalid".
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
        raise ApiFailure(401, "invalid " + name if name == "x-api-key" else "Invalid " + name)
    if not headers.get("anthropic-version"):
        raise _invalid("anthropic-version: header is required")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list):
        raise _invalid("messages: Input should be a valid list")
    if not messages:
        raise _invalid("messages: at least one message is required")
    last = len(messages) - 1
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _invalid(f"messages.{number}: Input does not match the expected shape.")
        role = message.get("role")
        if role not in ("user", "assistant"):
            raise _invalid(
                f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant".'
                if isinstance(role, str)
                else f"messages.{number}.role: Field required"
            )
        if "content" not in message:
            raise _invalid(f"messages.{number}.content: Field required")
        content = message["content"]
        if not isinstance(content, (str, list)):
            raise _invalid(f"messages.{number}.content: Input should be a valid string or list")
        if not content and not (role == "assistant" and number == last):
            raise _invalid(
                f"messages.{number}: all messages must have non-empty content except for the optional final assistant "
                "message"
            )
        if isinstance(content, list):
            for place, block in enumerate(content):
                where = f"messages.{number}.content.{place}"
                if not isinstance(block, dict) or not isinstance(block.get("type"), str):
                    raise _invalid(where + ": Input does not match the expected shape.")
                if block["type"] == "text" and not block.get("text"):
                    raise _invalid("messages: text content blocks must be non-empty")
                refusal = refusal_of(block, where)
                if refusal is not None:
                    raise _invalid(refusal)


def _check_number(body: Mapping[str, Any], name: str, low: float, high: float) -> None:
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _invalid(f"{name}: Input should be a valid number")
    if not low <= value <= high:
        raise _invalid(f"{name}: range: {low:g}..{high:g}")


def _check_max_tokens(body: Mapping[str, Any], model: Model) -> int:
    if "max_tokens" not in body:
        raise _invalid("max_tokens: Field required")
    max_tokens = body["max_tokens"]
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int):
        raise _invalid("max_tokens: Input should be a valid integer")
    if max_tokens < 1:
        raise _invalid("max_tokens: must be greater than or equal to 1")
    if max_tokens > model.max_output_tokens:
        raise _invalid(
            f"max_tokens: {max_tokens} > {model.max_output_tokens}, which is the maximum allowed number of output tokens for {model.name}"
        )
    return max_tokens


def _check_thinking(body: Mapping[str, Any], model: Model, max_tokens: int) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("enabled", "disabled", "adaptive"):
        raise _invalid("thinking: Input tag does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'")
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if isinstance(budget, bool) or not isinstance(budget, int):
            raise _invalid("thinking.enabled.budget_tokens: Field required")
        if budget < _MINIMUM_THINKING_TOKENS:
            raise _invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= max_tokens:
            raise _invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if kind == "adaptive" and not takes_adaptive_thinking(model.name):
        raise _invalid("adaptive thinking is not supported on this model")
    if kind != "disabled" and body.get("temperature") not in (None, 1):
        raise _invalid("`temperature` may only be set to 1 when thinking is enabled.")
    if kind != "disabled" and body.get("top_k") is not None:
        raise _invalid("`top_k` must be unset when thinking is enabled.")


def _check_tools(body: Mapping[str, Any]) -> None:
    tools = body.get("tools")
    if tools is not None and (
        not isinstance(tools, list) or not all(isinstance(tool, dict) and "name" in tool for tool in tools)
    ):
        raise _invalid("tools.0.name: Field required")
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise _invalid("tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'")
    names = [tool["name"] for tool in tools or ()]
    if kind in ("any", "tool") and not names:
        raise _invalid("tool_choice: may only be specified while providing tools")
    if kind == "tool" and choice.get("name") not in names:
        raise _invalid("Tool '{}' not found in provided tools".format(choice.get("name")))


def _check_stop_sequences(body: Mapping[str, Any]) -> None:
    stops = body.get("stop_sequences")
    if stops is None:
        return
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise _invalid("stop_sequences: Input should be a valid list of strings")
    if any(not stop.strip() for stop in stops):
        raise _invalid("stop_sequences: each stop sequence must contain non-whitespace")


def check_request(
    body: Any,
    models: ModelTable,
    *,
    api_version: str = "",
    context_window: Optional[int] = None,
    counting: bool = False,
) -> Tuple[Model, int]:
    """Return the model and the input tokens of a valid request body.

    Parameters
    ----------
    body : object
        Decoded JSON.
    models : ModelTable
    api_version : str
        ``anthropic-version`` header.
    context_window : int, optional
        Tokens, instead of the model's own.
    counting : bool
        True for ``/v1/messages/count_tokens``, which takes fewer fields and any size.

    Raises
    ------
    ApiFailure
        With the API's status, type and message.
    """
    if not isinstance(body, dict):
        raise _invalid("Input should be a valid dictionary")
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise _invalid("model: Field required")
    if "messages" not in body:
        raise _invalid("messages: Field required")
    unexpected: List[str] = [key for key in body if key not in (_COUNT_FIELDS if counting else _FIELDS)]
    if unexpected:
        raise _invalid(f"{unexpected[0]}: Extra inputs are not permitted")
    model = models.get(name)
    if model is None:
        raise ApiFailure(404, "model: " + name)
    _check_messages(body["messages"])
    system = body.get("system")
    if system is not None and not isinstance(system, (str, list)):
        raise _invalid("system: Input should be a valid string or list")
    _check_tools(body)
    if not counting:
        max_tokens = _check_max_tokens(body, model)
        _check_number(body, "temperature", 0, 1)
        _check_number(body, "top_p", 0, 1)
        if api_version >= _NO_SAMPLING_VERSION and _NEWER_MODEL.match(model.name):
            for parameter in ("temperature", "top_p", "top_k"):
                if body.get(parameter) is not None:
                    raise _invalid(f"{parameter}: this model does not support sampling parameters")
        _check_thinking(body, model, max_tokens)
        _check_stop_sequences(body)
        problem = output_config_problem(body, model.name)
        if problem is not None:
            raise _invalid(problem)
    tokens = count_input_tokens(body)
    window = context_window or model.context_window
    if not counting and tokens > window:
        raise _invalid(f"prompt is too long: {tokens} tokens > {window} maximum")
    return model, tokens
