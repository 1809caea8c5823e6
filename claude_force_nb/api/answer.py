"""The answer that a transport returns, not yet priced. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from claude_force_nb.errors import MalformedAnswerError
from claude_force_nb.messages.result import ClaudeResult, status_of
from claude_force_nb.messages.usage import FREE_REFUSALS, UNKNOWN_CATEGORY, Usage

from .decoding import joined

__all__ = ["Answer", "PartialAnswer"]


class PartialAnswer:
    """A streamed answer while it arrives.

    The transport writes it, and the display may read it at any time: reading joins the parts received so far. A retried
    call starts over with `restart`, so that nothing is shown twice.
    """

    def __init__(self) -> None:
        self._text: List[str] = []
        self._thinking: List[str] = []
        self._redact: Callable[[str], str] = str
        self._on_begin: Optional[Callable[[], None]] = None

    def tell_begin(self, on_begin: Callable[[], None]) -> None:
        """Register `on_begin`, to be called when the API begins to answer."""
        self._on_begin = on_begin

    def begin(self) -> None:
        """Note that the API has begun to answer."""
        if self._on_begin is not None:
            self._on_begin()

    def hide(self, redact: Callable[[str], str]) -> None:
        """Set `redact`, a function that removes secrets from everything that is read here."""
        self._redact = redact

    def add_text(self, delta: str) -> None:
        """Append answer text."""
        self._text.append(delta)

    def add_thinking(self, delta: str) -> None:
        """Append thinking text."""
        self._thinking.append(delta)

    def restart(self) -> None:
        """Discard everything, because the call is made again."""
        self._text.clear()
        self._thinking.clear()

    @property
    def text(self) -> str:
        """Answer text so far."""
        return self._redact(joined(self._text))

    @property
    def thinking(self) -> str:
        """Thinking so far."""
        return self._redact(joined(self._thinking))


@dataclass(frozen=True)
class Answer:
    """One complete answer of the API.

    Attributes
    ----------
    body : dict
        The ``message`` object.
    headers : mapping
        Response headers, names in lower case.
    call_seconds : float
        Time from sending to the last byte.
    """

    body: Dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    call_seconds: float = 0.0

    @property
    def request_id(self) -> Optional[str]:
        """The API's ``request-id`` header."""
        return self.headers.get("request-id")

    @property
    def counted_tokens(self) -> Optional[Tuple[int, int]]:
        """Input and output tokens that count against rate limits; reads from the prompt cache do not. None if unknown."""
        usage = self.body.get("usage") if isinstance(self.body, dict) else None
        if not isinstance(usage, dict):
            return None
        read, written, output = (
            usage.get(name) for name in ("input_tokens", "cache_creation_input_tokens", "output_tokens")
        )
        return _whole(read) + _whole(written), _whole(output)

    def to_result(self, *, fingerprint: str, agent: Optional[str]) -> ClaudeResult:
        """Return the answer as a result without a price (`cost` None).

        Raises
        ------
        MalformedAnswerError
            If the body is not a ``message`` object.
        """
        body = self.body
        content = body.get("content") if isinstance(body, dict) else None
        if not isinstance(content, list):
            raise MalformedAnswerError(
                "the server answered 200 with something that is not a message; check base_url", status=200
            )
        blocks = [block for block in content if isinstance(block, dict)]
        stop_reason = None if body.get("stop_reason") is None else str(body["stop_reason"])
        details = body.get("stop_details")
        # Only the last model counts: text of models that declined before it does not turn its refusal into an answer.
        handovers = [place for place, block in enumerate(blocks) if block.get("type") == "fallback"]
        own = blocks[handovers[-1] + 1 :] if handovers else content
        usage = Usage.from_api(
            body.get("usage"), answered=bool(own), declined=[_trigger(blocks[place]) for place in handovers]
        )
        if stop_reason == "refusal" and not own and _category(details) in FREE_REFUSALS:
            usage = replace(usage, billed=False, known=usage.known or not handovers)
        return ClaudeResult(
            text="".join(str(block.get("text") or "") for block in blocks if block.get("type") == "text"),
            thinking="".join(str(block.get("thinking") or "") for block in blocks if block.get("type") == "thinking"),
            model=_answering_model(body, blocks),
            usage=usage,
            cost=None,
            status=status_of(stop_reason),
            stop_reason=stop_reason,
            stop_details=details if isinstance(details, dict) else None,
            request_id=self.request_id,
            fingerprint=fingerprint,
            agent=agent,
            call_seconds=self.call_seconds,
        )


def _category(details: Any) -> Any:
    return details.get("category") if isinstance(details, dict) else None


def _trigger(handover: Dict[str, Any]) -> Any:
    """Return the category of the refusal that made another model take over."""
    trigger = handover.get("trigger")
    return trigger.get("category") if isinstance(trigger, dict) else UNKNOWN_CATEGORY


def _answering_model(body: Dict[str, Any], blocks: List[Dict[str, Any]]) -> str:
    """Return the model that answered. ``model`` in a stream is the one that began; after a refusal, another one takes over."""
    model = body.get("model")
    usage = body.get("usage")
    iterations = usage.get("iterations") if isinstance(usage, dict) else None
    for block in blocks:
        successor = block.get("to") if block.get("type") == "fallback" else None
        model = (successor.get("model") if isinstance(successor, dict) else None) or model
    for part in iterations if isinstance(iterations, list) else ():
        if isinstance(part, dict) and part.get("type") == "fallback_message":
            model = part.get("model") or model
    return str(model or "")


def _whole(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
