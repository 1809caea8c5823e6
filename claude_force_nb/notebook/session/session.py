"""One session per shell: creates what the magics use, and closes it at the end."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Set

from claude_force_nb.agents import AgentLibrary
from claude_force_nb.errors import CacheKeyWarning
from claude_force_nb.memory.conversations import Memory
from claude_force_nb.notebook.dashboard.watching import Watching
from claude_force_nb.notebook.display.bundles import line_bundle
from claude_force_nb.notebook.options.addresses import other_host
from claude_force_nb.notebook.options.settings import Settings, folder_of_notebook
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.warn import divert

from .answers import SessionAnswers
from .background_runs import BackgroundRuns
from .budgets import SessionBudgets
from .front_end import FrontEnd
from .orchestrators import Orchestrators
from .recent import RecentCells
from .simulator import SessionSimulator

if TYPE_CHECKING:
    from claude_force_nb.notebook.dashboard.panel import Dashboards

__all__ = ["NotebookSession"]


class NotebookSession:
    """Everything that the magics of one shell share.

    Parameters
    ----------
    shell : InteractiveShell
    configurable : ClaudeForce, optional
        The traitlets object; see `configurable.make_configurable`.
    last_failure : callable
        Returns the last failed cell and its traceback as text; None if no cell has failed.

    Attributes
    ----------
    front_end : FrontEnd
    settings : Settings
    agents : AgentLibrary
    memory : Memory
        The conversations.
    budgets : SessionBudgets
    background : BackgroundRuns
    simulator : SessionSimulator
        Runs if ``base_url=simulator``.
    answers : SessionAnswers
        The answer file, and the latest answers.
    orchestrators : Orchestrators
    recent_cells : RecentCells
        Names for templates about the notebook itself.
    watching : Watching
        Listens to the orchestrators for the dashboards.
    """

    def __init__(
        self, shell: Any, configurable: Any = None, *, last_failure: Callable[[], Optional[str]] = lambda: None
    ) -> None:
        self.front_end = FrontEnd(shell, os.environ)
        self.settings = Settings(configurable=configurable, environ=os.environ, folder=folder_of_notebook())
        self.agents = AgentLibrary()
        self.memory = Memory()
        self.budgets = SessionBudgets(os.environ)
        self.background = BackgroundRuns()
        self.simulator = SessionSimulator()
        self.answers = SessionAnswers()
        self.watching = Watching(shell, lambda: self.orchestrator)
        self.orchestrators = Orchestrators(
            self.settings,
            self.budgets,
            self.agents,
            self.memory,
            self.background,
            self.simulator,
            notebook_name=self.front_end.notebook_name,
            on_made=self.watching.follow,
            answers=self.answers,
        )
        self.recent_cells = RecentCells(shell, last_failure)
        self._dashboards: Optional[Dashboards] = None
        self._previewed_run = ""
        self._named_hosts: Set[str] = set()
        self._notes: List[str] = []
        # A notice rather than a fault, so it is not shown as a warning, which front ends show in red.
        self._end_diversion = divert(CacheKeyWarning, self._notes.append)
        atexit.register(self.close_at_exit)

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """The orchestrator for the current settings."""
        return self.orchestrators.current

    @property
    def waits_for_resume(self) -> bool:
        """True while calls are paused and only Resume lets them continue."""
        now = self.orchestrator.snapshot()
        return now.paused and now.in_flight == 0 and now.queued > 0

    @property
    def dashboards(self) -> Dashboards:
        """The open dashboards; the first use imports ipywidgets."""
        if self._dashboards is None:
            from claude_force_nb.notebook.dashboard.panel import Dashboards

            self._dashboards = Dashboards(self.watching)
        return self._dashboards

    def close_dashboards(self) -> None:
        """Close the dashboards that are open."""
        if self._dashboards is not None:
            self._dashboards.close()

    def server_note(self, base_url: str, *, asked: bool = True) -> str:
        """Return the receipt's note about which server answers.

        It is ``simulated`` for every answer of the session's simulator, even from the cache. For another server that is neither
        the official API nor on this machine, it is the host, once, when the server was `asked`. Otherwise it is "".
        """
        if self.simulator.is_at(base_url):
            return "simulated"
        host = other_host(base_url)
        if not asked or not host or host in self._named_hosts:
            return ""
        self._named_hosts.add(host)
        return f"answered by {host}"

    def previewed(self) -> None:
        """Record that the running cell only previews a request, so that no conversation changes."""
        self._previewed_run = self.front_end.cell_run().run

    def cell_done(self) -> None:
        """Record that the running cell has succeeded: show notes, and drop turns of its earlier runs from conversations."""
        while self._notes:
            self.front_end.show(line_bundle(self._notes.pop(0)), about_the_run=True)
        self.answers.flush()
        cell_run = self.front_end.cell_run()
        if cell_run.run != self._previewed_run:
            self.memory.finish(cell_run)

    def close(self) -> None:
        """End the session; the shell can load the extension again."""
        atexit.unregister(self.close_at_exit)
        self._end_diversion()
        self.close_dashboards()
        self.front_end.close()
        self.watching.close()
        self.background.leave()
        self.orchestrators.close()
        self.budgets.close()
        self.simulator.close()

    def close_at_exit(self) -> None:
        """Cancel background runs, close connections and files when the process ends."""
        self.background.cancel_at_exit()
        self.orchestrators.close_blocking()
        self.budgets.close()
        self.simulator.close()
