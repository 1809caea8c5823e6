"""Counts of what the simulator has received, answered and billed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Dict, Mapping, Optional, Tuple

from claude_force_nb.vocabulary import counted

from .prices import Terms, TokenUsage, dollars

__all__ = ["Counters", "CounterBook", "OpenCall"]


@dataclass(frozen=True)
class Counters:
    """A snapshot of the counters.

    Attributes
    ----------
    calls : int
        Calls to all endpoints of ``/v1``.
    by_endpoint : dict of str to int
        Calls by ``messages``, ``count_tokens``, ``models`` and ``batches``.
    by_status : dict of int to int
        Answers by HTTP status, without calls that got no status line.
    in_flight, most_in_flight : int
        Current and maximum number of ``messages`` calls in progress. An aborted call counts until the server sees that its
        connection is closed.
    rate_limited : int
        Calls refused with 429 because a bucket was empty.
    sent_inside_retry_after : int
        ``messages`` calls that arrived before the ``retry-after`` of a 429 to the same model family was over.
    faults : dict of str to int
        Scripted faults applied, by kind.
    completed : int
        Answers fully produced and billed, including rows of batches.
    completed_in_batches : int
        Rows of batches among `completed`.
    cut : int
        Streams that a fault ended early; they are billed for the output produced.
    aborted_by_client : int
        Calls whose client disconnected early; a stream is billed for the output produced, any other call not at all.
    refused : int
        Answers with stop reason ``refusal`` among `completed`; tokens of free categories are not counted.
    input_tokens, output_tokens : int
        Tokens billed; the input includes tokens written to the prompt cache and read from it.
    cache_write_tokens, cache_read_tokens : int
        Tokens of `input_tokens` written to the prompt cache, and read from it.
    thinking_tokens : int
        Tokens of thinking in completed answers, part of `output_tokens`.
    dollars : Decimal
        US dollars billed, by the simulator's own copy of the API's prices.
    unpriced : int
        Billed answers of models without a known price, which are not in `dollars`.
    """

    calls: int = 0
    by_endpoint: Mapping[str, int] = field(default_factory=dict)
    by_status: Mapping[int, int] = field(default_factory=dict)
    in_flight: int = 0
    most_in_flight: int = 0
    rate_limited: int = 0
    sent_inside_retry_after: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    completed: int = 0
    completed_in_batches: int = 0
    cut: int = 0
    aborted_by_client: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    thinking_tokens: int = 0
    dollars: Decimal = Decimal(0)
    unpriced: int = 0

    def to_json(self) -> Dict[str, Any]:
        """Return JSON data; dollars as text."""
        data = asdict(self)
        data["dollars"] = str(self.dollars)
        data["by_status"] = {str(status): number for status, number in self.by_status.items()}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Counters:
        """Inverse of `to_json`."""
        values = dict(data)
        values["dollars"] = Decimal(values["dollars"])
        values["by_status"] = {int(status): number for status, number in values["by_status"].items()}
        return cls(**values)

    def __str__(self) -> str:
        return (
            "{} ({}), {}, {} + {} tokens, ${}, most in flight {}, rate limited {}, "
            "inside retry-after {}, faults {}, aborted by client {}"
        ).format(
            counted(self.calls, "call"),
            ", ".join(f"{number} {status}" for status, number in sorted(self.by_status.items())) or "none",
            counted(self.completed, "answer"),
            self.input_tokens,
            self.output_tokens,
            self.dollars,
            self.most_in_flight,
            self.rate_limited,
            self.sent_inside_retry_after,
            sum(self.faults.values()),
            self.aborted_by_client,
        )


class CounterBook:
    """The running counts, written only on the server's event loop.

    Parameters
    ----------
    grace_seconds : float
        See ``retry_after_grace_seconds`` of the options.
    """

    def __init__(self, *, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._known_costs: Dict[Tuple[str, TokenUsage, Terms], Optional[Decimal]] = {}
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything except the calls in progress."""
        self.calls = 0
        self.by_endpoint: Dict[str, int] = {}
        self.by_status: Dict[int, int] = {}
        self.most_in_flight = self.in_flight
        self.rate_limited = 0
        self.sent_inside_retry_after = 0
        self.faults: Dict[str, int] = {}
        self.completed = 0
        self.completed_in_batches = 0
        self.cut = 0
        self.aborted_by_client = 0
        self.refused = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cache_write_tokens = 0
        self.cache_read_tokens = 0
        self.thinking_tokens = 0
        self.dollars = Decimal(0)
        self.unpriced = 0
        self._retry_after: Dict[str, Tuple[float, float]] = {}

    def snapshot(self) -> Counters:
        """Return the current counts; may be called from any thread."""
        values = {name: getattr(self, name) for name in Counters.__dataclass_fields__}
        for name in ("by_endpoint", "by_status", "faults"):
            values[name] = dict(values[name])
        return Counters(**values)

    def arrived(self, endpoint: str) -> None:
        """Count a call."""
        self.calls += 1
        self.by_endpoint[endpoint] = self.by_endpoint.get(endpoint, 0) + 1

    def answered(self, status: int, times: int = 1) -> None:
        """Count a status line."""
        self.by_status[status] = self.by_status.get(status, 0) + times

    def finished(self, thinking_tokens: int, *, refused: bool, in_batch: bool = False) -> None:
        """Count an answer that was fully produced."""
        self.completed += 1
        self.completed_in_batches += in_batch
        self.refused += refused
        self.thinking_tokens += thinking_tokens

    def faulted(self, kind: str) -> None:
        """Count a scripted fault."""
        self.faults[kind] = self.faults.get(kind, 0) + 1

    def gave_retry_after(self, family: str, seconds: float, now: float) -> None:
        """Record that `family` was told to wait; `now` is in monotonic seconds."""
        given, until = self._retry_after.get(family, (now, now))
        self._retry_after[family] = (given if until > now else now, max(until, now + seconds))

    def came_for(self, family: str, now: float) -> None:
        """Count a call of `family`, if it should have waited."""
        pause = self._retry_after.get(family)
        if pause is not None and pause[0] + self._grace_seconds < now < pause[1]:
            self.sent_inside_retry_after += 1

    def billed(self, model: str, usage: TokenUsage, terms: Terms) -> None:
        """Add the tokens and dollars of a complete or partial answer."""
        self.input_tokens += usage.prompt_tokens
        self.output_tokens += usage.output_tokens
        self.cache_write_tokens += usage.write_5m_tokens + usage.write_1h_tokens
        self.cache_read_tokens += usage.read_tokens
        key = (model, usage, terms)
        if key in self._known_costs:
            cost = self._known_costs[key]
        else:
            cost = dollars(model, usage, terms)
            if len(self._known_costs) < 10_000:
                self._known_costs[key] = cost
        if cost is None:
            self.unpriced += 1
        else:
            self.dollars += cost


class OpenCall:
    """One ``messages`` call in progress; `end` may be called repeatedly."""

    __slots__ = ("_book", "_ended")

    def __init__(self, book: CounterBook) -> None:
        self._book = book
        self._ended = False
        book.in_flight += 1
        if book.in_flight > book.most_in_flight:
            book.most_in_flight = book.in_flight

    def end(self) -> None:
        """End the call. Call this before its last byte is sent, upon which the client may send its next call."""
        if not self._ended:
            self._ended = True
            self._book.in_flight -= 1
