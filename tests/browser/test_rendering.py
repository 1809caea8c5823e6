"""Answers as JupyterLab in a real Chromium shows them: mathematics, code, and what else Markdown has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.live_kernel import LiveKernel, kernel_environment, only_answer
from support.live_lab import DARK, LIGHT, Lab, NotebookPage, OpenNotebook
from support.screenshots import picture, screenshot_path

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


# As the browser writes what the theme's variable says.
_COLOUR_OF_KEYWORDS = """
() => {
  const probe = document.body.appendChild(document.createElement('span'));
  probe.style.color = 'var(--jp-mirror-editor-keyword-color)';
  return getComputedStyle(probe).color;
}
"""


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
    keyword = output.locator(".highlight .k").first.evaluate("each => getComputedStyle(each).color")
    assert keyword == page.evaluate(_COLOUR_OF_KEYWORDS)
    assert page.evaluate("window.hacked") is None
    assert output.locator("img").count() == 0
    assert "the answer is cut off here" in output.inner_text()


UNTRUSTED = """
```python
def half(number: float) -> float:
    return number / 2  # exact
```

Between them.

```
no language
```
"""


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_one_click_selects_code_also_where_the_notebook_is_not_trusted(
    lab: Lab, open_notebook: OpenNotebook, theme: str
) -> None:
    """A notebook of somebody else: code has its colours and background, and a click selects the whole block and no more."""
    lab.set_theme(theme)
    trusted = open_notebook([CELLS[0], f"ClaudeResult(text={UNTRUSTED!r}, model='m')"])
    for number in range(2):
        trusted.run(number)
    saved = trusted.save()
    other = json.loads(json.dumps(saved).replace("Between them", "Between the two"))  # its signature is no longer right
    (lab.folder / "other.ipynb").write_text(json.dumps(other), encoding="utf-8")
    for trust in ("trusted", "untrusted"):
        opened = trusted if trust == "trusted" else NotebookPage(lab, trusted.page, "other.ipynb")
        blocks = opened.cell(1).locator(".highlight pre")
        blocks.nth(1).wait_for()
        for number, code in enumerate(
            ("def half(number: float) -> float:\n    return number / 2  # exact", "no language")
        ):
            blocks.nth(number).click(position={"x": 20, "y": 5})
            assert opened.page.evaluate("String(getSelection())").strip() == code
        seen = opened.cell(1).locator(".highlight").first
        assert seen.evaluate("each => getComputedStyle(each).backgroundColor") != "rgba(0, 0, 0, 0)"
        assert seen.locator("div").first.inner_text() == "python"
        colours = {
            opened.cell(1).locator(f".highlight .{name}").first.evaluate("each => getComputedStyle(each).color")
            for name in ("k", "c1")
        }
        assert len(colours) == 2
        assert ("var(" in str(seen.get_attribute("style"))) == (trust == "trusted")
        picture(opened, f"code-{trust}-{theme.split()[-1].lower()}")


def test_a_long_answer_opens_with_one_click_and_on_paper(lab: Lab, open_notebook: OpenNotebook) -> None:
    """Its rest is folded, also in an untrusted notebook; a printed page has all of it."""
    text = "\n\n".join(f"Part {number}. " + "Some words. " * 40 for number in range(60))
    trusted = open_notebook([CELLS[0], f"ClaudeResult(text={text!r}, model='m')"])
    for number in range(2):
        trusted.run(number)
    last = trusted.cell(1).get_by_text("Part 59.").last
    assert not last.is_visible()
    trusted.page.emulate_media(media="print")
    assert last.evaluate("each => each.getBoundingClientRect().height") > 0
    trusted.page.emulate_media(media="screen")
    saved = trusted.save()
    other = json.loads(json.dumps(saved).replace("Part 58.", "Part 58:"))
    (lab.folder / "folded.ipynb").write_text(json.dumps(other), encoding="utf-8")
    opened = NotebookPage(lab, trusted.page, "folded.ipynb")
    last = opened.cell(1).locator("details p").last
    assert not last.is_visible()
    opened.cell(1).get_by_text("The rest of the answer:").click()
    assert last.is_visible()
    assert last.inner_text().startswith("Part 59.")
    picture(opened, "folded-untrusted")


# VS Code itself cannot be run here. What stands in for it is what its documentation says of the page of an output: a Chromium, a class
# of the theme at the body, and no MathJax.
FORMULAS_ANSWER = r"""
The roots are $x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$, and \(\alpha < \beta\). It costs $5 and $10.

