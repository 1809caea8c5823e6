"""Sources: whatever has rows gives them one by one, what is wrong with all of them is one line before anything is sent."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.endless import Endless

from claude_force_nb.errors import ClaudeForceWarning, SourceError, UndefinedNameError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.feed import BrokenRow, Feed
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.rows.sources import Source

Frame = Callable[[Dict[str, List[Any]]], Any]


def items(source: Source) -> List[Any]:
    feed = source.feed()
    assert not isinstance(feed, AsyncIterator)
    return list(feed)  # type: ignore[arg-type]


def opened(value: Any, template: Optional[str] = None, variables: Any = None, **options: Any) -> Source:
    source = open_source(value, name="reviews", **options)
    source.check(template, variables)
    return source


@pytest.fixture(params=["pandas", "polars", "pyarrow"])
def frame(request: Any) -> Frame:
    """Makes a data frame of one of the libraries from columns."""
    library = pytest.importorskip(request.param)
    if request.param == "pyarrow":
        return library.table  # type: ignore[no-any-return]
    return library.DataFrame  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (("a", "b"), ["a", "b"]),
        ((text for text in "ab"), ["a", "b"]),
        ({"x": "a", "y": "b"}, ["a", "b"]),
        ({"text": ["a", "b"]}, ["a", "b"]),
        ([{"text": "a"}, {"text": "b"}], ["a", "b"]),
        (iter([{"text": "a"}, {"text": "b"}]), ["a", "b"]),
        (range(2), [0, 1]),
        ({"a", "b"}, None),
    ],
    ids=["list", "tuple", "generator", "dict", "columns", "dicts", "iterator of dicts", "range", "set"],
)
def test_items_are_prompts(value: Any, expected: Any) -> None:
    """Every kind of source gives its items in order, and a single column needs no name."""
    found = items(opened(value))
    assert found == expected if expected is not None else sorted(found) == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "template", "expected"),
    [
        (["a"], "{{ item }}", ["a"]),
        ({"x": "a"}, "{{ key }} {{ item }}", [{"key": "x", "item": "a"}]),
        ({"x": {"text": "a"}}, "{{ key }} {{ text }}", [{"key": "x", "text": "a"}]),
        ({"text": ["a"], "n": [1]}, "{{ text }}{{ n }}", [{"text": "a", "n": 1}]),
        ([{"two words": "a"}], "{{ row['two words'] }}", [{"two words": "a", "row": {"two words": "a"}}]),
    ],
)
def test_items_are_variables(value: Any, template: str, expected: Any) -> None:
    """With a template an item is what its names stand for; ``row`` is the whole row, for names that are not names of Python."""
    assert items(opened(value, template)) == expected


def test_files(tmp_path: Path) -> None:
    """Lines of .txt, records of .csv and objects of .jsonl, with byte order marks, quotes and blank lines as they come."""
    (tmp_path / "r.txt").write_bytes("\ufefffirst\r\n\n  \nsecond é".encode())
    (tmp_path / "r.csv").write_bytes('\ufefftext,n\r\n"a, ""b""\nc",1\r\n\r\nd,2\r\n'.encode())
    (tmp_path / "r2.csv").write_text("text;n\na;1\n", encoding="utf-8")
    (tmp_path / "r.tsv").write_text("text\tn\na,b\t1\n", encoding="utf-8")
    (tmp_path / "r.jsonl").write_text('{"text": "a"}\n\n{"text": "b", "n": [1]}\n', encoding="utf-8")
    assert items(opened(tmp_path / "r.txt")) == ["first", "second é"]
    assert items(opened(str(tmp_path / "r.csv"), "{{ n }}")) == [
        {"text": 'a, "b"\nc', "n": "1"},
        {"text": "d", "n": "2"},
    ]
    assert items(opened(tmp_path / "r2.csv", column="text")) == ["a"]
    assert items(opened(tmp_path / "r.tsv", column="text")) == ["a,b"]
    source = opened(tmp_path / "r.jsonl", column="text")
    assert items(source) == items(source) == ["a", "b"]
    assert (source.total, source.count()) == (2, 2) or source.count() == 2


def test_rows_of_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A line that is not a record stands for a row that fails alone, and says where it is."""
    (tmp_path / "r.csv").write_text("text,n\na,1\nb\nc,3\n", encoding="utf-8")
    (tmp_path / "r.jsonl").write_text('{"text": "a"}\n{"text": \n"plain"\n{"other": 1}\n', encoding="utf-8")
    first, broken, last = items(opened(tmp_path / "r.csv", column="text"))
    assert (first, last) == ("a", "c")
    assert str(broken.error) == "line 3 of r.csv has 1 field, but its header has 2"
    found = items(opened(tmp_path / "r.jsonl", column="text"))
    assert [type(item) for item in found] == [str, BrokenRow, BrokenRow, BrokenRow]
    assert str(found[1].error) == "line 2 of r.jsonl is not valid JSON"
    (tmp_path / "latin.txt").write_bytes(b"first\n" * 100_000 + b"caf\xe9\n")
    with pytest.raises(SourceError, match=r"latin.txt is not UTF-8"):
        items(opened(tmp_path / "latin.txt"))


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (
            5,
            {},
            "reviews is an int, which has no rows; give a list, a table, or a path to .txt, .csv, .jsonl or .parquet",
        ),
        (None, {}, "reviews is a NoneType, which has no rows"),
        (len, {}, "which has no rows"),
        (b"ab", {}, "reviews is a bytes, which has no rows"),
        ("some text", {}, "'some text' is not a source of rows"),
        ("missing.csv", {}, "there is no file missing.csv"),
        ("table.parquet", {}, "there is no file table.parquet"),
        ("table.xlsx", {}, "'table.xlsx' is not a source of rows"),
        (
            [{"text": "a", "n": 1}],
            {},
            "reviews has the columns text, n; say which one is the prompt, as in column=text",
        ),
        ([{"text": "a", "n": 1}], {"column": "txt"}, "reviews has no column 'txt'; did you mean 'text'?"),
        ([{"text": "a", "n": 1}], {"column": "zz"}, "reviews has no column 'zz'; it has text, n"),
        (["a"], {"column": "text"}, "reviews has no columns, so there is no column 'text'"),
    ],
)
def test_values_that_are_not_sources(value: Any, options: Any, message: str) -> None:
    """A wrong source, and a missing column, are one line that names the remedy."""
    with pytest.raises(SourceError) as raised:
        opened(value, **options)
    assert str(raised.value).startswith(message) or message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_names_of_a_template_are_checked_first() -> None:
    """A name that rows do not have is found before anything is sent, with the nearest; the notebook's names count too."""
    rows = [{"text": "a"}]
    with pytest.raises(UndefinedNameError, match="did you mean 'text'"):
        opened(rows, "{{ txet }}")
    with pytest.raises(UndefinedNameError, match="a row has item"):
        opened(["a"], "{{ words }}")
    assert items(opened(rows, "{{ text }} {{ mood }} {{ len(text) }}", {"mood": 1})) == rows
    source = opened((row for row in rows), "{{ text }}")
    assert items(source) == rows  # looking at the first row has not used it up


