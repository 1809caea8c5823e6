"""Tools for testing notebooks and code that use this package, without network, key or cost.

With the package installed, pytest provides the fixtures ``claude_fake`` and ``claude_answers``.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Dict, Iterator, List, Mapping, Optional, Union

from .api.answer import Answer, PartialAnswer
from .errors import TransportClosedError
from .messages.request import DEFAULT_BASE_URL, ClaudeRequest

if TYPE_CHECKING:
    from pathlib import Path

    from .orchestrator import AsyncAgentOrchestrator

__all__ = ["FakeTransport"]

Reply = Union[str, Mapping[str, Any]]
Handler = Callable[[ClaudeRequest], Union[Reply, Awaitable[Reply]]]


class FakeTransport:
    """Answers requests from a function instead of the network.

    Parameters
    ----------
    handler : callable
        Takes the `ClaudeRequest`. Returns the answer's text, or a mapping with ``message`` fields that differ from the
        defaults; or raises an error of `claude_force_nb.errors`. May be asynchronous.

    Attributes
    ----------
    requests : list of ClaudeRequest
        The requests sent, in order.

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
        """Do nothing: no key is needed."""

    async def send(
        self, request: ClaudeRequest, *, timeout_seconds: float, partial: Optional[PartialAnswer] = None
    ) -> Answer:
        """Return the handler's answer. Usage not set by the handler is estimated at four characters per token."""
        if self._closed:
            raise TransportClosedError("the orchestrator is closed; make a new one")
        self.requests.append(request)
        reply: Any = self._handler(request)
        if inspect.isawaitable(reply):
            reply = await reply
        if isinstance(reply, str):
            body = _message(request, reply)
        elif isinstance(reply, Mapping):
            body = {**_message(request, ""), "content": [], **reply}
        else:
            raise TypeError(f"the handler must return text or a message object, not {type(reply).__name__}")
        if partial is not None:
            for block in body.get("content", ()):
                partial.add_text(str(block.get("text") or ""))
                partial.add_thinking(str(block.get("thinking") or ""))
        return Answer(body, {"request-id": f"req_fake_{len(self.requests)}"})

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


if "pytest" in sys.modules:  # true when pytest loads this module as a plugin; otherwise pytest is not imported
    import pytest

    @pytest.fixture
    def claude_fake(tmp_path: Path) -> Iterator[Callable[..., AsyncAgentOrchestrator]]:
        """``claude_fake(handler, **options)`` returns an orchestrator with a `FakeTransport`.

        If the handler is a text, it is the answer to every prompt. Cache and ledger are under `tmp_path`, environment variables
        are ignored, and everything is closed at the end of the test. ``orchestrator.transport.requests`` has the requests sent.
        """
        from .orchestrator import AsyncAgentOrchestrator

        made: List[AsyncAgentOrchestrator] = []

        def make(handler: Union[str, Handler] = "a fake answer", **options: Any) -> AsyncAgentOrchestrator:
            text = handler if isinstance(handler, str) else None
            answer: Handler = (lambda request: text or "") if isinstance(handler, str) else handler
            options.setdefault("transport", FakeTransport(answer))
            options.setdefault("cache_dir", tmp_path / "claude-cache")
            options.setdefault("cache_secret", "only-for-tests-" * 3)
            options.setdefault("environ", {"CLAUDE_FORCE_DATA_DIR": str(tmp_path / "claude-data")})
            made.append(AsyncAgentOrchestrator(**options))
            return made[-1]

        yield make
        for orchestrator in made:
            orchestrator.close_blocking()

    @pytest.fixture
    def claude_answers(
        request: pytest.FixtureRequest, tmp_path: Path
    ) -> Iterator[Callable[..., AsyncAgentOrchestrator]]:
        """``claude_answers(path=None, **options)`` returns an orchestrator that answers only from a frozen answer file.

        It needs no key and no network. By default the file is next to the test's module, ``test_x.answers.jsonl`` for
        ``test_x.py``. With ``CLAUDE_FORCE_ANSWERS_MODE=record``, the API is asked and its answers are recorded in the file. The
        ledger is under `tmp_path`, and the cache is disabled.
        """
        from .orchestrator import AsyncAgentOrchestrator

        made: List[AsyncAgentOrchestrator] = []

        def make(path: Union[str, os.PathLike[str], None] = None, **options: Any) -> AsyncAgentOrchestrator:
            mode = "record" if os.environ.get("CLAUDE_FORCE_ANSWERS_MODE", "").strip() == "record" else "frozen"
            beside = os.path.splitext(str(request.path))[0] + ".answers.jsonl"
            environ = {**os.environ, "CLAUDE_FORCE_DATA_DIR": str(tmp_path / "claude-data")}
            options.setdefault("environ", environ)
            options.setdefault("enable_cache", False)
            options.setdefault("answers_mode", mode)
            made.append(AsyncAgentOrchestrator(answers=beside if path is None else path, **options))
            return made[-1]

        yield make
        for orchestrator in made:
            orchestrator.close_blocking()
