"""Markdown of a model as HTML, and as Markdown, in which nothing is live."""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .safe_markdown import safe_markdown

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

__all__ = ["markdown_as_html", "markdown_of"]


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # HTML in an answer is text; links to scripts are refused by the parser; an image would call its server, so it is a link.
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")

    def image(tokens: Any, index: int, options: Any, env: Any) -> str:
        token = tokens[index]
        address = html.escape(str(token.attrGet("src") or ""))
        return f'<a href="{address}" rel="noopener noreferrer">{html.escape(token.content or address)}</a>'

    parser.renderer.rules["image"] = image  # type: ignore[attr-defined]
    return parser


def markdown_as_html(text: str) -> str:
    """Return Markdown as HTML in which nothing is live."""
    rendered: str = _parser().render(text)
    # A lone dollar in its own element is never one of a pair that MathJax would take for a formula.
    return rendered.replace("$", "<span>$</span>") if "$" in rendered else rendered


# A text without any of these means the same to every program that reads Markdown, and is not live in any.
_SUSPICIOUS = re.compile(r"[\\$<{!&\[\]^@~]|^ {0,3}[%:=-]|://|^ *(?:```|~~~)", re.MULTILINE)


def markdown_of(text: str) -> str:
    """Return Markdown in which nothing is live; see `safe_markdown`."""
    return safe_markdown(_parser().parse(text)) if _SUSPICIOUS.search(text) else text
