"""Rows without a value for their template are not sent, with a reason, whatever their source."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from support.batches import quick_batches, sent

from claude_force_nb.errors import MissingValueError, OptionError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]


def _sent(simulator: Simulator) -> List[str]:
    return [request.body["messages"][0]["content"] for request in simulator.requests]


def _pandas() -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"text": ["good", None, math.nan, pandas.NaT, pandas.NA, "", "  "], "n": range(7)})


def _polars() -> Any:
    return pytest.importorskip("polars").DataFrame({"text": ["good", None, "", "\t"], "n": [0, 1, 2, 3]})


def _csv(folder: Path) -> Path:
    (folder / "a.csv").write_text('text,n\ngood,0\n,1\n"",2\n  ,3\n')
    return folder / "a.csv"


def _jsonl(folder: Path) -> Path:
    (folder / "a.jsonl").write_text('{"text": "good"}\n{"text": null}\n{"text": NaN}\n{"text": ""}\n')
    return folder / "a.jsonl"


SOURCES: Dict[str, Callable[[Path], Any]] = {
    "pandas": lambda folder: _pandas(),
    "polars": lambda folder: _polars(),
    "csv": _csv,
    "jsonl": _jsonl,
    "list": lambda folder: [{"text": "good"}, {"text": None}, {"text": math.nan}, {"text": ""}],
    "generator": lambda folder: ({"text": text} for text in ("good", None, math.nan)),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(
    "template", ["Label {{ text }}", "Label {{ text | upper | lower }}", "Label {{ row['text'] }}"]
)
def test_rows_without_a_value(
    name: str, template: str, run: Any, make: Make, simulator: Simulator, tmp_path: Path
) -> None:
    """Only rows with a value are asked; the others are ``not_sent``, and say what is missing."""
    batch = run(make().run_many(SOURCES[name](tmp_path), template=template))
    assert _sent(simulator) == ["Label good"]
    assert batch.counts == {"ok": 1, "cached": 0, "failed": 0, "not_sent": len(batch) - 1}
    assert all(isinstance(error, MissingValueError) and "text" in str(error) for error in batch.errors.values())
    assert str(batch[1].error).startswith("row 1: ")


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_in_its_place(name: str, run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """With ``missing=empty`` the row is sent with nothing in place of the value."""
    batch = run(make().run_many(SOURCES[name](tmp_path), template="[{{ text }}]", missing="empty"))
    assert all(row.error is None for row in batch)
    assert set(_sent(simulator)) == {"[good]", "[]"}


def test_kept_as_it_is(run: Any, make: Make, simulator: Simulator) -> None:
    """With ``missing=keep`` the row is sent with Python's representation of the missing value."""
    rows = [{"text": None}, {"text": math.nan}, {"text": ""}]
    run(make(max_concurrent=1).run_many(rows, template="[{{ text }}]", missing="keep"))
    assert _sent(simulator) == ["[None]", "[nan]", "[]"]


def test_prompts_that_are_missing(run: Any, make: Make, simulator: Simulator) -> None:
    """Without a template a missing prompt is not sent either."""
    batch = run(make().run_many(["good", None, math.nan]))
    assert batch.counts == {"ok": 1, "cached": 0, "failed": 0, "not_sent": 2}
    assert _sent(simulator) == ["good"]


def test_a_row_that_says_what_to_do(run: Any, make: Make, simulator: Simulator) -> None:
    """A template that knows what to say of a missing value is asked for every row."""
    rows = [{"text": "good"}, {"text": math.nan}, {"text": ""}]
    batch = run(make(max_concurrent=1).run_many(rows, template="{{ text or 'no text' }}", variables={"other": None}))
    assert _sent(simulator) == ["good", "no text"]
    assert [row.error for row in batch] == [None, None, None]


def _uneven(name: str, folder: Path) -> Any:
    rows = [{"text": "a", "note": "n"}, {"text": "b"}, {"text": "c", "note": None}]
    if name == "jsonl":
        path = folder / "uneven.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    return list(reversed(rows)) if name == "reversed" else (row for row in rows) if name == "generator" else rows


@pytest.mark.parametrize("name", ["list", "generator", "jsonl", "reversed"])
@pytest.mark.parametrize("via", ["api", "batches"])
def test_a_column_that_some_rows_lack(
    name: str, via: str, run: Any, make: Make, simulator: Simulator, tmp_path: Path
) -> None:
    """``default`` and ``is defined`` speak for rows without the column, whichever row comes first; both ways of sending make the same."""
    template = "{{ text }} {{ note | default('none') }}{{ extra if extra is defined else '' }}"
    orchestrator = quick_batches(make(max_concurrent=1))
    batch = run(orchestrator.run_many(_uneven(name, tmp_path), template=template, via=via, model="haiku"))
    assert [(row.status, row.error) for row in batch] == [("ok", None)] * 3
    found = (
        [each["params"]["messages"][0]["content"] for body in sent(simulator) for each in body["requests"]]
        if via == "batches"
        else _sent(simulator)
    )
    assert sorted(found) == ["a n", "b none", "c none"]


def test_what_is_written_of_them(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """A file has null for what is missing, and says why the row was not asked."""
    path = tmp_path / "out.jsonl"
    run(make().run_stream([{"text": math.nan}, {"text": "good"}], template="{{ text }}", into=path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["text"], row["status"]) for row in rows] == [(None, "not_sent"), ("good", "ok")]
    assert rows[0]["error"].startswith("MissingValueError: row 0: text has no value")


def test_only_known_modes(run: Any, make: Make) -> None:
    """Any other word is refused in one line before anything is sent."""
    with pytest.raises(OptionError, match="missing must be one of skip, empty, keep, not 'drop'"):
        run(make().run_many(["a"], missing="drop"))


def test_variables_of_a_run_stand_in_for_columns(run: Any, make: Make, simulator: Simulator) -> None:
    """A variable given for all rows is the value of those that lack a column of that name; ``default`` is asked after it."""
    rows = [{"text": "a", "note": "n"}, {"text": "b"}]
    template = "{{ text }} {{ note | default('none') }}"
    run(make(max_concurrent=1).run_many(rows, template=template, variables={"note": "of all"}))
    assert _sent(simulator) == ["a n", "b of all"]
