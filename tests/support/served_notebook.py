"""A notebook opened and run through a running Jupyter server."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any, Dict, List

from jupyter_client import BlockingKernelClient

START_SECONDS = 120.0
CELL_SECONDS = 120.0


class JupyterServer:
    """The REST interface of a server on this machine.

    Parameters
    ----------
    url, token : str
        Where it listens, and what it asks for.
    runtime : Path
        Its runtime folder, in which it writes how to reach its kernels.
    """

    def __init__(self, url: str, token: str, runtime: Path) -> None:
        self._url = url
        self._headers = {"Authorization": "token " + token, "Content-Type": "application/json"}
        self._runtime = runtime

    def ask(self, method: str, path: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode("utf-8")
        request = urllib.request.Request(self._url + path, data=body, method=method, headers=self._headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def wait(self) -> None:
        """Wait until the server answers; raises TimeoutError."""
        ends = time.monotonic() + START_SECONDS
        while True:
            try:
                self.ask("GET", "/api/status")
                return
            except OSError:
                if time.monotonic() > ends:
                    raise TimeoutError(f"no Jupyter server at {self._url}") from None
                time.sleep(0.2)

    def run(self, path: str) -> List[Dict[str, Any]]:
        """Open a notebook in a new kernel, as a click on it does, and run its cells; returns the outputs of all."""
        notebook = self.ask("GET", f"/api/contents/{path}")["content"]
        kernel = {"name": notebook["metadata"]["kernelspec"]["name"]}
        session = self.ask("POST", "/api/sessions", {"path": path, "name": path, "type": "notebook", "kernel": kernel})
        client = BlockingKernelClient(
            connection_file=str(self._runtime / "kernel-{}.json".format(session["kernel"]["id"]))
        )
        client.load_connection_file()
        # Without the heartbeat, by which a kernel that a busy machine starts slowly is taken for dead.
        client.start_channels(hb=False)
        outputs: List[Dict[str, Any]] = []

        def collect(message: Dict[str, Any]) -> None:
            if message["msg_type"] in ("stream", "display_data", "update_display_data", "execute_result", "error"):
                outputs.append(message["content"])

        try:
            client.wait_for_ready(timeout=START_SECONDS)
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    reply = client.execute_interactive(
                        cell["source"], timeout=CELL_SECONDS, output_hook=collect, stop_on_error=False
                    )
                    assert reply["content"]["status"] == "ok", (cell["id"], reply["content"])
        finally:
            client.stop_channels()
            client.context.destroy(linger=0)
            self.ask("DELETE", "/api/sessions/" + session["id"])
        return outputs


def texts(outputs: List[Dict[str, Any]]) -> str:
    """Return what outputs show as plain text."""
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)
