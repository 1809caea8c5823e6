"""The ledger's entries, and sums over them, validated as they are read. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Iterable, List, NamedTuple, Optional

from claude_force_nb.messages.usage import EXACT

__all__ = [
    "COLUMNS",
    "LARGEST_COUNT",
    "Group",
    "LedgerEntry",
    "LedgerRow",
    "Speed",
    "amount_of",
    "entry_of",
    "seconds_of",
    "sum_groups",
]

LARGEST_COUNT = 10**12
"""Most tokens recorded for a call: above any real call, so that a bogus count from a server cannot overflow SQLite's sums."""

_LARGEST_AMOUNT = 10**12
# Most characters of an amount: amounts are exact, so it has at most the digits of the decimal context and a point.
_LONGEST_AMOUNT = 120
_LAST_MOMENT = 253_402_300_799.0  # the end of the year 9999


@dataclass(frozen=True)
class LedgerEntry:
    """One answer in the ledger.

    The attributes have the same names and meanings as in `ClaudeResult` and `Usage`; in addition there are ``time``
    (Unix seconds), ``notebook`` and ``cell``. ``cost`` is None if the price is unknown. For a cached answer, the tokens
    are those of the original call. ``prompt_cache_saved`` is below 0 if an answer only wrote to the API's prompt cache.
    ``duration_seconds`` is the time until the answer or the failure, with waiting and retries; ``call_seconds`` is the
    time of the call that returned the answer. Both are None if unknown, and for cached answers.
    """

    time: float
    notebook: Optional[str]
    cell: Optional[str]
    agent: Optional[str]
    model: str
    input_tokens: int
    output_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cache_read_tokens: int
    web_searches: int
    service_tier: str
    speed: str
    cost: Optional[Decimal]
    saved: Optional[Decimal]
    prompt_cache_saved: Optional[Decimal]
    cached: bool
    fingerprint: str
    request_id: Optional[str]
    status: str
    attempts: int
    duration_seconds: Optional[float]
    call_seconds: Optional[float]


@dataclass(frozen=True)
class LedgerRow:
    """Sums over some answers.

    Attributes
    ----------
    key : str
        Model, agent, day (``2026-11-01``, UTC) or notebook; "" if there was none; ``total`` for all.
    calls : int
        Answers and failures that came from the API.
    hits : int
        Answers that came from the cache.
    unknown_price : int
        Calls of unknown price; not included in `cost`.
    input_tokens, output_tokens : int
        Tokens of the calls; input includes prompt cache writes and reads.
    cost, saved : Decimal
        US dollars.
    unknown_saved : int
        Cached answers of unknown price; not included in `saved`.
    prompt_cache_saved : Decimal
        US dollars that the API's prompt cache saved; below 0 if more was written than read. Calls of unknown price are
        not included.
    """

    key: str
    calls: int = 0
    hits: int = 0
    unknown_price: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    saved: Decimal = Decimal(0)
    unknown_saved: int = 0
    prompt_cache_saved: Decimal = Decimal(0)


@dataclass(frozen=True)
class Speed:
    """How quickly and how reliably some calls were answered.

    Attributes
    ----------
    calls : int
        Answers and failures that came from the API.
    failures : int
        Calls without an answer.
    median_seconds, p95_seconds : float or None
        Median and 95th percentile of the durations, including waiting and retries; None if no duration is known.
    tokens_per_second : float or None
        Output tokens of the answers, divided by the time of the calls that returned them.
    """

    calls: int = 0
    failures: int = 0
    median_seconds: Optional[float] = None
    p95_seconds: Optional[float] = None
    tokens_per_second: Optional[float] = None

    @property
    def failure_rate(self) -> float:
        """Share of the calls that returned no answer, 0 to 1."""
        return self.failures / self.calls if self.calls else 0.0


COLUMNS = tuple(item.name for item in fields(LedgerEntry))
"""Names of the fields of an entry, in the order of the file's columns."""

_COUNTS = (*(name for name in COLUMNS if name.endswith("_tokens")), "web_searches", "attempts")
_OPTIONAL_TEXTS = ("notebook", "cell", "agent", "request_id")
_TEXTS = ("model", "service_tier", "speed", "fingerprint", "status")


