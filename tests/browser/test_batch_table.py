"""The results of a batch in JupyterLab: a table to leaf through and to filter, and what is left of it without a kernel."""

from __future__ import annotations

from typing import List

import pytest
from support.live_lab import Lab, NotebookPage, OpenNotebook
from support.screenshots import picture

from claude_force_nb.simulator import Simulator

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELLS = [
    "%load_ext claude_force_nb",
    "rows = [{'text': 'Review %d of <img src=x onerror=window.hacked=1> at $5 or $%d' % (n, n)} for n in range(60)]\n"
    "rows[41]['text'] = 'never mind'",
    "%%claude_batch rows model=haiku\nLabel {{ text }}",
    "%%claude_batch rows[:41] model=haiku into=labels\nLabel {{ text }}",
    "labels[:30]",
]


def rows(notebook: NotebookPage, cell: int) -> List[str]:
    """Return the texts of the rows that can be seen."""
    texts: List[str] = notebook.cell(cell).locator("tbody tr:visible").all_inner_texts()
    return texts


def turn(notebook: NotebookPage, cell: int, where: str) -> None:
    notebook.cell(cell).get_by_role("status").get_by_text(where, exact=True).wait_for()


def test_a_batch_is_leafed_through_and_filtered(open_notebook: OpenNotebook, lab: Lab, server: Simulator) -> None:
    """Failures first, inputs beside answers; words narrow it; nothing that a row says is live; a rerun changes no saved output."""
    server.fail("refusal", contains="never mind")
    notebook = open_notebook(CELLS)
    for number in range(3):
        notebook.run(number)
    turn(notebook, 2, "rows 1 to 20 of 60")
    assert len(rows(notebook, 2)) == 20  # the static table is not seen beside it
    assert rows(notebook, 2)[0].split("\t")[:3] == ["41", "refused", "never mind"]
    assert "<img src=x onerror=window.hacked=1> at $5 or $0" in rows(notebook, 2)[1]
    picture(notebook, "batch-table")
    notebook.cell(2).get_by_role("button", name="Next", exact=True).click()
    turn(notebook, 2, "rows 21 to 40 of 60")
    assert rows(notebook, 2)[0].startswith("19\t")
    field = notebook.cell(2).get_by_label("Filter")
    assert "Enter" in field.get_attribute("placeholder")  # typing alone shows nothing yet
    field.fill("REVIEW 5")
    field.press("Enter")
    turn(notebook, 2, "rows 1 to 11 of 11")
    assert [row.split("\t")[0] for row in rows(notebook, 2)] == ["5", *map(str, range(50, 60))]
    field.fill("no such words")
    field.press("Enter")
    turn(notebook, 2, "no such row")
    assert notebook.page.locator(".jp-OutputArea img").count() == 0
    assert notebook.page.evaluate("window.hacked") is None

    # A batch that is the value of a cell has its table as well; a second run closes the table of the first.
    for _ in range(2):
        notebook.run(3)
    turn(notebook, 3, "rows 1 to 20 of 41")
    notebook.run(4)
    turn(notebook, 4, "rows 1 to 20 of 30")
    before = notebook.save()["cells"]

    # Without its kernel there is the static table, with no button; run again, the notebook says what it said.
    lab.end_kernels()
    notebook.open()
    notebook.cell(3).locator("tbody tr:visible").first.wait_for()
    assert len(rows(notebook, 3)) == 6
    assert "36 more with an answer" in rows(notebook, 3)[-1]
    assert notebook.cell(3).get_by_role("button", name="Next", exact=True).count() == 0
    assert notebook.cell(3).get_by_text("Error displaying widget").filter(visible=True).count() == 0
    picture(notebook, "batch-table-saved")
    for number in range(5):
        notebook.run(number)
    turn(notebook, 4, "rows 1 to 20 of 30")
    after = notebook.save()["cells"]
    for number in (3, 4):
        assert after[number]["outputs"] == before[number]["outputs"]
