"""A real kernel in a process of its own, driven as a front end drives it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from claude_force_nb.simulator import Simulator
from claude_force_nb.vocabulary import DOCUMENTATION

REPLY_SECONDS = 60.0
# A key that must not be shown anywhere.
KEY = "sk-ant-api03-a-secret-that-must-not-be-shown"


@dataclass
class Cell:
    """What one cell did."""

    outputs: List[Dict[str, Any]] = field(default_factory=list)
    updates: int = 0
    history: List[str] = field(default_factory=list)
    status: str = ""
    error: Optional[Dict[str, Any]] = None
    seconds: float = 0.0
    payload: List[Dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything a reader sees as plain text."""
        parts = []
        for output in self.outputs:
            parts.append(output.get("text") or output.get("data", {}).get("text/plain") or "")
        return "\n".join(parts)

    @property
    def stdout(self) -> str:
        return "".join(output.get("text", "") for output in self.outputs if output.get("name") == "stdout")

    @property
    def stderr(self) -> str:
        return "".join(output.get("text", "") for output in self.outputs if output.get("name") == "stderr")

    @property
    def traceback(self) -> List[str]:
        """Lines of the error, without the link to the page that says what to do."""
        lines = [] if self.error is None else list(self.error["traceback"])
        return [line.partition(f" · {DOCUMENTATION}")[0] for line in lines]

    @property
    def help_link(self) -> str:
        """The link at the end of the error, or ""."""
        lines = [] if self.error is None else list(self.error["traceback"])
        _, mark, page = (lines[-1] if lines else "").partition(f" · {DOCUMENTATION}")
        return mark[3:] + page


class ThisInterpreter(KernelManager):
    """Starts kernels of the interpreter that runs the tests."""

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="test", language="python")


