"""The body and the headers of a request, as they are sent."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping

from claude_force_nb.messages.request import ClaudeRequest

__all__ = ["counted_body", "encoded", "version_headers"]

# The fields of a request that counting takes (Messages API reference, "Count tokens"); any other is refused.
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
    # Of betas; a request that has them has their headers.
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
    """Return the part of a request whose tokens are counted."""
    return {name: request.body[name] for name in _COUNTED if name in request.body}


def version_headers(request: ClaudeRequest) -> Dict[str, str]:
    """Return the headers that say which version of the API, and which betas, a request means."""
    headers = {"anthropic-version": request.api_version}
    if request.betas:
        headers["anthropic-beta"] = ",".join(request.betas)
    return headers
