"""A real JupyterLab in a real browser, driven as a user drives it."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Optional, Protocol, Tuple, Type

BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
WAIT_SECONDS = 60.0


def find_browser() -> Optional[str]:
    """Return the path of a Chromium that is installed here, ``CLAUDE_FORCE_BROWSER`` first."""
    for name in (os.environ.get("CLAUDE_FORCE_BROWSER", ""), "chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def notebook(cells: List[str]) -> Dict[str, Any]:
    """Return a notebook of code cells that were never run."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for number, source in enumerate(cells)
        ],
    }


# A new kernel may give a cell the number that it had before: its end is that the number is written, not that it differs.
# Shortcuts are there once the settings are read, which may be later than the kernel: a key that is pressed before is lost.
_HAS_SHORTCUTS = "() => window.jupyterapp?.commands.keyBindings.some(each => each.command === 'notebook:run-cell')"
_WATCH = """
prompt => {
  prompt.hasEnded = false;
  new MutationObserver((_, observer) => {
    if (/\\d/.test(prompt.textContent)) { prompt.hasEnded = true; observer.disconnect(); }
  }).observe(prompt, {childList: true, characterData: true, subtree: true});
}
"""


class Lab:
    """JupyterLab of the interpreter that runs the tests, in a folder of its own; use as a context manager."""

    def __init__(self, folder: Path, environment: Dict[str, str]) -> None:
        self.folder = folder / "notebooks"
        self.folder.mkdir(parents=True)
        self._settings = folder / "settings"
        self.set_theme(LIGHT)
        self._write_setting("notification", {"fetchNews": "false", "checkForUpdates": False})
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.token = secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            **environment,
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(self._settings),
        }
        command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
        command += ["--ServerApp.token=" + self.token, f"--ServerApp.root_dir={self.folder}"]
        command += [f"--{app}.expose_app_in_browser=True" for app in ("LabApp", "JupyterNotebookApp")]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        self._numbers = itertools.count()
        # A notebook that is not written yet, and the request that starts its kernel.
        self._next: Tuple[str, Optional[threading.Thread]] = ("", None)
        self._log = (folder / "lab.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(command, env=self._environment, cwd=str(self.folder), stderr=self._log)

    def set_theme(self, theme: str) -> None:
        """Set the theme of pages that are opened from now on."""
        self._write_setting("themes", {"theme": theme})

    def _write_setting(self, name: str, values: Dict[str, Any]) -> None:
        folder = self._settings / "@jupyterlab" / "apputils-extension"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (name + ".jupyterlab-settings")).write_text(json.dumps(values), encoding="utf-8")

    def __enter__(self) -> Lab:
        ends = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=5).close()
                self._prepare_notebook()
                return self
            except OSError:
                if time.monotonic() > ends or self._process.poll() is not None:
                    self.__exit__(None, None, None)
                    raise AssertionError("JupyterLab did not start: see lab.log") from None
                time.sleep(0.1)

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _prepare_notebook(self) -> None:
        """Start the kernel of the next notebook, while the test of the present one goes on."""
        name = f"notebook-{next(self._numbers)}.ipynb"
        session = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "python3"}}
        thread = threading.Thread(target=self._ask, args=("POST", "/api/sessions", session), daemon=True)
        thread.start()
        self._next = (name, thread)

    def new_notebook(self, cells: List[str]) -> str:
        """Write a notebook, whose kernel runs already, and return its name."""
        name, starting = self._next
        assert starting is not None
        self.write(name, cells)
        starting.join(WAIT_SECONDS)
        self._prepare_notebook()
        return name

    def end_kernels(self) -> None:
        """Shut every kernel down but that of the next notebook, as the list of running kernels does."""
        for session in json.loads(self._ask("GET", "/api/sessions")):
            if session["path"] != self._next[0]:
                self._ask("DELETE", "/api/sessions/" + session["id"])

    def _ask(self, method: str, path: str, body: Optional[Dict[str, Any]] = None) -> bytes:
        headers = {"Authorization": "token " + self.token}
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, method=method, headers=headers, data=data)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            received: bytes = answer.read()
        return received

    def write(self, name: str, cells: List[str]) -> None:
        """Write a notebook into the folder that JupyterLab serves."""
        (self.folder / name).write_text(json.dumps(notebook(cells)), encoding="utf-8")

    def read(self, name: str) -> Dict[str, Any]:
        """Return a notebook as it is saved; waits while JupyterLab writes it."""
        until = time.monotonic() + 20
        while True:
            text = (self.folder / name).read_text(encoding="utf-8")
            if text or time.monotonic() > until:
                saved: Dict[str, Any] = json.loads(text)
                return saved
            time.sleep(0.1)


class NotebookPage:
    """One notebook open in the browser, in JupyterLab, or in Notebook where `tree` is ``notebooks``."""

    def __init__(self, lab: Lab, page: Any, name: str, tree: str = "lab/tree") -> None:
        self._tree = tree
        self.lab = lab
        self.page = page
        self.name = name
        page.set_default_timeout(WAIT_SECONDS * 1000)
        self.open()

    def open(self) -> None:
        """Load the page, anew where it is open."""
        self.page.goto(f"{self.lab.url}/{self._tree}/{self.name}?reset&token={self.lab.token}")
        self.page.locator(".jp-NotebookPanel .jp-CodeCell").first.wait_for()
        idle = (
            "text=/Python 3.*Idle/" if self._tree == "lab/tree" else ".jp-Notebook-ExecutionIndicator[data-status=idle]"
        )
        self.page.locator(idle).first.wait_for()
        self.page.wait_for_function(_HAS_SHORTCUTS)

    def cell(self, number: int) -> Any:
        """Return the locator of a cell."""
        return self.page.locator(".jp-NotebookPanel .jp-CodeCell").nth(number)

    def start(self, number: int) -> None:
        """Run a cell, without waiting for its end."""
        self._prompt(number).evaluate(_WATCH)
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def run(self, number: int) -> Any:
        """Run a cell to its end and return its locator."""
        self.start(number)
        self.wait_for_end(number)
        return self.cell(number)

    def wait_for_end(self, number: int) -> None:
        """Wait until a cell that was started has its number again."""
        ends = time.monotonic() + WAIT_SECONDS
        while not self._prompt(number).evaluate("prompt => prompt.hasEnded"):
            assert time.monotonic() < ends, f"cell {number} did not end: {self.cell(number).inner_text()}"
            self.page.wait_for_timeout(50)

    def _prompt(self, number: int) -> Any:
        return self.cell(number).locator(".jp-InputPrompt")

    def save(self) -> Dict[str, Any]:
        """Save, and return what is on disk then."""
        path = self.lab.folder / self.name
        before = path.stat().st_mtime_ns
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Control+s")
        ends = time.monotonic() + WAIT_SECONDS
        while path.stat().st_mtime_ns == before:
            assert time.monotonic() < ends, "the notebook was not saved"
            self.page.wait_for_timeout(50)
        return self.lab.read(self.name)


class OpenNotebook(Protocol):
    """Opens a new notebook of these cells; for `tree` see `NotebookPage`."""

    def __call__(self, cells: List[str], tree: str = "lab/tree") -> NotebookPage:
        """Return its page."""
