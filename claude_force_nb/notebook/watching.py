"""Who watches a session's orchestrator: the sums since the session began, and dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Optional

from claude_force_nb.errors import ClaudeForceError, OptionError
from claude_force_nb.events import Listener
from claude_force_nb.live import Tally

if TYPE_CHECKING:
    from claude_force_nb.orchestrator import AsyncAgentOrchestrator

    from .dashboard import Dashboards

__all__ = ["Watching"]


def _nothing() -> None:
    pass


class Watching:
    """Listens to whichever orchestrator the session has.

    Parameters
    ----------
    shell : InteractiveShell
    make : callable
        Gives the session's orchestrator, making it where there is none.
    """

    def __init__(self, shell: Any, make: Callable[[], AsyncAgentOrchestrator]) -> None:
        self.shell = shell
        self._make = make
        self._orchestrator: Optional[AsyncAgentOrchestrator] = None
        # From the start, so that a dashboard opened later knows what came before it.
        self.tally = Tally()
        self._listeners: Dict[Listener, Callable[[], None]] = {self.tally: _nothing}
        self._dashboards: Optional[Dashboards] = None

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """The one that calls go through now, whatever the settings for the next one say."""
        return self._make() if self._orchestrator is None else self._orchestrator

    def refresh(self) -> None:
        """Let new settings count at once, where that ends no call; what is wrong with them is said where they are used."""
        if self._orchestrator is not None and not self._orchestrator.snapshot().busy:
            try:
                self._make()
            except ClaudeForceError:
                pass

    def follow(self, orchestrator: AsyncAgentOrchestrator) -> None:
        """Listen to this one from now on, beside those before it, whose last calls may still be under way."""
        self._orchestrator = orchestrator
        for listener, remove in list(self._listeners.items()):
            added = orchestrator.add_listener(listener)
            self._listeners[listener] = _both(remove, added)

    def add(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` the events of the session's orchestrator, also of those to come; what is returned ends it."""
        self._listeners[listener] = self.orchestrator.add_listener(listener)
        return lambda: self._listeners.pop(listener, _nothing)()

    def show(self, line: str, *, in_kernel: bool, cell: Optional[str]) -> None:
        """Do what ``%claude_dashboard`` does.

        Raises
        ------
        OptionError
            On anything but nothing and ``close``.
        """
        action = line.strip()
        if action not in ("", "close"):
            raise OptionError("%claude_dashboard takes nothing or close, not {!r}".format(action))
        if action == "close":
            self._close_dashboards()
        elif not in_kernel:
            from .dashboard_view import dashboard_bundle, state_of

            print(dashboard_bundle(state_of(self.orchestrator, self.tally))["text/plain"])
        else:
            if self._dashboards is None:
                from .dashboard import Dashboards

                self._dashboards = Dashboards(self)
            self._dashboards.open(cell)

    def _close_dashboards(self) -> None:
        if self._dashboards is not None:
            self._dashboards.close()

    def close(self) -> None:
        """Close the dashboards and stop listening."""
        self._close_dashboards()
        for remove in self._listeners.values():
            remove()
        self._listeners.clear()


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def remove() -> None:
        first()
        second()

    return remove
