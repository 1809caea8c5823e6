"""Answers as JupyterLab in a real Chromium shows them: mathematics, code, and what else Markdown has."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.live_lab import DARK, LIGHT, Lab, OpenNotebook
from support.screenshots import picture

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


ANSWER = r"""
The roots are $x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$, and \(\alpha < \beta\). It costs $5 and $10, or `$HOME/$x$`.

$$
\int_0^1 x\,dx = \frac{1}{2}
$$

\begin{align}
a &= b + c \\
  &= d
\end{align}

- [x] done
- [ ] ~~gone~~ https://example.com [^1]

```python
def half(number: float) -> float:
    "Return half of a number."
    return number / 2  # exact
```

$\href{javascript:window.hacked=1}{x}$ <img src=x onerror="window.hacked=1">

[^1]: A note.
"""
CELLS = [
    "%load_ext claude_force_nb\nfrom claude_force_nb import ClaudeResult",
    f"ClaudeResult(text={ANSWER!r}, model='m', stop_reason='max_tokens', status='cut_off')",
]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_an_answer_is_set(lab: Lab, open_notebook: OpenNotebook, theme: str) -> None:
    """Formulas are typeset and prices are not; code has the colours of the theme; nothing runs."""
    lab.set_theme(theme)
    opened = open_notebook(CELLS)
    page = opened.page
    opened.run(0)
    cell = opened.run(1)
    cell.locator("mjx-container").nth(3).wait_for()
    page.wait_for_timeout(500)
    picture(opened, f"rendering-{theme.split()[-1].lower()}")
    assert cell.locator("mjx-container").count() == 4
    assert cell.locator("mjx-merror").count() == 0
    output = cell.locator(".jp-OutputArea-output").last
    assert "It costs $5 and $10, or $HOME/$x$." in output.inner_text()
    keyword = output.locator(".highlight .k").first
    expected = page.evaluate(
        "() => getComputedStyle(document.body).getPropertyValue('--jp-mirror-editor-keyword-color').trim()"
    )
    assert keyword.evaluate("each => each.style.color") == f"var(--jp-mirror-editor-keyword-color,{_fallback(output)})"
    assert expected
    assert page.evaluate("window.hacked") is None
    assert output.locator("img").count() == 0
    assert "the answer is cut off here" in output.inner_text()


def _fallback(output: Any) -> str:
    found = re.search(r"--jp-mirror-editor-keyword-color,\s*(#\w+)", output.inner_html())
    assert found is not None
    return found.group(1)
