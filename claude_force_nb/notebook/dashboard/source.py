"""Sends the session's state to its dashboards; idle while nothing changes."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Callable, List, Optional, Protocol

from claude_force_nb.calls.events import Event

from .view import DashboardState
from .watching import Watching

__all__ = ["DashboardSource", "Viewer"]

# At most four updates a second: more cannot be seen, and each is sent to the browser.
PERIOD_SECONDS = 0.25
# While calls are in progress, some numbers change without an event.
_POLL_SECONDS = 1.0


class Viewer(Protocol):
    """Displays states."""

    def show(self, state: DashboardState) -> None:
        """Display a state that differs from the last one."""


class DashboardSource:
    """Sends each new state to its viewers at most four times a second, on the kernel's event loop.

    It listens only while there are viewers, and runs a timer only while something has just happened or is in progress.

    Parameters
    ----------
    watching : Watching
    loop : AbstractEventLoop
        The kernel's event loop.
    """

    def __init__(self, watching: Watching, loop: asyncio.AbstractEventLoop) -> None:
        self._watching = watching
        self._loop = loop
        self._viewers: List[Viewer] = []
        self._told: Optional[DashboardState] = None
        self._last = -PERIOD_SECONDS
        self._called = False
        self._timer: Optional[asyncio.TimerHandle] = None
        self._stop_listening: Optional[Callable[[], None]] = None

    @property
    def viewers(self) -> int:
        """Number of viewers."""
        return len(self._viewers)

    def state(self) -> DashboardState:
        """Return the current state."""
        return self._watching.state()

    def add(self, viewer: Viewer) -> None:
        """Add a viewer."""
        if not self._viewers:
            self._stop_listening = self._watching.add(self._on_event)
            # A cell that changes the cache directly causes no event.
            self._watching.shell.events.register("post_run_cell", self._after_cell)
        self._viewers.append(viewer)

    def remove(self, viewer: Viewer) -> None:
        """Remove a viewer; after the last one, stop the listener and the timer."""
        if viewer not in self._viewers:
            return
        self._viewers.remove(viewer)
        if self._viewers:
            return
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        self._watching.shell.events.unregister("post_run_cell", self._after_cell)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._told = None

    def _on_event(self, event: Event) -> None:
        self.touch()

    def _after_cell(self, result: Any) -> None:
        self._watching.refresh()
        self.touch()

    def touch(self) -> None:
        """Schedule a check for changes; may be called from any thread."""
        if not self._called:
            self._called = True
            self.call(self._arm)

    def call(self, function: Callable[[], Any]) -> None:
        """Run a function on the source's event loop; may be called from any thread."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed, because the kernel shuts down
            self._called = False

    def _arm(self) -> None:
        self._called = False
        due = max(0.0, self._last + PERIOD_SECONDS - time.monotonic())
        if self._viewers:
            self._set_timer(due)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self._last = time.monotonic()
        state = self.state()
        if state != self._told:
            self._told = state
            for viewer in list(self._viewers):
                viewer.show(state)
        if state.changes_without_events and self._viewers:
            self._set_timer(_POLL_SECONDS)
