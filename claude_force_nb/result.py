"""What comes back: usage, one result, a batch of results. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union, overload

__all__ = ["BatchResult", "BatchSummary", "ClaudeResult", "Usage"]


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Usage:
    """Tokens and extras that one answer is billed for.

    Attributes
    ----------
    input_tokens : int
        Tokens read at the full price; cache writes and reads are not in it.
    output_tokens : int
        Tokens written, thinking included.
    cache_write_5m_tokens, cache_write_1h_tokens : int
        Tokens written to the API's prompt cache, by lifetime.
    cache_read_tokens : int
        Tokens read from the API's prompt cache.
    web_searches : int
        Server-side web searches.
    service_tier : str
        ``"standard"``, ``"priority"`` or ``"batch"``.
    speed : str
        ``"standard"`` or ``"fast"``.

    Notes
    -----
    Field meanings: Messages API reference, ``usage`` object.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0
    web_searches: int = 0
    service_tier: str = "standard"
    speed: str = "standard"

    @property
    def total_input_tokens(self) -> int:
        """All tokens the model read, from the prompt cache or not."""
        return self.input_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens + self.cache_read_tokens

    @classmethod
    def from_api(cls, usage: Optional[Mapping[str, Any]]) -> Usage:
        """Read the API's ``usage`` object; what is missing, null or not a positive whole number counts as 0."""
        usage = _mapping(usage)
        written = _count(usage.get("cache_creation_input_tokens"))
        detail = _mapping(usage.get("cache_creation"))
        one_hour = min(_count(detail.get("ephemeral_1h_input_tokens")), written)
        tools = _mapping(usage.get("server_tool_use"))
        return cls(
            input_tokens=_count(usage.get("input_tokens")),
            output_tokens=_count(usage.get("output_tokens")),
            cache_write_5m_tokens=written - one_hour,
            cache_write_1h_tokens=one_hour,
            cache_read_tokens=_count(usage.get("cache_read_input_tokens")),
            web_searches=_count(tools.get("web_search_requests")),
            service_tier=str(usage.get("service_tier") or "standard"),
            speed=str(usage.get("speed") or "standard"),
        )

    def to_record(self) -> Dict[str, Any]:
        """Return the fields that differ from their defaults, as JSON data."""
        return {name: value for name, value in self.__dict__.items() if value != _USAGE_DEFAULTS[name]}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Usage:
        """Inverse of `to_record`; raises TypeError on unknown fields."""
        return cls(**record)

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_write_5m_tokens + other.cache_write_5m_tokens,
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.web_searches + other.web_searches,
            self.service_tier if self.service_tier == other.service_tier else "mixed",
            self.speed if self.speed == other.speed else "mixed",
        )


_USAGE_DEFAULTS = {item.name: item.default for item in fields(Usage)}


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

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        return "ClaudeResult({!r}, model={!r}, status={!r}, cost={})".format(text, self.model, self.status, self.cost)

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


def _total(amounts: Iterable[Optional[Decimal]]) -> Optional[Decimal]:
    total = Decimal(0)
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


@dataclass(frozen=True)
class BatchSummary:
    """What became of many rows, without the rows.

    Attributes
    ----------
    counts : mapping of str to int
        Rows by status: ``ok``, ``cached``, ``failed``, ``not_sent``.
    cost, saved : Decimal or None
        US dollars paid, and not paid because the cache answered; None where one price is unknown.
    input_tokens, output_tokens : int
        Of all answers, cached ones included.
    duration_seconds : float
        Wall time of the whole run.
    """

    counts: Mapping[str, int]
    cost: Optional[Decimal] = Decimal(0)
    saved: Optional[Decimal] = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    duration_seconds: float = 0.0

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __repr__(self) -> str:
        return "BatchSummary({})".format(_counts_line(len(self), self.counts))


def _counts_line(rows: int, counts: Mapping[str, int]) -> str:
    parts = ", ".join("{} {}".format(number, status) for status, number in counts.items() if number)
    return "{} rows: {}".format(rows, parts or "empty")


class BatchResult(Sequence[ClaudeResult]):
    """One `ClaudeResult` per prompt, in input order.

    Parameters
    ----------
    results : iterable of ClaudeResult
    duration_seconds : float
        Wall time of the whole run.
    """

    def __init__(self, results: Iterable[ClaudeResult], *, duration_seconds: float = 0.0) -> None:
        self._results: Tuple[ClaudeResult, ...] = tuple(results)
        self.duration_seconds = duration_seconds

    @overload
    def __getitem__(self, index: int) -> ClaudeResult: ...

    @overload
    def __getitem__(self, index: slice) -> BatchResult: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[ClaudeResult, BatchResult]:
        if isinstance(index, slice):
            return BatchResult(self._results[index], duration_seconds=self.duration_seconds)
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[ClaudeResult]:
        return iter(self._results)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BatchResult) and self._results == other._results

    __hash__ = None  # type: ignore[assignment]

    @property
    def texts(self) -> List[str]:
        """The answers; "" where there is none."""
        return [result.text for result in self._results]

    @property
    def errors(self) -> Dict[int, BaseException]:
        """Row number to error, for the rows without an answer."""
        return {row: result.error for row, result in enumerate(self._results) if result.error is not None}

    @property
    def counts(self) -> Dict[str, int]:
        """Rows by status: ``ok``, ``cached``, ``failed``, ``not_sent``."""
        counts = {"ok": 0, "cached": 0, "failed": 0, "not_sent": 0}
        for result in self._results:
            counts[result.status] += 1
        return counts

    @property
    def cost(self) -> Optional[Decimal]:
        """US dollars paid for the whole; None where one price is unknown."""
        return _total(result.cost for result in self._results)

    @property
    def saved(self) -> Optional[Decimal]:
        """US dollars not paid because the cache answered; None where one price is unknown."""
        return _total(result.saved for result in self._results)

    @property
    def usage(self) -> Usage:
        """Sum over all rows, cached ones included."""
        total = Usage()
        for result in self._results:
            total = total + result.usage
        return total

    def __repr__(self) -> str:
        return "BatchResult({})".format(_counts_line(len(self), self.counts))
