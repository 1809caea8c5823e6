"""The magics in plain IPython, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator

import pytest

from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Dict[str, str]]:
    with Simulator() as simulator:
        yield {
            **os.environ,
            "HOME": str(tmp_path),
            "IPYTHONDIR": str(tmp_path / "ipython"),
            "ANTHROPIC_BASE_URL": simulator.url,
            "ANTHROPIC_API_KEY": "simulated",
            # What is not closed at the end would be said on standard error.
            "PYTHONWARNINGS": "always::ResourceWarning",
        }


def ipython(environment: Dict[str, str], *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit", "--no-term-title", *arguments]
    return subprocess.run(
        command,
        env=environment,
        input=typed,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
    )


def assert_clean(process: subprocess.CompletedProcess[str]) -> None:
    """Assert that nothing was left open."""
    assert process.returncode == 0, process.stderr
    assert "Unclosed" not in process.stderr
    assert "was never awaited" not in process.stderr


def test_the_command_line_blocks_and_answers(environment: Dict[str, str]) -> None:
    """`ipython -c` transforms the text before the extension is loaded; the plain magic answers unawaited."""
    code = "%load_ext claude_force_nb\nanswer = %claude model=haiku tell me\nprint(repr(answer.status))"
    process = ipython(environment, "-c", code)
    assert_clean(process)
    lines = process.stdout.splitlines()
    assert lines[0].startswith("Simulated answer")
    assert lines[1].startswith("claude-haiku-5-5 · ")
    assert lines[2] == "'ok'"


def test_a_session_in_the_terminal(environment: Dict[str, str]) -> None:
    """In the terminal the answer is printed once with its receipt, is the value, and is replayed for free."""
    typed = (
        "%load_ext claude_force_nb\n%claude What is up?\n_.status\n%claude modle=x hi\n%claude What is up?\n"
        "_.saved > 0\n%claude_cost\nexit\n"
    )
    process = ipython(environment, "--simple-prompt", typed=typed)
    assert_clean(process)
    assert process.stdout.count("imulated answer") == 2
    assert "Out[3]: 'ok'" in process.stdout
    assert (
        "OptionError: unknown option 'modle'; nothing was sent; did you mean 'model'?"
        in process.stdout + process.stderr
    )
    assert "Traceback" not in process.stdout + process.stderr
    assert " · cached " in process.stdout
    assert "Out[6]: True" in process.stdout


def test_a_batch_in_the_terminal(environment: Dict[str, str]) -> None:
    """A batch ends with its summary, printed once, and is the value."""
    typed = '%load_ext claude_force_nb\n%claude_batch ["one", "two"] model=haiku\n_.counts["ok"]\nexit\n'
    process = ipython(environment, "--simple-prompt", typed=typed)
    assert_clean(process)
    assert process.stdout.count("2 rows · 2 ok · $0.000") == 1
    assert "Out[2]: BatchResult, shown above" in process.stdout
    assert "Out[3]: 2" in process.stdout


def test_a_conversation_in_the_terminal(environment: Dict[str, str]) -> None:
    """What is typed twice is two turns: a terminal has no cells to run again."""
    typed = (
        "%load_ext claude_force_nb\n%claude_config memory=on\n%claude Go on.\n%claude Go on.\n%claude_memory\nexit\n"
    )
    process = ipython(environment, "--simple-prompt", typed=typed)
    assert_clean(process)
    assert " · turn 1 of default" in process.stdout
    assert " · turn 2 of default" in process.stdout
    assert "2 turns, about " in process.stdout


def test_the_commands_of_the_package(environment: Dict[str, str]) -> None:
    """`python -m claude_force_nb` has its commands, and a mistake is one line."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "claude_force_nb", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=100)

    assert {"demo", "simulator", "cache", "cost", "doctor"} <= set(
        run("--help").stdout.replace(",", " ").replace("{", " ").split()
    )
    assert run("cache", "path").stdout.strip() == environment["CLAUDE_CACHE_DIR"]
    assert run("cost").returncode == 0
    wrong = run("demo", "--notebook", "nowhere.ipynb")
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == "error: there is no notebook nowhere.ipynb"


def test_a_batch_in_a_function_of_the_terminal(environment: Dict[str, str]) -> None:
    """A batch blocks inside a function and is its value; a background needs a notebook and says so."""
    typed = (
        "%load_ext claude_force_nb\n"
        "labels = %claude_batch ['one', 'two'] model=haiku\n"
        "labels.counts\n"
        "def ask(): return get_ipython().run_line_magic('claude_batch', 'words model=haiku')\n\n"
        "words = ['one']; ask().counts\n"
        "%claude_batch ['one'] --background\n"
        "exit\n"
    )
    process = ipython(environment, "--simple-prompt", typed=typed)
    assert_clean(process)
    assert "Out[3]: {'ok': 2, 'cached': 0, 'failed': 0, 'not_sent': 0}" in process.stdout
    assert "{'ok': 0, 'cached': 1, 'failed': 0, 'not_sent': 0}" in process.stdout
    assert "OptionError: --background needs a notebook" in process.stdout + process.stderr
    assert "Traceback" not in process.stdout + process.stderr
