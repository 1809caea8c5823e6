"""Notebook 7, which the server of JupyterLab brings to the same files: an answer, a table and the dashboard."""

from __future__ import annotations

import pytest
from support.live_lab import DARK, LIGHT, Lab, OpenNotebook
from support.screenshots import picture

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ANSWER = r"""
It costs $5 and $10, and $x = \frac{1}{2}$.

```python
def half(number: float) -> float:
    return number / 2  # exact
```
"""
CELLS = [
    "%load_ext claude_force_nb\nfrom claude_force_nb import ClaudeResult",
    f"ClaudeResult(text={ANSWER!r}, model='m')",
    "%%claude_batch [f'Review {n}' for n in range(30)] model=haiku\nLabel {{ item }}",
    "%claude_dashboard",
    "%claude as=code a function that reverses words",
]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_notebook_7_shows_the_same(lab: Lab, open_notebook: OpenNotebook, theme: str) -> None:
    """Formulas, coloured code, a table with its filter, a dashboard with buttons that act, and code in a new cell below."""
    pytest.importorskip("notebook", minversion="7.0", reason="Notebook 7 is not installed (the extra 'browser')")
    lab.set_theme(theme)
    notebook = open_notebook(CELLS, tree="notebooks")
    for number in range(len(CELLS)):
        notebook.run(number)
    page, answer = notebook.page, notebook.cell(1)
    answer.locator("mjx-container").wait_for()
    assert "It costs $5 and $10, and" in answer.inner_text()
    colours = [
        answer.locator(f".highlight .{name}").first.evaluate("each => getComputedStyle(each).color")
        for name in ("k", "c1")
    ]
    assert len(set(colours)) == 2
    answer.locator(".highlight pre").click(position={"x": 20, "y": 5})
    assert page.evaluate("String(getSelection())").strip() == ANSWER.split("```")[1][len("python") :].strip()
    picture(notebook, f"notebook7-{theme.split()[-1].lower()}", 1)
    field = notebook.cell(2).get_by_label("Filter")
    field.fill("review 2")
    field.press("Enter")
    notebook.cell(2).get_by_role("status").get_by_text("rows 1 to 11 of 11", exact=True).wait_for()
    picture(notebook, f"notebook7-table-{theme.split()[-1].lower()}")
    for before, after in (("Pause", "Resume"), ("Resume", "Pause")):
        notebook.cell(3).get_by_role("button", name=before, exact=True).click()
        notebook.cell(3).get_by_role("button", name=after, exact=True).wait_for()
        assert notebook.cell(3).get_by_role("button", name=before, exact=True).count() == 0
    picture(notebook, f"notebook7-dashboard-{theme.split()[-1].lower()}", 3)
    assert "def reverses_words(*values):" in notebook.cell(5).inner_text()
