"""A TCP server in the event loop of the test, which ends together with its connections."""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Callable, Set

_ENDING_SECONDS = 20


class StreamServer:
    """Answers each connection with `answer`; leaving it waits until the handlers of all connections have returned.

    Without this wait, a handler that has yet to learn that its client left would count as a task left pending.
    """

    def __init__(self, answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._answer = answer
        self._handlers: Set[Any] = set()

    async def __aenter__(self) -> StreamServer:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        while self._handlers:
            done, _pending = await asyncio.wait(self._handlers, timeout=_ENDING_SECONDS)
            assert done, f"connections that do not end: {self._handlers}"
            self._handlers -= done

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._handlers.add(asyncio.current_task())
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            writer.close()
