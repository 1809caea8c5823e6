"""Rewrites cells before they run, so that magics are awaited and a trailing question mark is not taken for a help request.

The cell that loads the extension has been transformed before that, so it is only checked.
"""

from __future__ import annotations

import ast
import re
import sys
from types import FrameType
from typing import Any, Collection, List, Mapping, Optional

from claude_force_nb.errors import ClaudeForceError

__all__ = ["EXTENSION_ATTRIBUTE", "await_magics", "check_loading_cell", "protect_questions"]

EXTENSION_ATTRIBUTE = "_claude_force_extension"
"""Attribute of the shell that holds the extension, which rewritten cells use."""

_SHOWN_CHARACTERS = 60
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.GeneratorExp,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
)


class _MagicCalls(ast.NodeVisitor):
    """Finds calls of our magics in a transformed cell, in places where a top-level ``await`` is allowed."""

    def __init__(self, names: Mapping[str, bool]) -> None:
        self.names = names
        self.found: List[ast.Call] = []

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, _SCOPES):
            return None
        if isinstance(node, ast.Call) and self._is_ours(node):
            self.found.append(node)
        return self.generic_visit(node)

    def _is_ours(self, node: ast.Call) -> bool:
        function = node.func
        return (
            isinstance(function, ast.Attribute)
            and function.attr in ("run_cell_magic", "run_line_magic")
            and isinstance(function.value, ast.Call)
            and isinstance(function.value.func, ast.Name)
            and function.value.func.id == "get_ipython"
            and len(node.args) >= 2
            and all(isinstance(argument, ast.Constant) and isinstance(argument.value, str) for argument in node.args)
            and node.args[0].value in self.names  # type: ignore[attr-defined]
            and (len(node.args) == 2 or self.names[node.args[0].value])  # type: ignore[attr-defined]
        )


def await_magics(lines: List[str], names: Mapping[str, bool]) -> List[str]:
    """Rewrite top-level calls of the magics in `names` so that they are awaited.

    Parameters
    ----------
    lines : list of str
        A cell after IPython's own transformations, with line ends.
    names : mapping
        Names of the magics that can be awaited, and whether each is a cell magic as well.

    Returns
    -------
    list of str
        As many lines as before; the same list object if nothing is rewritten or the cell is not valid Python.
    """
    text = "".join(lines)
    if "_magic(" not in text or not any(name in text for name in names):
        return lines
    try:
        tree = compile(text, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return lines
    visitor = _MagicCalls(names)
    visitor.visit(tree)
    # Columns in the syntax tree count bytes. Rewriting from the last call to the first keeps earlier columns valid.
    source = [line.encode("utf-8") for line in text.splitlines(keepends=True)]
    for call in sorted(visitor.found, key=lambda call: (call.lineno, call.col_offset), reverse=True):
        if call.lineno != call.end_lineno:
            continue
        line = source[call.lineno - 1]
        source[call.lineno - 1] = line[: call.col_offset] + _awaited(call).encode("utf-8") + line[call.end_col_offset :]
    return b"".join(source).decode("utf-8").splitlines(keepends=True) if visitor.found else lines


def _awaited(call: ast.Call) -> str:
    arguments = ", ".join(repr(argument.value) for argument in call.args)  # type: ignore[attr-defined]
    return f"(await get_ipython().{EXTENSION_ATTRIBUTE}.awaitable({arguments}))"


_QUESTION = r"^([ \t]*(?:[A-Za-z_][^=%#'\"]*=[ \t]*)?)%(\w+)[ \t]+(\S.*\?)[ \t]*(\r?\n?)$"
_TRIPLE = r"\"\"\"|'''"


def protect_questions(lines: List[str], names: Collection[str]) -> List[str]:
    """Turn ``%claude … ?`` into a call of the magic, before IPython takes the question mark for a help request."""
    if not any("?" in line and "%" in line for line in lines):
        return lines
    protected = []
    quotes = 0
    for line in lines:
        match = re.match(_QUESTION, line) if quotes % 2 == 0 else None
        if match and match.group(2) in names:
            head, name, text, end = match.groups()
            line = f"{head}get_ipython().run_line_magic({name!r}, {text!r}){end}"
        else:
            quotes += len(re.findall(_TRIPLE, line))
        protected.append(line)
    return protected


def check_loading_cell(names: Collection[str]) -> None:
    """Stop a cell in which IPython took questions for help requests before the extension was loaded.

    IPython transforms a whole cell before its first line runs, so that a question below ``%load_ext`` is already lost.

    Parameters
    ----------
    names : collection of str
        Names of the magics whose questions may end in ``?``.

    Raises
    ------
    ClaudeForceError
        With a message of one line, which stops the cell. The extension stays loaded, so the cell works when run again.
    """
    lines = (_running_source() or "").splitlines(keepends=True)
    for line, protected in zip(lines, protect_questions(lines, names)):
        if line != protected:
            shown = line.strip()
            shown = shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 1] + "…"
            raise ClaudeForceError(
                f"the extension is loaded; run this again, because IPython had already taken {shown!r} for a request for help; "
                "start a script with ipython --ext=claude_force_nb"
            )


def _running_source() -> Optional[str]:
    """Return the text of the running cell or script, or None if it cannot be found.

    No attribute of IPython has it in kernels, terminals and scripts of all versions, so it is read from the stack frame of
    the function that runs it.
    """
    frame: Optional[FrameType] = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name in ("run_cell_async", "_run_cell") and frame.f_globals.get("__name__", "").startswith(
            "IPython."
        ):
            source = frame.f_locals.get("raw_cell")
            return source if isinstance(source, str) else None
        frame = frame.f_back
    return None
