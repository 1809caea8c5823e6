"""The SDK's client of one event loop, which makes the calls that somebody looks at, and those that it alone can sign."""

from __future__ import annotations

import inspect
import sys
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Mapping, Optional, TypeVar

from .connections import LARGE_BODY_BYTES, MOST_REFUSAL_BYTES, HttpCall
from .credentials import TokenProvider, open_chain
from .failures import CUT_EXTENSION
from .http_environment import make_http_client
from .instrumentation import call_method, http_responses, seen_method
from .reading import read_body, read_head

__all__ = ["SdkClient", "make_sdk_client", "own_sdk_client"]

_Body = TypeVar("_Body")
_PIECE_BYTES = 262_144


class SdkClient:
    """Makes calls through the SDK.

    Parameters
    ----------
    sdk : AsyncAnthropic
    is_seen : callable
        Tells of a call whether it has to go through one of the public methods that others instrument.
    tokens : TokenProvider, optional
        Given if the SDK signs each call with a token that is valid at that moment.
    owned : bool
        False for a client of the user's own, which is not closed here.
    """

    def __init__(
        self, sdk: Any, is_seen: Callable[[], bool], *, tokens: Optional[TokenProvider] = None, owned: bool = True
    ) -> None:
        self._sdk = sdk
        self._is_seen = is_seen
        self._tokens = tokens
        self._owned = owned

    @property
    def has_spans(self) -> bool:
        """Whether this version of the SDK makes OpenTelemetry's spans."""
        return hasattr(self._sdk, "_tracer")

    async def open(self, call: HttpCall) -> Any:
        """Make a call and return its HTTP response, whose body is still to be read; the caller closes it.

        Raises
        ------
        anthropic.AnthropicError
            If it is refused, or no response comes; see `failures.map_exception`.
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
        # A token may end before its time. The SDK asks for another one only where it may retry.
        if self._sdk is sdk:
            self._tokens.renew()
            self._sdk = sdk.copy(credentials=self._tokens)
        return await self._ask(call, options)

    async def _ask(self, call: HttpCall, options: Dict[str, Any]) -> Any:
        seen = seen_method(self._sdk, call.path) if self._is_seen() else None
        if seen is not None and call.content is not None:
            return await call_method(seen, call.content, headers=call.headers, timeout_seconds=call.timeout_seconds)
        arguments: Dict[str, Any] = {"cast_to": object, "options": options, "stream": True, "stream_cls": _held_class()}
        method = getattr(self._sdk, call.method)
        if call.content is not None:
            options["headers"]["Content-Type"] = "application/json"
            # Bytes have an argument of their own in newer SDKs.
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
    is_seen: Callable[[], bool],
    on_secret: Callable[[str], None],
) -> SdkClient:
    """Return a client for the running loop.

    Parameters
    ----------
    anthropic : module
        The SDK.
    address : str
        Of the server, without name and password.
    credentials : mapping
        Arguments of the SDK's client; empty with a chain.
    chain : str
        What the SDK's own chain of credentials will find; see `credentials.Credentials`.
    headers : mapping
        Those of every call.
    is_seen : callable
        See `SdkClient`.
    on_secret : callable
        Told the tokens with which the SDK's own chain signs calls.

    Raises
    ------
    ConfigurationError
        See `http_environment.make_http_client` and `credentials.open_chain`.
    """
    # A redirect may lead anywhere, and the key would go there. Packing is asked for in the one way that `reading` unpacks.
    http = make_http_client(
        _http_class(anthropic), address, follow_redirects=False, headers={"accept-encoding": "gzip"}
    )
    opened = open_chain(address, chain, on_secret) if chain else {}
    sdk = anthropic.AsyncAnthropic(
        base_url=address,
        max_retries=0,  # retrying is ours: api/retry.py
        http_client=http,
        **(opened or {**credentials, "default_headers": headers}),
    )
    # Some SDKs send a second credential, found in the process's own environment, beside the one given.
    sdk.api_key, sdk.auth_token = credentials.get("api_key"), credentials.get("auth_token")
    return SdkClient(sdk, is_seen, tokens=opened.get("credentials"))


def own_sdk_client(client: Any) -> SdkClient:
    """Return what makes every call by a client of the user's own; see `own_client.check_own_client`."""
    return SdkClient(client, lambda: True, owned=False)


# Classes on the SDK's own, made late: it takes long to import.
_classes: Dict[str, type] = {}


def _held_class() -> type:
    """Return a stream class of the SDK's that gives the response as it is."""
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
    """Return a response like another one, but with this body, perhaps a part of it."""
    headers = [
        (name, value)
        for name, value in response.headers.raw
        if name.lower() not in (b"content-encoding", b"content-length", b"transfer-encoding")
    ]
    extensions = {CUT_EXTENSION: is_cut}
    return type(response)(response.status_code, headers=headers, content=body, request=request, extensions=extensions)


def _in_pieces(request: Any) -> Any:
    """Return a request with the same bytes, which aiohttp gets piece by piece where it would warn of their number."""
    content = request.content
    if len(content) <= LARGE_BODY_BYTES:
        return request
    http = sys.modules[type(request).__module__.partition(".")[0]]

    class Pieces(http.AsyncByteStream):  # type: ignore[misc, name-defined]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for start in range(0, len(content), _PIECE_BYTES):
                yield content[start : start + _PIECE_BYTES]

    # The length is among the headers.
    return type(request)(
        request.method, request.url, headers=request.headers, stream=Pieces(), extensions=request.extensions
    )


def _http_class(anthropic: Any) -> Any:
    """Return the SDK's HTTP client, but one that reads no more of a refusal than a message may have."""
    if "http" not in _classes:
        base: Any = anthropic.DefaultAioHttpClient

        class BoundedHttpClient(base):  # type: ignore[misc]
            async def send(self, request: Any, **options: Any) -> Any:
                response = await super().send(_in_pieces(request), **{**options, "stream": True})
                responses = http_responses.get()
                if responses is not None:
                    responses.append(response)
                if response.status_code < 300 and not options.get("stream"):
                    # The SDK reads it whole, for those who look at its answers.
                    return _read(response, request, await _closing(response, read_body(response)))
                if response.status_code < 300:
                    return response
                head = await _closing(response, read_head(response, MOST_REFUSAL_BYTES))
                return _read(response, request, head.body, is_cut=head.is_cut)

        _classes["http"] = BoundedHttpClient
    return _classes["http"]
