"""Instrumented calls: the SDK's OpenTelemetry spans, and any tool that wraps the SDK's methods to trace calls.

Such tools wrap the SDK's public methods, above all ``messages.create``, not the HTTP requests below them. If the SDK is
instrumented, each call goes through that method. Otherwise the SDK, which takes a second or two to import, is not
needed.
"""

from __future__ import annotations

import json
import operator
import os
import sys
import types
import warnings
from contextvars import ContextVar
from typing import Any, AsyncGenerator, Dict, Iterator, List, Mapping, Optional, Tuple

from .connections import ResponseHeaders

__all__ = [
    "InstrumentedResponse",
    "Instrumentation",
    "call_method",
    "http_responses",
    "may_have_spans",
    "instrumented_method",
    "waits_for_import",
]

# By path, the attribute of ``client.messages`` that makes the call.
_METHODS = {"/v1/messages": "create", "/v1/messages/count_tokens": "count_tokens"}
# Arguments that these methods have in every version of the SDK. Other fields go into ``extra_body``, which sends the
# same body.
_ARGUMENTS = frozenset(
    [
        "max_tokens", "messages", "metadata", "model", "service_tier", "stop_sequences", "stream", "system", "thinking",
        "tool_choice", "tools",
    ]
)  # fmt: skip
# Tracer providers that record nothing: OpenTelemetry is not set up.
_IDLE_PROVIDERS = ("ProxyTracerProvider", "NoOpTracerProvider")
# Methods that tracing tools replace.
_CLIENT_METHODS = ("__init__", "post", "request")
_MESSAGES_METHODS = ("create", "stream", "count_tokens")
# Tracing tools that wrap a library when it is imported.
_OUR_CALLS = r"claude_force_nb\.api\."
_IMPORT_HOOKS = ("ddtrace", "newrelic")

http_responses: ContextVar[Optional[List[Any]]] = ContextVar("http_responses", default=None)
"""If set to a list, our HTTP client appends the response of each call in this context: the SDK's methods do not return it."""


class Instrumentation:
    """Detects whether the SDK's methods are instrumented, without importing it: a tool that wraps them has imported it."""

    def __init__(self) -> None:
        # The methods at the last full check, in which all of them were the SDK's own.
        self._checked: Tuple[Any, ...] = ()

    def is_active(self) -> bool:
        """Return whether a method of the SDK has been replaced; this can change between two calls."""
        sdk = sys.modules.get("anthropic")
        if sdk is None:
            return False
        client = getattr(sdk, "AsyncAnthropic", None)
        methods = (client, *_methods(sdk))
        # Compare by identity, since wrappers may claim to be equal to the wrapped function.
        if len(self._checked) == len(methods) and all(map(operator.is_, methods, self._checked)):
            return False
        home = os.path.join(os.path.dirname(sdk.__file__ or ""), "")
        if client is not None and client.__module__.partition(".")[0] != "anthropic":
            return True  # another library has replaced the class
        if not all(_is_from(home, method) for method in methods[1:]):
            return True
        self._checked = methods
        return False


def _methods(sdk: Any) -> Iterator[Any]:
    """Yield the methods that calls go through, as far as they are imported."""
    client = getattr(sdk, "AsyncAnthropic", None)
    # The SDK imports the modules of its endpoints on first use.
    messages = getattr(sys.modules.get("anthropic.resources.messages"), "AsyncMessages", None)
    for owner, names in ((client, _CLIENT_METHODS), (messages, _MESSAGES_METHODS)):
        if owner is not None:
            for name in names:
                yield getattr(owner, name, None)


def _is_from(home: str, function: Any) -> bool:
    return type(function) is types.FunctionType and function.__code__.co_filename.startswith(home)


def may_have_spans() -> bool:
    """Return whether OpenTelemetry is set up, so that the SDK, if its version has spans, would record one for a call."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace is not None and type(trace.get_tracer_provider()).__name__ not in _IDLE_PROVIDERS


def waits_for_import() -> bool:
    """Return whether a tool is loaded that will replace the SDK's methods as soon as the SDK is imported."""
    return "anthropic" not in sys.modules and any(name in sys.modules for name in _IMPORT_HOOKS)


