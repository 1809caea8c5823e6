"""The session's orchestrator, rebuilt when settings change."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Optional

from claude_force_nb.agents import AgentLibrary
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.pricing import PriceTable, load_prices
from claude_force_nb.errors import ClaudeForceError, ClaudeForceWarning
from claude_force_nb.memory.conversations import Memory
from claude_force_nb.messages.addresses import is_loopback
from claude_force_nb.messages.request import normalise_base_url
from claude_force_nb.notebook.options.addresses import SIMULATOR, check_address
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.warn import warn

from .answers import SessionAnswers
from .background_runs import BackgroundRuns
from .budgets import SessionBudgets
from .simulator import SIMULATOR_KEY, SIMULATOR_NAME, SessionSimulator

__all__ = ["Orchestrators"]

# Settings from which an orchestrator is built; the others are read for each call.
_BUILD_SETTINGS = (
    "max_concurrent",
    "max_retries",
    "cache_dir",
    "cache_ttl_hours",
    "cache_max_size_mb",
    "cache_url",
    "base_url",
    "allow_http",
    "allow_unknown_price",
    "answers",
    "answers_mode",
    "answers_redact",
    "answers_max_age_days",
)
_SECONDS_A_DAY = 86400


class Orchestrators:
    """Creates a session's orchestrator when it is first needed, and a new one when a setting that it was built from changes.

    Parameters
    ----------
    settings : Settings
    budgets : SessionBudgets
    agents : AgentLibrary
    memory : Memory
    background : BackgroundRuns
        An orchestrator is closed after the runs that use it.
    simulator : SessionSimulator
        Started if ``base_url=simulator``.
    notebook_name : callable
        Returns the notebook's name for the ledger.
    on_made : callable
        Called with each new orchestrator.
    answers : SessionAnswers
        Opens the answer file.
    """

    def __init__(
        self,
        settings: Settings,
        budgets: SessionBudgets,
        agents: AgentLibrary,
        memory: Memory,
        background: BackgroundRuns,
        simulator: SessionSimulator,
        *,
        notebook_name: Callable[[], str],
        on_made: Callable[[AsyncAgentOrchestrator], None],
        answers: SessionAnswers,
    ) -> None:
        self._settings = settings
        self._budgets = budgets
        self._agents = agents
        self._memory = memory
        self._background = background
        self._simulator = simulator
        self._notebook_name = notebook_name
        self._on_made = on_made
        self._answers = answers
        self._orchestrator: Optional[AsyncAgentOrchestrator] = None
        self._built_with: Dict[str, Any] = {}
        self._pruned = False

    @property
    def prices(self) -> PriceTable:
        """The package's prices, overridden by the user's."""
        given = self._settings.value("prices")
        return load_prices() if given is None else given.table

    @property
    def base_url(self) -> Optional[str]:
        """Address of the server as set; None for the official API. Starts the simulator if that is set."""
        value: Optional[str] = self._settings.value("base_url")
        if value != SIMULATOR:
            return value
        # In frozen mode nothing is sent, so the simulator need not run.
        return SIMULATOR_NAME if self._settings.value("answers_mode") == "frozen" else self._simulator.url

    @property
    def current(self) -> AsyncAgentOrchestrator:
        """The orchestrator for the current settings.

        Raises
        ------
        OptionError
            If a setting is invalid.
        """
        values = {name: self._settings.value(name) for name in _BUILD_SETTINGS}
        simulated, values["base_url"] = values["base_url"] == SIMULATOR, self.base_url
        file_options = {name: values.pop("answers_" + name) for name in ("redact", "max_age_days")}
        if values["answers"] is not None:
            values["answers"] = self._answers.file(values["answers"], **file_options)
            self._answers.say_unsigned(self._settings.lookup("answers")[1])
        built_with = {**values, "simulated": simulated, "prices": self._settings.value("prices")}
        check_address(values["base_url"], allow_http=values["allow_http"])
        self._budgets.apply(self._settings)
        if self._orchestrator is None or built_with != self._built_with:
            self._close_after_runs()
            budgets = self._budgets.of(local=is_loopback(normalise_base_url(values["base_url"])))
            self._orchestrator = AsyncAgentOrchestrator(
                **values,
                transport=_to_simulator(values["base_url"]) if simulated else None,
                budget=budgets.session,
                daily_budget=budgets.daily,
                prices=self.prices,
                agents=self._agents,
                memory=self._memory,
                notebook=self._notebook_name(),
            )
            self._built_with = built_with
            self._prune(self._orchestrator.ledger)
            self._answers.follow(self._orchestrator)
            self._on_made(self._orchestrator)
        return self._orchestrator

    def _prune(self, ledger: Optional[Ledger]) -> None:
        """Remove old entries from the ledger, once per session."""
        days = self._settings.value("ledger_keep_days")
        if ledger is None or days is None or self._pruned:
            return
        self._pruned = True
        try:
            ledger.prune(days * _SECONDS_A_DAY)
        except ClaudeForceError as error:
            warn(str(error), ClaudeForceWarning)

    def _close_after_runs(self) -> None:
        orchestrator, self._orchestrator = self._orchestrator, None
        if orchestrator is not None:
            self._background.close_after(orchestrator)

    def close(self) -> None:
        """Close the orchestrator, after the background runs that use it."""
        self._close_after_runs()

    def close_blocking(self) -> None:
        """Close the orchestrator at the end of the process, when no event loop runs any more."""
        if self._orchestrator is not None:
            self._orchestrator.close_blocking()


def _to_simulator(address: Optional[str]) -> ApiTransport:
    """Return the transport to a session's simulator, which accepts any key and must not receive a real one."""
    return ApiTransport(api_key=SIMULATOR_KEY, base_url=address, known_as=SIMULATOR_NAME, environ=os.environ)
