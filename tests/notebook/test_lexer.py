"""Cells with magics as highlighters read them, and a documentation that is built from them without a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import List

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pygments.lexers import get_lexer_by_name
from pygments.lexers.python import PythonLexer
from pygments.token import Error, Keyword, String, Text
from support.examples import examples

import claude_force_nb
from claude_force_nb.notebook.lexer import CellLexer

CELLS = [
    "%load_ext claude_force_nb",
    "%%claude into=review model=haiku\nReview this: it costs $5, isn't `x` \"good? {{ topic + 's' }}\n\n- a list",
    "answer = %claude model=haiku What isn't up?",
    "for name in names: %claude Who is {{ name }}? It's $1.",
    "for name in names:\n    answer = %claude Who isn't {{ name }}?\n    print(answer.text)",
    "labels = %claude_batch ['a pond', \"a poet's\"] model=haiku --background",
    "%%claude_batch labels into=more\nSay more of {{ item.text }}; don't {% if x %}lie{% endif %} {# $ #}",
    "%%claude_agent poet model=haiku\nYou write poems; don't rhyme.",
    "%%time\nx = await orchestrator.run('it is $5')",
    "%%bash\necho $HOME isn't",
    "%%!\necho 'x",
    "!pip install -q 'claude_force_nb'\nfiles = !ls $HOME",
    "%%claude?",
    "answer?\n?print",
    "await labels\nx != y",
]


def mistakes(code: str) -> List[str]:
    return [text for kind, text in CellLexer().get_tokens(code) if kind is Error]


@pytest.mark.parametrize("code", CELLS)
def test_a_cell_is_read_without_a_mistake(code: str) -> None:
    """The cell is read without error tokens, and no text is lost or changed."""
    assert mistakes(code) == []
    assert "".join(text for _, text in CellLexer().get_tokens(code)) == code.strip("\n") + "\n"


def test_what_python_alone_makes_of_them() -> None:
    """Python's own lexer finds errors in most of these cells, so that the test above is not vacuous."""
    assert sum(Error in {kind for kind, _ in PythonLexer().get_tokens(code)} for code in CELLS) >= 5


def test_a_prompt_is_text_and_its_expressions_are_not() -> None:
    """The magic is a keyword, and `for` in a prompt is none."""
    tokens = list(CellLexer().get_tokens("%%claude into=x\nList for {{ name }} if not None"))
    assert [text for kind, text in tokens if kind is Keyword] == ["claude"]
    assert [text for kind, text in tokens if kind is String.Interpol] == ["{{", "}}"]
    assert (Text, "\nList for ") in tokens


def test_python_is_read_as_ever() -> None:
    """The source of this package, which has no magics, is read as before."""
    for path in sorted(Path(claude_force_nb.__file__).parent.glob("*.py")):
        code = path.read_text(encoding="utf-8")
        assert list(CellLexer().get_tokens(code)) == list(PythonLexer().get_tokens(code)), path


@given(prompt=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
@settings(max_examples=examples(200))
def test_no_prompt_is_a_mistake(prompt: str) -> None:
    """No text below `%%claude` causes an error token."""
    assert mistakes("%%claude\n" + prompt) == []
    assert mistakes("answer = %claude " + " ".join(prompt.split())) == []


@pytest.mark.slow  # an editable installation that is older than the entry point does not have it
def test_pygments_knows_it_by_name() -> None:
    """This holds where the package is installed."""
    assert isinstance(get_lexer_by_name("claude-cell"), CellLexer)


@pytest.mark.slow
def test_a_documentation_with_our_cells_is_built_without_a_warning(tmp_path: Path) -> None:
    """By MyST-NB with `-W`, from a notebook that only says that it is Python, as Colab saves it, and from one in MyST's Markdown."""
    pytest.importorskip("myst_nb", reason="MyST-NB is not installed (the extra 'frontends')")
    source = tmp_path / "source"
    source.mkdir()
    cells = [nbformat.v4.new_code_cell(code) for code in CELLS]  # type: ignore[no-untyped-call]
    title = nbformat.v4.new_markdown_cell("# Book")  # type: ignore[no-untyped-call]
    book = nbformat.v4.new_notebook(cells=[title, *cells], metadata={"language_info": {"name": "python"}})  # type: ignore[no-untyped-call]
    nbformat.write(book, source / "index.ipynb")  # type: ignore[no-untyped-call]
    header = "---\nfile_format: mystnb\norphan: true\nkernelspec:\n  name: python3\n  language: python\n---\n# Page\n\n"
    blocks = "\n\n".join(f"```{{code-cell}}\n{code}\n```" for code in CELLS)
    (source / "page.md").write_text(header + blocks + f"\n\n```python\n{CELLS[2]}\n```\n", encoding="utf-8")
    settings_ = (
        "extensions = ['myst_nb', 'claude_force_nb.notebook.lexer']\nnb_execution_mode = 'off'\nhtml_theme = 'basic'\n"
    )
    (source / "conf.py").write_text(settings_, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        str(source),
        str(tmp_path / "out"),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    assert '<span class="k">claude</span>' in (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
