"""The transport of the Messages API: sends single calls without retries, with one client per event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from contextlib import asynccontextmanager, contextmanager
from threading import Lock
from typing import Any, AsyncGenerator, AsyncIterator, Dict, Iterator, Mapping, Optional, Protocol, runtime_checkable

from claude_force_nb.errors import (
    ApiError,
    MalformedAnswerError,
    OptionError,
    TransportClosedError,
)
from claude_force_nb.messages.addresses import is_private
from claude_force_nb.messages.request import ClaudeRequest, normalise_base_url

from .answer import Answer, PartialAnswer
from .bodies import counted_body, encoded, version_headers
from .client import LoopClient, close_in
from .connections import HttpCall
from .credentials import Credentials, find_credentials
from .decoding import Redactor, decode_json, is_web_page
from .failures import error_from_answer, map_exception
from .own_client import check_own_client, secrets_of
from .pacing import credential_id
from .reading import Pace, iter_events, read_body
from .stream import MessageAssembler

__all__ = ["ApiTransport", "Transport"]

logger = logging.getLogger("claude_force_nb.api")

# Time limit for closing connections on another thread's loop, which may be busy or about to end.
_CLOSE_SECONDS = 2.0
_MESSAGES_PATH = "/v1/messages"
_COUNT_PATH = "/v1/messages/count_tokens"


@runtime_checkable
class Transport(Protocol):
    """What the orchestrator needs from a transport; `claude_force_nb.testing.FakeTransport` is another implementation."""

    base_url: str

    async def send(
        self, request: ClaudeRequest, *, timeout_seconds: float, partial: Optional[PartialAnswer] = None
    ) -> Answer:
        """Send once, without retries, and return the complete answer; stream it into `partial` if given."""

    def check(self) -> None:
        """Raise a ConfigurationError if nothing can be sent at all, for example without a key."""

    async def close(self) -> None:
        """Close the connections of the running loop and refuse further calls."""

    def close_blocking(self) -> None:
        """Close the connections of all loops, as far as possible without awaiting, and refuse further calls."""


class ApiTransport:
    """Makes calls to the Messages API.

    They go over aiohttp, or through the official SDK if its calls are instrumented or only it can authenticate them;
    see `client.LoopClient`.

    Parameters
    ----------
    api_key : str, optional
        Key. Default: the first credentials that `credentials.find_credentials` finds, searched when first needed.
    base_url : str, optional
        Address of any server that speaks the Messages API. Default: ``ANTHROPIC_BASE_URL`` of `environ`, else the
        official API.
    allow_http : bool
        Whether the key may be sent over unencrypted http to another machine. It always may to this machine.
    client : AsyncAnthropic, optional
        The user's own client, which then makes every call and is not closed; in place of `api_key` and `base_url`.
    known_as : str, optional
        Address to use in requests, and so in fingerprints, for a server that is the same at every address, such as a
        simulator on a free port.
    environ : mapping
        Environment variables.

    Raises
    ------
    OptionError
        If `base_url` is not an http(s) URL, or is an http URL of another machine without `allow_http`, or if `client`
        cannot be used.
    """

    def __init__(
        self,
        *,
        api_key: Optional[str] = None,
        base_url: Optional[str] = None,
        allow_http: bool = False,
        client: Any = None,
        known_as: Optional[str] = None,
        environ: Mapping[str, str],
    ) -> None:
        self._api_key = api_key
        self._environ = environ
        self._own = client
        if client is not None:
            check_own_client(client, api_key=api_key, base_url=base_url)
            base_url = str(client.base_url)
        server = (base_url or environ.get("ANTHROPIC_BASE_URL") or "").strip()
        self.base_url = normalise_base_url(server)
        self.known_as = known_as or self.base_url
        if not allow_http and not is_private(self.base_url):
            raise OptionError(
                f"{self.base_url} would get the key and every prompt unencrypted; use https, or allow_http=on if that is intended"
            )
        # May contain the name and password of a gateway; never show it.
        self._server = server or self.base_url
        self._clients: Dict[asyncio.AbstractEventLoop, LoopClient] = {}
        self._redactor: Optional[Redactor] = None
        self._lock = Lock()
        self._closed = False

    def __repr__(self) -> str:
        return f"ApiTransport(base_url={self.base_url!r})"

    def _credentials(self) -> Credentials:
        if self._own is not None:
            return Credentials(secrets_of(self._own))
        return find_credentials(self._api_key, self._environ, self.base_url)

    def credential_id(self) -> str:
        """Return an id of this key at this server that does not reveal the key; see `api.pacing`."""
        return credential_id(self._credentials().identity, self.base_url)

    def check(self) -> None:
        """Raise MissingApiKeyError if no key is found."""
        self._credentials()

    async def open(self) -> None:
        """Import the libraries for calls and create this loop's client, unless already done; the SDK takes a second or two."""
        await (await self._client()).open()

    async def _client(self) -> LoopClient:
        if self._closed:
            raise TransportClosedError("the orchestrator is closed; make a new one")
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            credentials = self._credentials()
            client = LoopClient(self._server, credentials, own=self._own, environ=self._environ, on_secret=self._redact)
            self._redact(*credentials.arguments.values())
            # When a loop ends, for example in asyncio.run, it finalises its asynchronous generators. This one closes
            # the client.
            client.keeper = self._keep(loop, client)
            with self._lock:
                self._clients[loop] = client
            await client.keeper.__anext__()
        return client

    async def _keep(self, loop: asyncio.AbstractEventLoop, client: LoopClient) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._clients.pop(loop, None)
            await client.close()

    def _redact(self, *secrets: str) -> None:
        """Redact these secrets from everything received from now on."""
        known = self.redactor.secrets
        if not known or not set(secrets) <= set(known):
            self._redactor = Redactor([*known, *secrets])

    @property
    def redactor(self) -> Redactor:
        """The redactor that removes our own credentials from texts; complete once a call has been sent."""
        return self._redactor or Redactor()

    async def send(
        self, request: ClaudeRequest, *, timeout_seconds: float, partial: Optional[PartialAnswer] = None
    ) -> Answer:
        """Send once, without retries.

        Parameters
        ----------
        request : ClaudeRequest
        timeout_seconds : float
            Limit for each wait for the server, > 0; the orchestrator limits the whole call.
        partial : PartialAnswer, optional
            If given, the answer is streamed into it while it arrives.

        Returns
        -------
        Answer
            The complete message.

        Raises
        ------
        ApiError
            Any failure; see `api.failures`.
        """
        started = time.perf_counter()
        body = request.sent_body if partial is None else {**request.sent_body, "stream": True}
        call = HttpCall("post", _MESSAGES_PATH, version_headers(request), timeout_seconds, encoded(body))
        async with self.response(call) as response:
            headers = self.headers_of(response)
            if partial is not None:
                partial.hide(self.redactor.text)
            with self._errors_of_body():
                message = await self._read_message(response, headers, partial)
        return Answer(message, headers, time.perf_counter() - started)

    async def count_tokens(self, request: ClaudeRequest, *, timeout_seconds: float) -> int:
        """Return the number of input tokens of a request as counted by the API, which is free of charge.

        Raises
        ------
        ApiError
            Any failure; see `api.failures`.
        """
        body = encoded(counted_body(request))
        call = HttpCall("post", _COUNT_PATH, version_headers(request), timeout_seconds, body)
        async with self.response(call) as response:
            counted = await self.read_json(response)
        tokens = counted.get("input_tokens") if isinstance(counted, dict) else None
        if type(tokens) is not int or tokens < 0:
            raise MalformedAnswerError(f"{self.base_url} did not count tokens; check base_url", status=200)
        return tokens

    @asynccontextmanager
    async def response(self, call: HttpCall) -> AsyncIterator[Any]:
        """Make a call and yield its HTTP response, to be read inside the block. Every failure, also inside, becomes an ApiError.

        Raises
        ------
        ApiError
            See `api.failures`.
        TransportClosedError
            If the transport is closed, before or meanwhile.
        """
        client = await self._client()
        with client.call():
            try:
                response = await client.open_response(call)
                try:
                    if response.status_code >= 300:
                        raise self._refusal(response, call.not_found)
                    yield response
                finally:
                    await response.aclose()
            except (ApiError, asyncio.CancelledError, GeneratorExit):
                raise
            except Exception as error:
                if self._closed:  # the HTTP library's errors would only say that a session is closed
                    raise TransportClosedError("the orchestrator was closed while the call was under way") from None
                mapped = map_exception(
                    error,
                    base_url=self.base_url,
                    now=time.time(),
                    secrets=self.redactor.secrets,
                    not_found=call.not_found,
                )
                if mapped is None:
                    raise
                logger.debug("call failed: %s", mapped)
                raise mapped from None

    async def read_json(self, response: Any, *, pace: Optional[Pace] = None) -> Any:
        """Read and decode a body within limits, and redact our credentials; set `pace` for a call that has no time limit.

        Raises
        ------
        MalformedAnswerError
            If it is not valid JSON within the limits.
        """
        with self._errors_of_body():
            body = await read_body(response, pace=pace)
            try:
                return self.redactor.decode(body)
            except MalformedAnswerError:
                if is_web_page(body):
                    raise MalformedAnswerError(
                        f"{self.base_url} answered with a web page: this is not the Messages API; check base_url",
                        status=200,
                    ) from None
                raise

    def headers_of(self, response: Any) -> Dict[str, str]:
        """Return the headers of a response, with names in lower case and our credentials redacted."""
        redact = self.redactor.text
        # Use the raw pairs, since iterating over the mapping would decode each name and value several times.
        return {name.decode("latin-1").lower(): redact(value.decode("latin-1")) for name, value in response.headers.raw}

    async def _read_message(self, response: Any, headers: Mapping[str, str], partial: Optional[PartialAnswer]) -> Any:
        if not headers.get("content-type", "").lower().startswith("text/event-stream"):
            message = await self.read_json(response)
            if isinstance(message, dict) and message.get("type") == "error":  # an error with status 200, as in a stream
                raise self._error(200, message, headers)
            if partial is not None:  # a server that does not support streaming
                answer = Answer(message).to_result(fingerprint="", agent=None)
                partial.add_thinking(answer.thinking)
                partial.add_text(answer.text)
            return message
        assembler = MessageAssembler(partial or PartialAnswer(), headers, self.redactor)
        events = iter_events(response)
        try:
            async for event in events:
                if not assembler.complete:
                    assembler.add(decode_json(event))
                # The answer is complete: ignore anything that a gateway adds, and how it ends the connection.
                if assembler.complete and not getattr(response, "must_be_read_to_end", False):
                    response.is_answered = True
                    break
        finally:
            await events.aclose()
        return assembler.message()

    @contextmanager
    def _errors_of_body(self) -> Iterator[None]:
        """Convert errors while a body is read to ApiErrors, and name the server if the body is malformed."""
        try:
            yield
        except MalformedAnswerError as error:
            if "base_url" in str(error):
                raise
            raise MalformedAnswerError(f"{error} (from {self.base_url}; check base_url)", status=error.status) from None
        except (ApiError, asyncio.CancelledError):
            raise
        except Exception as error:
            if self._closed:
                raise
            mapped = map_exception(
                error, base_url=self.base_url, now=time.time(), streaming=True, secrets=self.redactor.secrets
            )
            if mapped is None:
                raise
            raise mapped from None

    def _refusal(self, response: Any, not_found: str) -> ApiError:
        is_cut = getattr(response, "is_cut", False)
        try:
            body = decode_json(response.content)
        except MalformedAnswerError:  # a gateway's web page, or a body that was cut off
            body = response.content.decode("utf-8", "replace") if is_cut else None
        headers = self.headers_of(response)
        return self._error(response.status_code, body, headers, is_cut=is_cut, not_found=not_found)

    def _error(self, status: int, body: Any, headers: Mapping[str, str], **details: Any) -> ApiError:
        return error_from_answer(
            status,
            body,
            headers,
            now=time.time(),
            secrets=self.redactor.secrets,
            base_url=self.base_url,
            **details,
        )

    async def close(self) -> None:
        """Close the clients of the running loop and of loops that run in other threads, and refuse further calls.

        The client of a loop that is not running closes when that loop ends.
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
                    await asyncio.wait([asyncio.wrap_future(close_in(loop, client.keeper))], timeout=_CLOSE_SECONDS)
                except RuntimeError:  # the loop has just ended, and closed its client
                    pass

    def close_blocking(self) -> None:
        """Close the clients of all loops and refuse further calls, at the end of a process, when nothing can be awaited."""
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
                    closing = close_in(loop, client.keeper)
                    if loop is not here:  # waiting for our own thread would block forever
                        closing.result(_CLOSE_SECONDS)
                elif not loop.is_closed() and here is None:
                    loop.run_until_complete(client.keeper.aclose())
            except (RuntimeError, TimeoutError, concurrent.futures.TimeoutError) as error:
                logger.debug("a client could not be closed: %r", error)
