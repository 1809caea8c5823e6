"""Tables in the forms in which they are displayed."""

from __future__ import annotations

from typing import List, Tuple

from hypothesis import given
from hypothesis import strategies as st
from support.harmless import HOSTILE, Tags

from claude_force_nb.notebook.display.tables import table_bundle


@given(st.lists(st.tuples(HOSTILE, HOSTILE)))
def test_tables_show_names_as_text(rows: List[Tuple[str, str]]) -> None:
    """A name in a table is text in HTML, whatever it holds."""
    parser = Tags(table_bundle(("a", "b"), rows)["text/html"])
    assert {tag for tag, _, _ in parser.found} <= {"div", "table", "thead", "tbody", "tr", "th", "td", "span"}
