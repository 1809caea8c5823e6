"""Code of an answer as HTML: highlighted, on a background, with the name of its language."""

from __future__ import annotations

import html
from functools import lru_cache
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

if TYPE_CHECKING:
    from pygments.lexer import Lexer

__all__ = ["code_html"]

# Longer code is shown without colours, which take time.
_LONGEST_HIGHLIGHTED = 50_000
# Variables of Jupyter's own style sheets, which follow the theme, and what is used where there are none. The colours can be read on
# light and dark paper.
_COLOURS = {
    "Keyword": ("keyword", "#0a8f3c"),
    "Name.Builtin": ("builtin", "#0a8f3c"),
    "Name.Function": ("def", "#3b7ddd"),
    "Name.Class": ("def", "#3b7ddd"),
    "Name.Decorator": ("meta", "#a05fd0"),
    "Name.Tag": ("tag", "#0a8f3c"),
    "Name.Attribute": ("attribute", "#3b7ddd"),
    "Literal.Number": ("number", "#0b8a6f"),
    "Literal.String": ("string", "#c2513f"),
    "Operator": ("operator", "#a05fd0"),
    "Comment": ("comment", "#6f8080"),
    "Generic.Deleted": ("error", "#c2513f"),
    "Generic.Inserted": ("keyword", "#0a8f3c"),
    "Generic.Heading": ("header", "#3b7ddd"),
    "Error": ("error", "#c2513f"),
}
_BLOCK = "background:var(--jp-cell-editor-background,rgba(127,127,127,0.12));padding:0.4em 0.7em;overflow-x:auto;margin:0.4em 0"
_NAME = "opacity:0.7;font-size:0.8em;font-family:var(--jp-ui-font-family,sans-serif)"


@lru_cache(maxsize=256)
def code_html(code: str, language: str) -> str:
    """Return a block of code as HTML.

    Blocks are kept: an answer that arrives is shown many times, and only its last block changes.

    Parameters
    ----------
    code : str
    language : str
        As named in the answer; "" for none.
    """
    name = f'<div style="{_NAME}">{html.escape(language)}</div>' if language else ""
    inner = _highlighted(code, language) if language and len(code) <= _LONGEST_HIGHLIGHTED else html.escape(code)
    block = f'<div class="highlight" style="{_BLOCK}">{name}<pre style="background:none;margin:0"><code style="background:none">{inner}</code></pre></div>\n'
    # A lone dollar in its own element is never one of a pair that MathJax would take for a formula.
    return block.replace("$", "<span>$</span>")


def _highlighted(code: str, language: str) -> str:
    lexer = _lexer(language)
    if lexer is None:
        return html.escape(code)
    parts: List[Tuple[Any, str]] = []
    for kind, text in lexer.get_tokens(code):
        if parts and parts[-1][0] is kind:
            parts[-1] = (kind, parts[-1][1] + text)
        else:
            parts.append((kind, text))
    if "".join(text for _, text in parts) != code:  # no colour is worth another text
        return html.escape(code)
    return "".join(_span(kind, text) for kind, text in parts)


@lru_cache(maxsize=64)
def _lexer(language: str) -> Optional[Lexer]:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


def _span(kind: Any, text: str) -> str:
    opening = _opening(kind)
    escaped = html.escape(text)
    return f"{opening}{escaped}</span>" if opening and not text.isspace() else escaped


@lru_cache(maxsize=256)
def _opening(kind: Any) -> str:
    """Return the start tag for a kind of token, or "" where it has the colour of text."""
    from pygments.token import STANDARD_TYPES

    name = STANDARD_TYPES.get(kind, "")
    while kind:
        found = _COLOURS.get(".".join(kind))
        if found is not None:
            variable, colour = found
            return f'<span class="{name}" style="color:var(--jp-mirror-editor-{variable}-color,{colour})">'
        kind = kind.parent
    return ""
