"""%load_ext together with other code in the cell, and without IPython."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest
from support.live_kernel import LiveKernel, kernel_environment, one_line, only_answer

import claude_force_nb
from claude_force_nb.errors import ClaudeForceError
from claude_force_nb.simulator import Simulator


@pytest.fixture
def fresh(server: Simulator, tmp_path: Path) -> Iterator[LiveKernel]:
    with LiveKernel(kernel_environment(server.url, tmp_path), str(tmp_path)) as kernel:
        yield kernel


@pytest.mark.slow
def test_a_question_in_the_loading_cell(fresh: LiveKernel) -> None:
    """IPython has taken it for help on its last word; the cell says so and stops, and does what it says when run again."""
    code = "%load_ext claude_force_nb\nreached = 1\nanswer = %claude model=haiku What is up?"
    assert one_line(fresh.run(code)) == (
        "ClaudeForceError: the extension is loaded; run this again, because IPython had already taken "
        "'answer = %claude model=haiku What is up?' for a request for help; start a script with ipython --ext=claude_force_nb"
    )
    assert fresh.value("'reached' in globals()") == "False"
    only_answer(fresh.run(code))
    assert fresh.value("answer.status") == "ok"


@pytest.mark.slow
@pytest.mark.parametrize(
    "question", ["answer = %claude model=haiku tell me", "print('100 %claude what?')", "text = '''\n%claude what?\n'''"]
)
def test_anything_else_in_the_loading_cell(fresh: LiveKernel, question: str) -> None:
    """What IPython does not take for help runs in the same cell."""
    assert fresh.run("%load_ext claude_force_nb\n" + question).error is None


@pytest.mark.slow
def test_a_script(server: Simulator, tmp_path: Path) -> None:
    """An .ipy script with a question says what to do, and runs when the extension is loaded before it is read."""
    environment = kernel_environment(server.url, tmp_path)
    script = tmp_path / "script.ipy"
    script.write_text("%load_ext claude_force_nb\nanswer = %claude model=haiku What is up?\nprint(answer.status)\n")
    command = [sys.executable, "-m", "IPython", "--no-banner"]
    first = subprocess.run([*command, str(script)], env=environment, capture_output=True, encoding="utf-8", timeout=100)
    shown = first.stdout + first.stderr
    assert "start a script with ipython --ext=claude_force_nb" in shown
    assert "Traceback" not in shown
    command += ["--ext=claude_force_nb"]
    second = subprocess.run(
        [*command, str(script)], env=environment, capture_output=True, encoding="utf-8", timeout=100
    )
    assert second.stdout.endswith("ok\n"), second.stdout + second.stderr


@pytest.mark.slow
def test_autoawait_of_another_library(fresh: LiveKernel) -> None:
    """With %autoawait trio the magic blocks, answers, and leaves no coroutine behind."""
    pytest.importorskip("trio")
    fresh.run("%load_ext claude_force_nb\n%autoawait trio")
    fresh.run("import trio")
    cell = fresh.run("answer = %claude model=haiku tell me\nprint(answer.status)")
    assert cell.stdout == "ok\n"
    cell = fresh.run("await trio.sleep(0)\nanswer = %claude model=haiku tell me more\nprint(answer.status)")
    assert cell.stdout == "ok\n", cell
    assert "never awaited" not in cell.stderr


@pytest.mark.parametrize("shell", [None, object()])
def test_without_ipython(shell: object) -> None:
    """One line that says what to use instead."""
    with pytest.raises(ClaudeForceError, match="the magics need IPython"):
        claude_force_nb.load_ipython_extension(shell)
