"""A server whose responses a test defines."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Callable, Iterator, List, Tuple

import pytest
from aiohttp import web

from support.transports import Handler


@pytest.fixture
def serve(run: Any) -> Iterator[Callable[[Handler], str]]:
    """``serve(handler)`` starts a server that answers everything with `handler`, and gives its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started: List[Tuple[Any, Any]] = []

    async def start(handler: Handler) -> str:
        server = web.Server(handler)  # type: ignore[arg-type]
        listening = await loop.create_server(server, "127.0.0.1", 0)
        started.append((server, listening))
        return f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"

    async def stop() -> None:
        for server, listening in started:
            listening.close()
            await server.shutdown(0.1)

    yield lambda handler: asyncio.run_coroutine_threadsafe(start(handler), loop).result(20)
    asyncio.run_coroutine_threadsafe(stop(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
