"""The closed schemas of tools: the client's own, and those that the API knows by type. Pure.

The fields of each type are taken from the SDK's types (2.14), those of older types from the tool reference.
"""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Mapping

from .shapes import (
    Check,
    anything,
    boolean,
    integer,
    list_of,
    literal,
    mapping,
    nullable,
    record,
    tagged,
    text,
)

__all__ = ["CACHE_CONTROL", "CITATIONS", "TOOL_CHOICE", "tool_kind", "tools"]

CACHE_CONTROL = nullable(record({"type": literal("ephemeral"), "ttl": literal("5m", "1h")}, ["type"]))
CITATIONS = nullable(record({"enabled": boolean}))
_TYPE = anything
_CALLERS = list_of(literal("direct", "code_execution_20250825", "code_execution_20260120", "code_execution_20260521"))

_CUSTOM_TOOL = record(
    {
        "type": anything,
        "name": text(pattern="^[a-zA-Z0-9_-]{1,128}$"),
        "description": text(),
        "input_schema": mapping,
        "cache_control": CACHE_CONTROL,
        "strict": boolean,
        "eager_input_streaming": nullable(boolean),
        "allowed_callers": _CALLERS,
        "defer_loading": boolean,
        "input_examples": list_of(mapping),
    },
    ["name", "input_schema"],
)
_COMMON_TOOL: Dict[str, Check] = {
    "type": anything,
    "cache_control": CACHE_CONTROL,
    "allowed_callers": _CALLERS,
    "defer_loading": boolean,
    "strict": boolean,
}
_DOMAINS: Dict[str, Check] = {
    "allowed_domains": nullable(list_of(text())),
    "blocked_domains": nullable(list_of(text())),
    "max_uses": nullable(integer(1)),
}
_LOCATION = nullable(
    record(
        {
            "type": literal("approximate"),
            **dict.fromkeys(("city", "country", "region", "timezone"), nullable(text())),
        },
        ["type"],
    )
)
_INCLUSION: Dict[str, Check] = {"response_inclusion": literal("full", "excluded")}
_WEB_SEARCH: Dict[str, Check] = {**_COMMON_TOOL, **_DOMAINS, "user_location": _LOCATION}
_WEB_FETCH: Dict[str, Check] = {
    **_COMMON_TOOL,
    **_DOMAINS,
    "citations": CITATIONS,
    "max_content_tokens": nullable(integer(1)),
    "url_sources": nullable(mapping),
}
_EXAMPLES: Dict[str, Check] = {**_COMMON_TOOL, "input_examples": list_of(mapping)}
_COMPUTER: Dict[str, Check] = {
    **_EXAMPLES,
    "display_width_px": integer(1),
    "display_height_px": integer(1),
    "display_number": nullable(integer(0)),
    "enable_zoom": boolean,
}
_TOOLSET: Dict[str, Check] = {"type": anything, "cache_control": CACHE_CONTROL, "configs": nullable(mapping)}
_FIELDS: Mapping[str, Mapping[str, Check]] = {
    **dict.fromkeys(("web_search_20250305", "web_search_20260209"), _WEB_SEARCH),
    "web_search_20260318": {**_WEB_SEARCH, **_INCLUSION},
    **dict.fromkeys(("web_fetch_20250910", "web_fetch_20260209"), _WEB_FETCH),
    "web_fetch_20260309": {**_WEB_FETCH, "use_cache": boolean},
    "web_fetch_20260318": {**_WEB_FETCH, "use_cache": boolean, **_INCLUSION},
    **dict.fromkeys(
        (
            *("code_execution_20250522", "code_execution_20250825", "code_execution_20260120"),
            *("code_execution_20260521", "tool_search_tool_regex_20251119", "tool_search_tool_bm25_20251119"),
        ),
        _COMMON_TOOL,
    ),
    **dict.fromkeys(
        (
            *("bash_20241022", "bash_20250124", "memory_20250818"),
            *("text_editor_20241022", "text_editor_20250124", "text_editor_20250429"),
        ),
        _EXAMPLES,
    ),
    "text_editor_20250728": {**_EXAMPLES, "max_characters": nullable(integer(1))},
    **dict.fromkeys(("computer_20241022", "computer_20250124", "computer_20251124"), _COMPUTER),
    **dict.fromkeys(("computer_toolset_20260801", "browser_toolset_20260801"), _TOOLSET),
    "advisor_20260301": {
        **_COMMON_TOOL,
        "model": text(1),
        "max_uses": nullable(integer(1)),
        "max_tokens": nullable(integer(1)),
        "caching": CACHE_CONTROL,
    },
    "mcp_toolset": {
        **_TOOLSET,
        "mcp_server_name": text(1),
        "default_config": mapping,
        "tools": nullable(list_of(mapping)),
    },
}
_REQUIRED = {"advisor_20260301": ["model"], "mcp_toolset": ["mcp_server_name"]}
# Prefix of the beta header that enables a tool type.
_BETA_TOOLS = {"advisor_20260301": "advisor-tool-", "mcp_toolset": "mcp-client-"}
# The name of such a tool is its type without the date, except for these.
_FIXED_NAMES = {
    "text_editor_20241022": "str_replace_editor",
    "text_editor_20250124": "str_replace_editor",
    "text_editor_20250429": "str_replace_based_edit_tool",
    "text_editor_20250728": "str_replace_based_edit_tool",
}
_NAMELESS = ("computer_toolset_", "browser_toolset_", "mcp_toolset")


def tool_kind(tool: Mapping[str, Any]) -> str:
    """Return the type of a tool; ``custom`` for one of the client's own."""
    return str(tool.get("type") or "custom")


def _typed(kind: str) -> Check:
    fields, required = _FIELDS[kind], _REQUIRED.get(kind, [])
    if kind.startswith(_NAMELESS):
        return record(fields, required)
    return record({**fields, "name": literal(_FIXED_NAMES.get(kind, kind.rpartition("_")[0]))}, ["name", *required])


_TYPED = {kind: _typed(kind) for kind in _FIELDS}


def tools(betas: FrozenSet[str]) -> Check:
    """Return the check for the tools of a request with these ``anthropic-beta`` headers."""
    closed = {kind for kind, beta in _BETA_TOOLS.items() if not any(name.startswith(beta) for name in betas)}
    known = {kind: check for kind, check in _TYPED.items() if kind not in closed}
    return list_of(tagged({"custom": _CUSTOM_TOOL, **known}, "custom"))


_PARALLEL: Dict[str, Check] = {"type": _TYPE, "disable_parallel_tool_use": boolean}
TOOL_CHOICE = tagged(
    {
        "auto": record(_PARALLEL),
        "any": record(_PARALLEL),
        "tool": record({**_PARALLEL, "name": text()}, ["name"]),
        "none": record({"type": _TYPE}),
    }
)