def instrumented_method(sdk: Any, path: str) -> Any:
    """Return the public method of an SDK client that makes the call to a path; None if tools do not instrument that call."""
    name = _METHODS.get(path)
    return None if name is None else getattr(sdk.messages, name)


async def call_method(
    method: Any, content: bytes, *, headers: Mapping[str, str], timeout_seconds: float
) -> InstrumentedResponse:
    """Make a call with the SDK's method, and return a response that can be read like any other.

    Raises
    ------
    Exception
        Any exception of the SDK, including those for error responses.
    """
    body: Dict[str, Any] = json.loads(content)
    arguments = {name: body.pop(name) for name in list(body) if name in _ARGUMENTS}
    _leave_deprecations_to_us()
    responses: List[Any] = []
    token = http_responses.set(responses)
    try:
        answer = await method(
            **arguments, extra_body=body or None, extra_headers=dict(headers), timeout=timeout_seconds
        )
    finally:
        http_responses.reset(token)
    return InstrumentedResponse(answer, responses[-1] if responses else None)


def _leave_deprecations_to_us() -> None:
    """Silence the SDK's warnings about old models for our calls only, since we warn about retirement ourselves, once."""
    known = (getattr(module, "pattern", None) for _, _, _, module, _ in warnings.filters)
    if _OUR_CALLS not in known:
        warnings.filterwarnings("ignore", "The model '", DeprecationWarning, module=_OUR_CALLS)


class InstrumentedResponse:
    """The result of the SDK's method, in the form of an HTTP response; tracing tools see the answer while it is read.

    Parameters
    ----------
    answer : object
        The SDK's message, or its stream of events, possibly wrapped.
    http : object or None
        The underlying HTTP response.

    Attributes
    ----------
    must_be_read_to_end : bool
        True: a tool that traces a stream expects it to be read to its end.
    """

    is_stream_consumed = False
    is_closed = False
    must_be_read_to_end = True

    def __init__(self, answer: Any, http: Any) -> None:
        # The user's own client does not use our HTTP client, so the response is known only if the SDK's stream has it.
        http = getattr(answer, "response", None) if http is None else http
        self._answer = answer
        self._http = http
        self._streamed = hasattr(answer, "__aiter__")
        self.status_code: int = 200 if http is None else http.status_code
        kind = b"text/event-stream" if self._streamed else b"application/json"
        request_id = getattr(answer, "_request_id", None)
        raw = [(b"request-id", request_id.encode("latin-1"))] if isinstance(request_id, str) else []
        raw = raw if http is None else http.headers.raw
        # These headers describe the bytes that the SDK has read, not the body that we build.
        about_the_body = (b"content-type", b"content-encoding", b"content-length", b"transfer-encoding")
        self.headers = ResponseHeaders(
            [*(pair for pair in raw if pair[0].lower() not in about_the_body), (b"content-type", kind)]
        )

    @property
    def content(self) -> bytes:
        """The body of an answer that is not streamed."""
        return _json(self._answer)

    async def aiter_raw(self) -> AsyncGenerator[bytes, None]:
        """Yield the body in pieces."""
        if not self._streamed:
            yield self.content
            return
        async for event in self._answer:
            yield b"data: " + _json(event) + b"\n\n"

    async def aclose(self) -> None:
        """Close the stream, which tells tracing tools about it, and the connection."""
        for each in (self._answer, self._http):
            close = getattr(each, "close" if each is self._answer else "aclose", None)
            if each is None or close is None or (each is self._answer and not self._streamed):
                continue
            closing = close()
            if hasattr(closing, "__await__"):
                await closing


def _json(value: Any) -> bytes:
    """Return the JSON from which an object of the SDK was made; keep text, from a server that does not speak JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    made = value.to_dict(mode="json", warnings=False) if hasattr(value, "to_dict") else value
    return json.dumps(made, ensure_ascii=False).encode("utf-8", "replace")
