"""What users import to test their own notebooks and code: no network, no key, no money."""

from __future__ import annotations

import inspect
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Optional, Union

from .api.answer import Answer, PartialAnswer
from .errors import TransportClosedError
from .request import DEFAULT_BASE_URL, ClaudeRequest

__all__ = ["FakeTransport"]

Reply = Union[str, Mapping[str, Any]]
Handler = Callable[[ClaudeRequest], Union[Reply, Awaitable[Reply]]]


class FakeTransport:
    """Answers requests from a function instead of the network.

    Parameters
    ----------
    handler : callable
        Takes the `ClaudeRequest`; returns the answer's text or a whole ``message`` object, or raises one of the errors of
        `claude_force_nb.errors`. May be asynchronous.

    Attributes
    ----------
    requests : list of ClaudeRequest
        What was sent, in order.

    Examples
    --------
    >>> transport = FakeTransport(lambda request: "positive")
    >>> orchestrator = AsyncAgentOrchestrator(transport=transport, enable_cache=False)  # doctest: +SKIP
    """

    def __init__(self, handler: Handler, *, base_url: str = DEFAULT_BASE_URL) -> None:
        self.base_url = base_url
        self.requests: List[ClaudeRequest] = []
        self._handler = handler
        self._closed = False

    def check(self) -> None:
        """Nothing is missing: no key is needed."""

    async def send(
        self, request: ClaudeRequest, *, timeout_seconds: float, partial: Optional[PartialAnswer] = None
    ) -> Answer:
        """Return what the handler says; usage is four characters a token where the handler gives none."""
        if self._closed:
            raise TransportClosedError("the orchestrator is closed; make a new one")
        self.requests.append(request)
        reply = self._handler(request)
        if inspect.isawaitable(reply):
            reply = await reply
        assert not inspect.isawaitable(reply)
        body = _message(request, reply) if isinstance(reply, str) else dict(reply)
        if partial is not None:
            for block in body.get("content", ()):
                partial.add_text(str(block.get("text") or ""))
        return Answer(body, {"request-id": "req_fake_{}".format(len(self.requests))})

    async def close(self) -> None:
        """Refuse further calls."""
        self._closed = True

    def close_blocking(self) -> None:
        """Refuse further calls."""
        self._closed = True


def _message(request: ClaudeRequest, text: str) -> Dict[str, Any]:
    asked = len(str(request.body["messages"])) + len(str(request.body.get("system", "")))
    return {
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": asked // 4 + 1, "output_tokens": len(text) // 4 + 1},
    }
