"""The SDK client of one event loop: for calls that are instrumented, and calls that only the SDK can authenticate."""

from __future__ import annotations

import inspect
import sys
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Mapping, Optional, TypeVar

from .connections import LARGE_BODY_BYTES, MOST_REFUSAL_BYTES, HttpCall
from .credentials import TokenProvider, open_chain
from .failures import CUT_EXTENSION
from .http_environment import make_http_client
from .instrumentation import call_method, http_responses, instrumented_method
from .reading import read_body, read_head

__all__ = ["SdkClient", "make_sdk_client", "own_sdk_client"]

_Body = TypeVar("_Body")
_PIECE_BYTES = 262_144


class SdkClient:
    """Makes calls through the SDK.

    Parameters
    ----------
    sdk : AsyncAnthropic
    is_instrumented : callable
        Returns whether the next call is instrumented, and so must go through one of the SDK's public methods.
    tokens : TokenProvider, optional
        Set if the SDK authenticates calls with short-lived tokens.
    owned : bool
        False for the user's own client, which is not closed here.
    """

    def __init__(
        self,
        sdk: Any,
        is_instrumented: Callable[[], bool],
        *,
        tokens: Optional[TokenProvider] = None,
        owned: bool = True,
    ) -> None:
        self._sdk = sdk
        self._is_instrumented = is_instrumented
        self._tokens = tokens
        self._owned = owned

    @property
    def has_spans(self) -> bool:
        """Whether this version of the SDK records OpenTelemetry spans."""
        return hasattr(self._sdk, "_tracer")

    async def open(self, call: HttpCall) -> Any:
        """Make a call and return its HTTP response with the body still unread; the caller must close it.

        Raises
        ------
        anthropic.AnthropicError
            If the response is an error, or there is none; see `failures.map_exception`.
        """
        options: Dict[str, Any] = {"headers": dict(call.headers), "timeout": call.timeout_seconds}
        if call.query:
            options["params"] = dict(call.query)
        sdk = self._sdk
        try:
            return await self._ask(call, options)
        except Exception as error:
            if self._tokens is None or getattr(error, "status_code", None) != 401:
                raise
        # A token may become invalid before it expires. The SDK would get a new one only if it were allowed to retry.
        if self._sdk is sdk:
            self._tokens.renew()
            self._sdk = sdk.copy(credentials=self._tokens)
        return await self._ask(call, options)

    async def _ask(self, call: HttpCall, options: Dict[str, Any]) -> Any:
        seen = instrumented_method(self._sdk, call.path) if self._is_instrumented() else None
        if seen is not None and call.content is not None:
            return await call_method(seen, call.content, headers=call.headers, timeout_seconds=call.timeout_seconds)
        arguments: Dict[str, Any] = {"cast_to": object, "options": options, "stream": True, "stream_cls": _held_class()}
        method = getattr(self._sdk, call.method)
        if call.content is not None:
            options["headers"]["Content-Type"] = "application/json"
            # Newer SDKs have a separate argument for bytes.
            arguments["content" if "content" in inspect.signature(method).parameters else "body"] = call.content
        held = await method(call.path, **arguments)
        return held.response

    async def close(self) -> None:
        """Close the connections, unless they are the user's."""
        if self._owned:
            await self._sdk.close()


