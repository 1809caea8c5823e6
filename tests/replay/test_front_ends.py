"""Frozen runs in programs that send no cell ids, and with the session's own simulator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
from support.notebooks import RECORD, command, outputs, write_notebook

CELLS = [
    "%load_ext claude_force_nb\n%claude_config base_url=simulator model=haiku",
    "%claude_answers record talk.answers.jsonl",
    "%%claude memory=talk\nRemember the number seven.",
    "%%claude memory=talk\nWhich number was it?",
    "%%claude memory=talk\nWhich number was it?",
    "batch = %claude_batch ['red', 'green', 'red']\nbatch",
    "batch.to_frame()",
]
_OWN_WARNING = re.compile(r"^claude_force_nb:\d+: .*\n?", re.MULTILINE)


def run_notebook(folder: Path, name: str, **more: str) -> None:
    """Run a notebook with nbclient, as papermill does, and save it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANTHROPIC_", "CLAUDE_"))}
    environment = {**kept, "HOME": str(folder / "home"), **more}
    done = subprocess.run(
        [sys.executable, "-c", RECORD, name],
        cwd=str(folder),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def shown(path: Path) -> List[Any]:
    """Return the output of the cells without warnings and what is about the run."""
    cells = []
    for cell in outputs(path):
        texts = [
            output
            for output in cell
            if output["output_type"] != "stream" and output.get("metadata") != {"claude_force_nb": {"about": "run"}}
        ]
        texts += [_OWN_WARNING.sub("", "".join(output["text"])) for output in cell if output["output_type"] == "stream"]
        cells.append([text for text in texts if text])
    return cells


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a notebook that its own simulator answered, and the answers."""
    folder = tmp_path_factory.mktemp("talk")
    write_notebook(folder / "talk.ipynb", CELLS)
    run_notebook(folder, "talk.ipynb")
    assert [
        output for cell in outputs(folder / "talk.ipynb") for output in cell if output["output_type"] == "error"
    ] == []
    return folder


@pytest.mark.slow
def test_a_notebook_of_the_simulator_is_the_same_in_every_session(recorded: Path, tmp_path: Path) -> None:
    """Its port is another one each time, and frozen it is not started: the same answers, and the same file."""
    done = command(
        "replay",
        "talk.ipynb",
        "--check",
        "--output",
        str(tmp_path / "again.ipynb"),
        folder=recorded,
        home=tmp_path / "home",
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert json.loads((tmp_path / "again.ipynb").read_text("utf-8")) == json.loads(
        (recorded / "talk.ipynb").read_text("utf-8")
    )
    assert "http://localhost/simulator" in (recorded / "talk.answers.jsonl").read_text("utf-8")


@pytest.mark.slow
def test_nbclient_runs_it_frozen_with_its_conversation(recorded: Path, tmp_path: Path) -> None:
    """Turns belong to their cells by position: each shows what it showed, and a file that the environment names is said to be unsigned."""
    before = shown(recorded / "talk.ipynb")
    for name in ("talk.ipynb", "talk.answers.jsonl"):
        (tmp_path / name).write_bytes((recorded / name).read_bytes())
    run_notebook(
        tmp_path,
        "talk.ipynb",
        CLAUDE_FORCE_ANSWERS="talk.answers.jsonl",
        CLAUDE_FORCE_ANSWERS_MODE="frozen",
        CLAUDE_CACHE_SECRET="another secret of somebody else",
    )
    assert shown(tmp_path / "talk.ipynb") == before
    assert before[3] != before[4], "the same words are another turn"
    said = [line for cell in outputs(tmp_path / "talk.ipynb") for output in cell for line in output.get("text", ())]
    assert [line.partition(": ")[2] for line in said if "signed by you" in line] == [
        "AnswerFileWarning: talk.answers.jsonl, named by CLAUDE_FORCE_ANSWERS: 5 of its answers are not signed by you: trust them only as much as you trust the file's source\n"
    ]