def amount_of(value: Any, *, signed: bool = False) -> Decimal:
    """Return an amount read from the ledger's file, in US dollars, >= 0 unless `signed`; raises ValueError if it is not valid."""
    if type(value) is not str or len(value) > _LONGEST_AMOUNT:
        raise ValueError("a cost is not a valid amount")
    try:
        amount = Decimal(value)
        if not (-_LARGEST_AMOUNT if signed else 0) <= amount <= _LARGEST_AMOUNT or amount.adjusted() < -_LONGEST_AMOUNT:
            raise ValueError
    except (ValueError, ArithmeticError):
        raise ValueError("a cost is not a valid amount") from None
    return amount


def _known_amount(value: Any, *, signed: bool = False) -> Optional[Decimal]:
    return None if value is None else amount_of(value, signed=signed)


def seconds_of(value: Any) -> Optional[float]:
    """Return a duration read from the ledger's file, >= 0, or None if unknown; raises ValueError if it is not valid."""
    if value is not None and not (type(value) is float and 0 <= value <= _LAST_MOMENT):
        raise ValueError("a duration is not valid")
    return value


def entry_of(row: Iterable[Any]) -> LedgerEntry:
    """Return an entry read from the file; raises ValueError if it is not valid."""
    named = dict(zip(COLUMNS, row))
    if type(named["time"]) is not float or not (math.isfinite(named["time"]) and 0 <= named["time"] <= _LAST_MOMENT):
        raise ValueError("a time is not valid")
    for name in _COUNTS:
        if type(named[name]) is not int or not 0 <= named[name] <= LARGEST_COUNT:
            raise ValueError(f"{name} is not a valid count")
    for name in (*_TEXTS, *_OPTIONAL_TEXTS):
        if type(named[name]) is not str and not (named[name] is None and name in _OPTIONAL_TEXTS):
            raise ValueError(f"{name} is not text")
    for name in ("duration_seconds", "call_seconds"):
        named[name] = seconds_of(named[name])
    named["cached"] = bool(named["cached"])
    named["cost"], named["saved"] = _known_amount(named["cost"]), _known_amount(named["saved"])
    named["prompt_cache_saved"] = _known_amount(named["prompt_cache_saved"], signed=True)
    return LedgerEntry(**named)


class Group(NamedTuple):
    """Answers with the same key, cost and savings, as SQLite groups them: their number (`answers`) and sums of their tokens."""

    key: str
    cached: int
    cost: Optional[str]
    saved: Optional[str]
    prompt_cache_saved: Optional[str]
    answers: int
    input_tokens: int
    output_tokens: int


class _Sums:
    """Accumulates one `LedgerRow`."""

    def __init__(self) -> None:
        self.calls = self.hits = self.unknown_price = self.unknown_saved = self.input_tokens = self.output_tokens = 0
        self.cost = self.saved = self.prompt_cache_saved = Decimal(0)

    def add(self, group: Group) -> None:
        cost, saved = _known_amount(group.cost), _known_amount(group.saved)
        by_prompt_cache = _known_amount(group.prompt_cache_saved, signed=True)
        if any(type(number) is not int or number < 0 for number in (group.input_tokens, group.output_tokens)):
            raise ValueError("a number of tokens is not valid")
        if group.cached:
            self.hits += group.answers
            self.unknown_saved += group.answers if saved is None else 0
        else:
            self.calls += group.answers
            self.unknown_price += group.answers if cost is None else 0
            self.input_tokens += group.input_tokens
            self.output_tokens += group.output_tokens
        self.cost = EXACT.add(self.cost, EXACT.multiply(cost or Decimal(0), group.answers))
        self.saved = EXACT.add(self.saved, EXACT.multiply(saved or Decimal(0), group.answers))
        if by_prompt_cache:
            self.prompt_cache_saved = EXACT.add(self.prompt_cache_saved, EXACT.multiply(by_prompt_cache, group.answers))


def sum_groups(groups: Iterable[Group], *, keys: Iterable[str] = ()) -> List[LedgerRow]:
    """Return the sums of groups by key, and empty sums for further `keys`; raises ValueError on invalid data."""
    sums = {key: _Sums() for key in keys}
    for group in groups:
        if type(group.key) is not str:
            raise ValueError("a name is not text")
        sums.setdefault(group.key, _Sums()).add(group)
    return [LedgerRow(key, **vars(row)) for key, row in sums.items()]
