"""Control of calls in progress: pause, resume, stop, and a snapshot."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import Any, Iterator, List, Protocol

from claude_force_nb.errors import ClaudeForceError, StoppedError

from .caller import Caller
from .settings import Accounts, check_whole_number
from .single_flight import SingleFlight
from .snapshot import BudgetState, Headroom, Snapshot

__all__ = ["Controls", "StoppableRun"]

# Pacing always spaces calls a little. A wait shorter than this is not worth showing.
_NOTICED_SECONDS = 0.5


class StoppableRun(Protocol):
    """The part of a run of many rows that can be watched and stopped from outside."""

    @property
    def left(self) -> int:
        """Number of rows not yet started."""

    @property
    def in_flight_elsewhere(self) -> int:
        """Number of the run's calls that other processes have in flight."""

    def stop(self, error: ClaudeForceError) -> None:
        """Send no further rows; `error` is the reason."""


def _stopped_error() -> StoppedError:
    return StoppedError("stopped with everything else in progress; run again to continue")


class Controls:
    """Watches and controls calls in progress from outside.

    Every method may be called from any thread, and does not slow down calls while unused.

    Parameters
    ----------
    caller : Caller
    flights : SingleFlight
        The calls in flight.
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
        """Limit of calls in flight."""
        return self._caller.slots.limit

    @property
    def ceiling(self) -> int:
        """The highest limit so far; a run keeps that many rows ready, in case the limit rises again."""
        return self._ceiling

    def resize(self, max_concurrent: int) -> None:
        """Set the limit of calls in flight, >= 0; runs keep their own limits.

        Calls in flight beyond the new limit continue. With 0, no call is sent, as after `pause`.
        """
        limit = check_whole_number(max_concurrent, "max_concurrent", 0)
        self._ceiling = max(self._ceiling, limit)
        self._caller.slots.resize(limit)

    def pause(self) -> None:
        """Hold back new calls until `resume`. Calls in flight continue, and the cache still answers.

        A call that is waiting for a retry still ends after its `timeout_seconds`.
        """
        self._caller.slots.hold()

    def resume(self) -> None:
        """End a `pause`."""
        self._caller.slots.end_hold()

    def stop_all(self) -> int:
        """End everything in flight or waiting: `run` raises StoppedError, and `run_many` returns the results so far.

        Rows that were sent and have no answer are ``stopped``, other rows ``not_sent``. Later calls work as usual.

        Returns
        -------
        int
            Number of calls that were ended.
        """
        with self._runs_lock:
            runs = list(self._runs)
        # Stop the runs first, so that they do not start another row when one ends.
        for run in runs:
            run.stop(_stopped_error())
        return self._flights.end_all(_stopped_error)

    def snapshot(self) -> Snapshot:
        """Return the current state: calls, limits and budgets."""
        slots = self._caller.slots
        pacers = sorted(self._caller.pacers.known().items())
        pauses = ((family, pacer.paused_seconds()) for family, pacer in pacers)
        held_back = ((family, pacer.held_back_seconds(slots)) for family, pacer in pacers)
        headroom = [
            Headroom(family, kind, bucket.limit, bucket.reported_remaining)
            for family, pacer in pacers
            for kind, bucket in list(pacer.limits.buckets.items())
        ]
        with self._runs_lock:
            left = sum(run.left for run in self._runs)
            elsewhere = sum(run.in_flight_elsewhere for run in self._runs)
        in_flight = slots.in_flight
        return Snapshot(
            in_flight=in_flight + elsewhere,
            queued=max(0, len(self._flights) - in_flight) + left,
            max_concurrent=slots.limit,
            paused=slots.held,
            paused_families=tuple((family, seconds) for family, seconds in pauses if seconds > 0),
            headroom=tuple(headroom),
            retries=self._caller.retried,
            paced_waits=slots.paced,
            spent=self._accounts.budget.spent,
            budgets=tuple(self._budget_states()),
            limited_families=tuple(each for each in held_back if each[1] is None or each[1] >= _NOTICED_SECONDS),
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
