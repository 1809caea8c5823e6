"""Tables for terminals and Markdown, and functions that make text safe to show there. Pure, and imports nothing at start-up."""

from __future__ import annotations

import re
from typing import Container, Iterable, List, Sequence

__all__ = ["escape_markdown", "markdown_table", "one_line", "plain_table", "without_controls"]

# Characters that Markdown could interpret as markup.
_MARKDOWN = r"([\\`*_\[\]<>$|~#]|&(?=#?\w+;))"
# What a terminal could interpret as a command: C0 except tab and line feed, DEL, C1; and characters that change the text direction.
_CONTROLS = {
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "\N{REPLACEMENT CHARACTER}"),
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\N{REPLACEMENT CHARACTER}"),
}
del _CONTROLS[ord("\n")], _CONTROLS[ord("\t")]


def without_controls(text: str) -> str:
    """Return a text without characters that control a terminal: those of escape sequences, bells and the like become U+FFFD.

    Line ends stay, each as a line feed; so do tabs.
    """
    if text.isprintable():
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)


def one_line(text: object) -> str:
    """Return a text on one line, without control characters and with single spaces."""
    return " ".join(without_controls(str(text)).split())


def escape_markdown(line: str) -> str:
    """Escape plain text so that Markdown shows it unchanged."""
    return re.sub(_MARKDOWN, r"\\\1", line)


def plain_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Container[int] = ()) -> List[str]:
    """Return the lines of a plain-text table; the columns numbered in `right` are right-aligned. Cells must be single lines."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]

    def line(cells: Sequence[str]) -> str:
        placed = enumerate(zip(cells, widths))
        return "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in placed
        ).rstrip()

    return [line(cells) for cells in lines]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Container[int] = ()) -> List[str]:
    """Return the lines of a table in Markdown, every cell escaped."""
    lines = ["| {} |".format(" | ".join(map(escape_markdown, cells))) for cells in [header, *rows]]
    lines.insert(1, "|" + "".join(" ---: |" if at in right else " --- |" for at in range(len(header))))
    return lines
