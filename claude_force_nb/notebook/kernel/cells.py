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
    """Return the cell id that a front end such as JupyterLab puts into the message that runs the cell, or None.

    VS Code sends a URI (``vscode-notebook-cell:/folder/book.ipynb#W1sZmlsZQ==``), whose fragment identifies the cell and
    the rest the notebook.
    """
    found = _mapping(_mapping(message).get("metadata")).get("cellId")
    if not found:
        return None
    _, _, fragment = str(found).partition("#")
    return fragment or str(found)


def runs_in_vs_code() -> bool:
    """Return whether the running cell belongs to VS Code, which identifies cells by ``vscode-…`` URIs."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    message: Any = getattr(shell, "get_parent", dict)()
    return str(_mapping(_mapping(message).get("metadata")).get("cellId")).startswith("vscode-")


def cell_run(message: Any, execution_count: int) -> CellRun:
    """Return the running cell, and which of its runs this is.

    Parameters
    ----------
    message : dict
        The ``execute_request``; {} outside a kernel.
    execution_count : int
        The number in ``In [ ]``.

    Notes
    -----
    A cell is identified by the id that the front end sends. Without an id, a cell of an interactive front end is identified by
    its code, so that running the same code again counts as a rerun. Where cells are not rerun, each run counts as a cell of
    its own: in a terminal, and in nbclient, which runs a notebook once from top to bottom and does not allow input.
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
