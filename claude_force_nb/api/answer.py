"""What a transport gives back, before it is priced. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from claude_force_nb.errors import MalformedAnswerError
from claude_force_nb.messages.result import ClaudeResult, status_of
from claude_force_nb.messages.usage import Usage

from .decoding import joined

__all__ = ["Answer", "PartialAnswer"]

# Categories of a refusal that are not billed where nothing was written yet ("Refusals and fallback", October 2026). None stands for
# a refusal without category. One that is not known here is taken as billed.
_FREE_REFUSALS = (None, "cyber", "general_harms")


class PartialAnswer:
    """A streamed answer while it arrives.

    Written by the transport, read by whoever shows it, as often as it likes: reading joins what has come so far. A retried
    call starts over through `restart`, so that nothing is shown twice.
    """

    def __init__(self) -> None:
        self._text: List[str] = []
        self._thinking: List[str] = []
        self._redact: Callable[[str], str] = str
        self._on_begin: Optional[Callable[[], None]] = None

    def tell_begin(self, on_begin: Callable[[], None]) -> None:
        """Have `on_begin` called when the API begins to answer."""
        self._on_begin = on_begin

    def begin(self) -> None:
        """Say that the API has begun to answer."""
        if self._on_begin is not None:
            self._on_begin()

    def hide(self, redact: Callable[[str], str]) -> None:
        """Pass what is read through `redact`, which takes out what nobody may see."""
        self._redact = redact

    def add_text(self, delta: str) -> None:
        """Append answer text."""
        self._text.append(delta)

    def add_thinking(self, delta: str) -> None:
        """Append thinking text."""
        self._thinking.append(delta)

    def restart(self) -> None:
        """Forget everything: the call is made again."""
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
        From sending to the last byte.
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
        """Input and output tokens that count against rate limits: reads from the prompt cache do not. None where unknown."""
        usage = self.body.get("usage") if isinstance(self.body, dict) else None
        if not isinstance(usage, dict):
            return None
        read, written, output = (
            usage.get(name) for name in ("input_tokens", "cache_creation_input_tokens", "output_tokens")
        )
        return _whole(read) + _whole(written), _whole(output)

    def to_result(self, *, fingerprint: str, agent: Optional[str]) -> ClaudeResult:
        """Return the answer as a result that is not priced yet (`cost` None).

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
        usage = Usage.from_api(body.get("usage"), answered=bool(blocks))
        if stop_reason == "refusal" and not content and _category(details) in _FREE_REFUSALS:
            usage = replace(usage, billed=False)
        return ClaudeResult(
            text="".join(str(block.get("text") or "") for block in blocks if block.get("type") == "text"),
            thinking="".join(str(block.get("thinking") or "") for block in blocks if block.get("type") == "thinking"),
            model=str(body.get("model") or ""),
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


def _whole(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
