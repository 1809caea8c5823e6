"""No failure takes longer than its time limit to be reported, whatever the server does."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import time
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
from aiohttp import web
from support.http_server import serve
from support.transports import Handler

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.errors import ApiError, CallTimeoutError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import FAULT_KINDS, Simulator
from claude_force_nb.simulator.faults import ROW_KINDS

__all__ = ["serve"]

_LIMIT_SECONDS = 0.6
# What a failure may take beyond its limit where nothing else holds up the loop: closing connections, a retry being given up.
_SLACK_SECONDS = 0.4
STATUSES = (408, 409, 429, 500, 503, 504, 529)


class Lag:
    """Seconds for which something else held up this event loop, since the beginning."""

    _EVERY_SECONDS = 0.01

    def __init__(self) -> None:
        self.seconds = 0.0
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + self._EVERY_SECONDS
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._count()
        self._timer = self._loop.call_at(self._due, self._tick)

    def _count(self) -> None:
        now = self._loop.time()
        self.seconds += max(0.0, now - self._due)
        self._due = now + self._EVERY_SECONDS

    def stop(self) -> None:
        self._timer.cancel()
        self._count()  # the loop may have been held up since the last tick, even within its present iteration


def dribble(head: bytes, piece: bytes, *, content_type: str, compressed: bool = False) -> Handler:
    """Answer with `head`, then with `piece` again and again, without an end."""

    async def handler(incoming: web.Request) -> web.StreamResponse:
        headers = {"content-type": content_type, **({"content-encoding": "gzip"} if compressed else {})}
        response = web.StreamResponse(headers=headers)
        await response.prepare(incoming)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await response.write(head)
            for _ in range(2000):
                await response.write(piece)
                await asyncio.sleep(0.02)
        return response

    return handler


def always(status: int, body: bytes = b"", **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return handler


_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
SERVERS: Dict[str, Handler] = {
    "json that trickles": dribble(b'{"type": "message", "content": [', b" ", content_type="application/json"),
    "a stream that only pings": dribble(b"", _PING, content_type="text/event-stream"),
    "a line without end": dribble(b"data: ", b"x", content_type="text/event-stream"),
    "gzip that trickles": dribble(
        gzip.compress(b"{")[:10], b"\0\0\0\xff\xff", content_type="application/json", compressed=True
    ),
    "half of a json": always(
        200, b'{"type": "message", "content": [{"type": "te', **{"content-type": "application/json"}
    ),
    "a redirect to itself": always(307, location="/v1/messages"),
    "a page": always(200, b"<!doctype html><title>x</title>", **{"content-type": "text/html"}),
    "429 that names an hour": always(429, b"{}", **{"retry-after": "3600", "content-type": "application/json"}),
    "529 without a body": always(529),
    "nothing": always(200),
}


@pytest.fixture
def silent_port() -> Iterator[str]:
    """A port whose connections are made and never looked at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed_port() -> str:
    """A port where nobody listens."""
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{once.getsockname()[1]}"


async def timed(
    what: str, call: Callable[[], Awaitable[Any]], late: List[Tuple[str, float, float]]
) -> Optional[ApiError]:
    """Make a call, note how much later than its limit it ended, and what of that was the loop's doing; return its failure."""
    lag = Lag()
    loop = asyncio.get_running_loop()
    began = loop.time()
    failure = None
    try:
        await call()
    except ApiError as error:
        failure = error
    finally:
        lag.stop()
    late.append((what, loop.time() - began - _LIMIT_SECONDS, lag.seconds))
    return failure


def check(late: List[Tuple[str, float, float]]) -> None:
    assert [row for row in late if row[1] > _SLACK_SECONDS + row[2]] == []


def asks(orchestrator: AsyncAgentOrchestrator, prompt: str, streaming: bool) -> Callable[[], Awaitable[Any]]:
    return lambda: orchestrator.run(
        prompt, model="haiku", partial=PartialAnswer() if streaming else None, timeout_seconds=_LIMIT_SECONDS
    )