def test_an_iterator_is_released_when_it_is_not_needed() -> None:
    """Without `keep` a source holds no row that it has given; with it, rows can be asked for again."""
    kept = opened(str(number) for number in range(5))
    assert items(kept) == items(kept) == ["0", "1", "2", "3", "4"]
    lost = opened((str(number) for number in range(5)), keep=False)
    assert not lost.is_empty()
    assert items(lost) == ["0", "1", "2", "3", "4"]
    assert items(lost) == []


def test_limit_and_emptiness() -> None:
    """`limit` reads no more than it says, also of what never ends, and an empty source is known as one."""

    def forever() -> Iterator[str]:
        while True:
            yield "x"

    assert items(opened(forever(), limit=3)) == ["x"] * 3
    assert opened(list("abc"), limit=2).total == 2
    for empty in ([], {}, iter(()), range(0)):
        assert opened(empty).is_empty()
    for wrong in (0, -1, True, "3"):
        with pytest.raises(SourceError, match="limit must be a whole number from 1"):
            opened(["a"], limit=wrong)


def test_asynchronous_sources() -> None:
    """An asynchronous source is read as it comes, up to the limit, and its rows are there afterwards."""

    async def slowly() -> AsyncIterator[str]:
        for text in "abc":
            await asyncio.sleep(0)
            yield text

    async def read(source: Source) -> List[Any]:
        return [item async for _, item in Feed(source.feed())]

    source = opened(slowly(), limit=2)
    assert asyncio.run(read(source)) == ["a", "b"]
    assert asyncio.run(read(source.only([1]))) == ["b"]


