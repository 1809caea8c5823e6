"""What the magics do: one session for each shell, holding its settings, its orchestrator and what it has shown."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections import ChainMap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Tuple, Union

from claude_force_nb.agents import AgentLibrary
from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.costs.bounds import price_bound
from claude_force_nb.costs.budget import Budget, DailyBudget, parse_budget
from claude_force_nb.costs.ledger import Ledger, default_ledger_path
from claude_force_nb.costs.pricing import PriceTable, load_prices, today
from claude_force_nb.costs.user_prices import read_prices
from claude_force_nb.errors import (
    ClaudeForceError,
    ClaudeForceWarning,
    EmptyPromptError,
    RunInterrupted,
    SchemaError,
    StoppedError,
)
from claude_force_nb.memory.conversations import CellRun, Memory
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.prompts.injection_policy import forget_warnings
from claude_force_nb.warn import warn

from .commands.agent import define_agent
from .commands.background_list import Jobs
from .dashboard.watching import Watching
from .display.preview import Preview, make_preview, repair_note, secrets_of
from .display.render import table_bundle
from .display.screen import NotebookScreen, Screen, TerminalScreen, follow, show_bundle
from .magics.awaiting import interruptible
from .magics.cells import cell_id, cell_run, memory_options
from .options.line import parse_line
from .options.names import find_schema
from .options.settings import Settings, folder_of_notebook
from .options.table import help_rows, read_setting

if TYPE_CHECKING:
    pass

__all__ = ["NotebookSession"]

# Settings that an orchestrator is built with; the others are read for each call.
_BUILD = (
    "max_concurrent",
    "max_retries",
    "cache_dir",
    "cache_ttl_hours",
    "cache_max_size_mb",
    "base_url",
    "allow_unknown_price",
    "prices",
)
# Options of a cell that a setting may give.
_CALL = ("agent", "model", "max_tokens", "temperature", "thinking", "effort", "cache", "on_injection")


class NotebookSession:
    """Runs the magics of one shell.

    Parameters
    ----------
    shell : InteractiveShell
    configurable : ClaudeForce, optional
        The traitlets object; see `settings.make_configurable`.
    """

    def __init__(self, shell: Any, configurable: Any = None) -> None:
        self.shell = shell
        self.settings = Settings(configurable=configurable, environ=os.environ, folder=folder_of_notebook())
        self.agents = AgentLibrary()
        # For the whole session, whatever is set in between: a new limit does not forget what was spent.
        self.budget = Budget(None, name="session_budget", option="%claude_config budget")
        ledger_path = default_ledger_path(os.environ)
        self.daily_budget = DailyBudget(None, ledger_path, option="%claude_config daily_budget")
        self.memory = Memory()
        self._pruned = False
        self._orchestrator: Optional[AsyncAgentOrchestrator] = None
        self._built_with: Tuple[Any, ...] = ()
        self._shown: Tuple[int, int] = (-1, 0)
        self.watching = Watching(shell, lambda: self.orchestrator)
        self._looked = ""
        self.jobs = Jobs()
        atexit.register(self.close_at_exit)

    @property
    def in_kernel(self) -> bool:
        """True where the front end shows rich output and updates it in place."""
        return getattr(self.shell, "kernel", None) is not None

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """The orchestrator of the present settings, made when first needed and again when they change."""
        values = {name: self.settings.value(name) for name in _BUILD}
        key = tuple(values.values())
        for budget, setting in ((self.budget, "budget"), (self.daily_budget, "daily_budget")):
            budget.allow_unknown_price = values["allow_unknown_price"]
            limit = parse_budget(self.settings.value(setting))
            if limit != budget.limit:
                budget.limit = limit
        if self._orchestrator is None or key != self._built_with:
            old, self._orchestrator = self._orchestrator, None
            if old is not None:
                self.jobs.close_after(old)
            self._orchestrator = AsyncAgentOrchestrator(
                max_concurrent=values["max_concurrent"],
                max_retries=values["max_retries"],
                cache_dir=values["cache_dir"],
                cache_ttl_hours=values["cache_ttl_hours"],
                cache_max_size_mb=values["cache_max_size_mb"],
                base_url=values["base_url"],
                budget=self.budget,
                daily_budget=self.daily_budget,
                allow_unknown_price=values["allow_unknown_price"],
                prices=self.prices,
                agents=self.agents,
                memory=self.memory,
                notebook=self._notebook_name(),
            )
            self._built_with = key
            self._prune(self._orchestrator.ledger)
            self.watching.follow(self._orchestrator)
        return self._orchestrator

    def _prune(self, ledger: Optional[Ledger]) -> None:
        """Remove what the ledger need not keep, once in a session."""
        days = self.settings.value("ledger_keep_days")
        if ledger is None or days is None or self._pruned:
            return
        self._pruned = True
        try:
            ledger.prune(days * 86400)
        except ClaudeForceError as error:
            warn(str(error), ClaudeForceWarning)

    @property
    def prices(self) -> PriceTable:
        """Prices of the package, and before them those of the user."""
        given = self.settings.value("prices")
        return load_prices() if given is None else given.table

    def configure(self, given: Mapping[str, str]) -> None:
        """Do what ``%claude_config key=value …`` does: all of it, or nothing where one value cannot be used."""
        values: Dict[str, Any] = dict(given)
        named = self.shell.user_ns.get(values.get("prices"))
        if isinstance(named, Mapping):
            values["prices"] = read_prices(named, source=values["prices"])
        for name, value in values.items():
            if value != "default":
                read_setting(name, value, where="%claude_config")
        for name, value in values.items():
            self.settings.set(name, value)

    async def ask(
        self, line: str, cell: Optional[str], local_names: Mapping[str, Any]
    ) -> Union[ClaudeResult, Preview, None]:
        """Do what ``%%claude`` (with a cell) and ``%claude`` (without) do.

        Parameters
        ----------
        line : str
            Behind the magic's name.
        cell : str or None
            Body of the cell; None for the line form, whose prompt follows the options.
        local_names : mapping
            Names of the calling function, which go before those of the notebook.

        Returns
        -------
        ClaudeResult, Preview or None
            A preview for ``--dry-run``, None for ``--help``, which both send nothing.

        Raises
        ------
        ClaudeForceError
            One line; see `errors`.
        RunInterrupted
            On Stop.
        """
        invocation = parse_line(line, free_text=cell is None)
        options = dict(invocation.options)
        magic = "%claude" if cell is None else "%%claude"
        if options.pop("help", False):
            self.show_bundle(self._help(magic))
            return None
        prompt = invocation.rest if cell is None else cell.strip("\n")
        if not prompt.strip():
            where = "behind the options" if cell is None else f"below the {magic} line"
            raise EmptyPromptError(f"the prompt is empty; write it {where}; nothing was sent")
        into = options.pop("into", None)
        dry_run = options.pop("dry-run", False)
        stream = options.pop("stream", None)
        stream = self.settings.value("stream") if stream is None else stream
        memory = options.pop("memory", None)
        memory = self.settings.value("memory") if memory is None else memory
        call = self.call_options(options, local_names)
        call.update(memory_options(memory, self.settings.value("memory_tokens"), self._cell_run()))
        orchestrator = self.orchestrator
        if dry_run:
            self._looked = self._cell_run().run
            preview = self.preview(prompt, call)
            self.show_bundle(preview.bundle())
            self.mark_shown(preview)
            return preview
        result = await self._run(orchestrator, prompt, call, stream=stream, into=into)
        if into:
            self.shell.user_ns[into] = result
        return result

    def call_options(self, options: Dict[str, Any], local_names: Mapping[str, Any]) -> Dict[str, Any]:
        """Return the arguments of `AsyncAgentOrchestrator.run`: what the cell says, then what the settings say."""
        forget_warnings()
        call: Dict[str, Any] = {}
        agent = options.get("agent") or self.settings.value("agent")
        for name in _CALL:
            if name in options:
                call[name] = options.pop(name)
                continue
            value, source = self.settings.lookup(name)
            # An agent's own model and bound go before this package's defaults, not before what the user has set.
            if value is not None and not (source == "default" and name in ("model", "max_tokens") and agent):
                call[name] = value
        timeout = options.pop("timeout", None)
        call["timeout_seconds"] = self.settings.value("timeout") if timeout is None else timeout
        if options.pop("refresh", False):
            call["cache"] = "refresh"
        names = ChainMap(dict(local_names), self.shell.user_ns)
        if "schema" in options:
            options["schema"] = find_schema(options["schema"], names)
        if not options.pop("raw", False):
            call["variables"] = names
        call.update(options)
        return call

    async def _run(
        self,
        orchestrator: AsyncAgentOrchestrator,
        prompt: str,
        call: Dict[str, Any],
        *,
        stream: bool,
        into: Optional[str],
    ) -> ClaudeResult:
        partial = PartialAnswer() if stream else None
        screen: Screen = NotebookScreen() if self.in_kernel else TerminalScreen()

        async def work() -> ClaudeResult:
            follower = None if partial is None else asyncio.get_running_loop().create_task(follow(partial, screen))
            try:
                return await orchestrator.run(prompt, partial=partial, cell=self.cell_id(), **call)
            finally:
                if follower is not None:
                    follower.cancel()

        def describe() -> str:
            count = len(partial.text) if partial is not None else 0
            so_far = f"after {count} characters of the answer" if count else "before an answer came"
            return f"stopped {so_far}; run again to ask again"

        try:
            result = await interruptible(work(), describe)
        except (RunInterrupted, StoppedError) as interruption:
            if partial is not None:
                screen.show(partial)
            screen.leave()
            if into:
                text = partial.text if partial is not None else ""
                self.shell.user_ns[into] = ClaudeResult(text=text, status="failed", error=interruption)
            raise
        except SchemaError as error:
            if stream and error.result is not None:
                screen.finish(replace(error.result, error=None))  # the cell's last line says what is wrong
            if into:
                self.shell.user_ns[into] = error.result
            raise
        except BaseException:
            screen.leave()
            raise
        finally:
            if orchestrator.ledger is not None:
                orchestrator.ledger.flush()
        if stream:
            screen.finish(result)
            self.mark_shown(result)
        return result

    def mark_shown(self, value: Any) -> None:
        """Say that the running cell has shown what will be its value."""
        self._shown = (self.shell.execution_count, id(value))

    def was_shown(self, result: Any) -> bool:
        """Return True where this very cell has shown the result already."""
        return self._shown == (self.shell.execution_count, id(result))

    def preview(self, prompt: str, call: Mapping[str, Any]) -> Preview:
        """Return what ``--dry-run`` shows: the request as it would leave, its price bound, and whether it is cached.

        Parameters
        ----------
        prompt : str
        call : mapping
            Arguments of `AsyncAgentOrchestrator.run`.
        """
        orchestrator = self.orchestrator
        options = CallOptions.of(call)
        request = orchestrator.request(prompt, **call)
        notes = list(request.notices)
        if options.use_memory:
            look = orchestrator.memory.look
            notes.append(str(look(options.conversation, options.turn, limit_tokens=options.memory_tokens)))
        if options.schema is not None:
            notes.append(repair_note(request, orchestrator.prices, on=today()))
        cache = None if options.cache == "off" else orchestrator.cache
        return make_preview(
            request,
            most=price_bound(request, orchestrator.prices, on=today()),
            cached=None if cache is None else cache.get(request) is not None,
            secrets=secrets_of(os.environ),
            notes=notes,
        )

    @staticmethod
    def _help(magic: str) -> Dict[str, str]:
        footer = f"{magic} asks Claude; options are key=value or --key value. The answer is the value of the cell."
        return table_bundle(("option", "meaning", "takes"), help_rows(), footer=footer)

    def show_bundle(self, shown: Dict[str, str]) -> None:
        """Show a bundle below the cell, or its plain form in a terminal."""
        if self.in_kernel:
            show_bundle(shown)
        else:
            print(shown["text/plain"])

    def define_agent(self, line: str, body: Optional[str]) -> Dict[str, str]:
        """Do what ``%%claude_agent`` does, and return what to show."""
        base_url = self.settings.value("base_url")
        return define_agent(self.agents, line, body, cell=self._cell_run().label, base_url=base_url, prices=self.prices)

    def cell_done(self) -> None:
        """Say that the running cell has ended well: what it asked in earlier runs only leaves the conversations."""
        cell_run = self._cell_run()
        if cell_run.run != self._looked:  # to look at a request changes nothing
            self.memory.finish(cell_run)

    def _message(self) -> Any:
        return getattr(self.shell, "get_parent", dict)()

    def show_dashboard(self, line: str) -> None:
        """Do what ``%claude_dashboard`` does; raises as `Watching.show`."""
        self.watching.show(line, in_kernel=self.in_kernel, cell=self.cell_id())

    def cell_id(self) -> Optional[str]:
        """Return the id that the front end gives the running cell, or None."""
        return cell_id(self._message())

    def _cell_run(self) -> CellRun:
        return cell_run(self._message(), self.shell.execution_count)

    def _notebook_name(self) -> str:
        # JupyterLab's server tells the kernel by environment, VS Code by a name in the notebook.
        path = os.environ.get("JPY_SESSION_NAME") or self.shell.user_ns.get("__vsc_ipynb_file__")
        return str(path) if path else str(Path(os.getcwd()).name)

    def close(self) -> None:
        """End the session; the shell can load the extension again."""
        atexit.unregister(self.close_at_exit)
        self.watching.close()
        self.jobs.cancel()
        orchestrator, self._orchestrator = self._orchestrator, None
        if orchestrator is not None:
            self.jobs.close_after(orchestrator)
        self.daily_budget.close()

    def close_at_exit(self) -> None:
        """Cancel jobs, close connections and files when the process ends."""
        self.jobs.cancel_at_exit()
        if self._orchestrator is not None:
            self._orchestrator.close_blocking()
        self.daily_budget.close()
