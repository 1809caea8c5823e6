"""The class of the magics, each of which calls its command and shows the result."""

from __future__ import annotations

import os
import time
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Dict, Optional

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)

from .awaiting import run_blocking

if TYPE_CHECKING:
    from claude_force_nb.notebook.display.bundles import Bundle
    from claude_force_nb.notebook.session.session import NotebookSession

__all__ = ["AWAITABLE", "ClaudeMagics"]

# Magics that can be awaited, and whether each is a cell magic as well. Every cell magic is among them: IPython refuses an empty
# body before the magic sees it, even with --help; awaited, the magic itself says what is missing.
AWAITABLE = {
    "claude": True,
    "claude_agent": True,
    "claude_batch": True,
    "claude_compare": True,
    "claude_jobs": False,
    "claude_doctor": False,
    "claude_fix": False,
}


@magics_class
class ClaudeMagics(Magics):
    """``%claude`` and the other magics. Commands are imported on first use, to keep loading the extension fast."""

    def __init__(self, shell: Any, configurable: Any) -> None:
        super().__init__(shell)
        self._claude_configurable = configurable
        self._session: Optional[NotebookSession] = None
        self._last_failure: Optional[str] = None

    @property
    def session(self) -> NotebookSession:
        """The session, created when the first magic runs."""
        if self._session is None:
            from claude_force_nb.notebook.session.session import NotebookSession

            self._session = NotebookSession(
                self.shell, self._claude_configurable, last_failure=lambda: self._last_failure
            )
        return self._session

    def _run_blocking(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return run_blocking(work, lambda: self._session is not None and self._session.waits_for_resume)

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def claude(self, line: str, cell: Optional[str] = None, local_ns: Optional[Dict[str, Any]] = None) -> Any:
        """Ask Claude: `%claude question` or `%%claude agent=… into=…` above a prompt; `%%claude --help` lists the options."""
        return self._run_blocking(lambda: self._ask(line, cell, local_ns))

    def _ask(self, line: str, cell: Optional[str], local_ns: Optional[Dict[str, Any]]) -> Coroutine[Any, Any, Any]:
        from claude_force_nb.notebook.commands.claude import ask

        return self._in_cell(lambda: ask(self.session, line, cell, local_ns or {}))

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def claude_batch(self, line: str, cell: Optional[str] = None, local_ns: Optional[Dict[str, Any]] = None) -> Any:
        """Ask for every row of a source: `%claude_batch SOURCE`, or `%%claude_batch SOURCE` above a prompt with {{ }}."""
        return self._run_blocking(lambda: self._batch(line, cell, local_ns))

    def _batch(self, line: str, cell: Optional[str], local_ns: Optional[Dict[str, Any]]) -> Coroutine[Any, Any, Any]:
        from claude_force_nb.notebook.commands.batch import batch

        return self._in_cell(lambda: batch(self.session, line, cell, local_ns or {}))

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def claude_compare(self, line: str, cell: Optional[str] = None, local_ns: Optional[Dict[str, Any]] = None) -> Any:
        """Ask several models and agents the same: `%%claude_compare models=haiku,sonnet agents=a,b samples=2` above a prompt."""
        return self._run_blocking(lambda: self._compare(line, cell, local_ns))

    def _compare(self, line: str, cell: Optional[str], local_ns: Optional[Dict[str, Any]]) -> Coroutine[Any, Any, Any]:
        from claude_force_nb.notebook.commands.compare import compare

        return self._in_cell(lambda: compare(self.session, line, cell, local_ns or {}))

    @no_var_expand
    @line_magic
    def claude_jobs(self, line: str) -> None:
        """List the message batches of all kernels, or act on one: `%claude_jobs [attach|cancel|forget ID]`."""
        self._run_blocking(lambda: self._jobs(line))

    async def _jobs(self, line: str) -> None:
        from claude_force_nb.notebook.commands.jobs import jobs

        self._show(await jobs(self.session, line, now=time.time()), about_the_run=True)

    @no_var_expand
    @needs_local_scope
    @line_magic
    def claude_fix(self, line: str, local_ns: Optional[Dict[str, Any]] = None) -> Any:
        """Ask about the last error: `%claude_fix [options] [words]`; `as=code` puts the corrected cell below."""
        return self._run_blocking(lambda: self._fix(line, local_ns))

    def _fix(self, line: str, local_ns: Optional[Dict[str, Any]]) -> Coroutine[Any, Any, Any]:
        from claude_force_nb.notebook.commands.fix import fix

        return self._in_cell(lambda: fix(self.session, line, local_ns or {}))

    @no_var_expand
    @line_magic
    def claude_doctor(self, line: str) -> None:
        """Report what works here, and how to fix what does not: `%claude_doctor [--online]`."""
        self._run_blocking(lambda: self._doctor(line))

    async def _doctor(self, line: str) -> None:
        from claude_force_nb.notebook.commands.doctor import doctor

        self._show(await doctor(self.session, line), about_the_run=True)

    @no_var_expand
    @line_magic
    def claude_agents(self, line: str) -> None:
        """List the agents, or show one: `%claude_agents [name]`."""
        from claude_force_nb.notebook.commands.agents import agents

        self._show(agents(self.session.agents, line))

    @no_var_expand
    @line_cell_magic
    def claude_agent(self, line: str, cell: Optional[str] = None) -> None:
        """Define an agent: `%%claude_agent NAME [model=…]` above its system prompt."""
        self._run_blocking(lambda: self._agent(line, cell))

    async def _agent(self, line: str, cell: Optional[str]) -> None:
        from claude_force_nb.notebook.commands.agent import agent

        self._show(agent(self.session, line, cell))

    @no_var_expand
    @line_magic
    def claude_memory(self, line: str) -> None:
        """Show or change the conversations: `%claude_memory show|clear|undo [name]`."""
        from claude_force_nb.notebook.commands.memory import memory

        self._show(memory(self.session.memory, line))

    @no_var_expand
    @line_magic
    def claude_cache(self, line: str) -> None:
        """Show or change the cache: `%claude_cache stats|verify|clear|path`."""
        from claude_force_nb.notebook.commands.cache import cache

        self._show(cache(self.session, line), about_the_run=True)

    @no_var_expand
    @line_magic
    def claude_answers(self, line: str) -> None:
        """Keep answers in a file next to the notebook: `%claude_answers record|use|frozen|off|save|status|prune [PATH]`."""
        from claude_force_nb.notebook.commands.answers import answers

        self._show(answers(self.session, line, environ=os.environ), about_the_run=True)

    @no_var_expand
    @line_magic
    def claude_cost(self, line: str) -> None:
        """Show what was spent and saved: `%claude_cost [by=model|agent|day|notebook] [since=7d]`.

        `export=costs.csv` and `into=frame` list every answer, `prune=90d` removes older ones.
        """
        from claude_force_nb.notebook.commands.cost import cost

        self._show(cost(self.session, line, now=time.time()), about_the_run=True)

    @no_var_expand
    @line_magic
    def claude_config(self, line: str) -> None:
        """Show the settings, or set some: `%claude_config [key=value …]`; `key=default` removes a value."""
        from claude_force_nb.notebook.commands.config import config

        session = self.session
        self._show(
            config(session.settings, line, names=session.front_end.names, environ=os.environ), about_the_run=True
        )

    @no_var_expand
    @line_magic
    def claude_dashboard(self, line: str) -> None:
        """Show live activity, with buttons to pause, stop and clear the cache; `%claude_dashboard close` ends it."""
        from claude_force_nb.notebook.commands.dashboard import dashboard

        self._show(dashboard(self.session, line))

    def awaitable(self, name: str, line: str, cell: Optional[str] = None) -> Coroutine[Any, Any, Any]:
        """Return the coroutine of one of `AWAITABLE`, which a cell awaits at its top level."""
        if name == "claude":
            return self._ask(line, cell, None)
        if name == "claude_agent":
            return self._agent(line, cell)
        if name == "claude_batch":
            return self._batch(line, cell, None)
        if name == "claude_compare":
            return self._compare(line, cell, None)
        if name == "claude_fix":
            return self._fix(line, None)
        return self._jobs(line) if name == "claude_jobs" else self._doctor(line)

    async def _in_cell(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a magic's work; a missing answer is reported as this cell's."""
        from claude_force_nb.answers import asking_from

        with asking_from(f"cell {self.session.front_end.cell_run().label}"):
            return await work()

    def _show(self, bundle: Optional[Bundle], *, about_the_run: bool = False) -> None:
        if bundle is not None:
            self.session.front_end.show(bundle, about_the_run=about_the_run)

    def cell_failed(self, source: str, error: BaseException) -> None:
        """Keep a failed cell and its error for `{{ last_error }}`."""
        from claude_force_nb.notebook.session.recent import describe_failure

        told = describe_failure(source, error)
        if told is not None:
            self._last_failure = told

    def cell_done(self) -> None:
        """Record that a cell has succeeded."""
        if self._session is not None:
            self._session.cell_done()

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()


def _reference(magic: str) -> str:
    """Return the reference of a magic, from the module of its command."""
    module = import_module(f"claude_force_nb.notebook.commands.{magic.partition('_')[2] or 'claude'}")
    text: str = module.REFERENCE.text()
    return text


for _name in {name for names in ClaudeMagics.magics.values() for name in names}:
    # IPython prefers this to the docstring for %magic? and Shift+Tab.
    getattr(ClaudeMagics, _name).getdoc = partial(_reference, _name)
