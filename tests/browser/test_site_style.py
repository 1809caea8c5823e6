"""The style of the documentation's site, on a small screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import pytest

pytestmark = pytest.mark.browser

STYLE = Path(__file__).resolve().parent.parent.parent / "docs" / "_static" / "site.css"
NAMES = ["allow_unknown_price", "--requests-per-minute", "temperature"]


def _code(text: str) -> str:
    """Write inline code as Sphinx does, each word in an element."""
    return "<code>{}</code>".format(" ".join(f'<span class="pre">{word}</span>' for word in text.split()))


def _table(first_cells: List[str]) -> str:
    """Write a table that is wider than a small screen if nothing in it breaks."""
    choices = _code("averylongchoiceofanoption" * 4)
    rows = "".join(f"<tr><td>{cell}</td><td>{'words ' * 30}</td><td>{choices}</td></tr>" for cell in first_cells)
    return f'<div style="overflow-x: auto"><table><tbody>{rows}</tbody></table></div>'


def _broken(chromium: Any, tables: str) -> List[str]:
    """Return the words in the first columns that take up more than one line at 400 pixels."""
    page = chromium.new_page(viewport={"width": 400, "height": 800})
    try:
        style = STYLE.read_text(encoding="utf-8")
        page.set_content(f'<!doctype html><style>{style}</style><body><main class="bd-content">{tables}</main></body>')
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        words: List[str] = page.evaluate(
            "[...document.querySelectorAll('td:first-child .pre')]"
            ".filter(word => word.getClientRects().length > 1).map(word => word.textContent)"
        )
        return words
    finally:
        page.close()


def test_a_name_in_the_first_column_stays_whole(chromium: Any) -> None:
    """An option, a setting or a command is not broken inside a word; a table that is too wide scrolls."""
    assert _broken(chromium, _table([_code(name) for name in [*NAMES, "%claude_jobs cancel ID"]])) == []


def test_a_long_text_in_the_first_column_breaks(chromium: Any) -> None:
    """In a table with headings between its rows the first column has texts, which would fill the screen otherwise."""
    text = "UGxlYXNlLCBkZWFyIG1vZGVs" * 4
    assert _broken(chromium, _table(["<strong>encodings</strong>", _code(text)])) == [text]
