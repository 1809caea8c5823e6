"""docs/tutorials/rerunnable-notebook.md: its cells are run as a notebook, its commands give what the page says."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import List, Tuple

import pytest
from support.notebooks import command, edit, record, write_notebook

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "rerunnable-notebook.md"


def blocks() -> List[Tuple[str, str]]:
    """The blocks of the tutorial, each with its kind."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def words(text: str) -> List[str]:
    """A text without its line breaks."""
    return text.split()


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded, replayed, missed by a word, recorded again and audited."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "CLAUDE_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    found = blocks()
    notebook = tmp_path / "review.ipynb"
    write_notebook(notebook, [text.rstrip("\n") for kind, text in found if kind == "ipython"])
    commands = [text.split() for kind, text in found if kind == "sh"]
    fine, missed = (text for kind, text in found if kind == "text")
    record(notebook, "")
    assert [words[:3] for words in commands] == [
        ["claude-force-nb", "replay", "review.ipynb"],
        ["claude-force-nb", "audit", "review.ipynb"],
    ]
    replay, audit = (words[1:] for words in commands)
    done = command(*replay, folder=tmp_path, home=home)
    assert (words(done.stdout), done.returncode) == (words(fine), 0), done.stderr
    edit(notebook, "monads", "lenses")
    done = command(*replay, folder=tmp_path, home=home)
    assert (words(done.stdout), done.returncode) == (words(missed), 1)
    record(notebook, "")
    done = command(*replay, folder=tmp_path, home=home)
    assert done.stdout == "6 answers in review.answers.jsonl · 1 never used · ok\n"
    done = command(*audit, folder=tmp_path, home=home)
    assert done.returncode == 0
    assert "the same" in done.stdout
