"""One result, and counts of many results by status. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Dict, Iterable, Mapping, Optional, Tuple

from .code import CodeBlock, code_blocks
from .shown import ShownInNotebooks
from .usage import Usage

__all__ = ["ClaudeResult", "StatusCounts", "status_of"]

_CUT_OFF = frozenset(["max_tokens", "model_context_window_exceeded"])
_UNANSWERED = frozenset(["failed", "stopped", "not_sent"])


def status_of(stop_reason: Optional[str], *, cached: bool = False) -> str:
    """Return the status of an answer for its stop reason (API documentation, "Stop reasons")."""
    if stop_reason in _CUT_OFF:
        return "cut_off"
    return "refused" if stop_reason == "refusal" else "cached" if cached else "ok"


class StatusCounts(Dict[str, int]):
    """Number of rows by status. ``cut_off``, ``refused`` and ``stopped`` are keys only if there are such rows, but read as 0."""

    def __init__(self) -> None:
        super().__init__(ok=0, cached=0, failed=0, not_sent=0)

    def __missing__(self, status: str) -> int:
        return 0

    @classmethod
    def of(cls, statuses: Iterable[str]) -> StatusCounts:
        """Count how often each status occurs."""
        counts = cls()
        for status in statuses:
            counts[status] += 1
        return counts

    def copy(self) -> StatusCounts:
        """Return an independent copy."""
        copied = StatusCounts()
        copied.update(self)
        return copied

    @property
    def complete(self) -> int:
        """Number of rows with a complete answer."""
        return self["ok"] + self["cached"]

    @property
    def answered(self) -> int:
        """Number of rows with an answer, complete or not."""
        return self["cached"] + self.answered_now

    @property
    def answered_now(self) -> int:
        """Number of rows that the API answered in this run, including incomplete answers."""
        return self["ok"] + self["cut_off"] + self["refused"]


@dataclass(frozen=True)
class ClaudeResult(ShownInNotebooks):
    """One answer, or the reason why there is no answer. ``str(result)`` is its text.

    Attributes
    ----------
    text : str
        The text of the answer; "" if there is none.
    model : str
        Full name of the model that answered, or of the requested model if there is no answer.
    usage : Usage
        Tokens and extras that the original answer was billed for.
    cost : Decimal or None
        US dollars paid for it now: 0 from the cache, None if the model's price is unknown or the server did not report usage.
    saved : Decimal or None
        US dollars not paid because the cache answered; None if the model's price is unknown.
    cached : bool
        Whether the answer comes from the cache.
    age_seconds : float
        Age of a cached answer; 0.0 for a fresh one.
    agent : str or None
        Name of the agent.
    stop_reason : str or None
        ``end_turn``, ``max_tokens``, ``model_context_window_exceeded``, ``stop_sequence``, ``tool_use``, ``pause_turn``,
        ``refusal``, None, or a newer reason of the API.
    stop_details : mapping or None
        For a refusal, its ``category`` and ``explanation`` as the API gave them.
    request_id : str or None
        The API's id of the call that returned the answer.
    fingerprint : str
        Fingerprint of the request.
    duration_seconds : float
        Time from the question to the complete answer, in this run.
    call_seconds : float
        Duration of the call that returned the answer; for a fresh answer, without waiting and retries.
    attempts : int
        Calls sent for the answer in this run; 0 if it comes from the cache.
    thinking : str
        The model's thinking, if it was requested and returned.
    status : str
        ``ok``, ``cached``, ``cut_off`` (at max_tokens or at the end of the context window), ``refused`` (by the model),
        ``failed``, ``stopped`` (the request was sent, but Stop or the end of its run came before the answer) or
        ``not_sent``. An incomplete answer from the cache keeps its status ``cut_off`` or ``refused``.
    error : Exception or None
        Why there is no answer.
    notice : str
        Additional text for the receipt, such as the answer's turn in its conversation; "" if there is none.
    parsed : object
        The answer as an instance of the schema's class, or as JSON data; None without ``schema``, or if the answer does
        not conform to it.
    repaired : bool
        True if the first answer did not conform to the schema and a second call was made; usage, cost and attempts
        cover both.
    prompt_cache_saved : Decimal or None
        US dollars that the API's prompt cache saved on this call; below 0 if it was only written to; None if unknown.
    recorded : bool
        True if the answer is in an answer file. It is then shown as when it was recorded, so that every run shows the
        same.
    model_asked : str or None
        Name of the requested model, which may be the API's alias for the one that answered; None in rows of a batch.
    """

    text: str = ""
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    cost: Optional[Decimal] = Decimal(0)
    saved: Optional[Decimal] = Decimal(0)
    cached: bool = False
    age_seconds: float = 0.0
    agent: Optional[str] = None
    stop_reason: Optional[str] = None
    stop_details: Optional[Mapping[str, Any]] = field(default=None, hash=False)
    request_id: Optional[str] = None
    fingerprint: str = ""
    duration_seconds: float = 0.0
    call_seconds: float = 0.0
    attempts: int = 0
    thinking: str = ""
    status: str = "ok"
    error: Optional[BaseException] = field(default=None, compare=False)
    notice: str = field(default="", compare=False)
    parsed: Any = None
    repaired: bool = False
    model_asked: Optional[str] = field(default=None, compare=False)
    prompt_cache_saved: Optional[Decimal] = field(default=Decimal(0), compare=False)
    recorded: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        return f"ClaudeResult({text!r}, model={self.model!r}, status={self.shown_status!r}, cost={self.shown_cost})"

    @property
    def price(self) -> Optional[Decimal]:
        """US dollars that the original call cost, no matter who paid for it; None if unknown."""
        return self.saved if self.cached else self.cost

    @property
    def shown_cost(self) -> Optional[Decimal]:
        """US dollars to show in frames: the amount paid now, or the `price` of a recorded answer."""
        return self.price if self.recorded else self.cost

    @property
    def shown_status(self) -> str:
        """The status to show in frames and tables: ``ok`` instead of ``cached`` for a recorded answer."""
        return "ok" if self.recorded and self.status == "cached" else self.status

    @property
    def answered(self) -> bool:
        """Whether there is an answer, complete or not."""
        return self.status not in _UNANSWERED

    @property
    def incomplete(self) -> bool:
        """Whether the answer is cut off or refused, so that asking again may help."""
        return self.answered and status_of(self.stop_reason) != "ok"

    @property
    def code(self) -> Tuple[CodeBlock, ...]:
        """The code blocks in the text, each with its language."""
        return code_blocks(self.text)

    @property
    def shortcoming(self) -> str:
        """Why the answer is incomplete and what to do, in one line; "" for a complete one."""
        return _shortcoming(self)

    def shared(self) -> ClaudeResult:
        """Return the result for another caller with the same request: already paid for, like one from the cache."""
        return self.changed(cached=True, status="cached" if self.status == "ok" else self.status, attempts=0)

    def changed(self, **values: Any) -> ClaudeResult:
        """Return a copy with some attributes changed, like `dataclasses.replace`, but in a fifth of the time."""
        copy = object.__new__(ClaudeResult)
        fields_of_copy = copy.__dict__
        fields_of_copy.update(self.__dict__)
        fields_of_copy.update(values)
        return copy

    def to_record(self) -> Dict[str, Any]:
        """Return the part of an answer to store in a cache, as JSON data, without anything specific to one run."""
        record: Dict[str, Any] = {
            "text": self.text,
            "model": self.model,
            "usage": self.usage.to_record(),
            "stop_reason": self.stop_reason,
            "request_id": self.request_id,
            "call_seconds": self.call_seconds,
        }
        if self.thinking:
            record["thinking"] = self.thinking
        if self.stop_details:
            record["stop_details"] = dict(self.stop_details)
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, fingerprint: str, age_seconds: float) -> ClaudeResult:
        """Create a cached result from a record of `to_record`. Raises KeyError or TypeError if `record` has another form."""
        return cls(
            text=record["text"],
            model=record["model"],
            usage=Usage.from_record(record["usage"]),
            stop_reason=record["stop_reason"],
            request_id=record["request_id"],
            call_seconds=record["call_seconds"],
            stop_details=record.get("stop_details"),
            thinking=record.get("thinking", ""),
            cost=Decimal(0),
            saved=None,
            cached=True,
            status=status_of(record["stop_reason"], cached=True),
            fingerprint=fingerprint,
            age_seconds=age_seconds,
        )


def _shortcoming(result: ClaudeResult) -> str:
    if not result.incomplete:
        return ""
    if result.stop_reason == "refusal":
        details = result.stop_details or {}
        category, explanation = (" ".join(str(details.get(name) or "").split()) for name in ("category", "explanation"))
        why = ": ".join(part for part in (f"refused ({category})" if category else "refused", explanation) if part)
        return f"{why.rstrip('.')}; rephrase it, or ask another model"
    if result.stop_reason == "model_context_window_exceeded":
        return "cut off at the end of the context window; shorten the prompt"
    if result.usage.thinking_tokens > result.usage.output_tokens // 2:
        return "cut off at max_tokens, most of it thinking; raise max_tokens or lower effort"
    return "cut off at max_tokens; raise it"
