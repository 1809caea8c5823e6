"""The line of %claude_batch: options wherever they stand, and everything else is the expression."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.errors import OptionError, SourceError
from claude_force_nb.notebook.options.batch_line import evaluate_source, parse_batch_line
from claude_force_nb.notebook.options.of_magics import BATCH_OPTIONS
from claude_force_nb.notebook.options.table import OPTIONS


@pytest.mark.parametrize(
    ("line", "expression", "options"),
    [
        ("reviews", "reviews", {}),
        ("reviews model=haiku into=labels", "reviews", {"model": "haiku", "into": "labels"}),
        ("model=haiku --background reviews --limit 20", "reviews", {"model": "haiku", "background": True, "limit": 20}),
        ("[text for text in reviews if text]", "[text for text in reviews if text]", {}),
        ("df[df.model == 'x'] column=text", "df[df.model == 'x']", {"column": "text"}),
        ("df.query('n == 1 and x=2').head(n=3)", "df.query('n == 1 and x=2').head(n=3)", {}),
        ("a if b == 1 else c", "a if b == 1 else c", {}),
        ("a   + b --dry-run", "a + b", {"dry-run": True}),
        ("rows system='two words'", "rows", {"system": "two words"}),
        ('rows --system "it\'s = a --flag"', "rows", {"system": "it's = a --flag"}),
        ("rows stop=']'", "rows", {"stop": "]"}),
        ("'my file.csv' max-concurrent=5", "'my file.csv'", {"max_concurrent": 5}),
        ("rows into=out.jsonl", "rows", {"into": "out.jsonl"}),
        ("rows --into=folder/out.parquet", "rows", {"into": "folder/out.parquet"}),
        ("", "", {}),
    ],
)
def test_lines(line: str, expression: str, options: Dict[str, Any]) -> None:
    """Brackets and quotes belong together; options are known by their names, before, between and after."""
    found = parse_batch_line(line)
    assert (found.rest, dict(found.options)) == (expression, options)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rows modle=haiku", "unknown option 'modle'; nothing was sent; did you mean 'model'?"),
        ("rows --backround", "unknown option '--backround'; nothing was sent; did you mean 'background'?"),
        ("rows limit=many", "limit takes rows, not 'many'"),
        ("rows limit=", "limit needs a value"),
        ("rows --limit", "limit needs a value"),
        ("rows --limit --refresh", "limit needs a value"),
        ("rows --refresh=yes", "--refresh takes no value"),
        ("rows model=a model=b", "model is given twice"),
        ("rows system='open", "a quote is not closed"),
        ("rows via=bathces", "via must be one of"),
        ("rows into=a-b", "into takes a variable name"),
        ("rows stream=on", "unknown option 'stream'"),
        (
            "rows --raw",
            "--raw cannot be used in a batch, which fills in {{ }} for each row; to send {{ }} literally, write",
        ),
        (
            "rows into=x.csv",
            "into takes a variable name, and in %claude_batch also a file that ends in .jsonl or .parquet",
        ),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    """A slip is one line and never part of the expression."""
    with pytest.raises(OptionError) as raised:
        parse_batch_line(line)
    assert message in str(raised.value)


@given(st.text(alphabet="ab=-'\"([{}]) \\.,1", max_size=40))
def test_any_line_is_read_or_refused(line: str) -> None:
    """Whatever is typed, the answer is an expression or an error of ours; nothing that was typed gets lost."""
    found = None
    with suppress(OptionError):
        found = parse_batch_line(line)
    if found is not None and not found.options:
        assert found.rest.split() == line.split()


def test_every_option_is_in_the_table() -> None:
    """The options of a batch are rows of the one table, each once."""
    assert set(BATCH_OPTIONS) <= set(OPTIONS)
    assert len(BATCH_OPTIONS) == len(set(BATCH_OPTIONS))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "say what the rows are"),
        ("revews", "revews is not defined; did you mean 'reviews'?"),
        ("reviews[", "reviews[ is not an expression"),
        ("x = 1", "x = 1 is not an expression"),
        ("reviews[5]", "reviews[5] failed: IndexError: list index out of range"),
        ("missing.csv", "there is no file missing.csv"),
        ("~/no file.csv.gz", "there is no file ~/no file.csv.gz"),
        ("./missing.parquet", "there is no file ./missing.parquet"),
        ("reviews.csv", "there is no file reviews.csv"),  # although reviews is a variable
        ("reviews/missing.jsonl", "there is no file reviews/missing.jsonl"),
        ("reviews.text", "reviews.text failed: AttributeError"),
        ("opn", "opn is not defined"),
        ("1/0", "1/0 failed: ZeroDivisionError"),
    ],
)
def test_expressions_that_fail(expression: str, message: str) -> None:
    """A wrong expression is one line that says what is wrong with it."""
    with pytest.raises(SourceError) as raised:
        # A notebook has `open` and `In` among its names, but no rows are in them.
        evaluate_source(expression, {"reviews": ["a"], "open": open, "In": []})
    assert str(raised.value).startswith(message)
    assert "'open'" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_column_named_like_a_file() -> None:
    """What an expression with a suffix gives is taken; only where it gives nothing is it a file that is missing."""
    assert evaluate_source("table.txt", {"table": SimpleNamespace(txt=["a"])}) == ["a"]


def test_expressions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expression sees the names of the notebook, also inside comprehensions; a bare path is the file."""
    names = {"rows": ["a", "b"], "suffix": "!"}
    assert evaluate_source("[row + suffix for row in rows]", names) == ["a!", "b!"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("a\n1\n", encoding="utf-8")
    assert evaluate_source("rows.csv", {}) == Path("rows.csv")
    assert evaluate_source("'rows.csv'", {}) == "rows.csv"
