"""How the SDK makes a call, kept to make the next ones alike."""

from __future__ import annotations

import json
from typing import Any, Dict, Tuple

from claude_force_nb.messages.request import ClaudeRequest

__all__ = ["CallPattern"]

_MOST_HEADERS = 64
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class CallPattern:
    """A call that the SDK made, as the pattern of those that follow: its address and headers do not change.

    The SDK takes as much time to put a call together as the HTTP library takes to make it, and most of that goes into finding
    the same headers again and into walking through a body that is JSON data already.
    """

    def __init__(self, request: Any) -> None:
        self._request = type(request)
        self._url = request.url
        self._headers = [
            (name, value)
            for name, value in request.headers.raw
            if name.lower() not in (b"content-length", b"anthropic-beta", b"x-stainless-timeout")
        ]
        self._make_headers = type(request.headers)
        self._known: Dict[Tuple[Tuple[str, ...], float], Any] = {}

    def request(self, request: ClaudeRequest, timeout_seconds: float) -> Any:
        """Return the HTTP request for another body."""
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout_seconds)
        content = _encode(request.body).encode("utf-8")
        headers = self._headers_of(request.betas, round(timeout_seconds, 3))
        return self._request("POST", self._url, headers=headers, content=content, extensions={"timeout": timeouts})

    def _headers_of(self, betas: Tuple[str, ...], timeout_seconds: float) -> Any:
        """Return the headers of a call, made once for all that differ in nothing else: to check them takes its time."""
        known = self._known.get((betas, timeout_seconds))
        if known is None:
            headers = [*self._headers, (b"x-stainless-timeout", str(timeout_seconds).encode("ascii"))]
            if betas:
                headers.append((b"anthropic-beta", ",".join(betas).encode("ascii")))
            if len(self._known) >= _MOST_HEADERS:
                self._known.clear()
            known = self._known[betas, timeout_seconds] = self._make_headers(headers)
        return known