$$
\int_0^1 x\,dx = \frac{1}{2} \qquad \operatorname{softmax}(x)_i = \frac{e^{x_i}}{\sum_{j=1}^n e^{x_j}}
$$

\begin{align}
a + b + c &= d \\
  e &= f + g \not\in \mathbb{R}
\end{align}

$$ f(x) = \begin{cases} 1 & \text{if } x > 0 \\ 0 & \text{otherwise} \end{cases} \qquad A = \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} $$

| what | formula |
| --- | --- |
| sum | $\sum_i \hat{x}_i$ |

```python
print(1)
```
"""
FORMULAS = 6
CELL_OF_VS_CODE = f"from claude_force_nb import ClaudeResult\nClaudeResult(text={FORMULAS_ANSWER!r}, model='m')"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The data that a kernel sends to a cell of VS Code."""
    folder = tmp_path_factory.mktemp("vscode")
    with LiveKernel(kernel_environment("http://127.0.0.1:9", folder), str(folder)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        return only_answer(kernel.run(CELL_OF_VS_CODE, "vscode-notebook-cell:/folder/book.ipynb#W1sZmlsZQ%3D%3D"))


@pytest.mark.parametrize(
    ("theme", "paper", "ink"), [("vscode-light", "#ffffff", "#3b3b3b"), ("vscode-dark", "#1f1f1f", "#cccccc")]
)
def test_vs_code_shows_mathml(chromium: Any, shown: Any, theme: str, paper: str, ink: str) -> None:
    """Each formula once, set in two dimensions, and nothing of its TeX."""
    page = chromium.new_page(viewport={"width": 800, "height": 760})
    style = f"background:{paper};color:{ink};font:14px sans-serif"
    page.set_content(f'<!doctype html><body class="{theme}" style="{style}">{shown["text/html"]}</body>')
    page.screenshot(path=str(screenshot_path(theme)))
    seen = page.inner_text("body")
    assert "\\" not in seen
    assert "It costs $5 and $10." in seen
    formulas = page.locator("math")
    assert formulas.count() == FORMULAS
    assert all(formulas.nth(number).is_visible() for number in range(FORMULAS))
    # Numerator above denominator, and the sides of two equations in line at their signs.
    fraction = page.locator("mfrac").first
    above, below = (fraction.locator(f"xpath=*[{number}]").bounding_box() for number in (1, 2))
    assert above["y"] + above["height"] <= below["y"] + 1
    left, right = (
        page.locator("mtable").first.locator("mtr").nth(row).locator("mo", has_text="=").bounding_box()
        for row in (0, 1)
    )
    assert abs(left["x"] - right["x"]) < 1
    summands, sum_ = (
        page.locator("mtable").first.locator("mtr").nth(row).locator("mtd").first.locator("mi").last.bounding_box()
        for row in (0, 1)
    )
    assert abs(summands["x"] + summands["width"] - sum_["x"] - sum_["width"]) < 1
    page.close()


def test_without_the_class_of_a_theme_there_is_tex(chromium: Any, shown: Any) -> None:
    """Whatever else shows HTML and knows neither: each formula is there once."""
    page = chromium.new_page()
    page.set_content(f"<!doctype html><body>{shown['text/html']}</body>")
    assert page.inner_text("body").count(r"\frac{-b \pm") == 1
    assert not page.locator("math").first.is_visible()
    page.close()


def test_jupyterlab_typesets_the_same_output(lab: Lab, open_notebook: OpenNotebook, shown: Any) -> None:
    """In a notebook that is not trusted and in one that is: MathJax sets each formula, and nothing is there twice."""
    opened = open_notebook([f"from IPython.display import display\ndisplay({shown!r}, raw=True)"])
    opened.run(0)
    other = json.loads(json.dumps(opened.save()).replace("It costs", "It takes"))  # its signature is no longer right
    (lab.folder / "from-vs-code.ipynb").write_text(json.dumps(other), encoding="utf-8")
    for trust in ("trusted", "untrusted"):
        if trust == "untrusted":
            opened = NotebookPage(lab, opened.page, "from-vs-code.ipynb")
        area = opened.cell(0).locator(".jp-OutputArea-output").last
        area.locator("mjx-container").nth(FORMULAS - 1).wait_for()
        opened.page.wait_for_timeout(500)
        picture(opened, f"from-vs-code-{trust}")
        assert area.locator("mjx-container").count() == FORMULAS
        hidden = area.locator(".claude-force-mathml")
        assert hidden.count() == FORMULAS
        assert not [number for number in range(FORMULAS) if hidden.nth(number).is_visible()]
