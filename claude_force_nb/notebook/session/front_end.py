"""Access to the shell and its front end: names, the running cell, and display."""

from __future__ import annotations

import weakref
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Callable, Mapping, MutableMapping, Optional, Tuple

from claude_force_nb.memory.conversations import CellRun
from claude_force_nb.notebook.display.bundles import Bundle
from claude_force_nb.notebook.display.provenance import ABOUT_THE_RUN
from claude_force_nb.notebook.display.screen import show_bundle
from claude_force_nb.notebook.kernel.cells import cell_id, cell_run
from claude_force_nb.notebook.kernel.updates import Live, hears_clicks, live_form, shows_updates
from claude_force_nb.notebook.options.settings import folder_of_notebook

if TYPE_CHECKING:
    from claude_force_nb.notebook.display.batch_table import BatchTable

__all__ = ["FrontEnd"]


class FrontEnd:
    """The parts of the IPython shell that the magics need.

    Parameters
    ----------
    shell : InteractiveShell
    environ : mapping
        Environment variables, one of which JupyterLab's server sets to the notebook's path.
    """

    def __init__(self, shell: Any, environ: Mapping[str, str]) -> None:
        self.shell = shell
        self._environ = environ
        # Number of the cell, and a reference to the value. An id would be that of another value once this one is freed.
        self._shown: Tuple[int, Callable[[], Any]] = (-1, lambda: None)
        self._tables: Any = None

    @property
    def kernel(self) -> Any:
        """The kernel, or None in a terminal."""
        return getattr(self.shell, "kernel", None)

    @property
    def in_kernel(self) -> bool:
        """True in a kernel, whose front end shows rich output; False in a terminal."""
        return self.kernel is not None

    def live(self, asked: str) -> Live:
        """Return how the running cell shows incomplete answers.

        Parameters
        ----------
        asked : str
            Value of ``live=``: auto, on or off.
        """
        if self.in_kernel:
            return live_form(asked, updates=shows_updates(self.shell, self._message()))
        return Live.AT_END if asked == "off" else Live.TEXT

    @property
    def hears_clicks(self) -> bool:
        """True if a button below the running cell would work."""
        return self.in_kernel and hears_clicks(self._message(), self._environ)

    @property
    def names(self) -> MutableMapping[str, Any]:
        """The names of the notebook."""
        names: MutableMapping[str, Any] = self.shell.user_ns
        return names

    def cell_id(self) -> Optional[str]:
        """Return the id that the front end gives the running cell, or None."""
        return cell_id(self._message())

    def cell_run(self) -> CellRun:
        """Return the running cell, and which of its runs this is."""
        return cell_run(self._message(), self._number())

    def _number(self) -> int:
        """Return the number of the running cell, from the history, since newer IPython versions increase the counter early."""
        history = getattr(self.shell, "history_manager", None)
        inputs = getattr(history, "input_hist_parsed", ())
        return len(inputs) - 1 if len(inputs) > 1 else int(self.shell.execution_count)

    def _message(self) -> Any:
        return getattr(self.shell, "get_parent", dict)()

    def notebook_name(self) -> str:
        """Return the notebook's path if known, else the name of the working directory."""
        # JupyterLab's server sets an environment variable of the kernel, VS Code a name in the notebook.
        path = self._environ.get("JPY_SESSION_NAME") or self.names.get("__vsc_ipynb_file__")
        return str(path) if path else folder_of_notebook().name

    def show(self, shown: Bundle, *, about_the_run: bool = False) -> None:
        """Show a bundle below the cell, or its plain text in a terminal.

        With `about_the_run`, the output's metadata marks it as different in each run, such as settings and costs.
        """
        if self.in_kernel:
            show_bundle(shown, metadata=ABOUT_THE_RUN if about_the_run else None)
        else:
            print(shown["text/plain"])

    @property
    def has_user(self) -> bool:
        """True if there may be a user to look and click: the front end sends cell ids and allows input."""
        content = self._message().get("content") or {}
        return self.in_kernel and self.cell_id() is not None and bool(content.get("allow_stdin"))

    def batch_table(self, value: Any, note: Optional[str] = None) -> Optional[BatchTable]:
        """Return a table of all rows of a batch, with pages and a filter; the first one imports ipywidgets.

        Return None if `value` is not a batch, if nobody could use the table, or if the static table has all rows.
        """
        if not self.has_user:
            return None
        from claude_force_nb.notebook.display.batch_results import is_shown_whole
        from claude_force_nb.rows.results import BatchResult

        if not isinstance(value, BatchResult) or is_shown_whole(value) or find_spec("ipywidgets") is None:
            return None
        if self._tables is None:
            from claude_force_nb.notebook.display.batch_table import BatchTables

            self._tables = BatchTables()
        table: BatchTable = self._tables.open(value, note)
        return table

    def close(self) -> None:
        """Close the open tables."""
        if self._tables is not None:
            self._tables.close()

    def mark_shown(self, value: Any) -> None:
        """Record that the running cell has already shown its value."""
        self._shown = (self.shell.execution_count, weakref.ref(value))

    def was_shown(self, value: Any) -> bool:
        """Return whether the running cell has already shown the value."""
        number, shown = self._shown
        return number == self.shell.execution_count and shown() is value
