"""The dashboard as ipywidgets. Imported only when one is opened, since importing ipywidgets takes time."""

from __future__ import annotations

import asyncio
from html import escape
from typing import Any, Callable, Dict, Optional

import ipywidgets

from claude_force_nb.notebook.display.bundles import bundle
from claude_force_nb.notebook.display.screen import show_bundle
from claude_force_nb.notebook.display.widgets import close_with_parts
from claude_force_nb.vocabulary import counted

from .drawing import STYLE, dashboard_bundle, section_html
from .source import DashboardSource
from .view import DashboardState, Section, sections
from .watching import Watching

__all__ = ["Dashboard", "Dashboards"]

# Maximum number of dashboards. Without a cell id, a rerun of the cell cannot be told from a second cell.
_MOST = 8

# Hide the static copy for the saved notebook while the live dashboard is on the page, and the error that JupyterLab shows
# in place of a widget without a kernel.
_HIDE_COPY = "<style>body:has(.claude-force-live-{0}) .claude-force-copy-{0}{{display:none}}</style>"
_HIDE_BROKEN = (
    "<style>.jp-OutputArea:has(.claude-force-copy-{0}) .jupyter-widgets.jp-OutputArea-output:not(:has(*))"
    "{{display:none}}</style>"
)
# Label and tooltip of the button while calls are sent, and while they are paused. The label shows the state, so the button must
# not have `aria-pressed` as well: "Resume, pressed" would mean the opposite (WAI-ARIA Authoring Practices, button pattern). A
# constant label would need that attribute, which only a script can set on a widget.
_PAUSE = ("Pause", "Hold back further calls; the cache still answers")
_RESUME = ("Resume", "Send calls again")
_LIVE_REGION = '<div class="claude-force-dash" role="status" aria-live="polite">{}</div>'
_CAPTION = "claude_force_nb dashboard as last seen; run the cell for the live one with its buttons"


class _Panel(ipywidgets.VBox):  # type: ignore[misc]
    """A box that calls back when it is closed, for example by `Widget.close_all`."""

    on_closed: Optional[Callable[[], None]] = None

    def close(self) -> None:
        super().close()
        if self.on_closed is not None:
            self.on_closed()


