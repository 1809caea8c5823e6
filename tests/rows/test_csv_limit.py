"""Python's limit on the length of a CSV field is as others set it, except while a row of ours is read."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Iterator

import pytest

from claude_force_nb.rows.csv_dialect import CsvDialect
from claude_force_nb.rows.readers import FileRows

LONG = "x" * 200_000


@pytest.fixture(autouse=True, params=[10_000, 131_072, 2**30])
def limit(request: pytest.FixtureRequest) -> Iterator[int]:
    """The limit that the process has; below, at and above Python's default."""
    before = csv.field_size_limit(request.param)
    yield request.param
    csv.field_size_limit(before)


def test_a_long_field_is_read_and_the_limit_is_as_before(tmp_path: Path, limit: int) -> None:
    """After the file has been opened, between two rows, at the end, and if the file is not read to its end."""
    path = tmp_path / "a.csv"
    path.write_text(f"text,n\n{LONG},1\n{LONG},2\n{LONG},3\n")
    rows = FileRows(path)
    assert csv.field_size_limit() == limit
    for row in rows:
        assert row["text"] == LONG
        assert csv.field_size_limit() == limit
    left = iter(rows)
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert csv.field_size_limit() == limit


def test_a_reader_inside_another(limit: int) -> None:
    """One that ends while another is in the middle of a row does not lower the limit for it."""

    def lines() -> Iterator[str]:
        assert list(CsvDialect().reader([LONG])) == [[LONG]]
        yield LONG

    assert list(CsvDialect().reader(lines())) == [[LONG]]
    assert csv.field_size_limit() == limit


def test_after_an_error(limit: int) -> None:
    """Whether the row or its source is at fault."""

    def lines() -> Iterator[str]:
        raise OSError("disk")
        yield ""

    with pytest.raises(OSError, match="disk"):
        next(CsvDialect().reader(lines()))
    with pytest.raises(csv.Error):
        next(CsvDialect().reader(["a\rb"]))
    assert csv.field_size_limit() == limit


def test_a_limit_set_meanwhile_is_left() -> None:
    """Others may set it while a row is read."""

    def lines() -> Iterator[str]:
        csv.field_size_limit(777)
        yield "a"

    assert next(CsvDialect().reader(lines())) == ["a"]
    assert csv.field_size_limit() == 777
