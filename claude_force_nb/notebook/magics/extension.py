"""Loading the extension into a shell and unloading it without a trace."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Awaitable, Callable, List, Mapping, Optional

from claude_force_nb.errors import ClaudeForceError
from claude_force_nb.notebook.kernel.waker import SignalWaker

from .claude_magics import AWAITABLE, ClaudeMagics
from .misspelt import suggestion
from .rewriting import EXTENSION_ATTRIBUTE, await_magics, check_loading_cell, protect_questions

__all__ = ["load", "unload"]

# Types of values that a magic shows itself and returns as the value of its cell.
SHOWN = (
    ("claude_force_nb.messages.result", "ClaudeResult"),
    ("claude_force_nb.rows.results", "BatchResult"),
    ("claude_force_nb.rows.results", "BatchSummary"),
    ("claude_force_nb.notebook.commands.background_run", "BackgroundRun"),
    ("claude_force_nb.notebook.display.preview", "Preview"),
    ("claude_force_nb.notebook.display.comparison", "Comparison"),
    ("claude_force_nb.notebook.display.batch_comparison", "BatchComparison"),
)


class _Extension:
    """Everything that loading adds to a shell, and how it is removed."""

    def __init__(self, shell: Any) -> None:
        from claude_force_nb.notebook.options.configurable import make_configurable

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

    def awaitable(self, name: str, line: str, cell: Optional[str] = None) -> Awaitable[Any]:
        """Return the awaitable that a rewritten cell awaits in place of a magic.

        This is not a magic itself, so that Tab does not offer it and %lsmagic does not list it.
        """
        return self.magics.awaitable(name, line, cell)

    def _append(self, target: List[Any], item: Any) -> None:
        target.append(item)
        self._undo.append(partial(_discard, target, item))

    def _register_magics(self) -> None:
        manager = self.shell.magics_manager
        manager.register(self.magics)
        # IPython's base class has added them there.
        self._undo.append(partial(_discard, self.shell.configurables, self.magics))
        for kind, names in self.magics.magics.items():
            for name in names:
                self._undo.append(partial(manager.magics[kind].pop, name, None))
        self._undo.append(lambda: manager.registry.pop(type(self.magics).__name__, None))

    def _protect(self, lines: List[str]) -> List[str]:
        return protect_questions(lines, AWAITABLE)

    def _rewrite(self, lines: List[str]) -> List[str]:
        # The magic blocks where a cell cannot await: in a cell inside a cell (%%time, %%capture), and if IPython's top-level
        # await is off or uses a library other than asyncio.
        if not self.shell.autoawait or self._awaits_elsewhere() or self._running == self._cell_key():
            return lines
        return await_magics(lines, AWAITABLE)

    def _awaits_elsewhere(self) -> bool:
        """Return whether ``%autoawait`` was set to a library other than asyncio."""
        runners = getattr(self.shell, "loop_runner_map", {})
        own = getattr(self.shell, "loop_runner", None)
        return any(own is runner for name, (runner, _) in runners.items() if name != "asyncio")

    def _cell_key(self) -> str:
        """Return a key that distinguishes the cell that the front end runs from cells that this cell runs in turn."""
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
            return
        error = getattr(result, "error_before_exec", None) or getattr(result, "error_in_exec", None)
        if error is None:
            return
        if result.info is not None:
            self.magics.cell_failed(result.info.raw_cell or "", error)
        suggested = suggestion(
            error, ours=_with_percent(self.magics.magics), others=_with_percent(self.shell.magics_manager.magics)
        )
        if suggested:
            print(suggested, file=sys.stderr)

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
        """Show nothing if the cell has shown this very answer as it arrived; the value is kept in any case."""
        front_end = self.magics.session.front_end
        if front_end.in_kernel and front_end.was_shown(result):
            return
        table = front_end.batch_table(result)
        if table is None:
            raise NotImplementedError  # tells IPython to show the value as usual
        from claude_force_nb.notebook.display.batch_results import bundle_of

        front_end.show(table.static(bundle_of(result)))
        table.show()

    def _bundle(self, result: Any, include: Any = None, exclude: Any = None) -> Any:
        from claude_force_nb.messages.result import ClaudeResult
        from claude_force_nb.notebook.display.batch_results import bundle_of
        from claude_force_nb.notebook.display.provenance import provenance

        if not self.magics.session.front_end.in_kernel:
            return {}
        return bundle_of(result), provenance(result) if isinstance(result, ClaudeResult) else {}

    def _plain(self, result: Any, printer: Any, cycle: bool) -> None:
        from claude_force_nb.notebook.display.batch_results import bundle_of

        # A terminal prints "Out[…]:" in any case, right below the answer.
        shown = self.magics.session.front_end.was_shown(result)
        printer.text(type(result).__name__ + ", shown above" if shown else bundle_of(result)["text/plain"])

    def _register_completer(self) -> None:
        from .matcher import make_matcher

        completer = self.shell.Completer
        # Before IPython's own matchers, so that older versions list ours first.
        completer.custom_matchers.insert(0, make_matcher(self.magics, completer))
        matcher = completer.custom_matchers[0]
        self._undo.append(partial(_discard, completer.custom_matchers, matcher))

    def unload(self) -> None:
        for undo in reversed(self._undo):
            undo()
        self._waker.close()
        self.magics.close()


def _with_percent(magics: Mapping[str, Mapping[str, Any]]) -> List[str]:
    """Return the names of magics as they are written: ``%name`` for a line magic, ``%%name`` for a cell magic."""
    return [("%" if kind == "line" else "%%") + name for kind, names in magics.items() for name in names]


def _discard(target: List[Any], item: Any) -> None:
    if item in target:
        target.remove(item)


def _forget(formatter: Any, kind: Any) -> None:
    formatter.deferred_printers.pop(kind, None)
    for each in list(formatter.type_printers):
        if (each.__module__, each.__name__) == kind:
            del formatter.type_printers[each]


def load(shell: Any) -> None:
    """Add the magics to a shell; calling it again changes nothing.

    Raises
    ------
    ClaudeForceError
        Outside IPython; or after loading, see `check_loading_cell`.
    """
    if not hasattr(shell, "magics_manager"):
        raise ClaudeForceError(
            "the magics need IPython: run %load_ext claude_force_nb in a notebook or in IPython; "
            "elsewhere use claude_force_nb.ask() or AsyncAgentOrchestrator"
        )
    if getattr(shell, EXTENSION_ATTRIBUTE, None) is None:
        setattr(shell, EXTENSION_ATTRIBUTE, _Extension(shell))
        check_loading_cell(AWAITABLE)


def unload(shell: Any) -> None:
    """Remove everything that `load` added."""
    extension = getattr(shell, EXTENSION_ATTRIBUTE, None)
    if extension is not None:
        delattr(shell, EXTENSION_ATTRIBUTE)
        extension.unload()
