"""A batch is a sequence of its rows, and its parts are batches."""

from __future__ import annotations

import pytest

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.results import BatchResult

ROWS = [ClaudeResult(text=str(number), status="failed" if number % 3 == 1 else "ok") for number in range(8)]


def texts(batch: BatchResult) -> str:
    return "".join(row.text for row in batch)


def test_rows_and_parts() -> None:
    """Indexing as of a list and of a table: rows, slices, positions, truth values, and a part by its row numbers."""
    batch = BatchResult(ROWS)
    assert (len(batch), batch[0].text, batch[-1].text) == (8, "0", "7")
    assert texts(batch[2:4]) == "23"
    assert texts(batch[batch.failed]) == texts(batch.failed) == "147"
    assert batch[3:][batch.failed].numbers == (4, 7)
    assert texts(batch[[5, 0, -1]]) == "507"
    assert texts(batch[[row.status == "failed" for row in batch]]) == "147"
    assert texts(batch[[]]) == ""
    numpy = pytest.importorskip("numpy")
    assert texts(batch[numpy.array([row.status == "failed" for row in batch])]) == "147"
    assert texts(batch[numpy.array([1, 2])]) == "12"
    assert batch[numpy.int64(3)].text == "3"


def test_invalid_indexes() -> None:
    """A position that is not there, and truth values for other rows, are errors."""
    batch = BatchResult(ROWS)
    with pytest.raises(IndexError):
        batch[8]
    with pytest.raises(IndexError):
        batch[[1, 8]]
    with pytest.raises(OptionError, match="2 values of True or False for 8 rows"):
        batch[[True, False]]
    with pytest.raises(TypeError):
        batch["failed"]  # type: ignore[call-overload]
