"""``as=code``: puts the code of an answer into a new cell below, without running it."""

from __future__ import annotations

from typing import Any, Sequence

from claude_force_nb.messages.code import CodeBlock
from claude_force_nb.text_tables import without_controls

__all__ = ["cell_of", "put_code_below"]

_PYTHON = frozenset(["", "python", "py", "python3", "ipython"])
# Languages for which IPython has a cell magic.
_MAGICS = {
    "bash": "bash",
    "sh": "bash",
    "shell": "bash",
    "html": "html",
    "javascript": "javascript",
    "js": "javascript",
}


def cell_of(blocks: Sequence[CodeBlock]) -> str:
    """Return one cell with all Python blocks of an answer, or the first block in a language with a magic; else ""."""
    python = [block.text for block in blocks if block.language in _PYTHON and block.text.strip()]
    if python:
        return without_controls("\n\n".join(python))
    for block in blocks:
        if block.language in _MAGICS:
            return without_controls(f"%%{_MAGICS[block.language]}\n{block.text}")
    return ""


def put_code_below(shell: Any, blocks: Sequence[CodeBlock]) -> bool:
    """Put the code into a new cell below, or into a terminal's prompt, without running it; return False if there is none."""
    cell = cell_of(blocks)
    if cell:
        shell.set_next_input(cell, replace=False)
    return bool(cell)
