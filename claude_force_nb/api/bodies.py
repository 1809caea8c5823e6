"""Encode the body and the headers of a request."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping

from claude_force_nb.messages.request import ClaudeRequest

__all__ = ["counted_body", "encoded", "version_headers"]

# The fields that the token counting endpoint accepts (Messages API reference, "Count tokens"); it refuses any other.
_COUNTED = (
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "speed",
    "user_profile_id",
    "workspace_id",
    # Beta fields; a request with one of them also has the beta's header.
    "billing_policy",
    "compaction",
    "context_management",
    "mcp_servers",
    "output_format",
)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON in UTF-8."""
    return _encode(body).encode("utf-8")


def counted_body(request: ClaudeRequest) -> Dict[str, Any]:
    """Return the part of a request that the token counting endpoint accepts."""
    return {name: request.body[name] for name in _COUNTED if name in request.body}


def version_headers(request: ClaudeRequest) -> Dict[str, str]:
    """Return the headers with the API version and the betas of a request."""
    headers = {"anthropic-version": request.api_version}
    if request.betas:
        headers["anthropic-beta"] = ",".join(request.betas)
    return headers
