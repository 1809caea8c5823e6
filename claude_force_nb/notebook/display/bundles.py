"""Display bundles: the same text as plain text, Markdown and HTML."""

from __future__ import annotations

import html
import re
from typing import Dict

from claude_force_nb.text_tables import escape_markdown, one_line

__all__ = ["Bundle", "SCROLLED_TABLE", "bundle", "escape_html", "folded_html", "footer_html", "line_bundle"]

Bundle = Dict[str, str]
SCROLLED_TABLE = '<div role="group" aria-label="table" tabindex="0" style="overflow-x:auto">'
"""Opening tag of a table's container, which scrolls a table that is too wide, by keyboard as well."""
_OPEN_ON_PAPER = (
    "<style>@media print{.claude-force-fold::details-content{content-visibility:visible!important}}</style>"
)
_FOOTER_STYLE = "opacity:0.7;font-size:0.85em;margin-top:0.4em"


def escape_html(text: str) -> str:
    """Return plain text as HTML, with each dollar sign in an element of its own so that MathJax finds no formula."""
    return html.escape(text).replace("$", "<span>$</span>")


def footer_html(line: str) -> str:
    """Return the HTML of a line of small type below an answer or a table."""
    return f'<div style="{_FOOTER_STYLE}">{escape_html(line)}</div>'


def folded_html(summary: str, inner_html: str) -> str:
    """Return HTML that is folded under a plain-text summary, and open when printed."""
    return (
        f'{_OPEN_ON_PAPER}<details class="claude-force-fold"><summary>{escape_html(summary)}</summary>'
        f"{inner_html}</details>"
    )


# A newline that is followed by a blank line.
_BEFORE_BLANK = re.compile(r"\n(?=[ \t]*\n)")


def _wrap(inner: str) -> str:
    # nbconvert embeds this HTML in Markdown, where a blank line ends an HTML block: the rest of a code block would be read
    # as Markdown.
    inner = _BEFORE_BLANK.sub("&#10;", inner)
    return f'<div class="claude-force mathjax_ignore tex2jax_ignore" style="overflow-wrap:break-word">{inner}</div>'


def bundle(plain: str, markdown: str, inner_html: str) -> Bundle:
    """Return a display bundle of plain text, Markdown and HTML."""
    return {"text/plain": plain, "text/markdown": markdown, "text/html": _wrap(inner_html)}


def line_bundle(text: str) -> Bundle:
    """Return the bundle of one line of plain text."""
    line = one_line(text)
    return bundle(line, escape_markdown(line), escape_html(line))
