"""The SDK's client of one event loop: making it, restricting it, and closing it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import warnings
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, AsyncGenerator, Awaitable, Callable, Dict, Iterator, Mapping, Optional, Set, Tuple
from urllib.parse import unquote, urlsplit, urlunsplit

from claude_force_nb.errors import ConfigurationError, TransportClosedError

from .credentials import Credentials, TokenProvider, open_chain
from .http_environment import make_http_client
from .instrumentation import Watched, call_method, http_responses
from .pattern import CallPattern
from .reading import read_body, read_head

__all__ = ["HttpCall", "LoopClient", "close_in", "make_client", "own_client"]

# Bytes read of an error or a redirect; a longer body is not a useful message.
_MOST_REFUSAL_BYTES = 100_000
# Paths that are called often; that of a cancel has the batch's id in it.
_MOST_PATTERNS = 4


@dataclass(frozen=True)
class HttpCall:
    """One call to an endpoint.

    Attributes
    ----------
    method : str
        ``get`` or ``post``.
    path : str
        Below the server's address.
    headers : mapping
        In addition to those that the SDK sends with every call.
    timeout_seconds : float
        Limit of each wait for the server, > 0.
    content : bytes or None
        The body, JSON.
    query : mapping
    """

    method: str
    path: str
    headers: Mapping[str, str]
    timeout_seconds: float
    content: Optional[bytes] = None
    query: Mapping[str, Any] = field(default_factory=dict)


class LoopClient:
    """The SDK's client of one loop, and the calls that it is making.

    Parameters
    ----------
    sdk : object
        The SDK's client.
    http : object
        The HTTP client below it.
    watched : Watched
        Tells whether others look at its calls.
    tokens : TokenProvider, optional
        Given if the SDK signs each call with a token that is valid at that moment.
    owned : bool
        False for a client of the user's own: all calls go through its public methods, and it is not closed here.
    """

    keeper: AsyncGenerator[None, None]

    def __init__(
        self, sdk: Any, http: Any, watched: Watched, *, tokens: Optional[TokenProvider] = None, owned: bool = True
    ) -> None:
        self._owned = owned
        self._tokens = tokens
        self._watched = watched
        self._sdk = sdk
        self._http = http
        self._patterns: Dict[str, CallPattern] = {}
        self._calls: Set[asyncio.Task[Any]] = set()
        self._closing = False

    async def open_response(self, call: HttpCall) -> Any:
        """Make a call and return its HTTP response, whose body is still to be read; the caller closes it.

        The first to a path is put together by the SDK ("Undocumented endpoints"), the others alike by its HTTP client; all by the SDK
        where somebody looks at its calls. What the SDK puts together is raised as its error where it is refused, else returned.
        """
        alike = call.method == "post" and not call.query and not self._is_seen()
        pattern = self._patterns.get(call.path) if alike else None
        if pattern is not None and call.content is not None:
            request = pattern.request(call.content, call.headers, call.timeout_seconds)
            return await self._http.send(request, stream=True)
        options: Dict[str, Any] = {"headers": dict(call.headers), "timeout": call.timeout_seconds}
        if call.query:
            options["params"] = dict(call.query)
        if self._tokens is None:
            response = await self._ask(call, options)
            if alike and len(self._patterns) < _MOST_PATTERNS:
                self._patterns[call.path] = CallPattern(response.request, call.headers)
            return response
        sdk = self._sdk
        try:
            return await self._ask(call, options)
        except Exception as error:
            if getattr(error, "status_code", None) != 401:
                raise
        # A token may end before its time. The SDK asks for another one only where it may retry.
        if self._sdk is sdk:
            self._tokens.renew()
            self._sdk = sdk.copy(credentials=self._tokens)
            self._watched.sdk = self._sdk
        return await self._ask(call, options)

    def _is_seen(self) -> bool:
        return not self._owned or self._watched.is_watched()

    async def _ask(self, call: HttpCall, options: Dict[str, Any]) -> Any:
        """Have the SDK make a call; return its HTTP response."""
        seen = self._watched.method(call.path) if self._is_seen() else None
        if seen is not None and call.content is not None:
            return await call_method(seen, call.content, headers=call.headers, timeout_seconds=call.timeout_seconds)
        arguments: Dict[str, Any] = {"cast_to": object, "options": options, "stream": True, "stream_cls": _held_class()}
        method = getattr(self._sdk, call.method)
        if call.content is not None:
            options["headers"]["Content-Type"] = "application/json"
            # Bytes have an argument of their own in newer SDKs.
            arguments["content" if "content" in inspect.signature(method).parameters else "body"] = call.content
            # aiohttp would have large bodies come from a file, which its sending from the loop makes no faster.
            warnings.filterwarnings("ignore", "Sending a large body directly", ResourceWarning)
        held = await method(call.path, **arguments)
        return held.response

    @contextmanager
    def call(self) -> Iterator[None]:
        """Register a call of the running task, which `close` ends with TransportClosedError."""
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._closing or (hasattr(task, "uncancel") and task.uncancel() > 0):
                raise
            raise TransportClosedError("the orchestrator was closed while the call was under way") from None
        finally:
            self._calls.discard(task)

    async def close(self) -> None:
        """End the calls in flight, whose readers aiohttp would leave waiting forever, and close the connections."""
        self._closing = True
        for task in list(self._calls):
            task.cancel()
        if self._owned:
            await self._sdk.close()


def make_client(
    anthropic: Any, server: str, credentials: Credentials, *, on_secret: Callable[[str], None]
) -> LoopClient:
    """Return a client for the running loop.

    Parameters
    ----------
    anthropic : module
        The SDK.
    server : str
        Address, with the name and password that it may carry.
    credentials : Credentials
    on_secret : callable
        Told the password of the address, and the tokens with which the SDK's own chain signs calls.

    Raises
    ------
    ConfigurationError
        See `http_environment.make_http_client`; or where the address has a password and there is a token: both would go into one header.
    """
    address, password, basic = _split_password(server)
    headers: Dict[str, str] = {}
    if basic:
        if "api_key" not in credentials.arguments:
            raise ConfigurationError(
                "a token and the password in base_url would go into the same header; set ANTHROPIC_API_KEY; nothing was sent"
            )
        for secret in (password, basic):
            on_secret(secret)
        # Newer SDKs would put the key where the server's password goes.
        headers = {"Authorization": f"Basic {basic}", "X-Api-Key": credentials.arguments["api_key"]}
    # A redirect may lead anywhere, and the key would go there. Packing is asked for in the one way that `reading` unpacks.
    http = make_http_client(_http_class(anthropic), server, follow_redirects=False, headers={"accept-encoding": "gzip"})
    chain = open_chain(address, credentials.chain, on_secret) if credentials.chain else {}
    sdk = anthropic.AsyncAnthropic(
        base_url=address,
        max_retries=0,  # retrying is ours: api/retry.py
        http_client=http,
        **(chain or {**credentials.arguments, "default_headers": headers}),
    )
    # Some SDKs send a second credential, found in the process's own environment, beside the one given.
    sdk.api_key, sdk.auth_token = credentials.arguments.get("api_key"), credentials.arguments.get("auth_token")
    return LoopClient(sdk, http, Watched(anthropic, sdk), tokens=chain.get("credentials"))


def own_client(anthropic: Any, client: Any) -> LoopClient:
    """Return what makes calls by a client of the user's own; see `own_client.check_own_client`."""
    return LoopClient(client, None, Watched(anthropic, client), owned=False)


