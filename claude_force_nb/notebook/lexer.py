"""A lexer of pygments for cells with magics, and a Sphinx extension that reads the code of notebooks with it.

To Python's lexer a prompt is full of mistakes, ``isn't`` and ``$5`` for example, and `sphinx-build -W` takes its warnings for errors.
``extensions = ["myst_nb", "claude_force_nb.notebook.lexer"]`` in ``conf.py`` makes Sphinx read prompts as text.
"""

from __future__ import annotations

from typing import Any, ClassVar, Dict, List

from pygments.lexer import RegexLexer, bygroups, inherit, using
from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Operator, String, Text, Whitespace

__all__ = ["CellLexer", "setup"]

# Names under which notebooks and their documentation ask for the language of a cell.
_NAMES_OF_PYTHON = ("python", "python3", "py", "py3", "ipython", "ipython3")


class _PromptLexer(RegexLexer):  # type: ignore[misc]  # pygments has no types
    """A prompt: text, with expressions in double braces."""

    tokens: ClassVar[Dict[str, List[Any]]] = {
        "root": [
            (r"(?s)\{#.*?#\}", Comment),
            (r"(?s)(\{\{|\{%)(.*?)(\}\}|%\})", bygroups(String.Interpol, Name, String.Interpol)),
            (r"[^{]+|\{", Text),
        ]
    }


class CellLexer(PythonLexer):  # type: ignore[misc]  # pygments has no types
    """A cell of a notebook: Python with magics, lines for the shell and requests for help; or one cell magic with its text.

    It reads what is Python as `PythonLexer` does.
    """

    name = "Notebook cell with Claude's magics"
    aliases: ClassVar[List[str]] = ["claude-cell"]
    filenames: ClassVar[List[str]] = []
    alias_filenames: ClassVar[List[str]] = []
    mimetypes: ClassVar[List[str]] = []

    tokens: ClassVar[Dict[str, List[Any]]] = {
        "root": [
            (
                r"(?s)\A(\s*)(%%)(claude\w*)([^\n]*)(.*)",
                bygroups(Whitespace, Operator, Keyword, Text, using(_PromptLexer)),
            ),
            # Below these there is Python.
            (
                r"\A(\s*)(%%)(capture|debug|prun|python3?|time|timeit)\b(.*)$",
                bygroups(Whitespace, Operator, Keyword, Text),
            ),
            (r"(?s)\A(\s*)(%%)([^\W\d]\w*|!)(.*)", bygroups(Whitespace, Operator, Keyword, Text)),
            # A magic, a line for the shell: as a statement, behind "=" and behind ":".
            (r"^([ \t]*)(%{1,2}[^\W\d]\w*\?{1,2})([ \t]*)$", bygroups(Whitespace, Keyword, Whitespace)),
            (r"(?:^|(?<=[=:]))([ \t]*)(%)([^\W\d]\w*)(.*)$", bygroups(Whitespace, Operator, Keyword, Text)),
            (r"(?:^|(?<==))([ \t]*)(!{1,2})(?!=)(.+)$", bygroups(Whitespace, Operator, Text)),
            # Help.
            (r"^([ \t]*)(\?{1,2})(.*)$", bygroups(Whitespace, Operator, Text)),
            (r"([\w.*]+)(\?{1,2})([ \t]*)$", bygroups(Name, Operator, Whitespace)),
            inherit,
        ]
    }


def setup(app: Any) -> Dict[str, Any]:
    """Have Sphinx read Python with `CellLexer`; called by Sphinx for ``extensions = ["claude_force_nb.notebook.lexer"]``."""
    for name in _NAMES_OF_PYTHON:
        app.add_lexer(name, CellLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
