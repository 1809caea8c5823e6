"""Runs a notebook in frozen mode: in a new kernel without network, from its answer file, outside the user's folders."""

from __future__ import annotations

import copy
import math
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

from claude_force_nb.answers import AnswerFile
from claude_force_nb.errors import ConfigurationError, SourceError
from claude_force_nb.messages.nesting import load_json

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["Replayed", "run_frozen"]

# Never passed to the kernel, which does not call the API.
_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_CONFIG_DIR")
_UNUSED = """
import json
magics = get_ipython().magics_manager.registry.get("ClaudeMagics")
answers = None if magics is None else magics.session.answers
print(json.dumps(None if answers is None else [answers.missed, answers.misses, answers.unused()]))
"""


@dataclass(frozen=True)
class Replayed:
    """The result of a replay.

    Attributes
    ----------
    saved, notebook : NotebookNode
        The notebook as saved, and as run again.
    missed : int
        Number of requests that the file could not answer, including rows of batches.
    misses : list of str
        Messages about the first of them.
    unused : list of str or None
        Fingerprints of the file's answers that were not used; None if the notebook did not run to its end.
    """

    saved: NotebookNode
    notebook: NotebookNode
    missed: int
    misses: List[str]
    unused: Optional[List[str]]


def run_frozen(path: Path, answers: AnswerFile, *, environ: Mapping[str, str], timeout_seconds: float) -> Replayed:
    """Run a notebook, and continue after cells that fail.

    Parameters
    ----------
    path : Path
        The notebook, which runs in its own folder.
    answers : AnswerFile
    environ : mapping
        Environment variables; keys are removed.
    timeout_seconds : float
        Time limit of one cell, > 0.

    Raises
    ------
    ConfigurationError
        If nbclient or ipykernel is not installed.
    SourceError
        If the file is not a notebook.
    """
    try:
        import nbclient
        import nbformat
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import AsyncKernelManager
    except ImportError:
        raise ConfigurationError("replay needs nbclient and ipykernel: pip install 'claude_force_nb[replay]'") from None

    class ClosedKernelManager(AsyncKernelManager):
        """Starts kernels of this interpreter, without network."""

        @property
        def kernel_spec(self) -> KernelSpec:
            command = [sys.executable, "-m", "claude_force_nb.replay.closed_kernel", "-f", "{connection_file}"]
            command.append("--IPKernelApp.log_level=40")  # errors only: no warning about unencrypted channels
            return KernelSpec(argv=command, display_name="replay", language="python")

    try:
        notebook = nbformat.read(str(path), as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise SourceError(f"{path} is not a notebook: {type(error).__name__}") from None
    saved = copy.deepcopy(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell(_UNUSED))  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory(prefix="claude-replay-") as state:
        client = nbclient.NotebookClient(
            notebook,
            kernel_manager_class=ClosedKernelManager,
            kernel_name="python3",
            allow_errors=True,
            record_timing=False,
            timeout=math.ceil(timeout_seconds),
            resources={"metadata": {"path": str(path.resolve().parent)}},
        )
        client.execute(env=_environment(answers, environ, state))
    missed, misses, unused = _printed(notebook.cells.pop())
    notebook.metadata = saved.metadata
    return Replayed(saved, notebook, missed, misses, unused)


def _environment(answers: AnswerFile, environ: Mapping[str, str], state: str) -> Dict[str, str]:
    """Return the kernel's environment: frozen mode, no key, and the recorded server's address, which is never contacted."""
    environment = {name: value for name, value in environ.items() if name not in _KEYS}
    environment.update(
        CLAUDE_FORCE_ANSWERS=answers.path,
        CLAUDE_FORCE_ANSWERS_MODE="frozen",
        CLAUDE_FORCE_ALLOW_HTTP="on",
        CLAUDE_CACHE_DIR=os.path.join(state, "cache"),
        CLAUDE_FORCE_DATA_DIR=os.path.join(state, "data"),
    )
    servers = set()
    for fingerprint in answers.fingerprints():
        entry = answers.entry(fingerprint)
        servers.add(None if entry is None or entry.request is None else entry.request.get("base_url"))
    if len(servers) == 1:
        (server,) = servers
        if isinstance(server, str):
            environment["ANTHROPIC_BASE_URL"] = server
    return environment


def _printed(cell: Any) -> Tuple[int, List[str], Optional[List[str]]]:
    text = "".join(output.get("text", "") for output in cell.outputs)
    try:
        printed = load_json(text)
        missed, misses, unused = printed
    except (ValueError, TypeError):
        return 0, [], None
    return missed, misses, unused
