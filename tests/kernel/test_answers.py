"""%claude_answers in real kernels: recorded in one, frozen in another that has no key and nobody to ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest
from support.live_kernel import Cell, LiveKernel, kernel_environment, only_answer

from claude_force_nb.answers import AnswerFile
from claude_force_nb.simulator import Simulator

CELLS = [
    "%claude_config model=haiku memory=on",
    "topic = 'monads'",
    "%%claude agent=reviewer\nExplain {{ topic }} in one word.",
    "%%claude agent=reviewer\nAnd in two.",
    "%claude memory=off stream=off And colours?",
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dict[str, Any]]:
    """What a kernel showed while it recorded, and where."""
    folder = tmp_path_factory.mktemp("recorded")
    with Simulator() as server:
        with LiveKernel(kernel_environment(server.url, folder), str(folder)) as kernel:
            assert kernel.run("%load_ext claude_force_nb").status == "ok"
            before = kernel.run("%claude memory=off stream=off Asked before there was a file")
            begun = kernel.run("%claude_answers record x.answers.jsonl")
            cells = [kernel.run(code) for code in CELLS]
        yield {"folder": folder, "url": server.url, "cells": cells, "begun": begun, "before": before}


def frozen_environment(recorded: Dict[str, Any], folder: Path) -> Dict[str, str]:
    """Return an environment with another home, no key, and a dead address that is never contacted."""
    environment = kernel_environment(recorded["url"], folder)
    del environment["ANTHROPIC_API_KEY"], environment["CLAUDE_CACHE_SECRET"]
    return environment


def shown(cell: Cell) -> str:
    """Return the plain text that a cell shows."""
    return str(only_answer(cell)["text/plain"])


@pytest.mark.slow
def test_a_kernel_that_is_frozen_shows_the_same(recorded: Dict[str, Any], tmp_path: Path) -> None:
    """Templates, an agent and a conversation: the same text with no key, and a miss names cell, agent and word."""
    answers = Path(recorded["folder"], "x.answers.jsonl")
    assert len(AnswerFile(answers)) == 4, "what was asked before, too"
    assert shown(recorded["begun"]) == "answers are recorded into x.answers.jsonl"
    with LiveKernel(frozen_environment(recorded, tmp_path), str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        said = shown(kernel.run(f"%claude_answers frozen {answers}"))
        assert said.startswith(
            "x.answers.jsonl answers: 4 answers; 4 of its answers are not signed by you: trust them only as much as"
        )
        cells = [kernel.run(code) for code in CELLS]
        for cell, first in zip(cells[2:], recorded["cells"][2:]):
            (output,), (earlier,) = cell.outputs, first.outputs
            # Receipts too: they say what an answer took when it was made, whether that was now or not.
            assert output["data"] == earlier["data"]
            assert output["metadata"] == earlier["metadata"]
            assert output["metadata"]["claude_force_nb"]["model"].startswith("claude-haiku")
        assert "cached: free" in kernel.run("%claude memory=off --dry-run And colours?").text
        missed = kernel.run("%claude memory=off stream=off And odours?")
        assert missed.status == "error"
        (line,) = missed.traceback
        assert line.startswith("AnswerMissError: cell [")
        assert 'its prompt ("odours" where the file has "colours")' in line
        assert kernel.value("'anthropic' in __import__('sys').modules") == "False"
        status = kernel.run("%claude_answers status").text
        assert [line.split()[-1] for line in status.splitlines() if "not used" in line] == ["1"]


@pytest.mark.slow
def test_words_that_are_wrong_are_shown(recorded: Dict[str, Any], tmp_path: Path) -> None:
    """A missing file, an unknown word and an invalid file are reported, and nothing changes."""
    with LiveKernel(kernel_environment(recorded["url"], tmp_path), str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        (tmp_path / "other.jsonl").write_text("hello\n")
        for line, said in {
            "": "no answer file is used; name one: %claude_answers record review.answers.jsonl",
            "frosen x": "did you mean 'frozen'?",
            "use missing.jsonl": "answer file missing.jsonl not found; record one",
            "record": "the notebook's name is not known here; name the file",
            "record other.jsonl": "line 1 is not the header of an answer file",
        }.items():
            cell = kernel.run(f"%claude_answers {line}")
            assert cell.status == "error", line
            assert len(cell.traceback) == 1
            assert said in cell.traceback[0]
        assert "record" in kernel.run("%claude_answers --help").text
        assert kernel.run("%claude Are you there?").status == "ok"


@pytest.mark.slow
def test_save_prune_and_off(recorded: Dict[str, Any], tmp_path: Path) -> None:
    """What this run did not use is removed; off uses no file from then on; the environment freezes against a cell."""
    data = Path(recorded["folder"], "x.answers.jsonl").read_bytes()
    (tmp_path / "y.answers.jsonl").write_bytes(data)
    with LiveKernel(kernel_environment(recorded["url"], tmp_path), str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        kernel.run("%claude_answers use y.answers.jsonl")
        # The name means the same file wherever the notebook goes.
        kernel.run("import os\nos.mkdir('below')\nos.chdir('below')")
        kernel.run("%claude_config model=haiku")
        assert only_answer(kernel.run(CELLS[-1]))
        assert shown(kernel.run("%claude_answers prune")) == "removed 3 answers that this run did not use"
        assert shown(kernel.run("%claude_answers save")) == "1 answer is in y.answers.jsonl"
        assert shown(kernel.run("%claude_answers off")) == "no answer file is used from now on"
    environment = {**frozen_environment(recorded, tmp_path), "CLAUDE_FORCE_ANSWERS_MODE": "frozen"}
    with LiveKernel({**environment, "CLAUDE_FORCE_ANSWERS": "y.answers.jsonl"}, str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        assert "nothing was changed" in shown(kernel.run("%claude_answers record y.answers.jsonl"))
        kernel.run("%claude_config model=haiku")
        assert only_answer(kernel.run(CELLS[-1]))
        assert "AnswerMissError" in kernel.run("%claude Something new").traceback[0]


@pytest.mark.slow
def test_a_project_does_not_choose_who_answers(recorded: Dict[str, Any], tmp_path: Path) -> None:
    """Answers in a repository's file would pass for the model's, so only a user may name it, or trust the project."""
    (tmp_path / "z.answers.jsonl").write_bytes(Path(recorded["folder"], "x.answers.jsonl").read_bytes())
    (tmp_path / "pyproject.toml").write_text('[tool.claude_force_nb]\nanswers = "z.answers.jsonl"\n')
    with LiveKernel(kernel_environment(recorded["url"], tmp_path), str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        ignored = kernel.run("%claude stream=off Are you there?")
        assert "answers is ignored, because a project file may not set this" in ignored.stderr
        kernel.run("%claude_config trust=on")
        assert "z.answers.jsonl" in kernel.run("%claude_answers").text
    assert json.loads((tmp_path / "z.answers.jsonl").read_bytes().splitlines()[0])["version"] == 1
