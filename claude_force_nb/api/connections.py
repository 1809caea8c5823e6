"""The HTTP connections of one event loop to one server: aiohttp, which is imported when the first call is made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, AsyncGenerator, Dict, Mapping, Optional, Tuple

from .http_environment import connection_settings
from .reading import read_head

__all__ = ["LARGE_BODY_BYTES", "MOST_REFUSAL_BYTES", "Connections", "HttpCall", "ResponseHeaders", "open_connections"]

MOST_REFUSAL_BYTES = 100_000
"""Bytes read of an error or a redirect; a longer body is not a useful message."""
LARGE_BODY_BYTES = 1_000_000
"""Bytes of a body up to which aiohttp takes it in one piece without a warning."""
# Less than the 5 s after which servers in Python and Node close theirs: a call that meets the end of its connection may have been made, and
# one whose connection a router has dropped is not heard of before its timeout.
_IDLE_SECONDS = 4.0
# How long the end of a body may come after all that it says.
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
        Below the server's address.
    headers : mapping
        In addition to those that every call has.
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


class ResponseHeaders:
    """The headers of a response.

    Attributes
    ----------
    raw : sequence of (bytes, bytes)
        Names and values as they were received.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def get(self, name: str, default: str = "") -> str:
        """Return the value of a header, by its name in lower case."""
        wanted = name.encode("ascii")
        return next((value.decode("latin-1") for key, value in self.raw if key.lower() == wanted), default)


class HttpResponse:
    """A response whose body is still to be read; of a refusal, the first part has been read.

    Parameters
    ----------
    response : aiohttp.ClientResponse

    Attributes
    ----------
    is_answered : bool
        Set by the reader of a stream that has all it needs.
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
        """Read as much of the body as a message can use."""
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
        """Return the connection if the body has been read to its end, or ends in a moment; close it otherwise."""
        content = self._response.content
        try:
            if self.is_answered and not content.at_eof():
                await asyncio.wait_for(content.readany(), _END_SECONDS)
        except Exception:  # silence, or whatever breaks now
            pass
        finally:
            if content.at_eof():
                self._response.release()
            else:
                self._response.close()


class Connections:
    """Makes calls. Redirects are not followed: they may lead anywhere, and the key would go there.

    Parameters
    ----------
    session : aiohttp.ClientSession
    address : str
        Of the server, without name and password.
    headers : mapping
        Those of every call.
    proxy : mapping
        Arguments of a request that name the proxy; empty without one.
    """

    def __init__(self, session: Any, address: str, headers: Mapping[str, str], proxy: Mapping[str, Any]) -> None:
        self._session = session
        self._address = address.rstrip("/")
        self._headers = headers
        self._proxy = proxy
        # What calls share, made once: an address takes as long to parse as a call to be put together.
        self._urls: Dict[str, Any] = {}
        self._all_headers: Dict[Tuple[Tuple[str, str], ...], Any] = {}
        self._timeouts: Dict[float, Any] = {}

    async def open(self, call: HttpCall) -> HttpResponse:
        """Make a call and return its response, which the caller closes.

        Raises
        ------
        aiohttp.ClientError
            If no response comes; see `failures.map_exception`.
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

        # `connect` bounds what the socket's own limits leave out: finding the address, and a proxy's answer to CONNECT.
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
    """Return connections for the running loop; none is made before the first call.

    Parameters
    ----------
    address : str
        Of the server, without name and password.
    headers : mapping
        Those of every call, the credential among them.

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
        "accept-encoding": "gzip",  # what `reading` unpacks
    }
    session = aiohttp.ClientSession(
        # How many at a time is decided by `slots`.
        connector=aiohttp.TCPConnector(limit=0, ssl=settings.tls, keepalive_timeout=_IDLE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # done in `reading`, which bounds it
        trust_env=False,  # it would also look for passwords in .netrc
    )
    proxy: Dict[str, Any] = {}
    if settings.proxy is not None:
        proxy["proxy"] = settings.proxy.address
        if settings.proxy.authorization and address.startswith("https:"):
            # To the proxy alone, when it is asked for the connection.
            proxy["proxy_headers"] = {"proxy-authorization": settings.proxy.authorization}
        elif settings.proxy.authorization:
            every_call["proxy-authorization"] = settings.proxy.authorization
    return Connections(session, address, every_call, proxy)
