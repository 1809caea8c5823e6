"""Notebooks recorded in one place and run again in another: the same, or named cell by cell."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.notebooks import CELLS, command, edit, outputs, record, write_notebook

from claude_force_nb.answers import AnswerFile
from claude_force_nb.replay.comparing import changed_cells, failed_cells, missed_cells
from claude_force_nb.simulator import Simulator

# An interpreter of another version, for the tests marked slow.
OTHER_PYTHON = os.environ.get("OTHER_PYTHON", "")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a notebook that ran against a server that is gone, and its answers."""
    folder = tmp_path_factory.mktemp("recorded")
    write_notebook(folder / "review.ipynb", CELLS)
    with pytest.MonkeyPatch.context() as patch, Simulator() as server:
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("CLAUDE_CACHE_DIR", str(folder / "cache"))
        record(folder / "review.ipynb", server.url)
    return folder


@pytest.fixture
def copied(recorded: Path, tmp_path: Path) -> Path:
    """The notebook and its answers, and nothing else, in another folder."""
    for name in ("review.ipynb", "review.answers.jsonl"):
        shutil.copy(recorded / name, tmp_path / name)
    return tmp_path


def text_of(output: Any) -> str:
    """Return the text of an answer above its receipt."""
    return "".join(output["data"]["text/plain"]).rpartition("\n\n")[0]


@pytest.mark.slow
def test_a_notebook_runs_again_elsewhere_and_is_the_same(copied: Path) -> None:
    """No key, no cache, another home, the server gone: each cell shows what it showed, and the check says so."""
    assert len(AnswerFile(copied / "review.answers.jsonl")) == 5
    before = outputs(copied / "review.ipynb")
    done = command(
        "replay", "review.ipynb", "--check", "--output", "again.ipynb", folder=copied, home=copied / "elsewhere"
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout == "5 answers in review.answers.jsonl · 5 not signed by you · ok\n"
    after = outputs(copied / "again.ipynb")
    assert before[-1][0]["ename"] == after[-1][0]["ename"] == "ZeroDivisionError"
    for number in (3, 5, 6):
        (one,), (two,) = (
            [each for each in cell[number] if "fingerprint" in each.get("metadata", {}).get("claude_force_nb", {})]
            for cell in (before, after)
        )
        assert one["metadata"] == two["metadata"]
        assert text_of(one) == text_of(two)
    assert not list((copied / "elsewhere").rglob("claude*")), "nothing is left in the home of who runs it"


@pytest.mark.slow
def test_a_word_that_was_changed_is_named(copied: Path) -> None:
    """Cell and word are reported; the other cells are unchanged."""
    edit(copied / "review.ipynb", "in one word", "in two word")
    (copied / "review.answers.jsonl").write_bytes((copied / "review.answers.jsonl").read_bytes() + b"rubbish\n")
    done = command("replay", "review.ipynb", "--check", folder=copied, home=copied / "elsewhere")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "cell 4 has no answer: cell [4]: review.answers.jsonl has no answer to this prompt to reviewer"
    )
    assert 'its prompt ("two" where the file has "one")' in lines[0]
    assert lines[1].startswith("cell 5 failed: NameError")
    assert lines[2] == "review.answers.jsonl: line 7 was changed, or is not an answer"
    assert "1 never used" in lines[-1]
    assert len(lines) == 4


@pytest.mark.slow
def test_rows_without_an_answer_are_counted(copied: Path) -> None:
    """A batch ends with rows that were not sent and raises nothing; the command says so without --check as well."""
    edit(copied / "review.ipynb", "'green'", "'blue'")
    done = command("replay", "review.ipynb", folder=copied, home=copied / "elsewhere")
    assert done.returncode == 1
    assert done.stdout.startswith(
        "in a batch or a loop, cell [9]: review.answers.jsonl has no answer to this prompt to claude-haiku"
    )
    assert 'its prompt ("blue" where the file has "' in done.stdout


@pytest.mark.slow
def test_code_that_wants_the_network_gets_none(copied: Path) -> None:
    """Connections that a cell opens itself are refused as well."""
    edit(copied / "review.ipynb", "1 / 0", "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/')")
    done = command("replay", "review.ipynb", "--check", folder=copied, home=copied / "elsewhere")
    assert done.returncode == 1
    assert "cell 10 shows something other than what was saved" in done.stdout
    command("replay", "review.ipynb", "--output", "again.ipynb", folder=copied, home=copied / "elsewhere")
    assert "a replayed notebook has no network access" in (copied / "again.ipynb").read_text("utf-8")


