"""Files as people have them: every dialect of CSV, encodings, packed files, JSON that is not JSON Lines, Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import os
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_force_nb.errors import ClaudeForceWarning, SourceError
from claude_force_nb.rows.feed import BrokenRow
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.readers import FileRows


def _rows(path: Path) -> List[Any]:
    source = open_source(path, name="the file")
    source.check("hello")
    return list(source.feed())  # type: ignore[arg-type]


def _written(folder: Path, text: Any, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


CSV: Dict[str, Any] = {
    "commas in a quoted name": ('id,"who, when, where"\n1,a\n', {"id": "1", "who, when, where": "a"}),
    "semicolons in a quoted name": ('id,"a; b; c; d"\n1,x\n', {"id": "1", "a; b; c; d": "x"}),
    "commas in an unquoted name": ("id;reason, or none, if none;n\n1;x;2\n", {"id": "1", "reason, or none, if none": "x", "n": "2"}),
    "commas in values of a semicolon file": ("a;b\n1,5;2,5\n3,5;4,5\n", {"a": "1,5", "b": "2,5"}),
    "semicolons in values of a comma file": ('a,b\n"x; y; z",2\n"p; q",3\n', {"a": "x; y; z", "b": "2"}),
    "tabs": ("a\tb, c\n1\t2\n", {"a": "1", "b, c": "2"}),
    "bars": ("a|b, c|d\n1|2|3\n", {"a": "1", "b, c": "2", "d": "3"}),
    "sep line": ("sep=;\na;b,c\n1;2\n", {"a": "1", "b,c": "2"}),
    "sep line with another sign": ("sep=^\r\na^b\r\n1^2\r\n", {"a": "1", "b": "2"}),
    "sep line in quotes": ('"sep=|"\na|b;c\n1|2\n', {"a": "1", "b;c": "2"}),
    "one column with commas": ("text\nHello, you\nWell, well, well\n", {"text": "Hello, you"}),
    "a name with a comma, one column": ("reason, if any\ntea\nmilk\n", {"reason, if any": "tea"}),
    "no name": ("id,,text\n1,x,a\n", {"id": "1", "column_2": "x", "text": "a"}),
    "no names": (",,column_2\n1,2,3\n", {"column_1": "1", "column_2_2": "2", "column_2": "3"}),
    "index of pandas": (",text\n0,a\n", {"column_1": "0", "text": "a"}),
    "delimiter at the end": ("a,b,\n1,2,\n", {"a": "1", "b": "2", "column_3": ""}),
    "delimiter at the end of rows": ("a,b\n1,2,\n3,4,\n", {"a": "1", "b": "2"}),
    "blanks behind delimiters": ('a, b, "c, d"\n1, 2, "3, 4"\n', {"a": "1", "b": "2", "c, d": "3, 4"}),
    "blanks around names": ("a ,b\n1,2\n", {"a": "1", "b": "2"}),
    "single quotes": ("'a','b, c'\n'1','2, 3'\n", {"a": "1", "b, c": "2, 3"}),
    "apostrophes": ("a,b\nit's,'tis so\n", {"a": "it's", "b": "'tis so"}),
    "quotes doubled": ('a,b\n"say ""hi"", then",2\n', {"a": 'say "hi", then', "b": "2"}),
    "quotes with a backslash": ('a,b\n"say \\"hi\\", then",2\n"x",3\n', {"a": 'say "hi", then', "b": "2"}),
    "line ends in fields": ('a,b\r\n"one\r\ntwo",2\r\n', {"a": "one\r\ntwo", "b": "2"}),
    "old Mac": ("a,b\r1,2\r", {"a": "1", "b": "2"}),
    "only a quoted header": ('id,"a; b; c"\n', None),
    "U+2028": ("a,b\none\u2028two,2\n", {"a": "one\u2028two", "b": "2"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CSV)
def test_dialects(name: str, tmp_path: Path) -> None:
    """The first row of a file is what its writer meant."""
    text, first = CSV[name]
    rows = _rows(_written(tmp_path, text))
    assert rows[:1] == ([] if first is None else [first])


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("a,b,a", ["a", "b", "a_2"]),
        ("a,a,a,b,b", ["a", "a_2", "a_3", "b", "b_2"]),
        ("a,a,a_2", ["a", "a_3", "a_2"]),
        ("Ä,Ä", ["Ä", "Ä_2"]),
        ('"x, y","x, y"', ["x, y", "x, y_2"]),
    ],
)
def test_columns_of_the_same_name_are_all_there(header: str, names: List[str], tmp_path: Path) -> None:
    """Each value has a name, and one warning says which; a warning is shown once, so that each file has a name of its own."""
    values = ",".join(map(str, range(len(names))))
    path = _written(tmp_path, f"{header}\n{values}\n", f"{len(header)}-{names[-1]}.csv")
    with pytest.warns(
        ClaudeForceWarning, match=f"{path.name} has columns with the same name; the later ones are called "
    ):
        rows = FileRows(path)
    assert list(rows) == [dict(zip(names, values.split(",")))]


def test_rows_that_do_not_fit_a_header_of_words(tmp_path: Path) -> None:
    """They are broken rows, not values of one column with an odd name; a header that is a sentence is one name."""
    rows = list(FileRows(_written(tmp_path, "text,n\na,1,2\nb\n", "ragged.csv")))
    assert all(isinstance(row, BrokenRow) for row in rows)
    assert list(FileRows(_written(tmp_path, "What, then?\na\nb, c, d\n", "one.csv"))) == [
        {"What, then?": "a"},
        {"What, then?": "b, c, d"},
    ]


def test_only_a_header(tmp_path: Path) -> None:
    """The columns of a file without rows are known."""
    source = open_source(_written(tmp_path, CSV["only a quoted header"][0]))
    assert source.columns == ("id", "a; b; c")


ENCODINGS = {
    "utf-8": "a,b\né,2\n".encode(),
    "utf-8 with mark": "\ufeffa,b\né,2\n".encode(),
    "utf-16 of Excel": "\ufeffa\tb\r\né\t2\r\n".encode("utf-16-le"),
    "utf-16 big endian": "\ufeffa,b\né,2\n".encode("utf-16-be"),
    "utf-16 without mark": "a,b\né,2\n".encode("utf-16-le"),
    "gzip": gzip.compress("a,b\né,2\n".encode()),
    "gzip of utf-16": gzip.compress("a;b\né;2\n".encode("utf-16")),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings(name: str, tmp_path: Path) -> None:
    """UTF-8 and UTF-16 with and without mark, packed or not, give the same row."""
    path = _written(tmp_path, ENCODINGS[name], "a.csv.gz" if "gzip" in name else "a.csv")
    assert _rows(path) == [{"a": "é", "b": "2"}]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.TSV.gz", "a.ndjson"])
def test_packed_files_of_all_kinds(name: str, tmp_path: Path) -> None:
    """Each kind of text may be packed, and its name may be written large."""
    text = {".txt": "tea\n", ".jsonl": '{"a": "tea"}\n', ".tsv": "a\nb\n", ".ndjson": "5\n"}[
        os.path.splitext(name.lower().replace(".gz", ""))[1]
    ]
    data = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    assert len(_rows(_written(tmp_path, data, name))) == 1


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        ("a,b\ncaf\u00e9,2\n".encode("cp1252"), "a.csv", "is not UTF-8; save it as “CSV UTF-8”, or give pandas.read_csv(path, encoding='cp1252')"),
        ("caf\u00e9\n".encode("cp1252"), "a.txt", "is not UTF-8; save it as UTF-8"),
        (b"no gzip", "a.csv.gz", "cannot be read: it is not valid gzip, or is truncated"),
        (gzip.compress(b"a,b\n" * 1000, mtime=0)[:40], "a.csv.gz", "cannot be read: it is not valid gzip, or is truncated"),
        ('[\n  {"a": 1},\n  {"a": 2}\n]\n', "a.jsonl", "a.jsonl is one JSON array instead of a JSON value on each line; read it with json.load()"),
        ('[{"a": 1},\n {"a": 2}]\n', "a.jsonl", "is one JSON array instead of"),
        ('[{"a": 1}, {"a": 2}]', "a.ndjson", "is one JSON array instead of"),
        ('{\n  "a": 1\n}\n', "a.jsonl", "is one JSON object instead of"),
        (b"no parquet", "a.parquet", "cannot be read as Parquet"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_what_cannot_be_read(data: Any, name: str, said: str, tmp_path: Path) -> None:
    """What is wrong with a whole file is one line that says what to do, before any row is asked."""
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(SourceError) as raised:
        _rows(_written(tmp_path, data, name))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "rows", "line"),
    [
        ('a,b\n0,x\n1,"open\n2,x\n3,y\n', ["0"], 3),
        ('sep=;\na;b\n1;2\n3;"x', ["1"], 4),
        ('a,b\n1,"two\nlines"\n2,"open, as in 6""\n3,x\n', ["1"], 4),
        ('a|b\n1|2\n\n3|"x\n\n', ["1"], 4),
    ],
)
def test_a_quote_that_is_never_closed(text: str, rows: List[str], line: int, tmp_path: Path) -> None:
    """The lines below an open quote are not taken for one value: its row says where it begins."""
    found = _rows(_written(tmp_path, text))
    assert [row["a"] for row in found[:-1]] == rows
    assert isinstance(found[-1], BrokenRow)
    assert f"line {line} of a.csv opens a quoted field that is never closed" in str(found[-1].error)


def test_a_header_with_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    """Otherwise no row would be left below it."""
    with pytest.raises(SourceError, match=r"header of a\.csv has a quoted name that is never closed"):
        _rows(_written(tmp_path, '"a,b\n1,2\n'))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "gzip; name it a.csv.gz"),
        (b"PK\3\4rest", "an Excel workbook; unpack"),
        (b"BZh91", "bzip2; unpack it"),
    ],
)
def test_packed_files_that_are_not_called_so(data: bytes, said: str, tmp_path: Path) -> None:
    """What is packed is not taken for text of another encoding."""
    with pytest.raises(SourceError, match=said):
        _rows(_written(tmp_path, data))


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1}\n,{"a": 2}\n]',
        '[{"a": 1},\n{"a": 2}]',
        '{"a": 1,\n "b": 2}',
        "[\n1\n]",
        '{"rows":\n[1]}',
        '\n[ {\n"a": 1}]',
        '{"a": [1,\n2]}',
    ],
)
def test_one_value_over_many_lines(text: str, tmp_path: Path) -> None:
    """JSON that was pretty-printed, in any style, is one line instead of an error for each of its lines."""
    with pytest.raises(SourceError, match="instead of a JSON value on each line"):
        _rows(_written(tmp_path, text, "a.jsonl"))


@pytest.mark.parametrize("first", ['{"a": 1', '{"a": "x', '{"a": 1},', "nonsense", '["a"'])
def test_a_torn_first_line_is_its_row_s_error(first: str, tmp_path: Path) -> None:
    """The other rows are there."""
    found = _rows(_written(tmp_path, first + '\n{"a": 2}\n', "a.jsonl"))
    assert "line 1 of a.jsonl is not valid JSON" in str(found[0].error)
    assert found[1:] == [{"a": 2}]


def test_a_duplicate_name_in_a_record(tmp_path: Path) -> None:
    """Of two values of one name neither is lost silently: the row fails, and says which."""
    rows = _rows(_written(tmp_path, '{"a": 1}\n{"a": 1, "a": 2}\n{"x": {"b": 1, "b": 2}}\n', "a.jsonl"))
    assert rows[0] == {"a": 1}
    assert all(isinstance(row, BrokenRow) for row in rows[1:])
    assert str(rows[1].error) == "line 2 of a.jsonl has the name 'a' twice"


def test_parquet(tmp_path: Path) -> None:
    """A Parquet file is a source with its types."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        arrow.table({"text": ["tea", None], "n": [1, 2], "tags": [["x"], []]}), str(tmp_path / "a.parquet")
    )
    assert _rows(tmp_path / "a.parquet") == [{"text": "tea", "n": 1, "tags": ["x"]}, {"text": None, "n": 2, "tags": []}]
    assert open_source(tmp_path / "a.parquet", column="text").count() == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
