"""Tables of plain text, as wide as they are or as a terminal is."""

from __future__ import annotations

import io
from typing import List, Set, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from claude_force_nb.text_tables import plain_table, terminal_width, wrapped

HEADER = ("agent", "description", "tokens in")
ROWS = [
    ("explainer", "Explains code, data or an idea to someone who knows the field", "12,345"),
    ("labeller", "Labels a text with exactly one of the labels", "7"),
]
CELLS = st.lists(st.text("cd.,", min_size=1, max_size=7), max_size=12).map(" ".join)


def test_without_a_width_a_line_is_as_long_as_it_gets() -> None:
    """A saved notebook must not depend on the size of the window in which it was made."""
    lines = plain_table(HEADER, ROWS, right=(2,))
    assert len(lines) == 3
    assert lines == plain_table(HEADER, ROWS, right=(2,), width=200)


def test_the_widest_column_is_broken_between_words() -> None:
    """Numbers stay whole and at their place, and the columns below each other."""
    assert plain_table(HEADER, ROWS, right=(2,), width=50) == [
        "agent      description                   tokens in",
        "explainer  Explains code, data or an        12,345",
        "           idea to someone who knows",
        "           the field",
        "labeller   Labels a text with exactly            7",
        "           one of the labels",
    ]


def test_where_columns_cannot_stand_beside_each_other_the_cells_of_a_row_follow_each_other() -> None:
    """Each with the name of its column; empty cells are left out."""
    rows = [("msgbatch_0123456789abcdef0123", "", "1"), ("msgbatch_short", "two words", "2")]
    assert plain_table(("batch", "note", "tokens in"), rows, right=(2,), width=30) == [
        "batch      msgbatch_0123456789abcdef0123",
        "tokens in  1",
        "",
        "batch      msgbatch_short",
        "note       two words",
        "tokens in  2",
    ]
    assert plain_table(("a long name", "and another"), [], width=9) == ["a long", "name  and", "another"]


@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5),
    st.integers(min_value=14, max_value=90),
    st.sets(st.sampled_from(range(3))),
)
@settings(max_examples=examples(200))
def test_no_word_is_lost_and_no_line_is_too_long(rows: List[Tuple[str, str, str]], width: int, right: Set[int]) -> None:
    """Beside each other or below each other, all words of the cells are there once, and whole."""
    lines = plain_table(("aa", "bb aa", "ab"), rows, right=right, width=width)
    assert max(map(len, lines)) <= width
    shown = [word for word in " ".join(lines).split() if word[0] not in "ab"]
    assert sorted(shown) == sorted(word for row in rows for cell in row for word in cell.split())


def test_a_line_of_prose_keeps_addresses_whole() -> None:
    """An address broken by us could not be opened with a click."""
    address = "https://example.org/" + "x" * 40
    assert wrapped(f"see the page · {address}", 30) == ["see the page ·", address]
    assert wrapped("short", 30) == ["short"]
    assert wrapped("as long as it gets " * 20, None) == ["as long as it gets " * 20]


def test_only_a_terminal_has_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a kernel's stream has none; that of a terminal is what it says."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "61")
    assert terminal_width(io.StringIO()) is None
    assert terminal_width(Terminal()) == 61
