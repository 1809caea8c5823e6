"""``as=code``: puts the code of an answer into a new cell below, without running it."""

from __future__ import annotations

from typing import Any, Sequence

from claude_force_nb.messages.code import CodeBlock
from claude_force_nb.text_tables import without_controls

__all__ = ["cell_of", "put_code_below"]

_PYTHON = frozenset(["", "python", "py", "python3", "ipython"])
# Languages that IPython itself has a cell magic for.
_MAGICS = {
    "bash": "bash",
    "sh": "bash",
    "shell": "bash",
    "html": "html",
    "javascript": "javascript",
    "js": "javascript",
}


def cell_of(blocks: Sequence[CodeBlock]) -> str:
    """Return the blocks of an answer as one cell: those in Python, or the first in a language that has a magic; else ""."""
    python = [block.text for block in blocks if block.language in _PYTHON and block.text.strip()]
    if python:
        return without_controls("\n\n".join(python))
    for block in blocks:
        if block.language in _MAGICS:
            return without_controls(f"%%{_MAGICS[block.language]}\n{block.text}")
    return ""


def put_code_below(shell: Any, blocks: Sequence[CodeBlock]) -> bool:
    """Put the code into a new cell below, or into the prompt of a terminal, without running it. Return whether there was any."""
    cell = cell_of(blocks)
    if cell:
        shell.set_next_input(cell, replace=False)
    return bool(cell)
