"""The running cell, as the front end reports it."""

from __future__ import annotations

import sys
from hashlib import sha256
from typing import Any, Mapping, Optional

from claude_force_nb.memory.conversations import CellRun

__all__ = ["cell_id", "cell_run", "runs_in_vs_code"]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def cell_id(message: Any) -> Optional[str]:
    """Return the id that a front end such as JupyterLab gives a cell in the message that runs it, or None.

    VS Code gives a URI whose fragment is the cell (``vscode-notebook-cell:/folder/book.ipynb#W1sZmlsZQ==``); the rest is the notebook.
    """
    found = _mapping(_mapping(message).get("metadata")).get("cellId")
    if not found:
        return None
    _, _, fragment = str(found).partition("#")
    return fragment or str(found)


def runs_in_vs_code() -> bool:
    """Return whether the running cell belongs to VS Code, whose notebooks and interactive windows name their cells by URIs of its own."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    message: Any = getattr(shell, "get_parent", dict)()
    return str(_mapping(_mapping(message).get("metadata")).get("cellId")).startswith("vscode-")


def cell_run(message: Any, execution_count: int) -> CellRun:
    """Return which cell runs, and which run of it this is.

    Parameters
    ----------
    message : dict
        The ``execute_request``; {} outside a kernel.
    execution_count : int
        The number in ``In [ ]``.

    Notes
    -----
    With an id from the front end the cell is known by it. Without one, a cell of a front end with a user before it is known by
    its code: the same code again is the cell run again. Where nobody can run a cell again each run is a cell of its own: in
    nbclient, which runs a notebook once from top to bottom (it says that nobody can be asked for input), and in a terminal.
    """
    message = _mapping(message)
    content = _mapping(message.get("content"))
    count = f"[{execution_count}]"
    run = str(_mapping(message.get("header")).get("msg_id") or count)
    given = cell_id(message)
    if given is not None:
        return CellRun("id " + given, run, f"{count} {given[:8]}")
    code = content.get("code")
    if isinstance(code, str) and content.get("allow_stdin"):
        return CellRun("code " + sha256(code.encode("utf-8", "surrogatepass")).hexdigest(), run, count)
    return CellRun("run " + run, run, count)