@given(st.lists(st.text(), max_size=20), st.data())
def test_chosen_rows_keep_their_numbers(texts: List[str], data: Any) -> None:
    """Some rows of a source come with the numbers that they have in the whole."""
    chosen = data.draw(st.sets(st.sampled_from(range(len(texts))))) if texts else set()
    source = opened(texts).only(sorted(chosen))

    async def read() -> Any:
        return [pair async for pair in Feed(source.feed())]

    assert asyncio.run(read()) == [(number, texts[number]) for number in sorted(chosen)]
    assert source.taken == len(chosen)


# --- frames


def results(*texts: Any) -> List[ClaudeResult]:
    return [
        ClaudeResult(text=text) if text else ClaudeResult(status="failed", error=SourceError("bad")) for text in texts
    ]


def as_lists(table: Any) -> Dict[str, List[Any]]:
    if hasattr(table, "to_pydict"):
        return dict(table.to_pydict())
    if hasattr(table, "iloc"):
        table = table.astype(object).where(table.notna(), None)
        return {name: list(table[name]) for name in table.columns}
    return dict(table.to_dict(as_series=False))


def test_files_that_begin_oddly(tmp_path: Path) -> None:
    """Blank lines before a header, a line end in it, and a first line that cannot be read do not hide the columns."""
    (tmp_path / "blank.csv").write_text("\n\r\ntext,n\na,1\n", encoding="utf-8-sig")
    source = opened(tmp_path / "blank.csv", "{{ text }}")
    assert (source.columns, items(source)) == (("text", "n"), [{"text": "a", "n": "1"}])
    (tmp_path / "long.csv").write_text('"a\nb",n\n1,2\n', encoding="utf-8")
    source = opened(tmp_path / "long.csv", "{{ n }}")
    assert (source.columns, items(source)) == (("a\nb", "n"), [{"a\nb": "1", "n": "2"}])
    (tmp_path / "r.jsonl").write_text('no\n{"text": "a"}\n', encoding="utf-8")
    broken, row = items(opened(tmp_path / "r.jsonl", "{{ text }}"))
    assert isinstance(broken, BrokenRow)
    assert row == {"text": "a"}
    with pytest.raises(SourceError, match=r"^line 1 of r\.jsonl is not valid JSON$"):
        opened(tmp_path / "r.jsonl", "{{ text }}", limit=1)


def test_a_frame_in_is_a_frame_out(frame: Frame) -> None:
    """Rows of pandas, polars and pyarrow are mappings, and go back into a frame of the same library."""
    table = frame({"text": ["a", "b", "c"], "n": [1, 2, 3]})
    source = opened(table, "{{ text }}")
    assert (source.total, source.columns) == (3, ("text", "n"))
    assert items(source) == [{"text": text, "n": number} for text, number in (("a", 1), ("b", 2), ("c", 3))]
    batch = BatchResult(results("x", "", "z"), source=source)
    found = batch.to_frame()
    assert type(found) is type(table)
    assert as_lists(found) == {
        "text": ["a", "b", "c"],
        "n": [1, 2, 3],
        "answer": ["x", None, "z"],
        "status": ["ok", "failed", "ok"],
        "stop_reason": [None, None, None],
        "error": [None, "SourceError: bad", None],
        "cost": [0.0, 0.0, 0.0],
    }
    assert as_lists(batch.failed.to_frame())["text"] == ["b"]
    assert as_lists(batch[:0].to_frame())["answer"] == []
    assert items(opened(table, column="text")) == ["a", "b", "c"]