def test_a_pipe_is_not_a_file(tmp_path: Path) -> None:
    """A pipe is refused at once instead of being waited for."""
    os.mkfifo(str(tmp_path / "a.csv"))
    with pytest.raises(SourceError, match="it is not a regular file"):
        open_source(tmp_path / "a.csv")


def test_lines_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without end is refused before it fills the memory."""
    monkeypatch.setattr("claude_force_nb.rows.readers.FIELD_CHARACTERS", 1000)
    with pytest.raises(SourceError, match=r"line 2 of a\.jsonl has more than 64 million characters"):
        _rows(_written(tmp_path, '{"a": 1}\n"' + "x" * 5000, "a.jsonl"))


_FIELDS = st.text(alphabet=st.sampled_from("ab,;\t|\"' \n\u00e9\u2028"), max_size=8)


@example([[';"', ';"\n', ""], ["", ";\n", ";"]], ",")
@given(
    st.lists(st.lists(_FIELDS, min_size=3, max_size=3), min_size=2, max_size=6), st.sampled_from([",", ";", "\t", "|"])
)
def test_what_python_writes_is_read(rows: List[List[str]], delimiter: str) -> None:
    """A file with all its fields quoted is read as it was written, whatever stands in them."""
    import tempfile

    names = ["first", "second one", "third, or; not"]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    with tempfile.TemporaryDirectory() as folder:
        found = _rows(_written(Path(folder), text.getvalue()))
    assert found == [dict(zip(names, row)) for row in rows]


@pytest.mark.parametrize("name", ["", "c"])
def test_a_header_without_end_is_read_at_once(tmp_path: Path, name: str) -> None:
    """A hundred thousand columns, named or not, take no more time for each than ten do."""
    path = tmp_path / "wide.csv"
    path.write_text(",".join(name and f"{name}{number}" for number in range(100_000)) + "\n" + "1," * 99_999 + "1\n")
    began = time.process_time()
    source = open_source(path)
    assert len(source.columns or ()) == 100_000
    assert time.process_time() - began < 20
