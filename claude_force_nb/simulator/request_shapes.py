"""The closed schema of a request: every field that the Messages API knows, and what it may hold. Pure."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Mapping

from .failures import invalid
from .shapes import (
    Check,
    anything,
    boolean,
    check_fields,
    integer,
    list_of,
    literal,
    mapping,
    nullable,
    number,
    record,
    tagged,
    text,
    text_or,
)

__all__ = ["BLOCKS", "SYSTEM", "TEXT_BLOCK", "check_parameters", "tool_kind"]

_ID = text(pattern="^[a-zA-Z0-9_-]+$")
_SERVER_ID = text(pattern="^srvtoolu_[a-zA-Z0-9_]+$")
_CACHE_CONTROL = nullable(record({"type": literal("ephemeral"), "ttl": literal("5m", "1h")}, ["type"]))
_CITATIONS = nullable(record({"enabled": boolean}))
_TYPE = anything


def _block(fields: Mapping[str, Check], required: str) -> Check:
    return record({"type": _TYPE, "cache_control": _CACHE_CONTROL, **fields}, required.split())


_TEXT_FIELDS: Dict[str, Check] = {"text": text(), "citations": nullable(list_of(mapping))}
TEXT_BLOCK = tagged({"text": _block(_TEXT_FIELDS, "text")})
# Inside another block an empty text has no words of its own.
_INNER_TEXT = _block({**_TEXT_FIELDS, "text": text(1)}, "text")
_IMAGE_SOURCE = tagged(
    {
        "base64": record({"type": _TYPE, "media_type": anything, "data": anything}),
        "url": record({"type": _TYPE, "url": text()}, ["url"]),
        "file": record({"type": _TYPE, "file_id": text()}, ["file_id"]),
    }
)
_IMAGE = _block({"source": _IMAGE_SOURCE, "transformations": mapping}, "source")
_DOCUMENT_SOURCE = tagged(
    {
        "base64": record({"type": _TYPE, "media_type": anything, "data": anything}),
        "text": record({"type": _TYPE, "media_type": literal("text/plain"), "data": text()}, ["media_type", "data"]),
        "content": record(
            {
                "type": _TYPE,
                "content": text_or(list_of(tagged({"text": _INNER_TEXT, "image": _IMAGE}))),
            },
            ["content"],
        ),
        "url": record({"type": _TYPE, "url": text()}, ["url"]),
        "file": record({"type": _TYPE, "file_id": text()}, ["file_id"]),
    }
)
_DOCUMENT = _block(
    {
        "source": _DOCUMENT_SOURCE,
        "title": nullable(text(1, 500)),
        "context": nullable(text(1)),
        "citations": _CITATIONS,
    },
    "source",
)
_SEARCH_RESULT = _block(
    {"source": text(), "title": text(), "content": list_of(tagged({"text": _INNER_TEXT}), 1), "citations": _CITATIONS},
    "source title content",
)
_TOOL_REFERENCE = _block({"tool_name": text(pattern="^[a-zA-Z0-9_-]{1,256}$")}, "tool_name")
_RESULT_CONTENT = text_or(
    list_of(
        tagged(
            {
                "text": _INNER_TEXT,
                "image": _IMAGE,
                "document": _DOCUMENT,
                "search_result": _SEARCH_RESULT,
                "tool_reference": _TOOL_REFERENCE,
                "browser_state": anything,
            }
        )
    )
)
_SERVER_RESULT = _block({"tool_use_id": _SERVER_ID, "content": anything, "caller": mapping}, "tool_use_id content")
BLOCKS: Check = tagged(
    {
        "text": _block(_TEXT_FIELDS, "text"),
        "image": _IMAGE,
        "document": _DOCUMENT,
        "search_result": _SEARCH_RESULT,
        "thinking": record({"type": _TYPE, "thinking": text(), "signature": text()}, ["thinking", "signature"]),
        "redacted_thinking": record({"type": _TYPE, "data": text()}, ["data"]),
        "tool_use": _block(
            {"id": _ID, "name": text(1, 200), "input": mapping, "caller": mapping, "toolset_name": nullable(text())},
            "id name input",
        ),
        "tool_result": _block(
            {
                "tool_use_id": _ID,
                "content": _RESULT_CONTENT,
                "is_error": boolean,
                "toolset_name": nullable(text()),
            },
            "tool_use_id",
        ),
        "server_tool_use": _block(
            {"id": _SERVER_ID, "name": text(1), "input": mapping, "caller": mapping}, "id name input"
        ),
        **dict.fromkeys(
            (
                "web_search_tool_result",
                "web_fetch_tool_result",
                "code_execution_tool_result",
                "bash_code_execution_tool_result",
                "text_editor_code_execution_tool_result",
                "tool_search_tool_result",
            ),
            _SERVER_RESULT,
        ),
        "container_upload": _block({"file_id": text()}, "file_id"),
        "mid_conv_system": _block({"content": list_of(tagged({"text": _INNER_TEXT}))}, "content"),
        # Of betas; what is in them is not looked at.
        **dict.fromkeys(("mcp_tool_use", "mcp_tool_result", "advisor_tool_result", "compaction", "fallback"), mapping),
    }
)
SYSTEM: Check = text_or(list_of(TEXT_BLOCK))

_CUSTOM_TOOL = record(
    {
        "type": anything,
        "name": text(pattern="^[a-zA-Z0-9_-]{1,128}$"),
        "description": text(),
        "input_schema": mapping,
        "cache_control": _CACHE_CONTROL,
        "strict": boolean,
        "eager_input_streaming": nullable(boolean),
        "allowed_callers": list_of(text()),
        "defer_loading": boolean,
        "input_examples": list_of(mapping),
    },
    ["name", "input_schema"],
)
_COMMON_TOOL: Dict[str, Check] = {
    "type": anything,
    "cache_control": _CACHE_CONTROL,
    "allowed_callers": list_of(text()),
    "defer_loading": boolean,
    "strict": boolean,
}
_DOMAINS: Dict[str, Check] = {
    "allowed_domains": nullable(list_of(text())),
    "blocked_domains": nullable(list_of(text())),
    "max_uses": nullable(integer(1)),
}
_BY_PREFIX: Mapping[str, Mapping[str, Check]] = {
    "web_search_": {**_DOMAINS, "user_location": nullable(mapping), "response_inclusion": text()},
    "web_fetch_": {
        **_DOMAINS,
        "citations": _CITATIONS,
        "max_content_tokens": nullable(integer(1)),
        "response_inclusion": text(),
        "url_sources": nullable(mapping),
        "use_cache": boolean,
    },
    "code_execution_": {},
    "bash_code_execution_": {},
    "tool_search_tool_": {},
    "bash_": {"input_examples": list_of(mapping)},
    "memory_": {"input_examples": list_of(mapping)},
    "text_editor_": {"input_examples": list_of(mapping), "max_characters": nullable(integer(1))},
    "computer_": {
        "input_examples": list_of(mapping),
        "display_width_px": integer(1),
        "display_height_px": integer(1),
        "display_number": nullable(integer(0)),
        "enable_zoom": boolean,
        "configs": nullable(mapping),
    },
    "browser_toolset_": {"configs": nullable(mapping)},
    "advisor_": {"model": text(), "max_uses": nullable(integer(1)), "caching": anything},
    "mcp_toolset": {"mcp_server_name": text(), "configs": nullable(mapping), "default_config": nullable(mapping)},
}
# Such a tool is called by its type without the date, but for these.
_FIXED_NAMES = {
    "text_editor_20241022": "str_replace_editor",
    "text_editor_20250124": "str_replace_editor",
    "text_editor_20250429": "str_replace_based_edit_tool",
    "text_editor_20250728": "str_replace_based_edit_tool",
}
_NAMELESS = ("computer_toolset_", "browser_toolset_", "mcp_toolset")
_TOOL_TYPES = (
    *("web_search_20250305", "web_search_20260209", "web_search_20260318"),
    *("web_fetch_20250910", "web_fetch_20260209", "web_fetch_20260309", "web_fetch_20260318"),
    *("code_execution_20250522", "code_execution_20250825", "code_execution_20260120", "code_execution_20260521"),
    *("tool_search_tool_regex_20251119", "tool_search_tool_bm25_20251119", "advisor_20260301", "mcp_toolset"),
    *("bash_20241022", "bash_20250124", "memory_20250818"),
    *("text_editor_20241022", "text_editor_20250124", "text_editor_20250429", "text_editor_20250728"),
    *("computer_20241022", "computer_20250124", "computer_20251124"),
    *("computer_toolset_20260801", "browser_toolset_20260801"),
)


def tool_kind(tool: Mapping[str, Any]) -> str:
    """Return the type of a tool; ``custom`` for one of the client's own."""
    return str(tool.get("type") or "custom")