@pytest.mark.slow
def test_audit_knows_each_answer(copied: Path) -> None:
    """From the file, with model, agent and cost; a text that somebody changed in the notebook is said to differ."""
    done = command("audit", "review.ipynb", folder=copied, home=copied / "elsewhere")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["cell", "4", "6", "7"]
    assert done.stdout.count("the same") == 3
    text = (copied / "review.ipynb").read_text("utf-8")
    answer = AnswerFile(copied / "review.answers.jsonl")
    entries = [answer.entry(each) for each in answer.fingerprints()]
    (asked,) = [entry for entry in entries if entry is not None and entry.agent == "reviewer"]
    shown = json.dumps(asked.result.text, ensure_ascii=False)[1:-1]
    (copied / "review.ipynb").write_text(text.replace(shown[:60], "Trust me: " + shown[:60]), "utf-8")
    done = command("audit", "review.ipynb", "--json", folder=copied, home=copied / "elsewhere")
    assert done.returncode == 1
    first, *others = json.loads(done.stdout)
    assert (first["cell"], first["agent"], first["found_in"], first["same_text"]) == (4, "reviewer", "file", False)
    assert first["model"].startswith("claude-haiku")
    assert first["request_id"].startswith("req_")
    assert float(first["cost"]) > 0
    assert [each["same_text"] for each in others] == [True, True]
    (copied / "review.answers.jsonl").unlink()
    done = command("audit", "review.ipynb", "--json", folder=copied, home=copied / "elsewhere")
    assert [each["found_in"] for each in json.loads(done.stdout)] == ["nowhere"] * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["replay", "missing.ipynb"], "missing.ipynb cannot be read: No such file"),
        (["replay", "text.ipynb"], "text.ipynb is not a notebook: it is not valid JSON"),
        (["replay", "empty.ipynb"], "not found; record one"),
        (["audit", "list.ipynb"], "list.ipynb is not a notebook of version 4"),
        (["audit", "empty.ipynb", "--answers", "text.ipynb"], "line 1 is not the header of an answer file"),
    ],
)
def test_wrong_use_is_one_line_and_status_two(tmp_path: Path, words: list[str], said: str) -> None:
    """Nothing is run and nothing is written."""
    (tmp_path / "text.ipynb").write_text("hello")
    (tmp_path / "list.ipynb").write_text("[]")
    write_notebook(tmp_path / "empty.ipynb", [])
    done = command(*words, folder=tmp_path, home=tmp_path / "elsewhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_counts_as_a_change() -> None:
    """Addresses, the split of a stream and the output of %claude_answers do not; another text, form or error does."""

    def notebook(*cells: list[dict[str, object]], source: str = "x") -> dict[str, object]:
        return {"cells": [{"cell_type": "code", "source": source, "outputs": cell} for cell in cells]}

    def stream(text: str) -> dict[str, object]:
        return {"output_type": "stream", "name": "stdout", "text": text}

    def data(**forms: str) -> dict[str, object]:
        return {"output_type": "execute_result", "data": forms, "metadata": {}}

    error = {"output_type": "error", "ename": "E", "evalue": "v"}
    same = notebook(
        [stream("a"), stream("b")], [data(plain="<x at 0x7f001122aa>")], [data(**{"text/plain": "0x7f00aabbcc"})]
    )
    again = notebook([stream("ab")], [data(plain="<x at 0x7f001122aa>")], [data(**{"text/plain": "0x7f00aabbdd"})])
    assert changed_cells(same, again) == []
    assert changed_cells(notebook([stream("a")], [], []), notebook([stream("b")], [error], [])) == [1, 2]
    own, set_otherwise = (f'<div class="claude-force x"><{tag}>1' for tag in "bi")
    shown, set_anew = ([data(**{"text/plain": "1", "text/html": html})] for html in (own, set_otherwise))
    assert changed_cells(notebook(shown), notebook(set_anew)) == []
    assert changed_cells(notebook(shown), notebook([data(**{"text/plain": "2", "text/html": own})])) == [1]
    run = {"metadata": {"claude_force_nb": {"about": "run"}}}
    about, frozen = ({**data(**{"text/plain": text}), **run} for text in ("recording", "frozen"))
    assert changed_cells(notebook([about]), notebook([frozen])) == []
    assert changed_cells(notebook([about, stream("a")]), notebook([frozen, stream("b")])) == [1]
    live = "%claude_jobs attach x"
    assert changed_cells(notebook([stream("1 s")], source=live), notebook([stream("2 s")], source=live)) == []
    assert failed_cells(notebook([], [error]), notebook([error], [error])) == {1: "E: v"}
    miss = dict(error, ename="AnswerMissError", evalue="cell [1]: x")
    assert missed_cells(notebook([miss])) == {1: "cell [1]: x"}
    assert failed_cells(notebook([]), notebook([miss])) == {}


@pytest.mark.slow
@pytest.mark.skipif(
    not OTHER_PYTHON, reason="OTHER_PYTHON names no interpreter that has the package and its extra replay"
)
def test_a_notebook_runs_again_on_another_python(copied: Path) -> None:
    """Recorded here, replayed there, in another home: the same, and audited as the same."""
    home = copied / "elsewhere"
    done = command("replay", "review.ipynb", "--check", folder=copied, home=home, python=OTHER_PYTHON)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    done = command("audit", "review.ipynb", folder=copied, home=home, python=OTHER_PYTHON)
    assert (done.returncode, done.stdout.count("the same")) == (0, 3)
