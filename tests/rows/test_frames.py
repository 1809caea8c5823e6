"""Frames through a batch: what goes in comes out, in ``to_frame()``, in a file, and as the source of the next batch."""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_force_nb.errors import SourceError, TemplateError, UndefinedNameError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.prompts.plain import json_data
from claude_force_nb.prompts.tables import json_text
from claude_force_nb.prompts.template import render
from claude_force_nb.rows.answer_columns import FRAME_COLUMNS
from claude_force_nb.rows.files import FILE_COLUMNS, RowFile
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.simulator import Simulator

pandas = pytest.importorskip("pandas")
numpy = pytest.importorskip("numpy")
Make = Callable[..., AsyncAgentOrchestrator]


def _rows(source: Any, template: str = "hello") -> List[Any]:
    opened = open_source(source, name="the frame")
    opened.check(template)
    return list(opened.feed())  # type: ignore[arg-type]


def test_an_index_that_says_something() -> None:
    """Levels of an index are in the rows, beside a column of the same name; one that only numbers the rows is not."""
    named = pandas.DataFrame({"x": [1]}, index=pandas.Index(["a"], name="x"))
    assert _rows(named, "{{ x }}{{ x_index }}") == [{"x": 1, "x_index": "a"}]
    levels = pandas.DataFrame({"x": [1]}, index=pandas.MultiIndex.from_tuples([("k", 2)], names=["key", None]))
    assert _rows(levels, "{{ key }}") == [{"x": 1, "key": "k", "level 1": 2}]
    assert _rows(pandas.DataFrame({"x": [1]}, index=["a"]), "{{ index }}") == [{"x": 1, "index": "a"}]
    assert _rows(pandas.DataFrame({"x": [1, 2]})[1:]) == [{"x": 2}]


def test_columns_of_several_levels() -> None:
    """Names of several levels are one name, and come back as they were."""
    frame = pandas.DataFrame([[1, 2]], columns=pandas.MultiIndex.from_tuples([("a", "b"), ("a", "c")]))
    source = open_source(frame)
    assert source.columns == ("a / b", "a / c")
    source.check("{{ row['a / b'] }}")
    found = BatchResult([ClaudeResult(text="x")], source=source).to_frame()
    assert found[("a", "b")].tolist() == [1]


def test_names_composed_otherwise() -> None:
    """A column is found however its letters are composed, as a name, as column=, and in a row."""
    composed, apart = "Gr\u00f6\u00dfe", "Gro\u0308\u00dfe"
    assert _rows([{apart: 5}], "{{ " + composed + " }}") == [{apart: 5}]
    source = open_source([{apart: "a"}], column=composed)
    source.check(None)
    assert list(source.feed()) == ["a"]  # type: ignore[arg-type]


def test_a_column_goes_before_a_variable() -> None:
    """A name that is a column and a variable means the column, and the source knows which these are."""
    source = open_source([{"text": "a"}], name="reviews")
    source.check("{{ text }} {{ mood }}", {"text": "other", "mood": 1})
    assert source.shadowed == ("text",)


def test_a_column_of_a_later_row_goes_before_a_variable_too() -> None:
    """Whichever row comes first: otherwise one row had the notebook's value, and the next its own."""
    uneven = [{"text": "a"}, {"text": "b", "mood": 2}, {"text": "c", "len": 3}]
    for rows in (uneven, uneven[::-1], tuple(uneven)):
        source = open_source(rows)
        source.check("{{ text }} {{ mood }} {{ place }}", {"mood": 1, "place": 2, "len": 3})
        assert source.shadowed == ("mood",)
        source.check("{{ text }} {{ mood }}", {})
    with pytest.raises(
        UndefinedNameError, match=r"'mod' in .* is neither a column of a list nor defined.*did you mean 'mood'"
    ):
        open_source(uneven, name="a list").check("{{ text }} {{ mood }} {{ mod }}")
    source = open_source(iter(uneven))
    source.check("{{ text }} {{ mood }}", {"mood": 1})
    assert len(list(source.feed())) == 3  # type: ignore[arg-type]
    source = open_source(uneven, column="text")
    source.check("{{ text }} {{ mood }}", {"mood": 1})
    assert source.shadowed == ()


# --- in and out

# pandas fails on a signalling NaN by itself.
_DECIMALS = st.decimals().filter(lambda number: not number.is_snan())
_CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(), st.text(max_size=5), st.dates(), st.datetimes(), _DECIMALS,
    st.binary(max_size=4), st.sampled_from([pandas.NaT, pandas.NA, numpy.float32(0.1), numpy.datetime64("2026-03-01T10:00", "ns")]),
    st.lists(st.floats(), max_size=2), st.dictionaries(st.text(max_size=2), st.none() | st.dates(), max_size=2),
)  # fmt: skip
_NAMES = st.sampled_from(
    [*FILE_COLUMNS, "text", "source_answer", "answer_2", "source_row", "items", "Gr\u00f6\u00dfe", "a b", "0"]
)
FRAMES = st.lists(_NAMES, min_size=1, max_size=5, unique=True).flatmap(
    lambda names: st.lists(st.fixed_dictionaries({name: _CELLS for name in names}), min_size=1, max_size=4)
)