class Dashboard:
    """One dashboard in one output.

    Parameters
    ----------
    watching : Watching
    source : DashboardSource
    """

    def __init__(self, watching: Watching, source: DashboardSource) -> None:
        self._watching = watching
        self._source = source
        self._closed = False
        self._shown: Dict[str, Section] = {}
        self._parts = {name: ipywidgets.HTML() for name in ("overview", "models", "cache", "calls")}
        # Created at the start, since a screen reader announces changes only in a live region that exists already.
        self._message = ipywidgets.HTML(_LIVE_REGION.format(""))
        self._question = ipywidgets.HTML()
        # One button for both, so that it keeps the focus when its meaning changes.
        self._pause_button = self._button(*_PAUSE, self._pause_or_resume)
        buttons = [
            self._pause_button,
            self._button("Stop all", "End every call that is in flight or waiting", self._stop_all),
            self._button("Clear cache", "Remove every cached answer; asks first", self._ask),
        ]
        answers = [
            self._button("Yes, clear", "Remove every cached answer now", self._clear, style="danger"),
            self._button("Keep", "Remove nothing", self._keep),
        ]
        self._confirm = ipywidgets.HBox([self._question, *answers])
        self._confirm.layout.display = "none"
        self._confirm.layout.align_items = "center"
        row = ipywidgets.HBox(buttons)
        row.layout.flex_flow = "row wrap"
        self._frame = ipywidgets.HTML()
        self.panel = _Panel(
            [
                self._frame,
                self._parts["overview"],
                row,
                self._confirm,
                self._message,
                self._parts["models"],
                self._parts["cache"],
                self._parts["calls"],
            ]
        )
        self.panel.layout.padding = "0 0 4px 0"
        self._id = str(self.panel.model_id)
        self._frame.value = f"{STYLE}{_HIDE_COPY.format(self._id)}<span class='claude-force-live-{self._id}'></span>"
        self.panel.on_closed = self.close
        self._copy: Any = None
        self._copied: Optional[DashboardState] = None

    @staticmethod
    def _button(label: str, tooltip: str, act: Callable[[], None], style: str = "") -> Any:
        # No icon: ipywidgets renders it as a character, which screen readers would read as part of the label.
        button = ipywidgets.Button(description=label, tooltip=tooltip, button_style=style)
        button.on_click(lambda _: act())
        return button

    def open(self) -> None:
        """Display the dashboard and keep it up to date."""
        state = self._source.state()
        self.show(state)
        view = {"version_major": 2, "version_minor": 0, "model_id": self._id}
        caption = bundle(_CAPTION, f"*{_CAPTION}*", f"<em>{escape(_CAPTION)}</em>")
        show_bundle({**caption, "application/vnd.jupyter.widget-view+json": view})
        self._copied = state
        self._copy = show_bundle(self._copy_bundle(state), display_id=True)
        self._source.add(self)

    def show(self, state: DashboardState) -> None:
        """Send changes to the browser; when nothing is in progress, also update the copy for the saved notebook."""
        if self._closed:
            return
        name, tooltip = _RESUME if state.snapshot.paused else _PAUSE
        if self._pause_button.description != name:
            self._pause_button.description, self._pause_button.tooltip = name, tooltip
        for section in sections(state):
            if self._shown.get(section.name) != section:
                self._shown[section.name] = section
                self._parts[section.name].value = f'<div class="claude-force-dash">{section_html(section)}</div>'
        if self._copy is not None and state != self._copied and not state.changes_without_events:
            self._copied = state
            self._copy.update(self._copy_bundle(state), raw=True)

    def _copy_bundle(self, state: DashboardState) -> Dict[str, str]:
        shown = dashboard_bundle(state, "claude-force-copy-" + self._id)
        shown["text/html"] += _HIDE_BROKEN.format(self._id)
        return shown

    # ------------------------------------------------------------------ buttons
    # A click arrives in the kernel's main thread or in that of a subshell. It acts on the orchestrator at once, in that
    # thread; the display is updated on the source's event loop.

    def _pause_or_resume(self) -> None:
        # The label that the user saw decides, not a state that may have changed since.
        (self._resume if self._pause_button.description == _RESUME[0] else self._pause)()

    def _pause(self) -> None:
        for orchestrator in self._watching.orchestrators():
            orchestrator.pause()
        self._say("Paused. Calls in flight continue; the cache still answers.")

    def _resume(self) -> None:
        for orchestrator in self._watching.orchestrators():
            orchestrator.resume()
        self._say("Resumed. Calls are sent again.")

    def _stop_all(self) -> None:
        count = sum(orchestrator.stop_all() for orchestrator in self._watching.orchestrators())
        self._say(f"Stopped {counted(count, 'call')}." if count else "Nothing to stop.")

    def _ask(self) -> None:
        cache = self._watching.orchestrator.cache
        if cache is None:
            self._say("There is no cache.")
            return
        question = f"Remove {_answers(len(cache), 'cached ')}?"

        def ask() -> None:
            self._question.value = f'<div class="claude-force-dash" role="alert">{escape(question)}</div>'
            self._confirm.layout.display = "flex"

        self._source.call(ask)

    def _keep(self) -> None:
        self._hide_question()
        self._say("Nothing was removed.")

    def _clear(self) -> None:
        self._hide_question()
        cache = self._watching.orchestrator.cache
        count = 0 if cache is None else cache.clear()
        self._say(f"Cleared {_answers(count)}.")

    def _hide_question(self) -> None:
        def hide() -> None:
            self._confirm.layout.display = "none"

        self._source.call(hide)

    def _say(self, message: str) -> None:
        def say() -> None:
            if not self._closed:
                self._message.value = _LIVE_REGION.format(f'<span role="alert">{escape(message)}</span>')

        self._source.call(say)
        self._source.touch()

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Stop updating and remove all widgets; the copy stays, with the last numbers. Idempotent."""
        if self._closed:
            return
        if self._copy is not None:
            state = self._source.state()
            if state != self._copied:
                self._copy.update(self._copy_bundle(state), raw=True)
        self._closed = True
        self._source.remove(self)
        close_with_parts(self.panel)


def _answers(count: int, kind: str = "") -> str:
    return f"{counted(count, kind + 'answer')}"


class Dashboards:
    """The dashboards of a session, at most one per cell.

    Parameters
    ----------
    watching : Watching
    """

    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self._source: Optional[DashboardSource] = None
        self._open: Dict[str, Dashboard] = {}

    def open(self, cell: Optional[str]) -> None:
        """Open a dashboard; one that this cell opened before is closed."""
        if self._source is None or not self._source.viewers:
            self._source = DashboardSource(self._watching, asyncio.get_running_loop())
        earlier = self._open.pop(cell or "", None) if cell else None
        if earlier is not None:
            earlier.close()
        while len(self._open) >= _MOST:
            self._open.pop(next(iter(self._open))).close()
        dashboard = Dashboard(self._watching, self._source)
        self._open[cell or dashboard.panel.model_id] = dashboard
        dashboard.open()

    def close(self) -> None:
        """Close all dashboards."""
        while self._open:
            self._open.popitem()[1].close()
