"""Conversations in a real JupyterLab: Restart Kernel and Run All Cells is answered from the cache."""

from __future__ import annotations

import pytest
from support.live_lab import WAIT_SECONDS, OpenNotebook

from claude_force_nb.simulator import Simulator

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELLS = [
    "%load_ext claude_force_nb\n%claude_config base_url={url}",
    "%%claude memory=on model=haiku\nTell me of red.",
    "%%claude memory=on model=haiku\nGo on.",
    "%%claude memory=on model=haiku into=end\nGo on.",
    "print(end.notice, '-', end.cached)",
]


def test_restart_and_run_all_in_jupyterlab(open_notebook: OpenNotebook) -> None:
    """Two cells of the same text are two turns, a cell run again is its own turn, and run all asks for nothing more."""
    with Simulator() as server:
        notebook = open_notebook([CELLS[0].format(url=server.url), *CELLS[1:]])
        for number in (0, 1, 2, 3, 4, 2, 1):
            notebook.run(number)
        assert [len(request.body["messages"]) for request in server.requests] == [1, 3, 5]
        assert "turn 3 of default - False" in notebook.cell(4).inner_text()
        page = notebook.page
        page.get_by_role("menuitem", name="Kernel", exact=True).click()
        page.get_by_role("menuitem", name="Restart Kernel and Run All Cells").click()
        page.get_by_role("button", name="Confirm Kernel Restart").click()
        notebook.cell(4).get_by_text("turn 3 of default - True").wait_for(timeout=2 * WAIT_SECONDS * 1000)
        assert server.counters.calls == 3
