"""Watching an orchestrator at work and steering it: listeners, pause, resume, stop, and a picture of this moment."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import Any, Callable, Iterator, List, Optional, Protocol

from claude_force_nb.costs.budget import Budget, DailyBudget
from claude_force_nb.errors import ClaudeForceError, OptionError, StoppedError

from .caller import Caller
from .events import EventEmitter, Listener
from .single_flight import SingleFlight
from .snapshot import BudgetState, Headroom, Snapshot

__all__ = ["Controls"]


class StoppableRun(Protocol):
    """A run of many rows, as far as it can be watched and stopped from outside."""

    @property
    def left(self) -> int:
        """Rows that nobody has begun."""

    def stop(self, error: ClaudeForceError) -> None:
        """Send no further row; `error` is the reason."""


def _stopped() -> StoppedError:
    return StoppedError("stopped with all else that was under way; run again to continue")


class Controls:
    """What can be seen and done from outside while calls are under way; `AsyncAgentOrchestrator` inherits it.

    All of it may be called from any thread, and costs the calls nothing while it is not used.
    """

    budget: Budget
    daily_budget: Optional[DailyBudget]
    max_concurrent: int
    _caller: Caller
    _flights: SingleFlight[Any]

    def __init__(self, emitter: EventEmitter) -> None:
        self._emitter = emitter
        self._emit = emitter.emit
        self._runs: List[StoppableRun] = []
        self._runs_lock = Lock()

    @property
    def on_event(self) -> Optional[Listener]:
        """What is called with each event."""
        return self._emitter.listener

    @on_event.setter
    def on_event(self, listener: Optional[Listener]) -> None:
        self._emitter.listener = listener

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` every `Event` from now on, beside `on_event`.

        Parameters
        ----------
        listener : callable
            Takes each event, on the loop and thread where it happens; must not block. What it raises is logged.

        Returns
        -------
        callable
            Ends the telling; a second call does nothing.
        """
        return self._emitter.add(listener)

    def widen(self, max_concurrent: int) -> None:
        """Allow at least so many calls in flight, >= 1, from now on; runs keep to a bound of their own."""
        if type(max_concurrent) is not int or max_concurrent < 1:
            raise OptionError(f"max_concurrent must be a whole number from 1, not {max_concurrent!r}")
        if max_concurrent > self.max_concurrent:
            self.max_concurrent = max_concurrent
            self._caller.slots.widen(max_concurrent)

    def pause(self) -> None:
        """Let no further call leave until `resume`; calls in flight go on, and the cache still answers.

        A call that was sent before and waits to be sent again still ends after its `timeout_seconds`.
        """
        self._caller.slots.hold()

    def resume(self) -> None:
        """End a `pause`."""
        self._caller.slots.let_go()

    def stop_all(self) -> int:
        """End everything that is in flight or waits: `run` raises StoppedError, and `run_many` returns what it has.

        Rows that were under way are ``failed``, those that were not begun ``not_sent``. Later calls are made as ever.

        Returns
        -------
        int
            How many calls were ended.
        """
        with self._runs_lock:
            runs = list(self._runs)
        # The runs first: an ended row must not be followed by the next one.
        for run in runs:
            run.stop(_stopped())
        return self._flights.end_all(_stopped)

    def snapshot(self) -> Snapshot:
        """Return what goes on at this moment."""
        slots = self._caller.slots
        lanes = sorted(self._caller.lanes.known().items())
        pauses = ((family, lane.paused_seconds()) for family, lane in lanes)
        headroom = [
            Headroom(family, kind, bucket.limit, bucket.said)
            for family, lane in lanes
            for kind, bucket in list(lane.limits.buckets.items())
        ]
        with self._runs_lock:
            left = sum(run.left for run in self._runs)
        in_flight = slots.in_flight
        return Snapshot(
            in_flight=in_flight,
            queued=max(0, len(self._flights) - in_flight) + left,
            max_concurrent=self.max_concurrent,
            paused=slots.held,
            paused_families=tuple((family, seconds) for family, seconds in pauses if seconds > 0),
            headroom=tuple(headroom),
            retries=self._caller.retried,
            paced_waits=slots.paced,
            spent=self.budget.spent,
            budgets=tuple(self._budget_states()),
        )

    def _budget_states(self) -> Iterator[BudgetState]:
        if self.budget.limit is not None:
            yield BudgetState("budget", self.budget.limit, self.budget.left)
        daily = self.daily_budget
        if daily is not None and daily.limit is not None:
            try:
                left = daily.left
            except ClaudeForceError:
                left = None
            yield BudgetState("daily_budget", daily.limit, left)

    @contextmanager
    def _under_way(self, rows: StoppableRun) -> Iterator[None]:
        """Count a run's rows as queued, and let `stop_all` reach it."""
        with self._runs_lock:
            self._runs.append(rows)
        try:
            yield
        finally:
            with self._runs_lock:
                self._runs.remove(rows)
