"""The closed schema of a request: every field that the Messages API knows, and its allowed values. Pure."""

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
from .tool_shapes import CACHE_CONTROL, CITATIONS, TOOL_CHOICE, tools

__all__ = ["BLOCKS", "SYSTEM", "TEXT_BLOCK", "check_parameters"]

_ID = text(pattern="^[a-zA-Z0-9_-]+$")
_SERVER_ID = text(pattern="^srvtoolu_[a-zA-Z0-9_]+$")
_TYPE = anything


def _block(fields: Mapping[str, Check], required: str) -> Check:
    return record({"type": _TYPE, "cache_control": CACHE_CONTROL, **fields}, required.split())


def _citation(*fields: str) -> Check:
    """Return the check for a citation with these fields; those that end in ``index`` are whole numbers."""
    known: Dict[str, Check] = {name: integer(0) if name.endswith(("index", "number")) else text() for name in fields}
    for name in ("title", "document_title"):
        if name in known:
            known[name] = nullable(text())
    # Answers contain this field, and are sent back unchanged.
    more: Dict[str, Check] = {"type": _TYPE, "cited_text": text(), "file_id": nullable(text())}
    return record({**more, **known}, ["cited_text", *fields])


_BLOCKS_OF = ("start_block_index", "end_block_index")
_CITATION = tagged(
    {
        "char_location": _citation("document_index", "document_title", "start_char_index", "end_char_index"),
        "page_location": _citation("document_index", "document_title", "start_page_number", "end_page_number"),
        "content_block_location": _citation("document_index", "document_title", *_BLOCKS_OF),
        "search_result_location": _citation("source", "title", "search_result_index", *_BLOCKS_OF),
        "web_search_result_location": record(
            {
                "type": _TYPE,
                "cited_text": text(),
                "encrypted_index": text(1),
                "title": nullable(text(1, 512)),
                "url": text(1),
            },
            ["cited_text", "encrypted_index", "title", "url"],
        ),
    }
)
_TEXT_FIELDS: Dict[str, Check] = {"text": text(), "citations": nullable(list_of(_CITATION))}
TEXT_BLOCK = tagged({"text": _block(_TEXT_FIELDS, "text")})
# Inside another block the API has no special message for an empty text.
_INNER_TEXT = _block({**_TEXT_FIELDS, "text": text(1)}, "text")
_IMAGE_SOURCE = tagged(
    {
        "base64": record({"type": _TYPE, "media_type": anything, "data": anything}),
        "url": record({"type": _TYPE, "url": text()}, ["url"]),
        "file": record({"type": _TYPE, "file_id": text()}, ["file_id"]),
    }
)
_TRANSFORMATIONS = record({"oversized_image": literal("downsize", "error")})
_IMAGE = _block({"source": _IMAGE_SOURCE, "transformations": nullable(_TRANSFORMATIONS)}, "source")
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
        "citations": CITATIONS,
    },
    "source",
)
_SEARCH_RESULT = _block(
    {"source": text(), "title": text(), "content": list_of(tagged({"text": _INNER_TEXT}), 1), "citations": CITATIONS},
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
_SERVER_TOOLS = (
    *("web_search", "web_fetch", "code_execution", "bash_code_execution", "text_editor_code_execution"),
    *("tool_search_tool_regex", "tool_search_tool_bm25", "advisor"),
)


def _server_result(content: Check) -> Check:
    return _block({"tool_use_id": _SERVER_ID, "content": content, "caller": mapping}, "tool_use_id content")


def _error_of(tool: str) -> Dict[str, Check]:
    kind = f"{tool}_tool_result_error"
    return {kind: record({"type": _TYPE, "error_code": text(1)}, ["error_code"])}


_FOUND = record(
    {
        "type": literal("web_search_result"),
        "url": text(1),
        "title": text(),
        "encrypted_content": text(1),
        "page_age": nullable(text()),
    },
    ["type", "url", "title", "encrypted_content"],
)
_SEARCH_ERROR = tagged(_error_of("web_search"))
_FETCHED = tagged(
    {
        "web_fetch_result": record(
            {
                "type": _TYPE,
                "url": text(1),
                "content": tagged({"document": _DOCUMENT}),
                "retrieved_at": nullable(text()),
            },
            ["url", "content"],
        ),
        **_error_of("web_fetch"),
    }
)


def _searched(value: Any, path: str) -> None:
    """Accept the results of a web search, or its error."""
    (list_of(_FOUND) if isinstance(value, list) else _SEARCH_ERROR)(value, path)


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
            {"id": _SERVER_ID, "name": literal(*_SERVER_TOOLS), "input": mapping, "caller": mapping}, "id name input"
        ),
        "web_search_tool_result": _server_result(_searched),
        "web_fetch_tool_result": _server_result(_FETCHED),
        **dict.fromkeys(
            (
                "code_execution_tool_result",
                "bash_code_execution_tool_result",
                "text_editor_code_execution_tool_result",
                "tool_search_tool_result",
            ),
            _server_result(mapping),
        ),
        "container_upload": _block({"file_id": text()}, "file_id"),
        "mid_conv_system": _block({"content": list_of(tagged({"text": _INNER_TEXT}))}, "content"),
        # Blocks of betas, whose content is not checked.
        **dict.fromkeys(("mcp_tool_use", "mcp_tool_result", "advisor_tool_result", "compaction", "fallback"), mapping),
    }
)
SYSTEM: Check = text_or(list_of(TEXT_BLOCK))