def _server_tool(kind: str) -> Check:
    prefix = next(prefix for prefix in _BY_PREFIX if kind.startswith(prefix))
    fields = {**_COMMON_TOOL, **_BY_PREFIX[prefix]}
    if kind.startswith(_NAMELESS):
        return record(fields)
    return record({**fields, "name": literal(_FIXED_NAMES.get(kind, kind.rpartition("_")[0]))}, ["name"])


_TOOL = tagged({"custom": _CUSTOM_TOOL, **{kind: _server_tool(kind) for kind in _TOOL_TYPES}}, "custom")
_PARALLEL: Dict[str, Check] = {"type": _TYPE, "disable_parallel_tool_use": boolean}
_TOOL_CHOICE = tagged(
    {
        "auto": record(_PARALLEL),
        "any": record(_PARALLEL),
        "tool": record({**_PARALLEL, "name": text()}, ["name"]),
        "none": record({"type": _TYPE}),
    }
)
_BINDING = nullable(record({"prefix_mismatch_behavior": nullable(literal("error", "drop_block"))}))
_DISPLAY = nullable(literal("summarized", "omitted", "updates"))
_BINDING_BETA = "thinking-binding-controls-2026-08-01"


def _thinking(betas: FrozenSet[str]) -> Check:
    adaptive: Dict[str, Check] = {"type": _TYPE, "display": _DISPLAY}
    if _BINDING_BETA in betas:
        adaptive["block_binding"] = _BINDING
    return tagged(
        {
            "adaptive": record(adaptive),
            "between_tools": record({"type": _TYPE}),
            "disabled": record({"type": _TYPE}),
            "enabled": record({**adaptive, "budget_tokens": integer(1024)}, ["budget_tokens"]),
        }
    )