def test_an_answer_replaces_no_column(frame: Frame) -> None:
    """A source that has an answer column keeps it; the new one has another name."""
    found = as_lists(BatchResult(results("x"), source=opened(frame({"answer": ["old"]}))).to_frame())
    assert (found["answer"], found["answer_2"]) == (["old"], ["x"])


def test_frames_of_polars_can_be_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The added columns have the same types whatever is in them: without an error, without an answer, of a list too."""
    polars = pytest.importorskip("polars")
    monkeypatch.setattr("claude_force_nb.rows.frames.find_spec", lambda name: None if name == "pandas" else True)
    for value in (polars.DataFrame({"item": ["a"]}), ["a"]):
        good, bad = (BatchResult(results(text), source=opened(value)).to_frame() for text in ("x", ""))
        assert polars.concat([good, bad])["error"].to_list() == [None, "SourceError: bad"]


def test_pandas_keeps_its_index() -> None:
    """The index of a pandas frame stays, also where a label is there twice; the user's frame is not touched."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"text": ["a", "b", "c"], "when": pandas.to_datetime(["2026-01-01"] * 3)}, index=[7, 7, 9])
    source = opened(table, column="text")
    table["late"] = 1
    found = BatchResult(results("x", "y", "z"), source=source).to_frame()
    assert list(found.index) == [7, 7, 9]
    assert list(found.columns) == ["text", "when", "answer", "status", "stop_reason", "error", "cost"]
    assert list(found["answer"]) == ["x", "y", "z"]
    assert list(table.columns) == ["text", "when", "late"]
    assert str(found["when"].dtype).startswith("datetime64")


def test_frames_with_odd_columns(frame: Frame) -> None:
    """Names that are there twice get a number, of pandas also where they are the same only as text; no column is a frame too."""
    library = type(frame({"a": [1]})).__module__.partition(".")[0]
    if library == "polars":
        return
    if library == "pyarrow":
        twice = [pytest.importorskip("pyarrow").table([[1], [2]], names=["a", "a"])]
    else:
        pandas = pytest.importorskip("pandas")
        twice = [pandas.DataFrame([[1, 2]], columns=names) for names in (["a", "a"], [1, "1"])]
        empty = BatchResult(results("x", "y"), source=opened(pandas.DataFrame(index=[4, 5]), "hello")).to_frame()
        assert list(empty.index) == [4, 5]
        assert list(empty["answer"]) == ["x", "y"]
    for number, table in enumerate(twice):
        with pytest.warns(ClaudeForceWarning, match="has columns with the same name; the later ones are called"):
            source = open_source(table, name=f"{library} {number}")
        first, second = source.columns or ()
        assert second == first + "_2"
        assert [dict(row) for row in source.feed()] == [{first: 1, second: 2}]
        frame = BatchResult(results("x"), source=source).to_frame()
        columns = frame.column_names if library == "pyarrow" else list(frame.columns)
        assert columns[:3] == [first, second, "answer"]


def test_a_column_name_that_cannot_be_shown_is_one_line() -> None:
    """In rows, in a mapping of columns, in a table, its index and a row of it."""
    pandas = pytest.importorskip("pandas")
    name = Endless()
    table = pandas.DataFrame([["a", 1]], columns=pandas.Index([name, "b"], dtype=object))
    for source in (
        [{name: "a"}],
        [{"b": 1, name: "a"}],
        {name: ["a"]},
        table,
        pandas.DataFrame([["a", 1]], columns=pandas.Index([(name, "x"), "b"], dtype=object)),
        pandas.DataFrame({"b": [1]}, index=pandas.Index([5.5], name=name)),
        pandas.Series(["a"], name=name),
        [row for _, row in table.iterrows()],
    ):
        with pytest.raises(SourceError, match=r"name, of class \w+, cannot be written as text") as raised:
            open_source(source).check("{{ b }}")
        assert "\n" not in str(raised.value)