def _file_of(rows: Any, suffix: str, folder: str) -> List[Dict[str, Any]]:
    """Write rows with answers, and read the file back."""
    path = Path(folder) / ("out" + suffix)

    async def write() -> None:
        source = open_source(rows, name="the rows")
        source.check("hello")
        file = RowFile(path, source)
        await file.open()
        for number, _ in enumerate(source.feed()):  # type: ignore[arg-type]
            file(number, ClaudeResult(text=f"answer {number}", status="ok", fingerprint="ab" * 32))
        await file.finish()
        file.close()

    asyncio.run(write())
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(FRAMES)
def test_what_goes_in_comes_out_in_a_file(rows: List[Dict[str, Any]]) -> None:
    """Every value of every column is in the file, as JSON has it, and so is every answer: no name takes the place of another."""
    with tempfile.TemporaryDirectory() as folder:
        found = _file_of(rows, ".jsonl", folder)
    assert [line["answer"] for line in found] == [f"answer {number}" for number in range(len(rows))]
    for line, row in zip(found, rows):
        assert len(line) == len(row) + len(FILE_COLUMNS)
        values = list(line.values())
        assert all(json_data(value) in values for value in row.values())


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(FRAMES)
def test_what_goes_in_comes_out_in_a_frame(rows: List[Dict[str, Any]]) -> None:
    """A frame comes back with its own columns as they were, and the answers behind them."""
    frame = pandas.DataFrame({name: pandas.Series([row[name] for row in rows], dtype=object) for name in rows[0]})
    source = open_source(frame)
    source.check("hello")
    results = [ClaudeResult(text=f"answer {number}") for number in range(len(rows))]
    found = BatchResult(results, source=source).to_frame()
    pandas.testing.assert_frame_equal(found[list(frame.columns)], frame)
    added = [name for name in found.columns if name not in frame.columns]
    assert len(added) == len(FRAME_COLUMNS)
    assert found[added[0]].tolist() == [result.text for result in results]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(FRAMES)
