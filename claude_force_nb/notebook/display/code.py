"""Code of an answer as HTML: highlighted, on a background, with its language's name; one click selects all of it."""

from __future__ import annotations

import html
from functools import lru_cache
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

if TYPE_CHECKING:
    from pygments.lexer import Lexer

__all__ = ["CODE_STYLE", "code_html"]

# Longer code is scrolled in its own box.
_LINES_WITHOUT_BOX = 60
# Variables of Jupyter's style sheets, which follow the theme; fallback colours, legible on light and dark backgrounds; and
# the Pygments classes that use them.
_COLOURS = (
    ("keyword", "#0a8f3c", "k kc kd kn kp kr kt nt gi"),
    ("builtin", "#0a8f3c", "nb bp"),
    ("def", "#3b7ddd", "nf fm nc na gh gu"),
    ("meta", "#a05fd0", "nd"),
    ("number", "#0b8a6f", "m mb mf mh mi mo il"),
    ("string", "#c2513f", "s sa sb sc dl sd s2 se sh si sx sr s1 ss"),
    ("operator", "#a05fd0", "o ow"),
    ("comment", "#6f8080", "c ch cm cp cpf c1 cs"),
    ("error", "#c2513f", "gd err"),
)
_CLASSES = frozenset(name for _, _, names in _COLOURS for name in names.split())
_RULES = "".join(
    "{}{{color:var(--jp-mirror-editor-{}-color,{})}}".format(
        ",".join(f".claude-force .highlight .{name}" for name in names.split()), variable, colour
    )
    for variable, colour, names in _COLOURS
)
CODE_STYLE = (
    "<style>.claude-force .highlight pre{background:none;margin:0;user-select:all;-webkit-user-select:all}"
    f"{_RULES}@media print{{.claude-force .highlight{{max-height:none!important;overflow:visible!important}}"
    ".claude-force .highlight pre{white-space:pre-wrap!important}}</style>"
)
"""Style sheet for an answer with code. Untrusted notebooks lose it, but there JupyterLab colours the Pygments classes."""
# In an untrusted notebook CSS variables are removed, so the first background applies.
_BLOCK = (
    "background:rgba(127,127,127,0.12);background:var(--jp-cell-editor-background,rgba(127,127,127,0.12));"
    "padding:0.4em 0.7em;overflow-x:auto;margin:0.4em 0"
)
_BOX = ";max-height:40em;overflow-y:auto"
_NAME = "opacity:0.8;font-size:0.8em;font-family:var(--jp-ui-font-family,sans-serif)"
# An untrusted notebook loses the style sheet and "user-select", but keeps classes. This class of Lumino, which JupyterLab,
# Notebook and nbconvert include, gives an element "user-select: all" and the width of its parent.
_SELECTED_WHOLE = "lm-TabBar-tabInput"


def code_html(code: str, language: str, *, coloured: bool = True) -> str:
    """Return a block of code as HTML, whose colours need `CODE_STYLE`.

    Parameters
    ----------
    code : str
    language : str
        As named in the answer; "" for none.
    coloured : bool
        False to skip highlighting, which takes time.
    """
    name = f'<div style="{_NAME}">{_text(language)}</div>' if language else ""
    inner = _highlighted(code, language) if language and coloured else _text(code)
    style = _BLOCK + _BOX if code.count("\n") > _LINES_WITHOUT_BOX else _BLOCK
    label = html.escape(f"{language} code".strip())
    # The tab index makes the box scrollable by keyboard.
    return (
        f'<div class="highlight" role="group" aria-label="{label}" tabindex="0" style="{style}">'
        f'{name}<pre class="{_SELECTED_WHOLE}" style="white-space:pre;background:none;margin:0"><code style="background:none">{inner}</code></pre></div>\n'
    )


def _text(text: str) -> str:
    if text.isalnum():  # most tokens need no escaping
        return text
    # MathJax does not pair up dollar signs that are in elements of their own.
    return html.escape(text, quote=False).replace("$", "<span>$</span>")


def _highlighted(code: str, language: str) -> str:
    lexer = _lexer(language)
    if lexer is None:
        return _text(code)
    parts: List[Tuple[Optional[str], str]] = []
    current: Optional[str] = None
    run = ""
    # The Markdown parser has normalised line ends, so the preprocessing of `get_tokens` is not needed.
    for _, kind, text in lexer.get_tokens_unprocessed(code):
        name = _class_of(kind)
        if name == current or (current is not None and text.isspace()):
            run += text
        else:
            parts.append((current, run))
            current, run = name, text
    parts.append((current, run))
    if "".join([text for _, text in parts]) != code:  # highlighting must not change the text
        return _text(code)
    return "".join([f'<span class="{name}">{_text(text)}</span>' if name else _text(text) for name, text in parts])


@lru_cache(maxsize=64)
def _lexer(language: str) -> Optional[Lexer]:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


@lru_cache(maxsize=256)
def _class_of(kind: Any) -> str:
    """Return the Pygments class of a token type, or "" if it has the colour of plain text."""
    from pygments.token import STANDARD_TYPES

    while kind:
        name: str = STANDARD_TYPES.get(kind, "")
        if name in _CLASSES:
            return name
        kind = kind.parent
    return ""
