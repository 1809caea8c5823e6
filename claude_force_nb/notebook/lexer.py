"""A Pygments lexer for cells with magics, and a Sphinx extension that uses it for the code of notebooks.

To the Python lexer a prompt is full of errors, such as ``isn't`` and ``$5``, which fail `sphinx-build -W`. With
``extensions = ["myst_nb", "claude_force_nb.notebook.lexer"]`` in ``conf.py``, Sphinx reads prompts as text.
"""

from __future__ import annotations

from typing import Any, ClassVar, Dict, List

from pygments.lexer import RegexLexer, bygroups, inherit, using
from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Operator, String, Text, Whitespace

__all__ = ["CellLexer", "setup"]

# Language names that notebooks and their documentation use for a cell.
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
    """A notebook cell: Python with line magics, shell commands and help requests, or a cell magic with its text.

    Python code is read as by `PythonLexer`.
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
            # Cell magics whose body is Python.
            (
                r"\A(\s*)(%%)(capture|debug|prun|python3?|time|timeit)\b(.*)$",
                bygroups(Whitespace, Operator, Keyword, Text),
            ),
            (r"(?s)\A(\s*)(%%)([^\W\d]\w*|!)(.*)", bygroups(Whitespace, Operator, Keyword, Text)),
            # Magics and shell commands, as statements and after "=" or ":".
            (r"^([ \t]*)(%{1,2}[^\W\d]\w*\?{1,2})([ \t]*)$", bygroups(Whitespace, Keyword, Whitespace)),
            (r"(?:^|(?<=[=:]))([ \t]*)(%)([^\W\d]\w*)(.*)$", bygroups(Whitespace, Operator, Keyword, Text)),
            (r"(?:^|(?<==))([ \t]*)(!{1,2})(?!=)(.+)$", bygroups(Whitespace, Operator, Text)),
            # Help requests.
            (r"^([ \t]*)(\?{1,2})(.*)$", bygroups(Whitespace, Operator, Text)),
            (r"([\w.*]+)(\?{1,2})([ \t]*)$", bygroups(Name, Operator, Whitespace)),
            inherit,
        ]
    }


def setup(app: Any) -> Dict[str, Any]:
    """Register `CellLexer` for Python; Sphinx calls this for ``extensions = ["claude_force_nb.notebook.lexer"]``."""
    for name in _NAMES_OF_PYTHON:
        app.add_lexer(name, CellLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
