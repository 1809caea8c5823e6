"""The one place that talks to the network: the official SDK, one client per event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import json
import logging
import time
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from typing import Any, AsyncGenerator, Dict, Iterator, List, Mapping, Optional, Protocol, Set

from claude_force_nb.errors import ApiError, MissingApiKeyError, TransportClosedError
from claude_force_nb.messages.request import ClaudeRequest, normalise_base_url

from .answer import Answer, PartialAnswer
from .failures import error_from_answer, map_exception
from .http_environment import make_http_client
from .pacing import credential_id
from .pattern import CallPattern
from .stream import collect

__all__ = ["SdkTransport", "Transport"]

logger = logging.getLogger("claude_force_nb.api")

# What closing connections in another thread's loop may take; that loop may be busy, or ending.
_CLOSE_SECONDS = 2.0
# Of a request's fields, beside model and messages, those that counting takes (Messages API reference, "Count tokens").
_COUNTED = ("system", "thinking", "tools", "tool_choice")


class Transport(Protocol):
    """What the orchestrator needs of a transport; `claude_force_nb.testing.FakeTransport` is another one."""

    base_url: str

    async def send(
        self, request: ClaudeRequest, *, timeout_seconds: float, partial: Optional[PartialAnswer] = None
    ) -> Answer:
        """Send once, without retries, and return the complete answer; stream into `partial` where it is given."""

    def check(self) -> None:
        """Raise a ConfigurationError where nothing can be sent at all, such as without a key."""

    async def close(self) -> None:
        """Close the connections of the running loop and refuse further calls."""

    def close_blocking(self) -> None:
        """Close the connections of loops that do not run, and refuse further calls."""


class SdkTransport:
    """The official SDK on its aiohttp backend.

    Parameters
    ----------
    api_key : str, optional
        Key; ``ANTHROPIC_API_KEY``, then ``ANTHROPIC_AUTH_TOKEN`` of `environ` by default. Read when first needed.
    base_url : str, optional
        Any server that speaks the Messages API; ``ANTHROPIC_BASE_URL`` of `environ`, then the official API by default.
    environ : mapping
        Environment variables.

    Raises
    ------
    OptionError
        If `base_url` is no http(s) URL.
    """

    def __init__(
        self, *, api_key: Optional[str] = None, base_url: Optional[str] = None, environ: Mapping[str, str]
    ) -> None:
        self._api_key = api_key
        self._environ = environ
        server = (base_url or environ.get("ANTHROPIC_BASE_URL") or "").strip()
        self.base_url = normalise_base_url(server)
        # With the name and password that a gateway's address may carry; never shown.
        self._server = server or self.base_url
        self._clients: Dict[asyncio.AbstractEventLoop, _Client] = {}
        self._lock = Lock()
        self._closed = False

    def __repr__(self) -> str:
        return f"SdkTransport(base_url={self.base_url!r})"

    def _credentials(self) -> Dict[str, Any]:
        key = (self._api_key or self._environ.get("ANTHROPIC_API_KEY") or "").strip()
        token = "" if key else (self._environ.get("ANTHROPIC_AUTH_TOKEN") or "").strip()
        if not key and not token:
            hint = "" if "api.anthropic.com" in self.base_url else " (any text will do where the server asks for none)"
            raise MissingApiKeyError(f"no API key: set ANTHROPIC_API_KEY{hint}; nothing was sent")
        if not (key or token).isascii() or not (key or token).isprintable():
            raise MissingApiKeyError("the API key has characters that no key has; copy it again; nothing was sent")
        return {"api_key": key} if key else {"auth_token": token}

    def _secrets(self) -> List[str]:
        # What is shorter is no key but what one gives a local server that asks for any.
        return [secret for secret in self._credentials().values() if len(secret) >= 8]

    def credential_id(self) -> str:
        """Return what tells this key at this server from others, without giving it away; see `api.pacing`."""
        return credential_id("".join(self._credentials().values()), self.base_url)

    def check(self) -> None:
        """Raise MissingApiKeyError where no key is to be found."""
        self._credentials()

    async def open(self) -> None:
        """Import the SDK and make the client of this loop, where that is still to be done: it may take a second or two."""
        await self._client()

    async def _client(self) -> _Client:
        if self._closed:
            raise TransportClosedError("the orchestrator is closed; make a new one")
        loop = asyncio.get_running_loop()
        entry = self._clients.get(loop)
        if entry is None:
            credentials = self._credentials()
            # The import takes a second: in a thread, so that Stop works and other cells' work goes on meanwhile.
            anthropic = await loop.run_in_executor(None, import_module, "anthropic")
            if self._closed:
                raise TransportClosedError("the orchestrator is closed; make a new one")
            entry = self._clients.get(loop)
        if entry is None:
            http = make_http_client(anthropic.DefaultAioHttpClient, self._server)
            sdk = anthropic.AsyncAnthropic(
                base_url=self._server,
                max_retries=0,  # retrying is ours: api/retry.py
                http_client=http,
                **credentials,
            )
            # Some SDKs send a second credential, found in the process's own environment, beside the one given.
            sdk.api_key, sdk.auth_token = credentials.get("api_key"), credentials.get("auth_token")
            entry = _Client(sdk, http)
            # A loop that ends, asyncio.run's for one, finalises its asynchronous generators: the client is closed with it.
            entry.keeper = self._keep(loop, entry)
            await entry.keeper.__anext__()
            with self._lock:
                self._clients[loop] = entry
        return entry

    async def _keep(self, loop: asyncio.AbstractEventLoop, client: _Client) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._clients.pop(loop, None)
            await client.close()

    async def send(
        self, request: ClaudeRequest, *, timeout_seconds: float, partial: Optional[PartialAnswer] = None
    ) -> Answer:
        """Send once, without retries.

        Parameters
        ----------
        request : ClaudeRequest
        timeout_seconds : float
            Bound on each wait for the server, > 0; the bound on the whole call is the orchestrator's.
        partial : PartialAnswer, optional
            Where given, the answer is streamed into it while it arrives.

        Returns
        -------
        Answer
            The complete message.

        Raises
        ------
        ApiError
            Whatever went wrong; see `api.failures`.
        """
        client = await self._client()
        with client.call():
            return await self._send(client, request, timeout_seconds, partial)

    async def count_tokens(self, request: ClaudeRequest, *, timeout_seconds: float) -> int:
        """Return how many tokens the API counts in a request's input, which is free of charge.

        Raises
        ------
        ApiError
            Whatever went wrong; see `api.failures`.
        """
        client = await self._client()
        fields = {name: request.body[name] for name in _COUNTED if name in request.body}
        try:
            with client.call():
                counted = await client.sdk.messages.count_tokens(
                    model=request.model,
                    messages=request.body["messages"],
                    extra_body=fields or None,
                    extra_headers=_versions(request),
                    timeout=timeout_seconds,
                )
            return int(counted.input_tokens)
        except Exception as error:
            mapped = map_exception(error, base_url=self.base_url, now=time.time(), secrets=self._secrets())
            if mapped is None:
                raise
            raise mapped from None

    async def _send(
        self, client: _Client, request: ClaudeRequest, timeout_seconds: float, partial: Optional[PartialAnswer]
    ) -> Answer:
        started = time.perf_counter()
        headers = _versions(request)
        streaming = False
        try:
            if partial is None:
                response = await _plain(client, request, headers, timeout_seconds)
                seen = _lower(response.headers)
                if response.status_code >= 400:
                    raise self._refusal(response, seen)
                return Answer(json.loads(response.content), seen, time.perf_counter() - started)
            arguments = _arguments(request, headers, timeout_seconds)
            raw = await client.sdk.messages.with_raw_response.create(stream=True, **arguments)
            streaming = True
            seen = _lower(raw.headers)
            stream = raw.parse()
            if inspect.isawaitable(stream):  # a plain call in SDK 0.x, a coroutine in 2.x
                stream = await stream
            try:
                message = await collect(stream, partial, seen)
            finally:
                await stream.close()
            return Answer(message, seen, time.perf_counter() - started)
        except (ApiError, asyncio.CancelledError):
            raise
        except Exception as error:
            if self._closed:  # the HTTP library's own errors say only that a session is gone
                raise TransportClosedError("the orchestrator was closed while the call was under way") from None
            mapped = map_exception(
                error, base_url=self.base_url, now=time.time(), streaming=streaming, secrets=self._secrets()
            )
            if mapped is None:
                raise
            logger.debug("call failed: %s", mapped)
            raise mapped from None

    def _refusal(self, response: Any, headers: Mapping[str, str]) -> ApiError:
        try:
            body = json.loads(response.content)
        except ValueError:  # a gateway's page
            body = None
        return error_from_answer(response.status_code, body, headers, now=time.time(), secrets=self._secrets())

    async def close(self) -> None:
        """Close the clients of the running loop and of loops that run in other threads, and refuse further calls.

        The client of a loop that does not run closes when that loop ends.
        """
        self._closed = True
        here = asyncio.get_running_loop()
        with self._lock:
            entries = list(self._clients.items())
        for loop, client in entries:
            if loop is here:
                await client.keeper.aclose()
            elif loop.is_running():
                try:
                    await asyncio.wait([asyncio.wrap_future(_close_in(loop, client.keeper))], timeout=_CLOSE_SECONDS)
                except RuntimeError:  # it has just ended, and closed its client
                    pass

    def close_blocking(self) -> None:
        """Close the clients of all loops and refuse further calls; for the end of a process, where nothing can be awaited."""
        self._closed = True
        try:
            here: Optional[asyncio.AbstractEventLoop] = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        with self._lock:
            entries = list(self._clients.items())
        for loop, client in entries:
            try:
                if loop.is_running():
                    closing = _close_in(loop, client.keeper)
                    if loop is not here:  # waiting here for this very thread would be for ever
                        closing.result(_CLOSE_SECONDS)
                elif not loop.is_closed() and here is None:
                    loop.run_until_complete(client.keeper.aclose())
            except (RuntimeError, TimeoutError, concurrent.futures.TimeoutError) as error:
                logger.debug("a client could not be closed: %r", error)


class _Client:
    """The SDK's client of one loop, and the calls that it is making."""

    keeper: AsyncGenerator[None, None]

    def __init__(self, sdk: Any, http: Any) -> None:
        self.sdk = sdk
        self.http = http
        self.pattern: Optional[CallPattern] = None
        self._calls: Set[asyncio.Task[Any]] = set()
        self._closing = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Hold a call of the running task, which `close` ends as closed."""
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
        """End the calls under way, whose readers aiohttp would leave waiting for ever, and close the connections."""
        self._closing = True
        for task in list(self._calls):
            task.cancel()
        await self.sdk.close()


def _close_in(loop: asyncio.AbstractEventLoop, keeper: Any) -> concurrent.futures.Future[None]:
    async def close() -> None:
        await keeper.aclose()

    return asyncio.run_coroutine_threadsafe(close(), loop)


async def _plain(client: _Client, request: ClaudeRequest, headers: Dict[str, str], timeout_seconds: float) -> Any:
    """Return the HTTP response to a call without a stream: the first by the SDK, the others by its HTTP client."""
    if client.pattern is None:
        raw = await client.sdk.messages.with_raw_response.create(**_arguments(request, headers, timeout_seconds))
        client.pattern = CallPattern(raw.http_response.request)
        return raw.http_response
    return await client.http.send(client.pattern.request(request, timeout_seconds))


def _arguments(request: ClaudeRequest, headers: Dict[str, str], timeout_seconds: float) -> Dict[str, Any]:
    body = dict(request.body)
    return {
        "model": body.pop("model"),
        "max_tokens": body.pop("max_tokens"),
        "messages": body.pop("messages"),
        "extra_body": body or None,
        "extra_headers": headers,
        "timeout": timeout_seconds,
    }


def _versions(request: ClaudeRequest) -> Dict[str, str]:
    headers = {"anthropic-version": request.api_version}
    if request.betas:
        headers["anthropic-beta"] = ",".join(request.betas)
    return headers


def _lower(headers: Any) -> Dict[str, str]:
    # The pairs as they came: going through the mapping would decode each name and value several times.
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers.raw}
