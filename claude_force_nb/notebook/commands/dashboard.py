"""%claude_dashboard: shows the live activity of the session."""

from __future__ import annotations

from typing import Optional

from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.dashboard.drawing import dashboard_bundle
from claude_force_nb.notebook.display.bundles import Bundle
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.vocabulary import did_you_mean

from .reference import Reference, wants_help

__all__ = ["REFERENCE", "dashboard"]

REFERENCE = Reference(
    magic="%claude_dashboard",
    summary="Shows what is going on, live, with buttons to pause, stop and clear the cache.",
    words=(("close", "close every dashboard; the last numbers stay", ""),),
    examples=(("%claude_dashboard", "opens one below the cell"), ("%claude_dashboard close", "closes them all")),
    page="how-to/dashboard.md",
)


def dashboard(session: NotebookSession, line: str) -> Optional[Bundle]:
    """Open a dashboard or close all; return a bundle to show, if any.

    Raises
    ------
    OptionError
        For any word other than ``close``.
    """
    if wants_help(line):
        return REFERENCE.bundle()
    action = line.strip()
    if action == "close":
        session.close_dashboards()
        return None
    if action:
        raise OptionError(f"%claude_dashboard takes nothing or close, not {action!r}{did_you_mean(action, ('close',))}")
    if not session.front_end.hears_clicks:
        return dashboard_bundle(session.watching.state())
    session.dashboards.open(session.front_end.cell_id())
    return None