def _split_password(server: str) -> Tuple[str, str, str]:
    """Return an address without name and password, the password, and both as RFC 7617 has them; "" if it carries none."""
    parts = urlsplit(server)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return server, "", ""
    basic = b64encode(unquote(user).encode("utf-8")).decode("ascii")
    return urlunsplit(parts._replace(netloc=host)), unquote(parts.password or ""), basic


def close_in(loop: asyncio.AbstractEventLoop, keeper: Any) -> concurrent.futures.Future[None]:
    """Close a client on its own loop, which runs in another thread."""

    async def close() -> None:
        await keeper.aclose()

    return asyncio.run_coroutine_threadsafe(close(), loop)


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


async def _closing(response: Any, reading: Awaitable[bytes]) -> bytes:
    try:
        return await reading
    finally:
        await response.aclose()


def _read(response: Any, request: Any, body: bytes) -> Any:
    """Return a response like another one, but with this body."""
    headers = [
        (name, value)
        for name, value in response.headers.raw
        if name.lower() not in (b"content-encoding", b"content-length", b"transfer-encoding")
    ]
    return type(response)(response.status_code, headers=headers, content=body, request=request)


def _http_class(anthropic: Any) -> Any:
    """Return the SDK's HTTP client, but one that reads no more of a refusal than a message may have."""
    if "http" not in _classes:
        base: Any = anthropic.DefaultAioHttpClient

        class BoundedHttpClient(base):  # type: ignore[misc]
            async def send(self, request: Any, **options: Any) -> Any:
                response = await super().send(request, **{**options, "stream": True})
                responses = http_responses.get()
                if responses is not None:
                    responses.append(response)
                if response.status_code < 300 and not options.get("stream"):
                    # The SDK reads it whole, for those who look at its answers.
                    return _read(response, request, await _closing(response, read_body(response)))
                if response.status_code < 300:
                    return response
                return _read(response, request, await _closing(response, read_head(response, _MOST_REFUSAL_BYTES)))

        _classes["http"] = BoundedHttpClient
    return _classes["http"]
