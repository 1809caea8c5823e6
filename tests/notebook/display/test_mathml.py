"""Formulas as MathML, which VS Code shows and no other front end sees."""

from __future__ import annotations

from typing import List
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from claude_force_nb.notebook.display import answers
from claude_force_nb.notebook.display.formulas import COMMANDS, ENVIRONMENTS, formula
from claude_force_nb.notebook.display.mathml import mathml

# MathML Core's elements that set type (w3.org/TR/mathml-core), and three older ones that a browser shows as a row.
_ELEMENTS = frozenset(
    [
        "math",
        "mrow",
        "mi",
        "mn",
        "mo",
        "ms",
        "mtext",
        "mspace",
        "mfrac",
        "msqrt",
        "mroot",
        "mstyle",
        "mpadded",
        "mphantom",
        "msub",
        "msup",
        "msubsup",
        "munder",
        "mover",
        "munderover",
        "mtable",
        "mtr",
        "mtd",
        "menclose",
        "mmultiscripts",
        "mprescripts",
    ]
)
# TeX that stands for nothing alone.
_ARGUMENTS = frozenset(
    [
        "begin",
        "end",
        "left",
        "right",
        "middle",
        "limits",
        "nolimits",
        "hline",
        "not",
        "over",
        "atop",
        "choose",
        "backslash",
        "smash",
    ]
)


def element(tex: str, *, display: bool = False) -> ElementTree.Element:
    checked = formula(tex)
    assert checked is not None, tex
    written = mathml(checked, display=display)
    assert written is not None, tex
    return ElementTree.fromstring(written)


def text(tex: str) -> str:
    return "".join(element(tex).itertext())


@pytest.mark.parametrize("name", sorted(COMMANDS - _ARGUMENTS))
def test_every_command_that_is_typeset_is_known(name: str) -> None:
    """None of its TeX source is left in the MathML."""
    assert "\\" not in text(f"\\{name}{{a}}{{b}} c")


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_every_environment_is_a_table(name: str) -> None:
    """With a row for each line, and the cells of a line in it."""
    columns = "{ll}" if name == "array" else ""
    table = element(f"\\begin{{{name}}}{columns} a &= b \\\\ c &= d \\end{{{name}}}", display=True).find(".//mtable")
    assert table is not None
    assert [len(row) for row in table] == [2, 2]


def test_what_formulas_say() -> None:
    """Operators, fractions, scripts and text; the sides of an equation meet at their sign."""
    assert text(r"\alpha < \beta \not\in \mathbb{R}") == "α<β∉ℝ"
    assert text(r"A \& B") == "A&B"
    root = element(r"x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}")
    assert [len(root.findall(f".//{tag}")) for tag in ("mfrac", "msqrt", "msup")] == [1, 1, 1]
    cells = element(r"\begin{align}a &= b \\ &= d\end{align}").findall(".//mtd")
    assert [cell.get("style") for cell in cells] == ["text-align:-webkit-right", "text-align:-webkit-left"] * 2


@pytest.mark.parametrize(
    "tex", [r"x^a^b", r"\frac{1}", "{" * 900 + "}" * 900, r"\left( x \middle\right)", r"\begin{array} a & b"]
)
def test_what_is_no_formula_stays_tex(tex: str) -> None:
    """Nothing is raised, and no incomplete formula is shown."""
    assert mathml(tex, display=False) is None or "\\" not in str(mathml(tex, display=False))


_PARTS = st.sampled_from(
    [
        *(f"\\{name} " for name in sorted(COMMANDS)),
        *"{}^_&<>'\"ab12 ",
        "&lt;",
        "&#60;",
        "\\\\",
        "<script>",
        "\\text{",
        "é",
    ]
)


@given(parts=st.lists(_PARTS, max_size=12))
@settings(max_examples=examples(300), deadline=None)
def test_nothing_but_mathml_comes_out(parts: List[str]) -> None:
    """Whatever is typeset at all is elements that set type, with no attribute that does more than that."""
    tex = formula("".join(parts))
    written = None if tex is None else mathml(tex, display=True)
    if written is None:
        return
    for each in ElementTree.fromstring(written).iter():
        assert each.tag in _ELEMENTS
        assert not [name for name in each.attrib if name.startswith("on") or name in ("href", "src", "class", "id")]


ANSWER = "The root is $x^2$, which costs $5.\n\n$$\n\\frac{1}{2}\n$$\n\nAnd $\\href{javascript:1}{y}$."


def test_elsewhere_there_is_none() -> None:
    """Outside VS Code an answer is what it was: TeX for MathJax, and neither the library nor the style sheet."""
    shown = answers.answer_bundle(ANSWER)["text/html"]
    assert "<math" not in shown
    assert "vscode" not in shown
