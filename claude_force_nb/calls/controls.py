"""Steering calls that are under way: pause, resume, stop, and a picture of this moment."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import Any, Iterator, List, Protocol

from claude_force_nb.errors import ClaudeForceError, StoppedError

from .caller import Caller
from .settings import Accounts, check_whole_number
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


def _stopped_error() -> StoppedError:
    return StoppedError("stopped with everything else in progress; run again to continue")


class Controls:
    """What can be seen and done from outside while calls are under way.

    All of it may be called from any thread, and costs the calls nothing while it is not used.

    Parameters
    ----------
    caller : Caller
    flights : SingleFlight
        The calls that are under way.
    accounts : Accounts
    """

    def __init__(self, caller: Caller, flights: SingleFlight[Any], accounts: Accounts) -> None:
        self._caller = caller
        self._flights = flights
        self._accounts = accounts
        self._ceiling = caller.slots.limit
        self._runs: List[StoppableRun] = []
        self._runs_lock = Lock()

    @property
    def max_concurrent(self) -> int:
        """Most calls in flight."""
        return self._caller.slots.limit

    @property
    def ceiling(self) -> int:
        """Most calls that were ever allowed in flight: as many rows a run keeps ready, should the bound rise again."""
        return self._ceiling

    def resize(self, max_concurrent: int) -> None:
        """Allow so many calls in flight from now on, >= 0; runs keep to a bound of their own.

        Calls in flight beyond the new bound go on to their end. With 0 none leaves, as after `pause`.
        """
        limit = check_whole_number(max_concurrent, "max_concurrent", 0)
        self._ceiling = max(self._ceiling, limit)
        self._caller.slots.resize(limit)

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
            run.stop(_stopped_error())
        return self._flights.end_all(_stopped_error)

    def snapshot(self) -> Snapshot:
        """Return what goes on at this moment."""
        slots = self._caller.slots
        pacers = sorted(self._caller.pacers.known().items())
        pauses = ((family, pacer.paused_seconds()) for family, pacer in pacers)
        headroom = [
            Headroom(family, kind, bucket.limit, bucket.said)
            for family, pacer in pacers
            for kind, bucket in list(pacer.limits.buckets.items())
        ]
        with self._runs_lock:
            left = sum(run.left for run in self._runs)
        in_flight = slots.in_flight
        return Snapshot(
            in_flight=in_flight,
            queued=max(0, len(self._flights) - in_flight) + left,
            max_concurrent=slots.limit,
            paused=slots.held,
            paused_families=tuple((family, seconds) for family, seconds in pauses if seconds > 0),
            headroom=tuple(headroom),
            retries=self._caller.retried,
            paced_waits=slots.paced,
            spent=self._accounts.budget.spent,
            budgets=tuple(self._budget_states()),
        )

    def _budget_states(self) -> Iterator[BudgetState]:
        if self._accounts.budget.limit is not None:
            yield BudgetState("budget", self._accounts.budget.limit, self._accounts.budget.left)
        daily = self._accounts.daily_budget
        if daily is not None and daily.limit is not None:
            try:
                left = daily.left
            except ClaudeForceError:
                left = None
            yield BudgetState("daily_budget", daily.limit, left)

    @contextmanager
    def under_way(self, rows: StoppableRun) -> Iterator[None]:
        """Count a run's rows as queued, and let `stop_all` reach it."""
        with self._runs_lock:
            self._runs.append(rows)
        try:
            yield
        finally:
            with self._runs_lock:
                self._runs.remove(rows)
