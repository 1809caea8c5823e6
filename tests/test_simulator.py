"""The simulator over a real socket, with the official SDK as the client where it fits."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, AsyncIterator, Dict, Iterator, List

import aiohttp
import pytest

from claude_force_nb.simulator import Counters, Simulator

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}


def body(prompt: str = "What is a monad?", **more: Any) -> Dict[str, Any]:
    return {
        "model": "claude-haiku-4-5",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": prompt}],
        **more,
    }


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


def test_plain_call_is_answered_and_billed(simulator: Simulator) -> None:
    """One call: a message of the API's shape, and the same numbers in the counters."""

    async def call() -> Dict[str, Any]:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            async with session.post(simulator.url + "/v1/messages", json=body()) as answer:
                assert answer.status == 200
                assert answer.headers["request-id"].startswith("req_")
                return await answer.json()

    message = asyncio.run(call())
    assert message["content"][0]["text"].startswith("Simulated answer")
    counters = simulator.counters
    assert (counters.calls, counters.completed, counters.in_flight) == (1, 1, 0)
    assert counters.output_tokens == message["usage"]["output_tokens"]
    assert counters.dollars > 0