_BINDING = nullable(record({"prefix_mismatch_behavior": nullable(literal("error", "drop_block"))}))
_DISPLAYS = ("summarized", "omitted")
_BINDING_BETA = "thinking-binding-controls-2026-08-01"
_UPDATES_BETA = "thinking-display-updates-"


def _thinking(betas: FrozenSet[str]) -> Check:
    updates = ("updates",) if any(beta.startswith(_UPDATES_BETA) for beta in betas) else ()
    adaptive: Dict[str, Check] = {"type": _TYPE, "display": nullable(literal(*_DISPLAYS, *updates))}
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
# The accepted values of `effort` depend on the model; see `model_rules`.
_OUTPUT_CONFIG = record({"effort": nullable(text()), "format": _FORMAT, "task_budget": nullable(mapping)})

_COUNTED: Dict[str, Check] = {
    "model": text(1),
    "messages": anything,
    "system": anything,
    "tool_choice": TOOL_CHOICE,
    "output_config": _OUTPUT_CONFIG,
    "cache_control": CACHE_CONTROL,
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
# Beta fields, and the prefix of the beta header that enables each; "" if its name is not documented.
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
_MCP_SERVERS = list_of(
    record(
        {
            "type": literal("url"),
            "url": text(pattern="^https://[^/?#]+.*$"),
            "name": text(1),
            "authorization_token": nullable(text()),
            "tool_configuration": nullable(mapping),
        },
        ["type", "url", "name"],
    )
)
_NOT_COUNTED_BETAS = ("fallbacks", "fallback_credit_token", "thread")
# From this version on no model accepts sampling parameters.
_NO_SAMPLING_VERSION = "2026-10-21"
_KNOWN_FIELDS: Dict[object, Dict[str, Check]] = {}


def _fields(api_version: str, betas: FrozenSet[str], counting: bool) -> Dict[str, Check]:
    key = (api_version, betas, counting)
    found = _KNOWN_FIELDS.get(key)
    if found is None:
        found = dict(_COUNTED if counting else _CREATED, thinking=_thinking(betas), tools=tools(betas))
        if not counting and api_version < _NO_SAMPLING_VERSION:
            found.update(_SAMPLING)
        for name, beta in _BETA_FIELDS.items():
            if any(known.startswith(beta) for known in betas) and not (counting and name in _NOT_COUNTED_BETAS):
                found[name] = _MCP_SERVERS if name == "mcp_servers" else anything
        if len(_KNOWN_FIELDS) < 1000:
            _KNOWN_FIELDS[key] = found
    return found


def check_parameters(body: Any, *, api_version: str, betas: FrozenSet[str], counting: bool) -> None:
    """Raise ApiFailure unless `body` has valid fields of a request; the content of the messages is not checked."""
    if not isinstance(body, dict):
        raise invalid("Input should be a valid dictionary")
    required = ("model", "messages") if counting else ("model", "messages", "max_tokens")
    if not isinstance(body.get("model"), str):
        raise invalid("model: Field required")
    check_fields(body, "", _fields(api_version, betas, counting), required)
