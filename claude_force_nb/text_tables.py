"""Tables for terminals and Markdown, and functions that make text safe to show there. Pure; imports almost nothing."""

from __future__ import annotations

import re
import sys
from typing import Container, Iterable, List, Optional, Sequence, TextIO

__all__ = [
    "escape_markdown",
    "markdown_table",
    "one_line",
    "plain_table",
    "terminal_width",
    "without_controls",
    "wrapped",
]

# Characters that Markdown could interpret as markup.
_MARKDOWN = r"([\\`*_\[\]<>$|~#]|&(?=#?\w+;))"
# In characters; a longer word may be broken in a table that is too wide.
_LONGEST_WORD = 40
# Characters that a terminal could interpret as commands (C0 except tab and line feed, DEL, C1) or that change the text
# direction.
_CONTROLS = {
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "\N{REPLACEMENT CHARACTER}"),
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\N{REPLACEMENT CHARACTER}"),
}
del _CONTROLS[ord("\n")], _CONTROLS[ord("\t")]


def without_controls(text: str) -> str:
    """Return a text in which characters that control a terminal, such as escape and bell, are replaced by U+FFFD.

    Tabs stay, and every line end becomes a line feed.
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


def plain_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Container[int] = (), width: Optional[int] = None
) -> List[str]:
    """Return the lines of a plain-text table; the columns numbered in `right` are right-aligned. Cells must be single lines.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequence of str
    right : container of int, optional
        Indices of the columns of numbers.
    width : int, optional
        Number of characters that fit into a line. If the table is wider, the cells of its widest columns are wrapped;
        if that does not help, each row becomes several lines, with a column's name and the cell. By default, lines may
        have any length.
    """
    lines = [list(header), *map(list, rows)]
    widths: Optional[List[int]] = [max(map(len, column)) for column in zip(*lines)]
    if width is not None and widths is not None and _width_of(widths) > width:
        widths = _narrowed(lines, widths, right, width)
        if widths is None:
            return _records(lines, width)
        lines = [each for cells in lines for each in _broken(cells, widths)]

    def line(cells: Sequence[str]) -> str:
        placed = enumerate(zip(cells, widths or ()))
        return "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in placed
        ).rstrip()

    return [line(cells) for cells in lines]


def terminal_width(stream: Optional[TextIO] = None) -> Optional[int]:
    """Return the width of a terminal in characters; None for a file, or for a kernel, whose front end wraps lines itself.

    Parameters
    ----------
    stream : file, optional
        Output stream; standard output by default.
    """
    stream = sys.stdout if stream is None else stream
    if stream is None or not stream.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def wrapped(text: str, width: Optional[int]) -> List[str]:
    """Wrap a text of one line between words to lines of `width` characters; a longer word, such as a URL, stays whole."""
    if width is None or len(text) <= width:
        return [text]
    import textwrap

    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False)


def _width_of(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _narrowed(
    lines: Sequence[Sequence[str]], widths: Sequence[int], right: Container[int], width: int
) -> Optional[List[int]]:
    """Return column widths with which the table fits, narrowing the widest columns first; None if it cannot fit."""
    least = []
    for at, (name, *cells) in enumerate(zip(*lines)):
        # Numbers are never broken, and words only if they are very long.
        words = [*name.split(), *(cells if at in right else " ".join(cells).split())]
        longest = max(map(len, words), default=0)
        least.append(longest if at in right else min(longest, _LONGEST_WORD))
    if _width_of(least) > width:
        return None
    narrowed = list(widths)
    while _width_of(narrowed) > width:
        widest = max((at for at in range(len(narrowed)) if narrowed[at] > least[at]), key=narrowed.__getitem__)
        narrowed[widest] -= 1
    return narrowed


def _broken(cells: Sequence[str], widths: Sequence[int]) -> List[List[str]]:
    """Return the lines of a row whose cells are wrapped between words."""
    import textwrap
    from itertools import zip_longest

    parts = [
        textwrap.wrap(cell, width, break_on_hyphens=False) if len(cell) > width else [cell]
        for cell, width in zip(cells, widths)
    ]
    return [list(each) for each in zip_longest(*parts, fillvalue="")]


def _records(lines: Sequence[Sequence[str]], width: int) -> List[str]:
    """Return the rows one below the other, with a line for each cell: the name of its column, and the cell."""
    header, *rows = lines
    if not rows:
        return wrapped("  ".join(header), width)
    indent = max(map(len, header)) + 2
    found: List[str] = []
    for number, cells in enumerate(rows):
        found += [""] * (number > 0)
        for name, cell in zip(header, cells):
            if cell:
                first, *further = wrapped(cell, width - indent)
                found.append(name.ljust(indent) + first)
                found += [" " * indent + each for each in further]
    return found


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Container[int] = ()) -> List[str]:
    """Return the lines of a table in Markdown, every cell escaped."""
    lines = ["| {} |".format(" | ".join(map(escape_markdown, cells))) for cells in [header, *rows]]
    lines.insert(1, "|" + "".join(" ---: |" if at in right else " --- |" for at in range(len(header))))
    return lines