def test_rows_whose_values_have_names() -> None:
    """What `itertuples` gives, named tuples of one's own and records of numpy are rows with columns, in a list or one by one."""
    pair = namedtuple("pair", "text stars")
    rows = [pair("good", 5), pair("bad", None)]
    expected = [{"text": "good", "stars": 5}, {"text": "bad", "stars": None}]
    for value in (rows, tuple(rows), iter(rows)):
        source = open_source(value, name="reviews")
        source.check("{{ text }} {{ stars }}")
        assert list(source.feed()) == expected
    # A pair without names is an agent and a prompt, not a row.
    assert list(open_source([("reviewer", "x")], name="reviews").feed()) == [("reviewer", "x")]
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    frame = pandas.DataFrame({"text": ["good"]}, index=[7])
    assert list(open_source(frame.itertuples(), name="reviews").feed()) == [{"Index": 7, "text": "good"}]
    records = numpy.array([("good", 5)], dtype=[("text", "U9"), ("stars", "i4")])
    assert list(open_source(records, name="reviews").feed()) == [{"text": "good", "stars": 5}]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_series(library: str) -> None:
    """The items of a series are prompts, or ``item`` and its own name in a template."""
    series = pytest.importorskip(library).Series(["a", "b"], name="text") if library == "pandas" else None
    series = pytest.importorskip(library).Series("text", ["a", "b"]) if series is None else series
    assert items(opened(series)) == ["a", "b"]
    assert items(opened(series, "{{ item }}{{ text }}")) == [{"item": text, "text": text} for text in "ab"]
    assert as_lists(BatchResult(results("x", "y"), source=opened(series)).to_frame())["text"] == ["a", "b"]


def test_a_lazy_frame_is_refused() -> None:
    """A polars LazyFrame has no rows yet."""
    polars = pytest.importorskip("polars")
    with pytest.raises(SourceError, match="collect it first"):
        opened(polars.DataFrame({"a": ["x"]}).lazy())


def test_other_sources_become_a_frame(tmp_path: Path) -> None:
    """Lists, iterators and files come out as a frame of what is installed, with what they had as columns."""
    pytest.importorskip("pandas")
    (tmp_path / "r.jsonl").write_text('{"text": "a"}\n{"n": 5}\n', encoding="utf-8")
    for value, columns in (
        (["a", "b"], {"item": ["a", "b"]}),
        (iter(["a", "b"]), {"item": ["a", "b"]}),
        ({"x": "a", "y": "b"}, {"key": ["x", "y"], "item": ["a", "b"]}),
        (tmp_path / "r.jsonl", {"text": ["a", None], "n": [None, 5]}),
    ):
        source = open_source(value)
        items(source)
        found = as_lists(BatchResult(results("x", "y"), source=source).to_frame())
        assert {name: found[name] for name in columns} == columns
        assert found["answer"] == ["x", "y"]
    assert list(BatchResult(results("x", "y"), numbers=[4, 6]).to_frame().index) == [4, 6]


def test_without_a_library_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch without pandas and polars is one line that says what to install."""
    monkeypatch.setattr("claude_force_nb.rows.frames.find_spec", lambda name: None)
    with pytest.raises(SourceError, match="needs pandas or polars"):
        BatchResult(results("x")).to_frame()


def test_batches_with_sources_survive_pickling() -> None:
    """A batch is pickled with its rows, those of an iterator too, without what runs it again."""
    source = opened(text for text in "ab")
    items(source)

    async def again(numbers: Any) -> Any:
        return {}

    batch = BatchResult(results("x", ""), source=source, again=again)
    copy = pickle.loads(pickle.dumps(batch))
    assert copy == batch
    assert copy._source.frame((0,), {})["item"].tolist() == ["a"] if "pandas" in sys.modules else True
    assert json.dumps(copy.texts) == '["x", ""]'
