"""The state of an orchestrator in numbers: a snapshot of one moment, and sums over its events. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from decimal import Decimal
from threading import Lock
from typing import Deque, Dict, List, Optional, Tuple

from claude_force_nb.messages.usage import add_dollars

from .events import Event

__all__ = ["BudgetState", "Headroom", "ModelSums", "Snapshot", "Tally"]

# Stretches of time that the history is kept in; when there are more, two become one.
_MOST_STRETCHES = 60
_FIRST_STRETCH_SECONDS = 0.25


@dataclass(frozen=True)
class Headroom:
    """One rate limit, as the last answer's headers gave it.

    Attributes
    ----------
    family : str
        Model family, such as ``sonnet``.
    kind : str
        ``requests``, ``input-tokens`` or ``output-tokens``.
    limit : float
        Units a minute.
    remaining : float
        Units that were left, at least 0.
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
        ``budget``, or ``daily_budget`` for what all kernels may spend today.
    limit : Decimal
        US dollars.
    left : Decimal or None
        What can still be reserved for calls; None if it cannot be read.
    """

    name: str
    limit: Decimal
    left: Optional[Decimal]


@dataclass(frozen=True)
class Snapshot:
    """An orchestrator at one moment.

    Attributes
    ----------
    in_flight : int
        Calls sent and not yet answered, at most `max_concurrent`.
    queued : int
        Calls waiting for a slot, a rate limit, a retry or a budget, and rows of lists that `run_many` has not started.
    max_concurrent : int
        Most calls in flight.
    paused : bool
        True between `pause` and `resume`.
    paused_families : tuple of (str, float)
        Model families that the API asked to wait, and for how many seconds more.
    limited_families : tuple of (str, float or None)
        Model families whose next call the rate limit holds back, and for how many seconds more, half a second at least; None
        if another call must end first, since the API is overloaded.
    headroom : tuple of Headroom
        Empty before the first answer with such headers.
    retries : int
        Calls made again so far.
    paced_waits : int
        Calls held back so far because of a rate limit.
    spent : Decimal
        US dollars of settled calls.
    budgets : tuple of BudgetState
        Those that have a limit.
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
        """Return this one with the calls and slots of another orchestrator, and what holds either back."""
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
    """Answers of one model.

    Attributes
    ----------
    model : str
        Full name of the model that answered.
    asked : str
        Full name that was asked for, possibly an alias.
    calls : int
        Answers of the API.
    hits : int
        Answers of the cache.
    cost, saved : Decimal
        US dollars of those whose price is known.
    unknown_price : int
        Answers of the API whose price is not known; they are not in `cost`.
    unknown_saved : int
        Answers of the cache whose price is not known; they are not in `saved`.
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
    """A listener that sums answers by model, and records cost and the share of cached answers over time. Thread-safe.

    Its memory does not grow with the events.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        # By the model that answered and the one that was asked.
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
        """Return the sums of each model, the most expensive first; a model that was asked under two names has two."""
        with self._lock:
            rows = [sums.of(*key) for key, sums in self._models.items()]
        return sorted(rows, key=lambda row: (-row.cost, -row.saved, row.model, row.asked))

    def costs(self) -> List[Tuple[float, Decimal]]:
        """Return ``(seconds since the first answer, US dollars spent until then)`` for the stretches of `hit_rates`."""
        total = Decimal(0)
        found = []
        with self._lock:
            for stretch in self._stretches:
                total = add_dollars(total, stretch.cost)
                found.append((stretch.number * self._stretch_seconds, total))
        return found

    def hit_rates(self) -> List[Tuple[float, float]]:
        """Return ``(seconds since the first answer, share of answers that came from the cache)``, oldest first.

        At most 60 of them, each over an equal stretch of time; stretches without answers are left out.
        """
        with self._lock:
            return [
                (stretch.number * self._stretch_seconds, stretch.hits / stretch.answers) for stretch in self._stretches
            ]