def test_three_files_in_a_chain(rows: List[Dict[str, Any]]) -> None:
    """What one batch has written is the source of the next, three times, and no value of any of them is lost."""
    with tempfile.TemporaryDirectory() as folder:
        source: Any = rows
        for step in range(3):
            (Path(folder) / str(step)).mkdir()
            found = _file_of(source, ".jsonl", str(Path(folder) / str(step)))
            source = Path(folder) / str(step) / "out.jsonl"
    for number, (line, row) in enumerate(zip(found, rows)):
        assert len(line) == len(row) + 3 * len(FILE_COLUMNS)
        assert list(line.values()).count(f"answer {number}") >= 3
        assert all(json_data(value) in list(line.values()) for value in row.values())


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_three_batches_in_a_chain(suffix: str, run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """The same with real batches, of both kinds of files, and with frames."""
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    orchestrator = make()
    source: Any = [{"text": "tea", "answer": "mine", "source_answer": "yours", "answer_2": "theirs"}]
    for step in range(3):
        path = tmp_path / f"{step}{suffix}"
        run(orchestrator.run_stream(source, template=f"{step} {{{{ text }}}}", into=path))
        source = path
    row = pandas.read_parquet(path).to_dict("records")[0] if suffix == ".parquet" else json.loads(path.read_text())
    answers = [run(orchestrator.run(f"{step} tea", cache="only")).text for step in range(3)]
    assert all(value in list(row.values()) for value in ("tea", "mine", "yours", "theirs", *answers))
    frame: Any = pandas.DataFrame([{"text": "tea"}])
    for step in range(3):
        frame = run(orchestrator.run_many(frame, template=f"{step} {{{{ text }}}}")).to_frame()
    assert all(answer in frame.iloc[0].tolist() for answer in answers)


def test_results_are_the_source_of_the_next_batch(run: Any, make: Make, simulator: Simulator) -> None:
    """Thrice, of rows, of a frame with an index, of a series and of prompts: every column of the source is there and every answer."""
    orchestrator = make()
    frame = pandas.DataFrame({"text": ["tea", "milk"], "answer": ["mine", None]}, index=["x", "y"])
    sources: Any = [
        [{"text": "tea", "answer": "mine"}, {"text": "milk", "more": 1}],
        frame,
        pandas.Series(["tea", "milk"], name="text"),
        iter([{"text": "tea"}, {"text": "milk"}]),
    ]
    for source in sources:
        result, answers = source, []
        for step in range(3):
            result = run(orchestrator.run_many(result, template=f"{step} {{{{ text }}}}"))
            answers.append(result.texts)
        row = result.records()[1]
        assert all(texts[1] in row.values() for texts in answers)
        assert row["text"] == "milk"
        assert list(result.to_frame().columns) == [name for name in row if name != "index"]
    assert list(result.to_frame()["text"]) == ["tea", "milk"]
    kept = run(
        orchestrator.run_many(
            run(orchestrator.run_many(frame, template="{{ text }}")), template="{{ answer_2 }} {{ answer }}"
        )
    )
    assert list(kept.to_frame().index) == ["x", "y"]
    assert [each.status for each in kept] == ["ok", "not_sent"]
    prompts = run(orchestrator.run_many(["tea", "milk"]))
    again = run(orchestrator.run_many(prompts, template="{{ item }}: {{ answer }}"))
    assert {call.body["messages"][0]["content"][:4] for call in simulator.requests[-2:]} == {"tea:", "milk"}
    assert [list(each)[:3] for each in again.records()] == [["item", "answer", "status"]] * 2
    assert run(orchestrator.run_many(prompts[[1]], template="{{ item }}", cache="only")).texts == [prompts.texts[1]]


@pytest.mark.parametrize("as_list", [True, False])
def test_rows_of_iterrows(as_list: bool, run: Any, make: Make, simulator: Simulator) -> None:
    """Pairs of a label and a row, and rows alone, have the names of their columns; a label that says something is there too."""
    columns = {"text": ["tea", None], "how many": [1, 2], ("a", "b"): ["x", "y"]}
    for index, label in (
        (None, "{{ text }}"),
        (["p", "q"], "{{ index }}"),
        (pandas.MultiIndex.from_tuples([("p", 1), ("q", 2)]), '{{ row["level 0"] }}'),
    ):
        frame = pandas.DataFrame(columns, index=index)
        pairs = frame.iterrows() if not as_list else list(frame.iterrows())
        result = run(
            make(enable_cache=False).run_many(
                pairs, template='{{ text }} {{ row["how many"] }} {{ row["a", "b"] }} ' + label
            )
        )
        assert [each.status for each in result] == ["ok", "not_sent"]
        sent = simulator.requests[-1].body["messages"][0]["content"]
        assert sent == ("tea 1 x tea" if index is None else "tea 1 x p")
    rows = [row for _, row in pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}).iterrows()]
    assert run(make().run_many(rows, template="{{ a }}{{ b }}")).counts["ok"] == 2


def test_times_with_a_zone_in_polars() -> None:
    """They are read, or, on a Python without zones, one line names the column: no panic of polars, which is no Exception."""
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"t": ["a"], "at": [datetime.datetime(2026, 3, 1, 12)]})
    frame = frame.with_columns(polars.col("at").dt.replace_time_zone("Europe/Berlin"))
    wanted = "2026-03-01T12:00:00+01:00"

    def said(work: Callable[[], str]) -> str:
        try:
            return work()
        except (SourceError, TemplateError) as error:
            return str(error)

    if sys.version_info < (3, 9) and "column at" in said(lambda: render("{{ x }}", {"x": frame}).text):
        wanted = "column at has times with a time zone"
    for made in (frame, frame["at"], frame.lazy()):
        assert wanted in said(lambda made=made: render("{{ x }}", {"x": made}).text)
    for made in (frame, frame["at"]):
        assert wanted in said(lambda made=made: json_text(list(open_source(made).feed()), None))


VALUES = {
    "a date": (datetime.date(2026, 3, 1), "2026-03-01"),
    "nanoseconds": (numpy.datetime64("2026-03-01T10:00", "ns"), "2026-03-01T10:00:00"),
    "a time with zone": (pandas.Timestamp("2026-03-01T10:00", tz="Europe/Berlin"), "2026-03-01T10:00:00+01:00"),
    "an empty object": ({}, "{}"),
    "a list of empty objects": ([{}], "[{}]"),
    "nothing": (pandas.NA, None),
    "bytes": (b"tea", "tea"),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_in_parquet(name: str, run: Any, make: Make, tmp_path: Path) -> None:
    """Values are in Parquet as in JSON; an object that is always empty, which Parquet has no type for, is its JSON."""
    pytest.importorskip("pyarrow")
    value, expected = VALUES[name]
    path = tmp_path / "out.parquet"
    orchestrator = make()
    for _ in range(2):  # the second run goes on with what the first has written
        run(orchestrator.run_stream([{"x": value, "y": 1}], template="{{ y }}", into=path))
        assert pandas.read_parquet(path)["x"].astype(object).where(lambda column: column.notna(), None).tolist() == [
            expected
        ]
