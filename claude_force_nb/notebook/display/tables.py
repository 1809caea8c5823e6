"""Tables as plain text, Markdown and HTML."""

from __future__ import annotations

from typing import Any, Container, Iterable, Sequence

from claude_force_nb.text_tables import escape_markdown, markdown_table, one_line, plain_table, terminal_width, wrapped

from .bars import Bar, Legend
from .bundles import SCROLLED_TABLE, Bundle, bundle, escape_html, footer_html

__all__ = ["table_bundle", "table_html"]


def table_bundle(
    header: Sequence[Any], rows: Iterable[Sequence[Any]], *, footer: str = "", right: Container[int] = ()
) -> Bundle:
    """Return the bundle of a table of texts and bars, everything escaped; the columns in `right` are right-aligned."""
    given = [list(row) for row in rows]
    cells = [[one_line(cell) for cell in row] for row in given]
    names = [one_line(name) for name in header]
    footer = one_line(footer)
    width = terminal_width()
    plain = plain_table(names, cells, right=right)
    if width is not None and max(map(len, plain)) > width:
        # For a terminal that is too narrow: the columns without the bars.
        kept = [at for at, name in enumerate(header) if not isinstance(name, Legend)]
        narrow = [[row[at] for at in kept] for row in [names, *cells]]
        plain = plain_table(narrow[0], narrow[1:], right=right, width=width)
    markdown = markdown_table(names, cells, right=right)
    inner = table_html(header, given, right=right)
    if footer:
        plain += ["", *wrapped(footer, width)]
        markdown += ["", f"*{escape_markdown(footer)}*"]
        inner += footer_html(footer)
    return bundle("\n".join(plain), "\n".join(markdown), inner)


def table_html(header: Sequence[Any], rows: Iterable[Sequence[Any]], *, right: Container[int] = ()) -> str:
    """Return a table of texts and bars as HTML, everything escaped."""
    body = "".join(_row_html(row, "td", right) for row in rows)
    head = _row_html(header, "th", right)
    return f"{SCROLLED_TABLE}<table><thead>{head}</thead><tbody>{body}</tbody></table></div>"


def _row_html(row: Sequence[Any], tag: str, right: Container[int]) -> str:
    cells = "".join(
        f'<{tag} style="text-align:{"right" if at in right else "left"}">{_cell_html(cell)}</{tag}>'
        for at, cell in enumerate(row)
    )
    return f"<tr>{cells}</tr>"


def _cell_html(cell: Any) -> str:
    return cell.to_html() if isinstance(cell, (Bar, Legend)) else escape_html(one_line(cell))
