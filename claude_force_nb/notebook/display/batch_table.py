"""A table with all rows of a batch, with pages and a filter. It needs ipywidgets, imported only for a batch of many rows.

Whether a front end supports widgets shows only when it displays one. So an empty box is displayed first; once the front end
reports a view of it (`_view_count`), it is filled. Until then, in a saved notebook, and in front ends without widgets, the
static table is visible instead.
"""

from __future__ import annotations

import hashlib
from html import escape
from typing import Any, Dict, List, Mapping, Optional

import ipywidgets

from claude_force_nb.rows.results import BatchResult

from .batch_results import batch_footer
from .batch_rows import BatchRows
from .bundles import Bundle, footer_html
from .screen import show_bundle
from .tables import table_html
from .widgets import close_with_parts

__all__ = ["BatchTables"]

_ROWS_A_PAGE = 20
_CELL_CHARACTERS = 300
# Maximum number of open tables; opening another closes the oldest.
_MOST = 8
_STYLE = (
    "<style>.claude-force-table table{{border-collapse:collapse}}"
    ".claude-force-table td{{vertical-align:top;overflow-wrap:break-word;min-width:3em}}"
    ".claude-force-table td:nth-child(-n+2){{white-space:nowrap}}"
    # Hide the static table while the live one is on the page.
    "body:has(.claude-force-live-{0}) .claude-force-static-{0}{{display:none}}</style>"
    '<span class="claude-force-live-{0}"></span>'
)
# Without a kernel, JupyterLab shows an error in place of the widget. Hide it, since the static table is visible.
_HIDE_BROKEN = (
    "<style>.jp-OutputArea:has(.claude-force-static-{0}) .jupyter-widgets.jp-OutputArea-output:not(:has(*))"
    "{{display:none}}</style>"
)


class BatchTable:
    """One batch as a table with pages.

    Parameters
    ----------
    batch : BatchResult
    note : str or None
        Beginning of the footer.
    """

    def __init__(self, batch: BatchResult, note: Optional[str]) -> None:
        self.id = _id_of(batch, note)
        self._rows = BatchRows(batch, characters=_CELL_CHARACTERS)
        self._footer = batch_footer(batch, self._rows, note)
        self._found: List[int] = self._rows.order
        self._inputs: Optional[Mapping[int, Mapping[Any, Any]]] = None
        self._page = 0
        self.box = ipywidgets.VBox(model_id=self.id, _view_count=0)
        self.box.observe(self._seen, "_view_count")

    def static(self, bundle: Bundle) -> Bundle:
        """Return the bundle of the static table, which is hidden while this one is visible."""
        name = f"claude-force-static-{self.id}"
        inner = f'<div class="{name}">{bundle["text/html"]}</div>{_HIDE_BROKEN.format(self.id)}'
        return {**bundle, "text/html": inner}

    def show(self) -> None:
        """Display the empty box, which the table fills once the front end shows it."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.id}
        show_bundle({"text/plain": "", "text/html": "", "application/vnd.jupyter.widget-view+json": view})

    def _seen(self, change: Mapping[str, Any]) -> None:
        if not change["new"] or self.box.children:
            return
        self._filter = ipywidgets.Text(placeholder="words, then Enter", description="Filter", continuous_update=False)
        self._filter.layout.max_width = "100%"
        self._filter.observe(self._filtered, "value")
        self._back = ipywidgets.Button(description="Previous", tooltip="The rows before these")
        self._on = ipywidgets.Button(description="Next", tooltip="The rows after these")
        self._back.on_click(lambda _: self._turn(-1))
        self._on.on_click(lambda _: self._turn(1))
        self._where = ipywidgets.HTML()
        self._table = ipywidgets.HTML()
        controls = ipywidgets.HBox([self._filter, self._back, self._on, self._where])
        controls.layout.flex_flow = "row wrap"
        controls.layout.align_items = "center"
        frame, footer = ipywidgets.HTML(_STYLE.format(self.id)), ipywidgets.HTML(_ignored(footer_html(self._footer)))
        self._draw()
        self.box.children = [frame, controls, self._table, footer]

    def _filtered(self, change: Mapping[str, Any]) -> None:
        wanted = _plain(change["new"])
        if self._inputs is None:
            self._inputs = self._rows.all_inputs()
        inputs = self._inputs
        self._found = [
            place for place in self._rows.order if wanted in _plain(self._rows.text(place, inputs.get(place, {})))
        ]
        self._page = 0
        self._draw()

    def _turn(self, pages: int) -> None:
        self._page += pages
        self._draw()

    def _draw(self) -> None:
        first = self._page * _ROWS_A_PAGE
        with_input, cells = self._rows.cells(self._found[first : first + _ROWS_A_PAGE])
        table = table_html(self._rows.header(with_input=with_input), cells)
        self._table.value = _ignored(f'<div class="claude-force-table jp-RenderedHTMLCommon">{table}</div>')
        self._back.disabled = first == 0
        self._on.disabled = first + _ROWS_A_PAGE >= len(self._found)
        shown = f"rows {first + 1:,} to {first + len(cells):,} of {len(self._found):,}" if cells else "no such row"
        self._where.value = f'<span role="status">{escape(shown)}</span>'

    def close(self) -> None:
        """Remove the table from the page; the static table is visible again."""
        close_with_parts(self.box)


class BatchTables:
    """The open tables of a session, at most one for batches that look the same."""

    def __init__(self) -> None:
        self._open: Dict[str, BatchTable] = {}

    def open(self, batch: BatchResult, note: Optional[str]) -> BatchTable:
        """Return a new table of a batch; one that is open for the same batch is closed."""
        table_id = _id_of(batch, note)
        while table_id in self._open or len(self._open) >= _MOST:
            oldest = table_id if table_id in self._open else next(iter(self._open))
            self._open.pop(oldest).close()
        table = BatchTable(batch, note)
        self._open[table.id] = table
        return table

    def close(self) -> None:
        """Close all tables."""
        while self._open:
            self._open.popitem()[1].close()


def _id_of(batch: BatchResult, note: Optional[str]) -> str:
    """Return a table's id: the same whenever the same batch is shown, so that a saved notebook does not change."""
    digest = hashlib.sha256(repr((note, batch.numbers)).encode("utf-8", "backslashreplace"))
    for result in batch:
        digest.update(repr((result.shown_status, result.text, str(result.error))).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:32]


def _ignored(inner: str) -> str:
    return f'<div class="claude-force mathjax_ignore tex2jax_ignore">{inner}</div>'


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
