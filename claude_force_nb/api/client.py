"""The client of one event loop: choose how to send a call, authenticate it, and end all calls on close."""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import contextmanager
from typing import Any, AsyncGenerator, Callable, Dict, Iterator, Mapping, Optional, Set, Tuple
from urllib.parse import unquote, urlsplit

from claude_force_nb.errors import ConfigurationError, TransportClosedError
from claude_force_nb.messages.request import normalise_base_url

from .connections import Connections, HttpCall, open_connections
from .credentials import Credentials
from .http_environment import basic_authorization, custom_headers, secrets_of_headers, secrets_of_proxies
from .instrumentation import Instrumentation, may_have_spans, waits_for_import
from .libraries import import_http, import_sdk
from .sdk_client import SdkClient, make_sdk_client, own_sdk_client

__all__ = ["LoopClient", "close_in"]


class LoopClient:
    """Makes the calls of one event loop: over its own connections, or through the SDK if its calls are instrumented.

    Parameters
    ----------
    server : str
        Address, including a user name and password if it has them.
    credentials : Credentials
    own : AsyncAnthropic, optional
        The user's own client, which then makes every call.
    environ : mapping
        Environment variables.
    on_secret : callable
        Called with every secret to redact: the passwords of the address and of proxies, credentials among the custom
        headers, and the tokens from the SDK's own credential chain.

    Raises
    ------
    ConfigurationError
        If there are both a token and a password in the address, which would need the same header.
    """

    keeper: AsyncGenerator[None, None]

    def __init__(
        self,
        server: str,
        credentials: Credentials,
        *,
        own: Any = None,
        environ: Mapping[str, str],
        on_secret: Callable[[str], None],
    ) -> None:
        self._address = normalise_base_url(server)
        user, password = _user_of(server)
        self._credentials = credentials
        self._own = own
        self._on_secret = on_secret
        self._headers = custom_headers(environ)
        for secret in secrets_of_headers(self._headers):
            on_secret(secret)
        if user:
            if "api_key" not in credentials.arguments:
                raise ConfigurationError(
                    "a token and the password in base_url would go into the same header; set ANTHROPIC_API_KEY; nothing was sent"
                )
            authorization = basic_authorization(user)
            for secret in (password, authorization.partition(" ")[2]):
                on_secret(secret)
            # Newer SDKs would put the key into the header that carries the server's password.
            self._headers["Authorization"] = authorization
            self._headers["X-Api-Key"] = credentials.arguments["api_key"]
        self._instrumentation = Instrumentation()
        self._connections: Optional[Connections] = None
        self._sdk: Optional[SdkClient] = None
        self._calls: Set[asyncio.Task[Any]] = set()
        self._closing = False

    async def open(self) -> None:
        """Import the libraries for calls, unless already done. A thread does it, so that Stop works and other tasks continue.

        Raises
        ------
        ConfigurationError
            See `http_environment.connection_settings` and `sdk_client.make_sdk_client`.
        """
        if self._goes_through_sdk():
            await self._sdk_client()
        elif self._connections is None:
            await asyncio.get_running_loop().run_in_executor(None, import_http)
            if self._connections is None and not self._closing:
                self._hide_proxies()
                headers = {**_credential(self._credentials), **self._headers}
                self._connections = open_connections(self._address, headers)

    async def open_response(self, call: HttpCall) -> Any:
        """Make a call and return its HTTP response with the body still unread; the caller must close it."""
        while not self._goes_through_sdk():
            if self._connections is not None:
                return await self._connections.open(call)
            await self.open()
            if self._closing:
                raise TransportClosedError("the orchestrator is closed; make a new one")
        return await (await self._sdk_client()).open(call)

    def _goes_through_sdk(self) -> bool:
        """Return whether the next call goes through the SDK; this can change between two calls."""
        if self._own is not None or self._credentials.chain or self._instrumentation.is_active() or waits_for_import():
            return True
        return may_have_spans() and (self._sdk is None or self._sdk.has_spans)

    def _is_instrumented(self) -> bool:
        return self._instrumentation.is_active() or may_have_spans()

    async def _sdk_client(self) -> SdkClient:
        if self._sdk is None:
            anthropic = await asyncio.get_running_loop().run_in_executor(None, import_sdk)
            if self._closing:
                raise TransportClosedError("the orchestrator is closed; make a new one")
            self._hide_proxies()
            if self._sdk is None and self._own is not None:
                self._sdk = own_sdk_client(self._own)
            elif self._sdk is None:
                self._sdk = make_sdk_client(
                    anthropic,
                    self._address,
                    self._credentials.arguments,
                    self._credentials.chain,
                    headers=self._headers,
                    is_instrumented=self._is_instrumented,
                    on_secret=self._on_secret,
                )
        return self._sdk

    def _hide_proxies(self) -> None:
        # Read them now, from the same environment that the connections are about to use.
        for secret in secrets_of_proxies():
            self._on_secret(secret)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Register a call of the running task, so that `close` can end it with a TransportClosedError."""
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
        """Cancel the calls in flight, which aiohttp would leave waiting forever, and close the connections."""
        self._closing = True
        for task in list(self._calls):
            task.cancel()
        for each in (self._connections, self._sdk):
            if each is not None:
                await each.close()


def _credential(credentials: Credentials) -> Dict[str, str]:
    """Return the header that authenticates calls ("API overview", section "Authentication").

    A key goes into the header that every server accepts; newer SDKs send it as a token, which some servers refuse.
    """
    key = credentials.arguments.get("api_key")
    return {"X-Api-Key": key} if key else {"Authorization": f"Bearer {credentials.arguments['auth_token']}"}


def _user_of(server: str) -> Tuple[str, str]:
    """Return ``name:password`` from an address, and the password alone; both are "" if the address has none."""
    parts = urlsplit(server)
    return unquote(parts.netloc.rpartition("@")[0]), unquote(parts.password or "")


def close_in(loop: asyncio.AbstractEventLoop, keeper: Any) -> concurrent.futures.Future[None]:
    """Close a client on its own event loop, which runs in another thread."""

    async def close() -> None:
        await keeper.aclose()

    return asyncio.run_coroutine_threadsafe(close(), loop)