_FORMAT = nullable(tagged({"json_schema": record({"type": _TYPE, "schema": mapping}, ["schema"])}))
# Which values of `effort` a model takes is a rule of the model.
_OUTPUT_CONFIG = record({"effort": nullable(text()), "format": _FORMAT, "task_budget": nullable(mapping)})

_COUNTED: Dict[str, Check] = {
    "model": text(1),
    "messages": anything,
    "system": anything,
    "tools": list_of(_TOOL),
    "tool_choice": _TOOL_CHOICE,
    "output_config": _OUTPUT_CONFIG,
    "cache_control": _CACHE_CONTROL,
    "speed": nullable(literal("standard", "fast")),
    "user_profile_id": nullable(text()),
    "workspace_id": nullable(text()),
}
_SAMPLING: Dict[str, Check] = {
    "temperature": number(0, 1),
    "top_p": number(0, 1),
    "top_k": integer(0),
}
_CREATED: Dict[str, Check] = {
    **_COUNTED,
    "max_tokens": integer(0),
    "stream": boolean,
    "stop_sequences": list_of(text()),
    "metadata": record({"user_id": nullable(text(0, 512))}),
    "service_tier": literal("auto", "standard_only"),
    "container": anything,
    "inference_geo": nullable(literal("us", "global")),
    "diagnostics": nullable(record({"previous_message_id": nullable(text())})),
}
# Fields of betas, and how the name of the beta begins that opens each; "" for one whose name is not documented.
_BETA_FIELDS = {
    "output_format": "structured-outputs-",
    "context_management": "context-management-",
    "mcp_servers": "mcp-client-",
    "fallbacks": "server-side-fallback-",
    "fallback_credit_token": "",
    "billing_policy": "",
    "compaction": "",
    "thread": "",
}
_NOT_COUNTED_BETAS = ("fallbacks", "fallback_credit_token", "thread")
# From this version on no model takes sampling parameters.
_NO_SAMPLING_VERSION = "2026-10-21"
_KNOWN_FIELDS: Dict[object, Dict[str, Check]] = {}


def _fields(api_version: str, betas: FrozenSet[str], counting: bool) -> Dict[str, Check]:
    key = (api_version, betas, counting)
    found = _KNOWN_FIELDS.get(key)
    if found is None:
        found = dict(_COUNTED if counting else _CREATED, thinking=_thinking(betas))
        if not counting and api_version < _NO_SAMPLING_VERSION:
            found.update(_SAMPLING)
        for name, beta in _BETA_FIELDS.items():
            if any(known.startswith(beta) for known in betas) and not (counting and name in _NOT_COUNTED_BETAS):
                found[name] = anything
        if len(_KNOWN_FIELDS) < 1000:
            _KNOWN_FIELDS[key] = found
    return found


def check_parameters(body: Any, *, api_version: str, betas: FrozenSet[str], counting: bool) -> None:
    """Raise ApiFailure unless `body` has the fields of a request, of the right shapes; what is in the messages is not looked at."""
    if not isinstance(body, dict):
        raise invalid("Input should be a valid dictionary")
    required = ("model", "messages") if counting else ("model", "messages", "max_tokens")
    if not isinstance(body.get("model"), str):
        raise invalid("model: Field required")
    check_fields(body, "", _fields(api_version, betas, counting), required)
