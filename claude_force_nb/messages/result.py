"""What comes back: usage, one result, a batch of results. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import (
    Any,
    Dict,
    Mapping,
    Optional,
)

from .usage import Usage

__all__ = ["ClaudeResult"]


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
        US dollars paid for it now: 0 from the cache, None where the model's price is unknown.
    saved : Decimal or None
        US dollars not paid because the cache answered; None where the model's price is unknown.
    cached : bool
        True where the cache answered.
    age_seconds : float
        Age of a cached answer, 0.0 for a fresh one.
    agent : str or None
        Name of the agent.
    stop_reason : str or None
        ``end_turn``, ``max_tokens``, ``stop_sequence``, ``tool_use``, ``pause_turn``, ``refusal`` or None.
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
        ``ok``, ``cached``, ``failed`` or ``not_sent``.
    error : Exception or None
        Why there is no answer.
    notice : str
        What the receipt says further: the answer's turn of its conversation. "" where there is nothing to say.
    parsed : object
        The answer as an instance of the schema's class, or as JSON data; None without ``schema``, or where it does not fit.
    repaired : bool
        True where a first answer did not fit the schema and a second call was made: usage, cost and attempts are of both.
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

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        return f"ClaudeResult({text!r}, model={self.model!r}, status={self.status!r}, cost={self.cost})"

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
            thinking=record.get("thinking", ""),
            cost=Decimal(0),
            saved=None,
            cached=True,
            status="cached",
            fingerprint=fingerprint,
            age_seconds=age_seconds,
        )
