"""Real front ends that ignore updates of a display: `jupyter console` in a terminal, qtconsole without a screen."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest
from support.live_kernel import KEY, kernel_environment

from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow
SECONDS = 60
_BACKGROUND = "run = %claude_batch ['Io', 'Europa'] model=haiku --background"
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>]")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dict[str, str]]:
    folder = tmp_path_factory.mktemp("console")
    with Simulator(latency_seconds=0.5, tokens_per_second=1000) as simulator:
        yield {**kernel_environment(simulator.url, folder), "JUPYTER_RUNTIME_DIR": str(folder), "TERM": "dumb"}


class Console:
    """`jupyter console` as somebody types into it."""

    def __init__(self, environment: Dict[str, str], prompt: str = "--simple-prompt") -> None:
        pexpect = pytest.importorskip("pexpect")
        pytest.importorskip("jupyter_console")
        arguments = ["-m", "jupyter_console", prompt, "--ZMQTerminalInteractiveShell.banner="]
        self._process: Any = pexpect.spawn(
            sys.executable, arguments, env=environment, encoding="utf-8", timeout=SECONDS, dimensions=(50, 200)
        )
        self._number = 0
        self._wait()

    def _wait(self) -> str:
        self._number += 1
        self._process.expect_exact(f"In [{self._number}]: ")
        return _CONTROLS.sub("", str(self._process.before)).replace("\r\n", "\n")

    def run(self, code: str) -> str:
        """Type a line; return what stands between it and the next prompt."""
        self._process.sendline(code)
        return self._wait()

    def wait_for(self, pattern: str) -> str:
        """Wait, without typing anything, until the console shows what the pattern finds."""
        self._process.expect(pattern)
        return str(self._process.after)

    def close(self) -> None:
        """End the console and its kernel."""
        self._process.sendline("exit")
        self._process.expect(pytest.importorskip("pexpect").EOF)
        self._process.close()


@pytest.fixture
def console(environment: Dict[str, str]) -> Iterator[Console]:
    console = Console(environment)
    yield console
    console.close()


def test_jupyter_console_shows_every_answer(console: Console) -> None:
    """Asked and cached, alone and assigned, with the receipt; a mistake is one line."""
    console.run("%load_ext claude_force_nb")
    first = console.run("%claude What is a comet?")
    assert first.count("imulated answer") == 1
    assert re.search(r"^claude-sonnet-5-5 · \d+→\d+ tok · \$0\.0\d+ · ", first, re.MULTILINE)
    assert " · cached " in console.run("answer = %claude What is a comet?")
    live = console.run("%claude live=on What is a nova?")
    assert live.count("imulated answer") == 1
    assert " tok · $0.0" in live
    wrong = console.run("%claude modle=x hi")
    assert "OptionError: unknown option 'modle'; nothing was sent; did you mean 'model'?" in wrong
    assert "Traceback" not in wrong
    assert KEY not in first + live + wrong


def test_jupyter_console_shows_the_end_of_every_batch(console: Console) -> None:
    """In the cell; rewritten while it runs; and in the background, above the next prompt, without a button that nobody could click."""
    console.run("%load_ext claude_force_nb")
    shown = console.run("%claude_batch ['Mars', 'Venus'] model=haiku")
    assert "2 rows · 2 ok · $0.0" in shown
    assert "Mars" in shown
    assert "2 rows · 2 ok · $0.0" in console.run("%claude_batch ['Pluto', 'Ceres'] model=haiku live=on")
    started = console.run(_BACKGROUND)
    assert "0 of 2" in started
    assert "Stop" not in started
    time.sleep(2)  # while it waits for a line, the console listens to nobody
    assert "2 rows · 2 ok" in console.run("run.status")


def test_jupyter_console_shows_the_end_of_a_batch_while_nobody_types(environment: Dict[str, str]) -> None:
    """This needs the console's setting to listen while it waits for input."""
    console = Console(environment, "--ZMQTerminalInteractiveShell.include_other_output=True")
    console.run("%load_ext claude_force_nb")
    # Longer than the console takes to show its next prompt.
    started = console.run(
        "run = %claude_batch [f'moon {number}' for number in range(4)] model=haiku max_concurrent=1 --background"
    )
    assert "0 of 4" in started
    assert console.wait_for("4 rows · 4 ok")
    console.close()


# Runs cells in a qtconsole and prints all that stands in it. The window is never shown: Qt draws into memory.
_QTCONSOLE = """
import sys
from qtconsole.manager import QtKernelManager
from qtconsole.rich_jupyter_widget import RichJupyterWidget
from qtpy import QtCore, QtWidgets

application = QtWidgets.QApplication([])
manager = QtKernelManager(kernel_name="python3")
manager.start_kernel()
client = manager.client()
client.start_channels()
widget = RichJupyterWidget()
widget.kernel_manager, widget.kernel_client = manager, client
seconds, *cells = sys.argv[1:]
cells = iter(cells)

def run_next(*_):
    code = next(cells, None)
    if code is None:
        QtCore.QTimer.singleShot(1500, application.quit)  # what a batch in the background still says
    else:
        widget.execute(code)

widget.executed.connect(lambda *_: QtCore.QTimer.singleShot(100, run_next))
QtCore.QTimer.singleShot(1000 * int(seconds), application.quit)
client.kernel_info()
QtCore.QTimer.singleShot(3000, run_next)
application.exec_() if hasattr(application, "exec_") else application.exec()
print(widget._control.toPlainText())
client.stop_channels()
manager.shutdown_kernel(now=True)
"""


def test_qtconsole_shows_answers_and_batches(environment: Dict[str, str], tmp_path: Path) -> None:
    """The text of the window has each answer once with its receipt, and the end of each batch."""
    pytest.importorskip("qtconsole")
    pytest.importorskip("PyQt6.QtWidgets", exc_type=ImportError)
    cells = [
        "%load_ext claude_force_nb",
        "%claude What is a quasar?",
        "%claude live=on What is a pulsar?",
        "%claude_batch ['Vega', 'Rigel'] model=haiku",
        "%claude_batch ['Deneb', 'Altair'] model=haiku live=on",
        "run = %claude_batch ['Sirius', 'Spica'] model=haiku --background",
        "await run; print(run.status)",
    ]
    process = subprocess.run(
        [sys.executable, "-c", _QTCONSOLE, str(SECONDS), *cells],
        env={**environment, "QT_QPA_PLATFORM": "offscreen", "QT_API": "pyqt6", "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=2 * SECONDS,
        cwd=str(tmp_path),
    )
    shown = process.stdout
    assert shown.count("imulated answer from claude-sonnet") == 2, shown + process.stderr
    assert len(re.findall(r"^claude-sonnet-5-5 · \d+→\d+ tok · \$0\.0", shown, re.MULTILINE)) == 2, shown
    assert shown.count("2 rows · 2 ok") == 3, shown
    assert "0 of 2 · 2 in flight" not in shown.split("Deneb")[-1].split("Sirius")[0], shown
    assert "\ndone" in shown
