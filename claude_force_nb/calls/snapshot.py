"""The state of an orchestrator in numbers: a snapshot at one moment, and totals of its events. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from decimal import Decimal
from threading import Lock
from typing import Deque, Dict, List, Optional, Tuple

from claude_force_nb.messages.usage import add_dollars

from .events import Event

__all__ = ["BudgetState", "Headroom", "ModelSums", "Snapshot", "Tally"]

# Number of intervals in the history. When there would be more, neighbouring intervals are merged.
_MOST_STRETCHES = 60
_FIRST_STRETCH_SECONDS = 0.25


@dataclass(frozen=True)
class Headroom:
    """One rate limit, from the headers of the last answer.

    Attributes
    ----------
    family : str
        Model family, such as ``sonnet``.
    kind : str
        ``requests``, ``input-tokens`` or ``output-tokens``.
    limit : float
        Units per minute.
    remaining : float
        Units left, at least 0.
    """

    family: str
    kind: str
    limit: float
    remaining: float


@dataclass(frozen=True)
class BudgetState:
    """One budget with a limit.

    Attributes
    ----------
    name : str
        ``budget``, or ``daily_budget`` for the budget that all kernels share.
    limit : Decimal
        US dollars.
    left : Decimal or None
        US dollars that can still be reserved; None if this cannot be read.
    """

    name: str
    limit: Decimal
    left: Optional[Decimal]


@dataclass(frozen=True)
class Snapshot:
    """The state of an orchestrator at one moment.

    Attributes
    ----------
    in_flight : int
        Calls sent and not yet answered, at most `max_concurrent`.
    queued : int
        Calls waiting for a slot, a rate limit, a retry or a budget, and rows that `run_many` has not started, if their
        number is known.
    max_concurrent : int
        Limit of calls in flight.
    paused : bool
        True between `pause` and `resume`.
    paused_families : tuple of (str, float)
        Model families for which the API asked us to wait, and the seconds left.
    limited_families : tuple of (str, float or None)
        Model families whose next call the rate limit holds back, and the seconds left, if at least half a second; None
        if another call must end first because the API is overloaded.
    headroom : tuple of Headroom
        Empty before the first answer with rate limit headers.
    retries : int
        Number of retries so far.
    paced_waits : int
        Number of calls held back so far because of a rate limit.
    spent : Decimal
        US dollars of settled calls.
    budgets : tuple of BudgetState
        The budgets that have a limit.
    """

    in_flight: int
    queued: int
    max_concurrent: int
    paused: bool
    paused_families: Tuple[Tuple[str, float], ...]
    headroom: Tuple[Headroom, ...]
    retries: int
    paced_waits: int
    spent: Decimal
    budgets: Tuple[BudgetState, ...] = ()
    limited_families: Tuple[Tuple[str, Optional[float]], ...] = ()

    @property
    def busy(self) -> bool:
        """True while calls are in flight or waiting."""
        return self.in_flight > 0 or self.queued > 0

    def with_calls_of(self, other: Snapshot) -> Snapshot:
        """Return this snapshot combined with the calls, slots and waits of another orchestrator."""
        return replace(
            self,
            in_flight=self.in_flight + other.in_flight,
            queued=self.queued + other.queued,
            max_concurrent=self.max_concurrent + other.max_concurrent,
            # With the same key they share their limits.
            paused_families=tuple({**dict(self.paused_families), **dict(other.paused_families)}.items()),
            limited_families=tuple({**dict(self.limited_families), **dict(other.limited_families)}.items()),
        )


@dataclass(frozen=True)
class ModelSums:
    """Totals of the answers of one model.

    Attributes
    ----------
    model : str
        Full name of the model that answered.
    asked : str
        Name of the requested model, which may be the API's alias for `model`.
    calls : int
        Answers from the API.
    hits : int
        Answers from the cache.
    cost, saved : Decimal
        US dollars, of answers whose price is known.
    unknown_price : int
        Answers from the API of unknown price; not included in `cost`.
    unknown_saved : int
        Answers from the cache of unknown price; not included in `saved`.
    prompt_cache_saved : Decimal
        US dollars that the API's prompt cache saved; below 0 if more was written than read.
    """

    model: str
    calls: int = 0
    hits: int = 0
    cost: Decimal = Decimal(0)
    saved: Decimal = Decimal(0)
    unknown_price: int = 0
    unknown_saved: int = 0
    prompt_cache_saved: Decimal = Decimal(0)
    asked: str = ""


class _Sums:
    __slots__ = ("calls", "cost", "hits", "prompt_cache_saved", "saved", "unknown_price", "unknown_saved")

    def __init__(self) -> None:
        self.calls = self.hits = self.unknown_price = self.unknown_saved = 0
        self.cost = self.saved = self.prompt_cache_saved = Decimal(0)

    def add_hit(self, saved: Optional[Decimal]) -> None:
        self.hits += 1
        if saved is None:
            self.unknown_saved += 1
        else:
            self.saved = add_dollars(self.saved, saved)

    def add_call(self, cost: Optional[Decimal], prompt_cache_saved: Optional[Decimal] = None) -> None:
        self.calls += 1
        if cost is None:
            self.unknown_price += 1
        else:
            self.cost = add_dollars(self.cost, cost)
        if prompt_cache_saved:
            self.prompt_cache_saved = add_dollars(self.prompt_cache_saved, prompt_cache_saved)

    def of(self, model: str, asked: str) -> ModelSums:
        return ModelSums(model, asked=asked, **{name: getattr(self, name) for name in self.__slots__})


class _Stretch:
    __slots__ = ("answers", "cost", "hits", "number")

    def __init__(self, number: int, hits: int = 0, answers: int = 0, cost: Decimal = Decimal(0)) -> None:
        self.number = number
        self.hits = hits
        self.answers = answers
        self.cost = cost


class Tally:
    """A listener that totals answers by model, and records cost and cache hit rate over time. Thread-safe.

    Its memory does not grow with the number of events.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        # By the model that answered and the one that was requested.
        self._models: Dict[Tuple[str, str], _Sums] = {}
        self._started: Optional[float] = None
        self._stretch_seconds = _FIRST_STRETCH_SECONDS
        self._stretches: Deque[_Stretch] = deque()
        self.failed = 0

    def __call__(self, event: Event) -> None:
        """Count an event; events that do not end a request are ignored."""
        kind = event.kind
        if kind == "failed":
            self.failed += 1
        if kind not in ("hit", "done"):
            return
        result = event.result
        with self._lock:
            key = (event.model if result is None else result.model or event.model, event.model)
            sums = self._models.get(key)
            if sums is None:
                sums = self._models[key] = _Sums()
            if kind == "hit":
                sums.add_hit(None if result is None else result.saved)
            elif result is None:
                sums.add_call(None)
            else:
                sums.add_call(result.cost, result.prompt_cache_saved)
            cost = None if result is None or kind == "hit" else result.cost
            self._remember(event.at_seconds, kind == "hit", cost)

    def _remember(self, at_seconds: float, hit: bool, cost: Optional[Decimal]) -> None:
        if self._started is None:
            self._started = at_seconds
        number = int(max(0.0, at_seconds - self._started) / self._stretch_seconds)
        last = self._stretches[-1] if self._stretches else None
        if last is None or last.number < number:
            last = _Stretch(number)
            self._stretches.append(last)
        last.hits += hit
        last.answers += 1
        if cost:
            last.cost = add_dollars(last.cost, cost)
        while self._stretches[-1].number >= _MOST_STRETCHES:
            self._double()

    def _double(self) -> None:
        self._stretch_seconds *= 2
        merged: Deque[_Stretch] = deque()
        for stretch in self._stretches:
            number = stretch.number // 2
            if merged and merged[-1].number == number:
                merged[-1].hits += stretch.hits
                merged[-1].answers += stretch.answers
                merged[-1].cost = add_dollars(merged[-1].cost, stretch.cost)
            else:
                merged.append(_Stretch(number, stretch.hits, stretch.answers, stretch.cost))
        self._stretches = merged

    def models(self) -> List[ModelSums]:
        """Return the totals of each model, most expensive first; a model requested under two names appears twice."""
        with self._lock:
            rows = [sums.of(*key) for key, sums in self._models.items()]
        return sorted(rows, key=lambda row: (-row.cost, -row.saved, row.model, row.asked))

    def costs(self) -> List[Tuple[float, Decimal]]:
        """Return ``(seconds since the first answer, US dollars spent until then)`` for the intervals of `hit_rates`."""
        total = Decimal(0)
        found = []
        with self._lock:
            for stretch in self._stretches:
                total = add_dollars(total, stretch.cost)
                found.append((stretch.number * self._stretch_seconds, total))
        return found

    def hit_rates(self) -> List[Tuple[float, float]]:
        """Return ``(seconds since the first answer, share of answers from the cache)``, oldest first.

        There are at most 60, for time intervals of equal length; intervals without answers are left out.
        """
        with self._lock:
            return [
                (stretch.number * self._stretch_seconds, stretch.hits / stretch.answers) for stretch in self._stretches
            ]
