"""``make lab`` opens copies, and leaves the notebooks in git as they are."""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.served_notebook import JupyterServer, texts

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "open_lab.py"


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("open_lab", str(TOOL))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_copy_that_was_worked_on_is_kept(tool: Any, tmp_path: Path) -> None:
    """The second call copies what is missing, and replaces nothing that somebody saved."""
    assert tool.copy_notebooks(tmp_path) == []
    originals = {path.name: path.read_bytes() for path in tool.NOTEBOOKS.glob("*.ipynb")}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == originals
    (tmp_path / "quickstart.ipynb").write_text("mine", encoding="utf-8")
    (tmp_path / "costs.ipynb").unlink()
    assert tool.copy_notebooks(tmp_path) == [tmp_path / "quickstart.ipynb"]
    assert (tmp_path / "quickstart.ipynb").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "costs.ipynb").read_bytes() == originals["costs.ipynb"]


def test_a_notebook_that_does_not_exist_is_named(tool: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error ends in one line with the names, and starts nothing."""
    with pytest.raises(SystemExit):
        tool.main(["quickstrat.ipynb"])
    assert "no notebook is called quickstrat.ipynb; choose one of agents.ipynb, " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_simulator_answers_in_a_copy(tmp_path: Path) -> None:
    """JupyterLab, started as make does: the quickstart runs without a key, and the notebook in git is as it was."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed (the extra 'lab')")
    before = (ROOT / "notebooks" / "quickstart.ipynb").read_bytes()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, str(TOOL), f"--folder={tmp_path / 'copies'}", "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", f"--IdentityProvider.token={token}"]
    environment = {**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    # A group of its own, so that JupyterLab ends with the script that started it.
    with (tmp_path / "lab.log").open("wb") as log:
        running = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            server = JupyterServer(f"http://127.0.0.1:{port}", token, tmp_path / "runtime")
            server.wait()
            shown = texts(server.run("quickstart.ipynb"))
            names = {entry["name"] for entry in server.ask("GET", "/api/contents")["content"]}
        finally:
            os.killpg(running.pid, signal.SIGTERM)
            running.wait(timeout=30)
    assert "simulated" in shown
    assert names == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert (ROOT / "notebooks" / "quickstart.ipynb").read_bytes() == before
