"""What axe-core says of everything that is shown in JupyterLab, in both themes and on a narrow screen."""

from __future__ import annotations

import pytest
from support.axe import fetch_axe, violations
from support.live_lab import DARK, LIGHT, Lab, OpenNotebook
from support.screenshots import screenshot_path

from claude_force_nb.simulator import Simulator

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ANSWER = r"""
# A heading

Some *words*, `code`, a [link](https://example.com), $x^2$ and ~~none~~. [^1]

- [x] done
- [ ] to do

| a | b |
|---|--:|
| 1 | 2 |

> Said.

```python
@decorated
def half(number: float) -> float:
    "Return half of a number."
    return number / 2 + 0  # a comment that is long enough to run out of its box, since it goes on and on and on and on and on and on
```

[^1]: A note.
"""
LONG = "\n\n".join(f"Part {number}. " + "Some words. " * 40 for number in range(60))
CELLS = [
    "%load_ext claude_force_nb\nfrom claude_force_nb import ClaudeResult\n"
    "rows = ['review %d' % number for number in range(60)]",
    f"ClaudeResult(text={ANSWER!r}, thinking='Let me think.', model='m', stop_reason='max_tokens', status='cut_off')",
    f"ClaudeResult(text={LONG!r}, model='m')",
    "%%claude model=haiku --dry-run\nWhat is a generator?",
    "%%claude model=haiku\nWhat is a generator?",
    "%%claude_batch rows model=haiku\nLabel {{ item }}",
    "%%claude_batch rows[:5] model=haiku --dry-run\nLabel {{ item }}",
    "%claude_dashboard",
    "%claude_cost",
    "%claude --help",
    "%claude_config --all",
    "%claude_jobs",
    "%claude_agents",
    "%claude_cache",
]


# What of the dashboard is wider than the output that it stands in, and so cut off.
_RUNS_OUT = """
() => [...document.querySelectorAll('.claude-force-dash :is(h4, p, .cf-tiles, .cf-wide)')].filter(each => each.offsetParent)
  .filter(each => each.getBoundingClientRect().right > each.closest('.jp-OutputArea-output').getBoundingClientRect().right + 1)
  .map(each => each.outerHTML.slice(0, 200))
"""


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fetch_axe(tmp_path_factory.mktemp("axe"))


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_what_is_shown_is_accessible(
    axe: str, lab: Lab, open_notebook: OpenNotebook, server: Simulator, theme: str
) -> None:
    """No violation in any output of ours, wide or narrow."""
    lab.set_theme(theme)
    notebook = open_notebook(CELLS)
    for number in range(len(CELLS)):
        notebook.run(number)
    notebook.cell(5).get_by_role("button", name="Next", exact=True).wait_for()
    notebook.page.keyboard.press("Control+b")  # without the list of files
    found = []
    for width in (1180, 480):
        notebook.page.set_viewport_size({"width": width, "height": 1150})
        notebook.page.wait_for_timeout(300)
        for number in range(1, len(CELLS)):
            name = f"axe-{theme.split()[-1].lower()}-{width}-{number}"
            notebook.cell(number).screenshot(path=str(screenshot_path(name)))
        assert notebook.page.evaluate(_RUNS_OUT) == []
        found += [(width, each) for each in violations(notebook.page, axe, ".jp-OutputArea-output")]
    assert found == []
