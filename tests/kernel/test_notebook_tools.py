"""Tools that people run over notebooks, on one with our magics: real ones, each skipped where it is not installed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List, Tuple

import nbformat
import pytest
from support.live_kernel import kernel_environment

from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow

CELLS = [
    'topic = "ponds"',
    "%load_ext claude_force_nb",
    "%%claude into=review model=haiku\nReview this: it costs $5, isn't `x` good?\n\n- {{ topic }}",
    "answer = %claude model=haiku Isn't it short.",
    "print(review.text[:9], answer.text[:5])",
    "labels = %claude_batch ['a pond', 'a poet\\'s'] model=haiku",
    "%%claude_batch labels model=haiku into=more\nSay more of {{ item }}: isn't it?",
    "%%claude_agent poet model=haiku\nYou write poems; don't rhyme.",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The notebook, never run."""
    book = nbformat.v4.new_notebook(  # type: ignore[no-untyped-call]
        cells=[nbformat.v4.new_code_cell(source) for source in CELLS],  # type: ignore[no-untyped-call]
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(book, tmp_path / "book.ipynb")  # type: ignore[no-untyped-call]
    return tmp_path / "book.ipynb"


def sources(path: Path) -> List[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells]  # type: ignore[no-untyped-call]


def run(path: Path, tool: str, *arguments: str) -> Tuple[int, str]:
    """Run a tool beside the notebook; return its status and what it said. Skip where it is not installed."""
    pytest.importorskip(tool)
    command = [sys.executable, "-m", tool, *arguments]
    done = subprocess.run(command, cwd=str(path.parent), capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("form", ["md:myst", "py:percent"])
def test_jupytext_keeps_every_cell(path: Path, form: str) -> None:
    """To text and back."""
    jupytext = pytest.importorskip("jupytext")
    text = jupytext.writes(jupytext.read(path), form)
    assert [cell.source for cell in jupytext.reads(text, form).cells] == CELLS


def test_a_setting_makes_percent_scripts_python(path: Path) -> None:
    """With the setting of our documentation prompts are comments of the script; without it the script is not Python. It is read back the same."""
    jupytext = pytest.importorskip("jupytext")
    with pytest.raises(SyntaxError):
        ast.parse(jupytext.writes(jupytext.read(path), "py:percent"))
    setting = 'custom_cell_magics = "claude,claude_agent,claude_batch,claude_compare"\n'
    (path.parent / "jupytext.toml").write_text(setting, encoding="utf-8")
    assert run(path, "jupytext", "--to", "py:percent", path.name)[0] == 0
    script = path.with_suffix(".py")
    ast.parse(script.read_text(encoding="utf-8"))
    assert "# Review this: it costs $5, isn't `x` good?" in script.read_text(encoding="utf-8")
    assert [cell.source for cell in jupytext.read(script).cells] == CELLS


def test_ruff_reads_the_notebook(path: Path) -> None:
    """It leaves every cell as it is, and misses the names of `into=` until one setting names them."""
    assert run(path, "ruff", "format", "--isolated", path.name)[0] == 0
    assert sources(path) == CELLS
    status, said = run(path, "ruff", "check", "--isolated", "--select", "E,F", "--output-format", "concise", path.name)
    assert status == 1
    assert said.count("F821") == 1, said
    assert "`review`" in said
    (path.parent / "pyproject.toml").write_text('[tool.ruff]\nbuiltins = ["review", "more"]\n', encoding="utf-8")
    status, said = run(path, "ruff", "check", "--select", "E,F", path.name)
    assert (status, said.strip()) == (0, "All checks passed!")


def test_black_leaves_cells_as_they_are(path: Path) -> None:
    """Except for a line that ends in a question mark, which black takes for a help request, as documented."""
    pytest.importorskip("tokenize_rt", reason="black is not installed for notebooks (black[jupyter])")
    assert run(path, "black", "--quiet", path.name) == (0, "")
    assert sources(path) == CELLS
    book = nbformat.read(path, 4)  # type: ignore[no-untyped-call]
    book.cells[0].source, book.cells[1].source = "%claude What is up?", "%%claude into=answer\nWhat is up?"
    nbformat.write(book, path)  # type: ignore[no-untyped-call]
    assert run(path, "black", "--quiet", path.name) == (0, "")
    assert sources(path)[:2] == ["?up", "%%claude into=answer\nWhat is up?"]


def test_jupyter_cache_runs_a_notebook_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives its outputs from then on; nbstripout takes them away and nothing else."""
    jupyter_cache = pytest.importorskip("jupyter_cache")
    executors = pytest.importorskip("jupyter_cache.executors")
    with Simulator() as server:
        for name, value in kernel_environment(server.url, path.parent).items():
            monkeypatch.setenv(name, value)
        # The kernel is found as that of this interpreter, whatever else is installed here.
        monkeypatch.setenv("JUPYTER_PATH", os.path.join(sys.prefix, "share", "jupyter"))
        monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
        cache: Any = jupyter_cache.get_cache(str(path.parent / "cache of notebooks"))
        cache.add_nb_to_project(str(path))
        executor = executors.load_executor("local-serial", cache)
        ran = [executor.run_and_cache(timeout=60) for _ in range(2)]
        asked = server.counters.calls
    assert [len(each.succeeded) for each in ran] == [1, 0], ran
    assert asked == 6
    _, book = cache.merge_match_into_file(str(path))
    assert [len(cell.outputs) for cell in book.cells] == [0, 0, 1, 1, 1, 1, 1, 1]
    nbformat.write(book, path)
    assert run(path, "nbstripout", path.name) == (0, "")
    assert sources(path) == CELLS
    assert not [cell for cell in nbformat.read(path, 4).cells if cell.outputs]  # type: ignore[no-untyped-call]
