"""The HTTP connections of one event loop to one server, over aiohttp, which is imported with the first call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, AsyncGenerator, Dict, Mapping, Optional, Tuple

from .http_environment import connection_settings
from .reading import read_head

__all__ = ["LARGE_BODY_BYTES", "MOST_REFUSAL_BYTES", "Connections", "HttpCall", "ResponseHeaders", "open_connections"]

MOST_REFUSAL_BYTES = 100_000
"""Bytes to read of the body of an error or redirect; more would not make a useful message."""
LARGE_BODY_BYTES = 1_000_000
"""Largest body, in bytes, that aiohttp accepts as one piece without a warning."""
# Idle timeout of a connection, less than the 5 s of common Python and Node servers. If the server closes a connection
# just as a call is sent, we cannot know whether the call was made; if a router has dropped it, the call only fails with
# its timeout.
_IDLE_SECONDS = 4.0
# How long to wait for the end of a body after its last event, to reuse the connection.
_END_SECONDS = 0.1
_MOST_KNOWN = 64


@dataclass(frozen=True)
class HttpCall:
    """One call to an endpoint.

    Attributes
    ----------
    method : str
        ``get`` or ``post``.
    path : str
        Relative to the server's address.
    headers : mapping
        Headers in addition to those of every call.
    timeout_seconds : float
        Limit for each wait for the server, > 0.
    content : bytes or None
        The body as JSON.
    query : mapping
    not_found : str
        What a 404 means at this endpoint and what to do; "" where it is probably the model.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    timeout_seconds: float
    content: Optional[bytes] = None
    query: Mapping[str, Any] = field(default_factory=dict)
    not_found: str = ""


class ResponseHeaders:
    """The headers of a response.

    Attributes
    ----------
    raw : sequence of (bytes, bytes)
        Names and values as received.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def get(self, name: str, default: str = "") -> str:
        """Return the value of the header with this name, which must be in lower case."""
        wanted = name.encode("ascii")
        return next((value.decode("latin-1") for key, value in self.raw if key.lower() == wanted), default)


class HttpResponse:
    """A response whose body is still unread, except that of an error, whose first part has been read.

    Parameters
    ----------
    response : aiohttp.ClientResponse

    Attributes
    ----------
    is_answered : bool
        Set to True by the reader of a stream that needs no more of the body.
    """

    is_closed = False
    is_answered = False

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status_code: int = response.status
        self.headers = ResponseHeaders(response.raw_headers)
        self.is_stream_consumed = False
        self.content = b""
        self.is_cut = False

    async def read_refusal(self) -> None:
        """Read as much of an error's body as can be useful in a message."""
        self.content, self.is_cut = await read_head(self, MOST_REFUSAL_BYTES)
        self.is_stream_consumed = True

    async def aiter_raw(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, still compressed."""
        read = self._response.content.readany
        while True:
            piece = await read()
            if not piece:
                return
            yield piece

    async def aclose(self) -> None:
        """Return the connection to the pool if the body has been read to its end or ends shortly; otherwise close it."""
        content = self._response.content
        try:
            if self.is_answered and not content.at_eof():
                await asyncio.wait_for(content.readany(), _END_SECONDS)
        except Exception:  # a time-out or any other error: close the connection below
            pass
        finally:
            if content.at_eof():
                self._response.release()
            else:
                self._response.close()


class Connections:
    """Makes calls to one server. Redirects are not followed, since they could send the key anywhere.

    Parameters
    ----------
    session : aiohttp.ClientSession
    address : str
        Address of the server, without name and password.
    headers : mapping
        Headers of every call.
    proxy : mapping
        Keyword arguments that make aiohttp use the proxy; empty without one.
    """

    def __init__(self, session: Any, address: str, headers: Mapping[str, str], proxy: Mapping[str, Any]) -> None:
        self._session = session
        self._address = address.rstrip("/")
        self._headers = headers
        self._proxy = proxy
        # Cached objects that calls share: parsing a URL alone takes as long as the rest of preparing a call.
        self._urls: Dict[str, Any] = {}
        self._all_headers: Dict[Tuple[Tuple[str, str], ...], Any] = {}
        self._timeouts: Dict[float, Any] = {}

    async def open(self, call: HttpCall) -> HttpResponse:
        """Make a call and return its response, which the caller must close.

        Raises
        ------
        aiohttp.ClientError
            If the server does not respond; see `failures.map_exception`.
        """
        url = self._url(call.path)
        body: Any = call.content
        if call.content is not None and len(call.content) > LARGE_BODY_BYTES:
            body = BytesIO(call.content)
        response = HttpResponse(
            await self._session.request(
                call.method.upper(),
                url.with_query(dict(call.query)) if call.query else url,
                headers=self._headers_of(call),
                data=body,
                timeout=self._timeout(call.timeout_seconds),
                allow_redirects=False,
                **self._proxy,
            )
        )
        if response.status_code >= 300:
            try:
                await response.read_refusal()
            except BaseException:
                await response.aclose()
                raise
        return response

    def _url(self, path: str) -> Any:
        from yarl import URL

        return _known(self._urls, path, lambda: URL(self._address + path))

    def _headers_of(self, call: HttpCall) -> Any:
        from multidict import CIMultiDict

        def make() -> Any:
            made = CIMultiDict(self._headers)
            if call.content is not None:
                made["Content-Type"] = "application/json"
            made.update(call.headers)
            return made

        return _known(self._all_headers, (*call.headers.items(), ("", str(call.content is None))), make)

    def _timeout(self, seconds: float) -> Any:
        from aiohttp import ClientTimeout

        # `connect` covers what the socket limits do not: DNS look-up, and a proxy's response to CONNECT.
        return _known(
            self._timeouts,
            seconds,
            lambda: ClientTimeout(total=None, connect=seconds, sock_connect=seconds, sock_read=seconds),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def _known(known: Dict[Any, Any], key: Any, make: Any) -> Any:
    if key not in known:
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[key] = make()
    return known[key]


def open_connections(address: str, headers: Mapping[str, str]) -> Connections:
    """Return connections for the running event loop; none is opened before the first call.

    Parameters
    ----------
    address : str
        Address of the server, without name and password.
    headers : mapping
        Headers of every call, including the credential.

    Raises
    ------
    ConfigurationError
        See `http_environment.connection_settings`.
    """
    import aiohttp

    settings = connection_settings(address)
    every_call = {
        "accept": "application/json",
        "user-agent": "claude_force_nb",
        **{name.lower(): value for name, value in headers.items()},
        "accept-encoding": "gzip",  # `reading` decompresses it
    }
    session = aiohttp.ClientSession(
        # No limit here: `slots` limits the calls in flight.
        connector=aiohttp.TCPConnector(limit=0, ssl=settings.tls, keepalive_timeout=_IDLE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # `reading` decompresses within limits
        trust_env=False,  # True would also read passwords from .netrc
    )
    proxy: Dict[str, Any] = {}
    if settings.proxy is not None:
        proxy["proxy"] = settings.proxy.address
        if settings.proxy.authorization and address.startswith("https:"):
            # Sent only to the proxy, with the CONNECT request.
            proxy["proxy_headers"] = {"proxy-authorization": settings.proxy.authorization}
        elif settings.proxy.authorization:
            every_call["proxy-authorization"] = settings.proxy.authorization
    return Connections(session, address, every_call, proxy)
