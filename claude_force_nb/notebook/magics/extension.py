"""The magics: parse, call the session, show. Loading and unloading."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Dict, List, Optional

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)

from claude_force_nb.errors import OptionError
from claude_force_nb.vocabulary import did_you_mean

from .awaiting import ASYNC_SUFFIX, SignalWaker, await_magics, protect_questions, run_blocking

if TYPE_CHECKING:
    from claude_force_nb.notebook.session import NotebookSession

__all__ = ["load", "unload"]

# Magics that have an awaitable twin.
AWAITABLE = ("claude", "claude_batch", "claude_jobs")
_ATTRIBUTE = "_claude_force_extension"
# What a magic shows itself and gives as the value of its cell.
SHOWN = (
    ("claude_force_nb.messages.result", "ClaudeResult"),
    ("claude_force_nb.rows.results", "BatchResult"),
    ("claude_force_nb.rows.results", "BatchSummary"),
    ("claude_force_nb.notebook.commands.background", "BackgroundRun"),
    ("claude_force_nb.notebook.display.preview", "Preview"),
)


@magics_class
class ClaudeMagics(Magics):
    """``%claude`` and its relatives."""

    def __init__(self, shell: Any, configurable: Any) -> None:
        super().__init__(shell)
        self._claude_configurable = configurable
        self._session: Optional[NotebookSession] = None

    @property
    def session(self) -> NotebookSession:
        """The session, made with the first magic: loading the extension imports as little as it can."""
        if self._session is None:
            from claude_force_nb.notebook.session import NotebookSession

            self._session = NotebookSession(self.shell, self._claude_configurable)
        return self._session

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def claude(self, line: str, cell: Optional[str] = None, local_ns: Optional[Dict[str, Any]] = None) -> Any:
        """Ask Claude: `%claude question` or `%%claude agent=… into=…` above a prompt; `%%claude --help` lists the options."""
        return run_blocking(lambda: self.session.ask(line, cell, local_ns or {}))

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def claude_async(self, line: str, cell: Optional[str] = None, local_ns: Optional[Dict[str, Any]] = None) -> Any:
        """Return the awaitable of `%claude`; cells are rewritten to await it."""
        return self.session.ask(line, cell, local_ns or {})

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def claude_batch(self, line: str, cell: Optional[str] = None, local_ns: Optional[Dict[str, Any]] = None) -> Any:
        """Ask for every row of a source: `%claude_batch SOURCE`, or `%%claude_batch SOURCE` above a prompt with {{ }}."""
        return run_blocking(lambda: self._batch(line, cell, local_ns))

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def claude_batch_async(
        self, line: str, cell: Optional[str] = None, local_ns: Optional[Dict[str, Any]] = None
    ) -> Any:
        """Return the awaitable of `%claude_batch`; cells are rewritten to await it."""
        return self._batch(line, cell, local_ns)

    def _batch(self, line: str, cell: Optional[str], local_ns: Optional[Dict[str, Any]]) -> Coroutine[Any, Any, Any]:
        from claude_force_nb.notebook.commands.batch import run_batch

        return run_batch(self.session, line, cell, local_ns or {})

    @no_var_expand
    @line_magic
    def claude_jobs(self, line: str) -> None:
        """List the message batches of all kernels, or do something with one: `%claude_jobs [attach|cancel|forget ID]`."""
        run_blocking(lambda: self._do_jobs(line))

    @no_var_expand
    @line_magic
    def claude_jobs_async(self, line: str) -> Any:
        """Return the awaitable of `%claude_jobs`; cells are rewritten to await it."""
        return self._do_jobs(line)

    async def _do_jobs(self, line: str) -> None:
        from claude_force_nb.notebook.commands.jobs import do_jobs

        shown = await do_jobs(self.session, line, now=time.time())
        if shown:
            self.session.show_bundle(shown)

    @no_var_expand
    @line_magic
    def claude_agents(self, line: str) -> None:
        """List the agents, or show one: `%claude_agents [name]`."""
        from claude_force_nb.notebook.commands.views import agents_view

        self._display(agents_view(self.session.agents, line.strip()))

    @no_var_expand
    @line_cell_magic
    def claude_agent(self, line: str, cell: Optional[str] = None) -> None:
        """Define an agent: `%%claude_agent NAME [model=…]` above its system prompt."""
        self._display(self.session.define_agent(line, cell))

    @no_var_expand
    @line_magic
    def claude_memory(self, line: str) -> None:
        """Show or change the conversations: `%claude_memory show|clear|undo [name]`."""
        from claude_force_nb.notebook.commands.memory import memory_view

        self._display(memory_view(self.session.memory, line))

    @no_var_expand
    @line_magic
    def claude_cache(self, line: str) -> None:
        """Show or change the cache: `%claude_cache stats|verify|clear|path`."""
        from claude_force_nb.notebook.commands.views import cache_view

        cache = self.session.orchestrator.cache
        assert cache is not None
        self._display(cache_view(cache, line.strip() or "stats"))

    @no_var_expand
    @line_magic
    def claude_cost(self, line: str) -> None:
        """Show what was spent and saved: `%claude_cost [by=model|agent|day|notebook] [since=7d]`.

        `export=costs.csv` and `into=frame` give every answer, `prune=90d` removes older ones.
        """
        from claude_force_nb.notebook.commands.cost import COST_OPTIONS, do_cost

        given = _pairs(line, COST_OPTIONS, "%claude_cost")
        ledger = self.session.orchestrator.ledger
        assert ledger is not None
        budgets = (self.session.budget, self.session.daily_budget)
        self._display(do_cost(given, ledger, budgets=budgets, names=self.session.shell.user_ns, now=time.time()))

    @no_var_expand
    @line_magic
    def claude_config(self, line: str) -> None:
        """Show the settings, or set some: `%claude_config [key=value …]`; `key=default` takes a value back."""
        from claude_force_nb.notebook.commands.views import config_view
        from claude_force_nb.notebook.options.table import SETTINGS

        self.session.configure(_pairs(line, tuple(SETTINGS), "%claude_config"))
        self._display(config_view(self.session.settings))

    @no_var_expand
    @line_magic
    def claude_dashboard(self, line: str) -> None:
        """Show what goes on, live, with buttons to pause, stop and clear the cache; `%claude_dashboard close` ends it."""
        self.session.show_dashboard(line)

    def _display(self, bundle: Dict[str, str]) -> None:
        from claude_force_nb.notebook.display.screen import show_bundle

        show_bundle(bundle)

    def cell_done(self) -> None:
        """Say that a cell has ended well."""
        if self._session is not None:
            self._session.cell_done()

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()


def _pairs(line: str, known: Any, magic: str) -> Dict[str, str]:
    import shlex

    try:
        words = shlex.split(line)
    except ValueError:
        raise OptionError(f"{magic}: a quote is opened and not closed") from None
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        if not equals:
            raise OptionError(f"{magic} takes key=value, not {word!r}")
        if name not in known:
            raise OptionError(f"{magic}: unknown setting {name!r}{did_you_mean(name, known)}")
        pairs[name] = value
    return pairs


class _Extension:
    """Everything that loading adds to a shell, and how each of it is taken away."""

    def __init__(self, shell: Any) -> None:
        from claude_force_nb.notebook.options.settings import make_configurable

        self.shell = shell
        configurable = make_configurable()(parent=shell)
        self.magics = ClaudeMagics(shell, configurable)
        self._undo: List[Callable[[], Any]] = []
        self._running: Optional[str] = None
        self._waker = SignalWaker()
        self._append(shell.configurables, configurable)
        self._register_magics()
        self._watch_cells()
        self._append(shell.input_transformers_cleanup, self._protect)
        self._append(shell.input_transformers_post, self._rewrite)
        self._register_formatters()
        self._register_completer()

    def _append(self, target: List[Any], item: Any) -> None:
        target.append(item)
        self._undo.append(partial(_discard, target, item))

    def _register_magics(self) -> None:
        manager = self.shell.magics_manager
        manager.register(self.magics)
        # IPython's own base class has put them there.
        self._undo.append(partial(_discard, self.shell.configurables, self.magics))
        for kind, names in self.magics.magics.items():
            for name in names:
                self._undo.append(partial(manager.magics[kind].pop, name, None))
        self._undo.append(lambda: manager.registry.pop(type(self.magics).__name__, None))

    def _protect(self, lines: List[str]) -> List[str]:
        return protect_questions(lines, AWAITABLE)

    def _rewrite(self, lines: List[str]) -> List[str]:
        # A cell inside a cell (%%time, %%capture) is run by code that cannot await, and so is every cell where IPython's
        # own top-level await is off: there the magic blocks.
        if not self.shell.autoawait or self._running == self._cell_key():
            return lines
        return await_magics(lines, AWAITABLE)

    def _cell_key(self) -> str:
        """Return what tells the cell that a front end asked for from a cell that this cell runs in turn."""
        parent: Any = getattr(self.shell, "get_parent", dict)()
        header = parent.get("header") if isinstance(parent, dict) else None
        return str((header or {}).get("msg_id", "terminal"))

    def _before_cell(self, info: Any) -> None:
        if self._running == self._cell_key():  # a cell inside this cell
            return
        self._running = self._cell_key()
        if getattr(self.shell, "kernel", None) is not None:
            self._waker.start()

    def _after_cell(self, result: Any) -> None:
        self._running = None
        self._waker.stop()
        if getattr(result, "success", False):
            self.magics.cell_done()

    def _watch_cells(self) -> None:
        for event, callback in (("pre_run_cell", self._before_cell), ("post_run_cell", self._after_cell)):
            self.shell.events.register(event, callback)
            self._undo.append(partial(self.shell.events.unregister, event, callback))

    def _register_formatters(self) -> None:
        formatters = self.shell.display_formatter
        own, bundles = formatters.ipython_display_formatter, formatters.mimebundle_formatter
        for kind in SHOWN:
            own.for_type_by_name(*kind, self._show_once)
            bundles.for_type_by_name(*kind, self._bundle)
            formatters.formatters["text/plain"].for_type_by_name(*kind, self._plain)
            for formatter in (own, bundles, formatters.formatters["text/plain"]):
                self._undo.append(partial(_forget, formatter, kind))

    def _show_once(self, result: Any) -> None:
        """Show nothing where the cell has shown this very answer while it arrived; the value is kept all the same."""
        session = self.magics.session
        if not (session.in_kernel and session.was_shown(result)):
            raise NotImplementedError  # IPython's way of saying: show it as usual

    def _bundle(self, result: Any, include: Any = None, exclude: Any = None) -> Any:
        from claude_force_nb.notebook.display.batches import bundle_of

        return bundle_of(result) if self.magics.session.in_kernel else {}

    def _plain(self, result: Any, printer: Any, cycle: bool) -> None:
        from claude_force_nb.notebook.display.batches import bundle_of

        # A terminal prints its prompt in any case; the answer stands right above it.
        shown = self.magics.session.was_shown(result)
        printer.text(type(result).__name__ + ", shown above" if shown else bundle_of(result)["text/plain"])

    def _register_completer(self) -> None:
        from .completion import make_matcher

        completer = self.shell.Completer
        # Before IPython's own, so that older versions list ours first.
        completer.custom_matchers.insert(0, make_matcher(self.magics, completer))
        matcher = completer.custom_matchers[0]
        self._undo.append(partial(_discard, completer.custom_matchers, matcher))

    def unload(self) -> None:
        for undo in reversed(self._undo):
            undo()
        self._waker.stop()
        self.magics.close()


def _discard(target: List[Any], item: Any) -> None:
    if item in target:
        target.remove(item)


def _forget(formatter: Any, kind: Any) -> None:
    formatter.deferred_printers.pop(kind, None)
    for each in list(formatter.type_printers):
        if (each.__module__, each.__name__) == kind:
            del formatter.type_printers[each]


def load(shell: Any) -> None:
    """Add the magics to a shell; a second time changes nothing."""
    if getattr(shell, _ATTRIBUTE, None) is None:
        setattr(shell, _ATTRIBUTE, _Extension(shell))


def unload(shell: Any) -> None:
    """Take away everything that `load` added."""
    extension = getattr(shell, _ATTRIBUTE, None)
    if extension is not None:
        delattr(shell, _ATTRIBUTE)
        extension.unload()


assert all(hasattr(ClaudeMagics, name + ASYNC_SUFFIX) for name in AWAITABLE)