def make_sdk_client(
    anthropic: Any,
    address: str,
    credentials: Mapping[str, str],
    chain: str,
    *,
    headers: Mapping[str, str],
    is_instrumented: Callable[[], bool],
    on_secret: Callable[[str], None],
) -> SdkClient:
    """Return a client for the running event loop.

    Parameters
    ----------
    anthropic : module
        The SDK.
    address : str
        Address of the server, without name and password.
    credentials : mapping
        Arguments for the SDK's client; empty with a chain.
    chain : str
        What the SDK's own credential chain will find; see `credentials.Credentials`.
    headers : mapping
        Headers of every call.
    is_instrumented : callable
        See `SdkClient`.
    on_secret : callable
        Called with each token from the SDK's own credential chain.

    Raises
    ------
    ConfigurationError
        See `http_environment.make_http_client` and `credentials.open_chain`.
    """
    # Do not follow redirects, which could send the key anywhere. Accept only gzip, which `reading` decompresses.
    http = make_http_client(
        _http_class(anthropic), address, follow_redirects=False, headers={"accept-encoding": "gzip"}
    )
    opened = open_chain(address, chain, on_secret) if chain else {}
    sdk = anthropic.AsyncAnthropic(
        base_url=address,
        max_retries=0,  # we retry ourselves: see api/retry.py
        http_client=http,
        **(opened or {**credentials, "default_headers": headers}),
    )
    # Some versions of the SDK add a second credential from the process's environment to the one given.
    sdk.api_key, sdk.auth_token = credentials.get("api_key"), credentials.get("auth_token")
    return SdkClient(sdk, is_instrumented, tokens=opened.get("credentials"))


def own_sdk_client(client: Any) -> SdkClient:
    """Return an `SdkClient` that makes every call with the user's own client; see `own_client.check_own_client`."""
    return SdkClient(client, lambda: True, owned=False)


# Subclasses of the SDK's classes, created on first use because the SDK takes long to import.
_classes: Dict[str, type] = {}


def _held_class() -> type:
    """Return a subclass of the SDK's stream class that only holds the unread response."""
    if "held" not in _classes:
        import anthropic

        class Held(anthropic.AsyncStream[object]):
            def __init__(self, *, response: Any, **_: Any) -> None:
                self.response = response

        _classes["held"] = Held
    return _classes["held"]


async def _closing(response: Any, reading: Awaitable[_Body]) -> _Body:
    try:
        return await reading
    finally:
        await response.aclose()


def _read(response: Any, request: Any, body: bytes, *, is_cut: bool = False) -> Any:
    """Return a copy of a response with this body, which may be cut off."""
    headers = [
        (name, value)
        for name, value in response.headers.raw
        if name.lower() not in (b"content-encoding", b"content-length", b"transfer-encoding")
    ]
    extensions = {CUT_EXTENSION: is_cut}
    return type(response)(response.status_code, headers=headers, content=body, request=request, extensions=extensions)


def _in_pieces(request: Any) -> Any:
    """Return the same request; a large body is passed to aiohttp piece by piece, since aiohttp warns about large bodies."""
    content = request.content
    if len(content) <= LARGE_BODY_BYTES:
        return request
    http = sys.modules[type(request).__module__.partition(".")[0]]

    class Pieces(http.AsyncByteStream):  # type: ignore[misc, name-defined]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for start in range(0, len(content), _PIECE_BYTES):
                yield content[start : start + _PIECE_BYTES]

    # The headers already contain the length.
    return type(request)(
        request.method, request.url, headers=request.headers, stream=Pieces(), extensions=request.extensions
    )


def _http_class(anthropic: Any) -> Any:
    """Return a subclass of the SDK's HTTP client that reads only the first `MOST_REFUSAL_BYTES` of an error's body."""
    if "http" not in _classes:
        base: Any = anthropic.DefaultAioHttpClient

        class BoundedHttpClient(base):  # type: ignore[misc]
            async def send(self, request: Any, **options: Any) -> Any:
                response = await super().send(_in_pieces(request), **{**options, "stream": True})
                responses = http_responses.get()
                if responses is not None:
                    responses.append(response)
                if response.status_code < 300 and not options.get("stream"):
                    # An instrumented call that is not streamed: the SDK expects the whole body.
                    return _read(response, request, await _closing(response, read_body(response)))
                if response.status_code < 300:
                    return response
                head = await _closing(response, read_head(response, MOST_REFUSAL_BYTES))
                return _read(response, request, head.body, is_cut=head.is_cut)

        _classes["http"] = BoundedHttpClient
    return _classes["http"]
