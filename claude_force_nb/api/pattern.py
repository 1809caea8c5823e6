"""A call made by the SDK, kept as the pattern for the next ones."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Tuple

__all__ = ["CallPattern"]

_MOST_HEADERS = 64


class CallPattern:
    """A call made by the SDK, as the pattern for the following ones: address and headers do not change.

    The SDK takes as long to assemble a call as the HTTP library takes to make it. Most of that time goes into computing the
    same headers again and walking through a body that is JSON data already.

    Parameters
    ----------
    request : object
        The HTTP library's.
    own_headers : mapping
        Headers of that call only.
    """

    def __init__(self, request: Any, own_headers: Mapping[str, str]) -> None:
        own = {b"content-length", b"x-stainless-timeout", b"anthropic-beta"}
        own.update(name.lower().encode("ascii") for name in own_headers)
        self._request = type(request)
        self._url = request.url
        self._headers = [(name, value) for name, value in request.headers.raw if name.lower() not in own]
        self._make_headers = type(request.headers)
        self._known: Dict[Tuple[Tuple[Tuple[str, str], ...], float], Any] = {}

    def request(self, content: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Any:
        """Return the HTTP request for another body."""
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout_seconds)
        made = self._headers_of(tuple(headers.items()), round(timeout_seconds, 3))
        return self._request("POST", self._url, headers=made, content=content, extensions={"timeout": timeouts})

    def _headers_of(self, headers: Tuple[Tuple[str, str], ...], timeout_seconds: float) -> Any:
        """Return the headers of a call, made once for all that differ in nothing else: to check them takes its time."""
        known = self._known.get((headers, timeout_seconds))
        if known is None:
            made = [*self._headers, (b"x-stainless-timeout", str(timeout_seconds).encode("ascii"))]
            made += [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
            if len(self._known) >= _MOST_HEADERS:
                self._known.clear()
            known = self._known[headers, timeout_seconds] = self._make_headers(made)
        return known
