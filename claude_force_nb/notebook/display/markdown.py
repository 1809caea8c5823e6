"""Markdown of a model as HTML, and as Markdown, in which nothing is live."""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, List, Set

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

__all__ = ["markdown_as_html", "safe_markdown"]


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
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
    rendered: str = _markdown().render(text)
    # A lone dollar in its own element is never one of a pair that MathJax would take for a formula.
    return rendered.replace("$", "<span>$</span>") if "$" in rendered else rendered


_SPECIAL = re.compile(r"(`+)(?:(?!`).*?(?<!`))?\1(?!`)|\\.|\$|<|!\[", re.DOTALL)


def _escape_match(match: re.Match[str]) -> str:
    found = match.group()
    return {"$": "\\$", "<": "&lt;", "![": "!\\["}.get(found, found)


def safe_markdown(text: str) -> str:
    """Return Markdown with formulas, HTML and images outside code turned into text."""
    if not re.search(r"[$<]|!\[", text):
        return text
    lines = text.split("\n")
    code: Set[int] = set()
    for token in _markdown().parse(text):
        if token.type in ("fence", "code_block") and token.map:
            code.update(range(*token.map))
    parts: List[str] = []
    prose: List[str] = []
    for number, line in enumerate(lines):
        if number in code:
            if prose:
                parts.append(_SPECIAL.sub(_escape_match, "\n".join(prose)))
                prose = []
            parts.append(line)
        else:
            prose.append(line)
    if prose:
        parts.append(_SPECIAL.sub(_escape_match, "\n".join(prose)))
    return "\n".join(parts)