@contextlib.asynccontextmanager
async def warm(make: Any, url: str, **options: Any) -> AsyncIterator[AsyncAgentOrchestrator]:
    """An orchestrator that retries for ever; the SDK is imported, which is not part of any limit."""
    import anthropic  # noqa: F401

    async with make(base_url=url, max_retries=10_000, max_concurrent=200, **options) as orchestrator:
        yield orchestrator


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
def test_every_fault_of_the_simulator(run: Any, make: Any, streaming: bool) -> None:
    """All faults at once, each without end, with retries that would never end."""
    kinds: List[Any] = [kind for kind in FAULT_KINDS if kind not in ROW_KINDS] + list(STATUSES)
    late: List[Tuple[str, float, float]] = []

    async def one(kind: Any) -> Optional[ApiError]:
        # A server each: what one of them says of its limits is not to hold up the others.
        with Simulator() as simulator:
            simulator.fail(kind, retry_after_seconds=5, delay_seconds=5)
            async with warm(make, simulator.url) as orchestrator:
                return await timed(str(kind), asks(orchestrator, "q", streaming), late)

    async def main() -> List[Optional[ApiError]]:
        return await asyncio.gather(*map(one, kinds))

    failures = dict(zip(kinds, run(main())))
    check(late)
    assert len(late) == len(kinds)
    for kind in (
        "hang",
        "silent",
        "drop",
        "cut",
        "stream_error",
        "truncated_json",
        "rate_limit",
        "overloaded",
        *STATUSES,
    ):
        assert failures[kind] is not None, kind


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
def test_every_other_server(
    run: Any, make: Any, serve: Any, silent_port: str, closed_port: str, streaming: bool
) -> None:
    """Servers that trickle, break off, redirect, are not the API or do not exist."""
    urls = {name: serve(handler) for name, handler in SERVERS.items()}
    urls.update({"silent": silent_port, "closed": closed_port})
    late: List[Tuple[str, float, float]] = []

    async def one(name: str) -> Optional[ApiError]:
        async with warm(make, urls[name]) as orchestrator:
            return await timed(name, asks(orchestrator, "q", streaming), late)

    async def main() -> List[Optional[ApiError]]:
        return await asyncio.gather(*map(one, urls))

    failures = run(main())
    check(late)
    assert None not in failures
    assert all("\n" not in str(failure) for failure in failures)


@pytest.mark.parametrize("kind", ["rate_limit", "overloaded", "hang", "drop", "truncated_json"])
def test_every_row_of_a_run(run: Any, make: Any, simulator: Simulator, kind: str) -> None:
    """Each row has its limit from when it first leaves; forty of them, twenty at a time, take two limits."""
    simulator.fail(kind, retry_after_seconds=0.1)
    late: List[Tuple[str, float, float]] = []

    async def main() -> Any:
        async with warm(make, simulator.url) as orchestrator:
            call = orchestrator.run_many
            batches = []

            async def rows() -> None:
                batches.append(await call(["a", "b", "c"], timeout_seconds=_LIMIT_SECONDS, max_concurrent=3))

            await timed(kind, rows, late)
            return batches[0]

    batch = run(main())
    check(late)
    assert batch.counts["failed"] == 3
    assert all(isinstance(row.error, ApiError) for row in batch)


class SlowToOpen(ApiTransport):
    """A transport that takes a while before its first call, as it does where libraries are imported."""

    async def open(self) -> None:
        await asyncio.sleep(3.0)
        await super().open()


@pytest.mark.slow
def test_the_time_of_a_call_includes_the_import(run: Any, simulator: Simulator) -> None:
    """A call ends in time and says what it waited for; the rows of a batch have their time from when they are sent."""
    transport = SlowToOpen(api_key="sk-x", base_url=simulator.url, environ={})

    async def main() -> None:
        async with AsyncAgentOrchestrator(transport=transport, enable_cache=False, ledger=None) as orchestrator:
            began = time.monotonic()
            with pytest.raises(CallTimeoutError, match="importing libraries"):
                await orchestrator.run("hi", timeout_seconds=0.3)
            assert time.monotonic() - began < 2.5
            assert simulator.counters.calls == 0
            batch = await orchestrator.run_many(["hi"], timeout_seconds=2.5)
            assert batch.counts["ok"] == 1

    run(main())
