"""What comes back: usage, one result, a batch of results. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Dict, Mapping, Optional, Tuple

from .code import CodeBlock, code_blocks
from .usage import Usage

__all__ = ["ClaudeResult", "StatusCounts", "status_of"]

_CUT_OFF = frozenset(["max_tokens", "model_context_window_exceeded"])


def status_of(stop_reason: Optional[str], *, cached: bool = False) -> str:
    """Return the status of an answer that ended for this reason ("Stop reasons")."""
    if stop_reason in _CUT_OFF:
        return "cut_off"
    return "refused" if stop_reason == "refusal" else "cached" if cached else "ok"


class StatusCounts(Dict[str, int]):
    """Rows by status. ``cut_off`` and ``refused`` stand in it only where there are such rows; asking for them gives 0 all the same."""

    def __init__(self) -> None:
        super().__init__(ok=0, cached=0, failed=0, not_sent=0)

    def __missing__(self, status: str) -> int:
        return 0

    def copy(self) -> StatusCounts:
        """Return counts that do not change with these."""
        copied = StatusCounts()
        copied.update(self)
        return copied

    @property
    def complete(self) -> int:
        """Rows with all of their answer."""
        return self["ok"] + self["cached"]

    @property
    def answered_now(self) -> int:
        """Rows that the API answered in this run, completely or not."""
        return self["ok"] + self["cut_off"] + self["refused"]


@dataclass(frozen=True)
class ClaudeResult:
    """One answer, or why there is none. ``str(result)`` is its text.

    Attributes
    ----------
    text : str
        The answer; "" where there is none.
    model : str
        Full name of the model that answered, or that was asked.
    usage : Usage
        What the answer was billed for when it was made.
    cost : Decimal or None
        US dollars paid for it now: 0 from the cache, None where the model's price is unknown or the server did not say what it
        bills.
    saved : Decimal or None
        US dollars not paid because the cache answered; None where the model's price is unknown.
    cached : bool
        True where the cache answered.
    age_seconds : float
        Age of a cached answer, 0.0 for a fresh one.
    agent : str or None
        Name of the agent.
    stop_reason : str or None
        ``end_turn``, ``max_tokens``, ``model_context_window_exceeded``, ``stop_sequence``, ``tool_use``, ``pause_turn``,
        ``refusal``, None, or whatever the API adds to these.
    stop_details : mapping or None
        Of a refusal: its ``category`` and ``explanation``, as the API gave them.
    request_id : str or None
        The API's id of the call that made the answer.
    fingerprint : str
        Fingerprint of the request.
    duration_seconds : float
        From the question to the complete answer, this time.
    call_seconds : float
        Duration of the call that made the answer; for a fresh one without its waiting and retries.
    attempts : int
        Calls sent for it this time; 0 from the cache.
    thinking : str
        The model's thinking, where it was asked for and shown.
    status : str
        ``ok``, ``cached``, ``cut_off`` (at max_tokens, or where the context window ends), ``refused`` (by the model), ``failed`` or
        ``not_sent``. An answer that is cut off or refused says so from the cache as well.
    error : Exception or None
        Why there is no answer.
    notice : str
        What the receipt says further: the answer's turn of its conversation. "" where there is nothing to say.
    parsed : object
        The answer as an instance of the schema's class, or as JSON data; None without ``schema``, or where it does not fit.
    repaired : bool
        True where a first answer did not fit the schema and a second call was made: usage, cost and attempts are of both.
    prompt_cache_saved : Decimal or None
        US dollars by which the API's prompt cache made this call cheaper, below 0 where it only wrote; None where that is unknown.
    model_asked : str or None
        Full name of the model that was asked, which may be an alias of the one that answered; None in rows of a batch.
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

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        return f"ClaudeResult({text!r}, model={self.model!r}, status={self.status!r}, cost={self.cost})"

    @property
    def answered(self) -> bool:
        """Whether the API gave an answer, complete or not."""
        return self.status not in ("failed", "not_sent")

    @property
    def incomplete(self) -> bool:
        """Whether the answer is cut off or refused, so that asking again may be worth it."""
        return self.answered and status_of(self.stop_reason) != "ok"

    @property
    def code(self) -> Tuple[CodeBlock, ...]:
        """The blocks of code in the text, each with its language."""
        return code_blocks(self.text)

    @property
    def shortcoming(self) -> str:
        """Why an answer is not all of it and what to do, in one line; "" for any other."""
        return _shortcoming(self)

    def shared(self) -> ClaudeResult:
        """Return the answer as one who asked for the same gets it: paid for elsewhere, as from the cache."""
        return self.changed(cached=True, status="cached" if self.status == "ok" else self.status, attempts=0)

    def changed(self, **values: Any) -> ClaudeResult:
        """Return a copy with other values in some attributes: `dataclasses.replace` in a fifth of its time."""
        copy = object.__new__(ClaudeResult)
        fields_of_copy = copy.__dict__
        fields_of_copy.update(self.__dict__)
        fields_of_copy.update(values)
        return copy

    def to_record(self) -> Dict[str, Any]:
        """Return what a cache keeps of an answer, as JSON data: nothing that belongs to one run only."""
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
        """Inverse of `to_record`, as a cached result. Raises KeyError or TypeError on anything else than such a record."""
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
        return f"{why.rstrip('.')}; ask otherwise, or another model"
    if result.stop_reason == "model_context_window_exceeded":
        return "cut off where the context window ends; shorten what is sent"
    if result.usage.thinking_tokens > result.usage.output_tokens // 2:
        return "cut off at max_tokens, most of it thinking; raise max_tokens or lower effort"
    return "cut off at max_tokens; raise it"