class LiveKernel:
    """A running kernel; use as a context manager."""

    def __init__(self, environment: Dict[str, str], folder: str) -> None:
        self.on_message: Optional[Callable[[Dict[str, Any]], None]] = None
        # Files instead of ports: a free port may be somebody else's by the time the kernel takes it. In a folder of a short name,
        # since that of a socket has at most about a hundred characters.
        self._sockets = tempfile.mkdtemp(prefix="kernel-")
        self.manager = ThisInterpreter(transport="ipc", ip=os.path.join(self._sockets, "s"))
        self.manager.start_kernel(env=environment, cwd=folder)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=REPLY_SECONDS)

    def __enter__(self) -> LiveKernel:
        return self

    def __exit__(self, *_: Any) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)
        # Older versions of jupyter_client leave their sockets' context to the garbage collector, which warns of it.
        for context in (self.client.context, self.manager.context):
            context.destroy(linger=0)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def send(self, code: str, cell_id: Optional[str] = None) -> str:
        """Ask the kernel to run a cell as a front end in a browser does, and return at once with the id of the message.

        With `cell_id` the message names the cell, as JupyterLab's do. An error does not drop the cells behind it: a kernel that drops
        them goes on dropping for a moment after its reply, which people are too slow to notice and tests are not.
        """
        content = {
            **{"code": code, "silent": False, "store_history": True, "user_expressions": {}},
            **{"allow_stdin": True, "stop_on_error": False},
        }
        metadata = {} if cell_id is None else {"cellId": cell_id}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        message_id = message["msg_id"] = message["header"]["msg_id"] = str(uuid.uuid4())
        self.client.shell_channel.send(message)
        return message_id

    def run_as_console(self, code: str) -> Cell:
        """Run a cell as a console based on jupyter_client does."""
        return self.wait(self.client.execute(code, store_history=True, stop_on_error=False))

    def _next(self, timeout_seconds: float) -> Dict[str, Any]:
        message: Dict[str, Any] = self.client.get_iopub_msg(timeout=timeout_seconds)
        if self.on_message is not None:
            self.on_message(message)
        return message

    def listen(self, seconds: float) -> None:
        """Pass the messages that the kernel sends unasked to `on_message`, for this many seconds."""
        ends = time.monotonic() + seconds
        while True:
            left = ends - time.monotonic()
            if left <= 0:
                return
            try:
                self._next(left)
            except Empty:
                return

    def send_comm(self, comm_id: str, data: Dict[str, Any]) -> None:
        """Send what a widget in the page sends."""
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        self.client.shell_channel.send(message)

    def wait_for_output(self, message_id: str, text: str) -> None:
        """Wait until a cell has written `text`: then it runs, and is past what stands before."""
        while True:
            message = self._next(REPLY_SECONDS)
            ours = message["parent_header"].get("msg_id") == message_id
            if ours and message["msg_type"] == "stream" and text in message["content"]["text"]:
                return

    def wait(self, message_id: str) -> Cell:
        """Collect what a cell does until the kernel is idle again, as a front end does."""
        cell = Cell()
        began = time.monotonic()
        displays: Dict[str, Dict[str, Any]] = {}
        while True:
            message = self._next(REPLY_SECONDS)
            kind, content = message["msg_type"], message["content"]
            display_id = content.get("transient", {}).get("display_id")
            if kind == "update_display_data" and display_id in displays:
                displays[display_id]["data"] = content["data"]
                cell.updates += 1
                cell.history.append(content["data"].get("text/plain", ""))
                continue
            if message["parent_header"].get("msg_id") != message_id:
                continue
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind in ("display_data", "execute_result", "stream"):
                output = {"output_type": kind, **content}
                cell.outputs.append(output)
                cell.history.append(content.get("data", {}).get("text/plain", ""))
                if display_id:
                    displays[display_id] = output
            elif kind == "error":
                cell.error = content
        while True:
            try:
                reply = self.client.get_shell_msg(timeout=REPLY_SECONDS)
            except Empty:
                raise AssertionError("the kernel went idle without a reply") from None
            if reply["parent_header"].get("msg_id") == message_id:
                cell.status = reply["content"]["status"]
                cell.payload = reply["content"].get("payload", [])
                break
        cell.seconds = time.monotonic() - began
        return cell

    def run(self, code: str, cell_id: Optional[str] = None) -> Cell:
        """Run a cell to its end."""
        return self.wait(self.send(code, cell_id))

    def run_and_answer(self, code: str, answer: str) -> Tuple[str, Cell]:
        """Run a cell that asks for input, and answer; return the question and what the cell did."""
        message_id = self.send(code)
        question: str = self.client.get_stdin_msg(timeout=REPLY_SECONDS)["content"]["prompt"]
        self.client.input(answer)
        return question, self.wait(message_id)

    def value(self, expression: str) -> str:
        """Return what printing an expression prints; fails where it fails."""
        cell = self.run(f"print({expression})")
        assert cell.error is None, cell.traceback
        return cell.stdout.rstrip("\n")

    def interrupt(self) -> None:
        """Press Stop."""
        self.manager.interrupt_kernel()

    def act_once_shown(self, message_id: str, text: str, act: Callable[[], Any]) -> Cell:
        """Collect what a cell does; call `act` as soon as one of its displays holds `text`."""

        def look(message: Dict[str, Any]) -> None:
            if text in message["content"].get("data", {}).get("text/plain", ""):
                self.on_message = None
                act()

        self.on_message = look
        return self.wait(message_id)

    def complete(self, code: str) -> List[str]:
        """Press Tab at the end of `code`."""
        message_id = self.client.complete(code, len(code))
        while True:
            reply = self.client.get_shell_msg(timeout=REPLY_SECONDS)
            if reply["parent_header"].get("msg_id") == message_id:
                return list(reply["content"]["matches"])


def kernel_environment(url: str, folder: Path) -> Dict[str, str]:
    """Return a kernel's environment with the address of one API, and no settings of the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLAUDE_", "ANTHROPIC_"))}
    return {
        **kept,
        "HOME": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CACHE_DIR": str(folder / "cache"),
        "CLAUDE_CACHE_SECRET": "0123456789abcdef-for-tests-only",
        "CLAUDE_FORCE_DATA_DIR": str(folder / "data"),
    }


def only_answer(cell: Cell) -> Dict[str, Any]:
    """Return the data of the only rich output of a cell."""
    assert cell.error is None, cell.traceback
    rich = [output["data"] for output in cell.outputs if "data" in output]
    assert len(rich) == 1, cell.outputs
    return rich[0]


def one_line(cell: Cell) -> str:
    """Return the error of a cell, which must be one line and nothing else."""
    assert cell.status == "error"
    assert len(cell.traceback) == 1, cell.traceback
    assert "\n" not in cell.traceback[0]
    assert KEY not in json.dumps(cell.outputs) + cell.traceback[0]
    return cell.traceback[0]


def assert_one_line_and_nothing_sent(kernel: LiveKernel, server: Simulator, code: str, parts: Iterable[str]) -> None:
    """Assert that a cell ends in one line that holds all `parts`, and that nothing has left."""
    calls = server.counters.calls
    line = one_line(kernel.run(code))
    for part in parts:
        assert part in line
    assert server.counters.calls == calls
