"""One HTTP call to the server: reading the request, waiting, answering."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from aiohttp import web

from .failures import ApiFailure, error_body
from .nesting import load_body
from .state import ServerState

__all__ = ["MAX_BODY_BYTES", "ClientLeft", "Exchange", "LoggedRequest", "logged_requests", "compact"]

compact = json.JSONEncoder(separators=(",", ":")).encode
MAX_BODY_BYTES = 32 * 1024 * 1024


class LoggedRequest(NamedTuple):
    """A received request: `headers` with lower-case names and a masked key, `body` decoded (or its size if over 1 MB)."""

    method: str
    path: str
    headers: Dict[str, str]
    body: Any
    request_id: str


_MAX_LOGGED_BYTES = 1024 * 1024
_SECRET_HEADERS = ("x-api-key", "authorization")


def masked(headers: Mapping[str, str]) -> Dict[str, str]:
    """Return `headers` with lower-case names and the key masked."""
    return {name.lower(): "(masked)" if name.lower() in _SECRET_HEADERS else value for name, value in headers.items()}


def logged_requests(state: ServerState) -> Tuple[LoggedRequest, ...]:
    """Return the last requests, oldest first; may be called from any thread."""
    return tuple(
        LoggedRequest(method, path, masked(headers), body, request_id)
        for method, path, headers, body, request_id in list(state.log)
    )


def _go_on(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(True)


class ClientLeft(Exception):
    """The client closed its connection before the answer was complete."""


class Exchange:
    """One HTTP call to the server."""

    __slots__ = ("_arrived", "_state", "headers", "request", "request_id")

    def __init__(self, state: ServerState, request: web.BaseRequest) -> None:
        self._arrived = time.monotonic()
        self._state = state
        self.request = request
        self.request_id = state.next_id("req")
        self.headers: List[Tuple[str, str]] = [("request-id", self.request_id)]

    @property
    def query(self) -> Mapping[str, str]:
        """Decoded query string."""
        return self.request.query

    async def read(self, limit_bytes: int = MAX_BODY_BYTES) -> Any:
        """Return the decoded body and log the call; {} for an empty one."""
        try:
            raw = await self.request.content.read()
        except Exception as error:  # aiohttp's exception for an incomplete body differs between versions
            raise ClientLeft from error
        failure = None
        body: Any = {}
        if len(raw) > limit_bytes:
            failure = ApiFailure(413, "Request exceeds the maximum size")
        elif raw:
            try:
                body = load_body(raw)
            except (ValueError, RecursionError):
                failure = ApiFailure(400, "The request body is not valid JSON")
        # Otherwise a large batch would stay in memory as long as it is in the log.
        logged = body if len(raw) <= _MAX_LOGGED_BYTES else f"({len(raw)} bytes)"
        request = self.request
        self._state.log.append((request.method, request.path_qs, request.headers, logged, self.request_id))
        if failure is not None:
            raise failure
        return body

    def gone(self) -> bool:
        """Return whether the client has closed the connection."""
        transport = self.request.transport
        return transport is None or transport.is_closing()

    async def wait(self, seconds: Optional[float], *, until_healed: bool = False) -> None:
        """Wait; raise ClientLeft as soon as the client leaves or the server stops.

        Parameters
        ----------
        seconds : float or None
            None waits for ever.
        until_healed : bool
            True if the wait also ends when the scripted faults are removed.
        """
        protocol = self.request.protocol
        waiters, slowed = self._state.waiters, self._state.slowed
        if self.gone() or self._state.stopping:
            raise ClientLeft
        loop = asyncio.get_running_loop()
        waiter = waiters[protocol] = loop.create_future()
        # A plain timer, since asyncio.wait_for takes as long as everything else in a call.
        timer = None if seconds is None else loop.call_later(seconds, _go_on, waiter)
        if until_healed:
            slowed.add(waiter)
        try:
            if not await waiter:
                raise ClientLeft
        finally:
            del waiters[protocol]
            slowed.discard(waiter)
            if timer is not None:
                timer.cancel()

    async def wait_from_arrival(self, seconds: float) -> None:
        """Wait until `seconds` after the call arrived; raises like `wait`."""
        left = self._arrived + seconds - time.monotonic()
        if left > 0:
            await self.wait(left)

    def json(self, body: Mapping[str, Any], status: int = 200) -> web.Response:
        """Return a JSON answer with the headers of this call."""
        return self.bytes(compact(body).encode("ascii"), "application/json", status)

    def bytes(self, body: bytes, content_type: str, status: int = 200) -> web.Response:
        """Return an answer with the headers of this call, and count its status."""
        self._state.book.answered(status)
        self.headers.append(("Content-Type", content_type))
        return web.Response(body=body, status=status, headers=self.headers)

    def stream(self) -> web.StreamResponse:
        """Return an answer that is written in pieces, with the headers of this call, and count its status."""
        self._state.book.answered(200)
        return web.StreamResponse(headers=self.headers)

    def failure(self, failure: ApiFailure) -> web.Response:
        """Return an error answer."""
        if failure.retry_after_seconds is not None:
            self.headers.append(("retry-after", f"{failure.retry_after_seconds:g}"))
        again = failure.status in (408, 409, 429) or failure.status >= 500
        self.headers.append(("x-should-retry", "true" if again and failure.details is None else "false"))
        return self.json(error_body(failure, self.request_id), failure.status)

    def unanswered(self, status: int) -> None:
        """Undo the count of a status that is not sent after all."""
        self._state.book.answered(status, -1)

    def aborted(self) -> None:
        """Count a client that disconnected, unless the server is stopping."""
        if not self._state.stopping:
            self._state.book.aborted_by_client += 1

    def drop(self) -> web.Response:
        """Close the connection without sending anything more. The returned response is never sent."""
        if self.request.transport is not None:
            self.request.transport.close()
        return web.Response()
