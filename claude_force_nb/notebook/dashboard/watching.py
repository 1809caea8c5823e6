"""Observes a session's orchestrators, for totals since the session began and for the dashboards."""

from __future__ import annotations

import functools
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from claude_force_nb.calls.events import Listener
from claude_force_nb.calls.snapshot import Snapshot, Tally
from claude_force_nb.errors import ClaudeForceError
from claude_force_nb.messages.addresses import is_loopback

from .view import DashboardState, state_of

if TYPE_CHECKING:
    from claude_force_nb.orchestrator import AsyncAgentOrchestrator

__all__ = ["Watching"]


def _nothing() -> None:
    pass


class Watching:
    """Listens to the session's current orchestrator.

    Parameters
    ----------
    shell : InteractiveShell
    make : callable
        Returns the session's orchestrator, created if needed.
    """

    def __init__(self, shell: Any, make: Callable[[], AsyncAgentOrchestrator]) -> None:
        self.shell = shell
        self._make = make
        self._orchestrator: Optional[AsyncAgentOrchestrator] = None
        # Earlier orchestrators, as long as one of their background runs continues.
        self._earlier: List[weakref.ref[AsyncAgentOrchestrator]] = []
        # Kept from the start, so that a dashboard opened later includes earlier calls. Answers of servers on this machine
        # are counted separately, since they are not real spending.
        self._tallies = {local: Tally() for local in (False, True)}
        self._listeners: Dict[Listener, Callable[[], None]] = {}
        self._stop_summing: Callable[[], None] = _nothing

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """The current orchestrator, even if the settings have changed since."""
        return self._make() if self._orchestrator is None else self._orchestrator

    def refresh(self) -> None:
        """Apply changed settings now, unless that would end calls; errors in them are reported where they are used."""
        if self._orchestrator is not None and not self._orchestrator.snapshot().busy:
            try:
                self._make()
            except ClaudeForceError:
                pass

    def follow(self, orchestrator: AsyncAgentOrchestrator) -> None:
        """Listen to another orchestrator as well; earlier ones may still have calls in flight."""
        if self._orchestrator is not None:
            # Paused calls stay paused when a setting changes.
            if self._orchestrator.snapshot().paused:
                orchestrator.pause()
            alive = [each for each in self._earlier if each() is not None]
            self._earlier = [*alive, weakref.ref(self._orchestrator)]
        self._orchestrator = orchestrator
        self._stop_summing = _both(self._stop_summing, orchestrator.add_listener(self._tally(orchestrator)))
        for listener, remove in list(self._listeners.items()):
            added = orchestrator.add_listener(listener)
            self._listeners[listener] = _both(remove, added)

    def _tally(self, orchestrator: AsyncAgentOrchestrator) -> Tally:
        return self._tallies[is_loopback(orchestrator.transport.base_url)]

    def orchestrators(self) -> List[AsyncAgentOrchestrator]:
        """Return the session's orchestrator, and earlier ones whose jobs may still be running."""
        earlier = (each() for each in self._earlier)
        return [self.orchestrator, *(each for each in earlier if each is not None)]

    def state(self) -> DashboardState:
        """Return the current state for dashboards, including calls that began under earlier settings."""
        present, *earlier = self.orchestrators()
        state = state_of(present, self._tally(present))
        busy = [each for each in (orchestrator.snapshot() for orchestrator in earlier) if each.busy]
        if not busy:
            return state
        return replace(state, snapshot=functools.reduce(Snapshot.with_calls_of, busy, state.snapshot))

    def add(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with events of the session's current and future orchestrators; return a function to unsubscribe."""
        self._listeners[listener] = self.orchestrator.add_listener(listener)
        return lambda: self._listeners.pop(listener, _nothing)()

    def close(self) -> None:
        """Stop listening."""
        self._stop_summing()
        for remove in self._listeners.values():
            remove()
        self._listeners.clear()


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def remove() -> None:
        first()
        second()

    return remove
