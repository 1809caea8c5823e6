"""Shared code of the network tests: a key, a request, and one call to a server."""

from __future__ import annotations

import functools
from typing import Any, Awaitable, Callable, Optional

import anthropic
import pytest
from aiohttp import web

from claude_force_nb.api.answer import Answer, PartialAnswer
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult

KEY = "sk-ant-api03-very-secret-key-0123456789"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def request(prompt: str = "What is a monad?", **more: Any) -> ClaudeRequest:
    """Return a small request."""
    body = {"model": "claude-haiku-4-5", "max_tokens": 2000, "messages": [{"role": "user", "content": prompt}]}
    return ClaudeRequest(body={**body, **more})


def transport(url: str, **options: Any) -> ApiTransport:
    """Return a transport with a key."""
    return ApiTransport(base_url=url, environ={}, **{"api_key": KEY, **options})


async def send(
    url: str, asked: ClaudeRequest, partial: Optional[PartialAnswer] = None, *, timeout_seconds: float = 20.0
) -> Answer:
    """Send one request, and close the transport."""
    way = transport(url)
    try:
        return await way.send(asked, timeout_seconds=timeout_seconds, partial=partial)
    finally:
        await way.close()


def result(answer: Answer) -> ClaudeResult:
    """Return the answer as a result."""
    return answer.to_result(fingerprint="f", agent=None)


def see_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls go through the SDK, as they do when another package instruments its method."""
    messages = anthropic.resources.messages.AsyncMessages
    real = messages.create

    @functools.wraps(real)
    async def create(self: Any, **arguments: Any) -> Any:
        return await real(self, **arguments)

    monkeypatch.setattr(messages, "create", create)
