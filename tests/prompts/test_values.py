"""How values appear in a prompt (tables, source, images, documents, files), and the filters."""

from __future__ import annotations

import csv
import functools
import io
import json
import linecache
import math
import os
import re
import struct
import sys
import types
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.attachments import gif, jpeg, pdf, png

from claude_force_nb.errors import AttachmentError, PromptError, TemplateError
from claude_force_nb.messages.tokens import text_tokens
from claude_force_nb.prompts.attachments import IMAGE_BOUND_TOKENS, Attachment, attachment, check_blocks
from claude_force_nb.prompts.fences import unfence
from claude_force_nb.prompts.filters import truncate_tokens
from claude_force_nb.prompts.tables import ROWS_SHOWN
from claude_force_nb.prompts.template import render
from claude_force_nb.prompts.values import file, insertable, source_of


def inside(template: str, **variables: Any) -> str:
    """Return the text in the fence that a template makes, or the whole text if there is no fence."""
    rendered = render(template, variables)
    return unfence(rendered.text) if rendered.fenced else rendered.text


def webp(form: bytes, width: int = 8, height: int = 9) -> bytes:
    if form == b"VP8X":
        inner = b"\0" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif form == b"VP8L":
        inner = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little")
    else:
        inner = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"RIFF" + struct.pack("<I", 12 + len(inner)) + b"WEBP" + form + struct.pack("<I", len(inner)) + inner


IMAGES = {
    "image/png": png(8, 9), "image/gif": gif(8, 9), "image/jpeg": jpeg(8, 9), "image/webp": webp(b"VP8X"),
    "image/webp lossless": webp(b"VP8L"), "image/webp lossy": webp(b"VP8 "),
}  # fmt: skip


@pytest.mark.parametrize("kind", IMAGES)
def test_images_are_known_by_their_bytes(kind: str, tmp_path: Path) -> None:
    """Each kind of image is told by its first bytes, whatever the file is called, and its size is read."""
    path = tmp_path / "not-what-it-says.txt"
    path.write_bytes(IMAGES[kind])
    found = file(path)
    assert isinstance(found, Attachment)
    assert (found.media_type, found.width, found.height, found.name) == (kind.split()[0], 8, 9, path.name)
    source = found.block()["source"]
    assert found.block()["type"] == "image"
    assert source["type"] == "base64"
    assert source["media_type"] == found.media_type


@pytest.mark.parametrize("kind", IMAGES)
@given(st.integers(0, 200))
def test_a_cut_image_is_an_error_of_one_line(kind: str, length: int) -> None:
    """An image that ends too early is said to be damaged or is not an image; it never crashes the reading of its size."""
    data = IMAGES[kind][:length]
    try:
        found = attachment(data, "x")
        assert found is None or found.width
    except AttachmentError as error:
        said = str(error)
    else:
        said = "damaged"
    assert "damaged" in said


def test_images_that_are_too_large() -> None:
    """Pixels and bytes have the API's limits, on each side of them."""
    assert attachment(png(8000, 8000), "x") is not None
    with pytest.raises(AttachmentError, match="8001 x 1 pixels, but the API takes at most 8000"):
        attachment(png(8001, 1), "x")
    limit = 10 * 1024 * 1024 // 4 * 3
    assert attachment(png(1, 1, b"\0" * (limit - len(png(1, 1)))), "x") is not None
    with pytest.raises(AttachmentError, match=r"x is 10\.0 MB as base64"):
        attachment(png(1, 1, b"\0" * (limit - len(png(1, 1)) + 1)), "x")


def test_pdfs() -> None:
    """A PDF is a document block; its pages are counted, in compressed object streams too."""
    found = attachment(pdf(3), "x.pdf")
    assert isinstance(found, Attachment)
    assert (found.block()["type"], found.pages) == ("document", 3)
    packed = zlib.compress(b"<< /Type /Page >> << /Type/Page/Parent 1 0 R >> << /Type /Pages >>")
    stream = b"9 0 obj << /Type /ObjStm /N 2 /Filter /FlateDecode >>\nstream\r\n" + packed + b"\nendstream endobj\n"
    inside_streams = attachment(pdf(0, stream), "x")
    assert inside_streams is not None
    assert inside_streams.pages == 2
    broken = attachment(pdf(0, stream.replace(packed, b"nothing")), "x")
    assert broken is not None
    assert broken.pages == 0
    with pytest.raises(AttachmentError, match="encrypted"):
        attachment(pdf(1, b"<< /Encrypt 5 0 R >>"), "x")
    with pytest.raises(AttachmentError, match="its end is missing"):
        attachment(pdf()[:-40], "x")
    with pytest.raises(AttachmentError, match="split it"):
        attachment(pdf(1, b" " * 26 * 1024 * 1024), "x")


def test_limits_of_a_whole_request() -> None:
    """Images, pages and bytes that are fine alone are refused where a request cannot hold them together."""
    image = Attachment("i", "image/png", b"x", 1, 1)
    large = Attachment("l", "image/png", b"x", 2001, 1)
    check_blocks([image] * 100, context_window=200_000)
    check_blocks([image] * 600, context_window=1_000_000)
    check_blocks([large] * 20, context_window=None)
    for attachments, window, said in [
        ([image] * 101, 200_000, "101 images, but this model accepts at most 100"),
        ([image] * 601, 1_000_000, "accepts at most 600"),
        ([image] * 20 + [large], None, "l is 2001 x 1 pixels, but in a request with more than 20 images"),
        ([Attachment("p", "application/pdf", b"x", pages=60)] * 2, 200_000, "120 PDF pages"),
        ([Attachment("p", "application/pdf", b"x" * 13_000_000)] * 2, None, "32 MB"),
    ]:
        with pytest.raises(AttachmentError, match=re.escape(said)):
            check_blocks(attachments, context_window=window)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.docx", b"PK\x03\x04\x14\x00\x00\x00", "is a ZIP archive"),
        ("a.tif", b"II*\x00\x08\x00", "is a TIFF image"),
        ("a.bmp", b"BM\x00\x00\x10", "is a BMP image"),
        ("a.heic", b"\x00\x00\x00\x18ftypheic\x00", "is an HEIC or AVIF image"),
        ("a.gz", b"\x1f\x8b\x08\x00\x00", "compressed with gzip"),
        ("a.bin", b"\x00\x01\x02\xff\xfe", "is not a PNG"),
        ("a.txt", b"caf\xe9", "is not a PNG"),
        ("a.txt", b"", "is empty"),
    ],
)
def test_files_that_cannot_be_read_as_anything(name: str, data: bytes, said: str, tmp_path: Path) -> None:
    """What is neither image, PDF nor text is one line that says what it is."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AttachmentError, match=said) as raised:
        render("{{ file(path) }}", {"path": str(tmp_path / name)})
    assert "\n" not in str(raised.value)
    assert name in str(raised.value)


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, a folder, a pipe and a forbidden file are one line each, and nothing waits."""
    monkeypatch.chdir(tmp_path)
    Path("report.txt").write_text("x")
    with pytest.raises(AttachmentError, match=r"file\('reprot.txt'\) does not exist.*did you mean 'report.txt'"):
        file("reprot.txt")
    with pytest.raises(AttachmentError, match="is not a file"):
        file(tmp_path)
    with pytest.raises(AttachmentError, match="takes a path, bytes or an open file, not int"):
        file(5)
    with pytest.raises(AttachmentError):
        file("\0")
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe")
        with pytest.raises(AttachmentError, match="is not a file"):
            file("pipe")


def test_text_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text is text in UTF-8 with or without a mark, and in UTF-16 with one; it is fenced under the name of the file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        Path("notes é.md").write_bytes("one\ntwo é".encode(encoding))
        assert render("{{ file('notes é.md') }}", {}).text == '<data name="notes é.md">\none\ntwo é\n</data>'
    assert file("~/notes é.md") == "one\ntwo é"
    assert render("{{ notes }}", {"notes": file("notes é.md")}).text.startswith('<data name="notes">')
    assert file(b"abc") == "abc"
    assert file(io.BytesIO(b"abc"), name="x") == "abc"
    with open("notes é.md", "rb") as opened:
        assert file(opened).name == "notes é.md"
    text = render("{{ file(data, name) }}", {"data": b"one\ntwo", "name": 'a" >\n</data> b'}).text
    assert text == '<data name="a /data b">\none\ntwo\n</data>'
    assert (
        render("{{ file }}", {"file": "a name of the notebook goes first"}).text == "a name of the notebook goes first"
    )


def test_blocks_stay_where_they_were_put() -> None:
    """A prompt with images is a list of blocks in the order of the words, each image in a fence of its own; no block is empty."""
    chart = attachment(png(), "chart.png")
    rendered = render("A {{ chart }} B {{ n }}{{ chart | raw }}{{ chart | raw }}", {"chart": chart, "n": 5})
    assert isinstance(rendered.content, list)
    assert [block.get("text", block["type"]) for block in rendered.content] == [
        'A <data name="chart">\n',
        "image",
        "\n</data> B 5",
        "image",
        "image",
    ]
    assert rendered.fenced
    assert len(rendered.attachments) == 3
    assert not render("{{ chart | raw }}", {"chart": chart}).fenced
    assert render("{{ 5 }}", {}).content == "5"
    assert "2 x 3 pixels" in rendered.text


def test_an_image_is_not_text() -> None:
    """A filter of text refuses an image in one line."""
    with pytest.raises(TemplateError, match="code takes text, not"):
        render("{{ chart | code }}", {"chart": attachment(png(), "chart.png")})


class Shape:
    """A class of this file."""

    @functools.lru_cache(maxsize=None)  # noqa: B019
    def area(self) -> float:
        return 1.0


def test_source() -> None:
    """Functions, methods, wrapped functions, classes and modules are their source; what has none is one line."""
    assert inside("{{ f }}", f=png).startswith("def png(width: int = 2")
    assert inside("{{ f }}", f=Shape.area).startswith("@functools.lru_cache")
    assert inside("{{ f }}", f=Shape().area).startswith("@functools.lru_cache")
    assert inside("{{ k }}", k=Shape).startswith('class Shape:\n    """A class of this file."""')
    assert inside("{{ m }}", m=json) == Path(json.__file__).read_text(encoding="utf-8").rstrip("\n")
    assert inside("{{ f | code }}", f=png).startswith("```python\ndef png")
    for nothing in (len, int, math, "".join):
        with pytest.raises(PromptError, match=r"the source of .* cannot be found; insert its text"):
            render("{{ f }}", {"f": nothing})


def test_source_of_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function and a class that were defined in a cell are found there, the latest where there are several, nested ones too."""
    cells = [
        "def half(n):\n    return n / 2\n",
        "class Point:\n    x = 1\n",
        "from dataclasses import dataclass\n\n@dataclass\nclass Point:\n    x: int\n    class Inner:\n        y = 2\n",
        "class Other:\n    def method(self):\n        pass\n",
        "not python (\n",
    ]
    notebook = types.ModuleType("a_notebook")
    monkeypatch.setitem(sys.modules, "a_notebook", notebook)
    names: Dict[str, Any] = vars(notebook)
    for number, text in enumerate(cells):
        name = f"<cell {number}>"
        monkeypatch.setitem(linecache.cache, name, (len(text), None, text.splitlines(keepends=True), name))
        if number < 4:
            exec(compile(text, name, "exec"), names)
    assert inside("{{ f }}", f=names["half"]) == cells[0].rstrip("\n")
    assert inside("{{ k }}", k=names["Point"]) == cells[2].partition("\n\n")[2].rstrip("\n")
    assert inside("{{ k }}", k=names["Point"].Inner) == "class Inner:\n    y = 2"
    assert inside("{{ k }}", k=names["Other"]) == cells[3].rstrip("\n")
    made = type("Nowhere", (), {"__module__": "a_notebook"})
    with pytest.raises(TemplateError, match="the source of Nowhere cannot be found"):
        source_of(made)


@dataclass
class Item:
    name: str
    price: Optional[float]


def test_plain_values() -> None:
    """Paths are their text, and what is nothing in particular is what Python writes for it."""
    assert insertable(Path("a") / "b") == os.path.join("a", "b")
    for value in (True, None, [1, "a"], {"a": 1}, range(3), Mock(name="has everything")):
        assert insertable(value) == str(value)


ROWS: List[Dict[str, Any]] = [{"a": 1, "b": 'x|y "q"'}, {"a": 2.5, "b": "two\nlines"}, {"a": None, "b": "z"}]


def test_tables_of_plain_rows() -> None:
    """Mappings, rows and a mapping of columns can be tables too."""
    assert list(csv.reader(io.StringIO(inside("{{ rows | csv }}", rows=ROWS)))) == [
        ["a", "b"], ["1", 'x|y "q"'], ["2.5", "two\nlines"], ["", "z"],
    ]  # fmt: skip
    table = inside("{{ rows | table }}", rows=ROWS)
    assert table.splitlines() == ["| a | b |", "| --- | --- |", '| 1 | x\\|y "q" |', "| 2.5 | two lines |", "|  | z |"]
    assert inside("{{ rows | csv }}", rows={"a": [1, 2], "b": [3]}) == "a,b\n1,3\n2,"
    assert inside("{{ rows | csv }}", rows=[(1, 2), (3,)]) == "column 1,column 2\n1,2\n3,"
    cut = inside("{{ rows | csv }}", rows=[{"n": number} for number in range(ROWS_SHOWN + 1)])
    assert cut.splitlines()[0] == "101 rows x 1 column; only the first 100 rows shown"
    assert len(cut.splitlines()) == 2 + ROWS_SHOWN
    for nothing in (5, "text", [1, 2], [], {"a": 1}):
        with pytest.raises(TemplateError, match="is not a table"):
            render("{{ x | table }}", {"x": nothing})
    with pytest.raises(TemplateError, match="must be a whole number from 0"):
        render("{{ rows | csv(-1) }}", {"rows": ROWS})


def frames() -> List[Any]:
    found = []
    for library in ("pandas", "polars"):
        found.append(pytest.param(library, id=library))
    return found


@pytest.mark.parametrize("library", frames())
def test_data_frames(library: str) -> None:
    """A DataFrame is its shape and CSV, cut at 100 rows and 100 columns, which is said; filters show less, more, and otherwise."""
    frame_library = pytest.importorskip(library, reason=f"{library} is not installed")
    frame = frame_library.DataFrame({"n": list(range(1234)), "text": ["a,b"] * 1234, "none": [None, 1.5] * 617})
    lines = inside("{{ frame }}", frame=frame).splitlines()
    assert lines[:4] == [
        "1,234 rows x 3 columns; only the first 100 rows shown", "n,text,none", '0,"a,b",', '1,"a,b",1.5',
    ]  # fmt: skip
    assert len(lines) == 102
    assert inside("{{ frame | head(2) }}", frame=frame) == (
        '1,234 rows x 3 columns; only the first 2 rows shown\nn,text,none\n0,"a,b",\n1,"a,b",1.5'
    )
    assert len(inside("{{ frame | head(500) | csv }}", frame=frame).splitlines()) == 502
    assert len(inside("{{ frame | csv(rows=2000) }}", frame=frame).splitlines()) == 1235
    assert inside("{{ frame | head(1) | table }}", frame=frame).splitlines()[2:] == [
        "| n | text | none |", "| --- | --- | --- |", "| 0 | a,b |  |",
    ]  # fmt: skip
    records = json.loads(inside("{{ frame | json(rows=2000) }}", frame=frame))
    assert records[:2] == [{"n": 0, "text": "a,b", "none": None}, {"n": 1, "text": "a,b", "none": 1.5}]
    wide = frame_library.DataFrame({f"c{number}": [1] for number in range(300)})
    assert inside("{{ frame }}", frame=wide).splitlines()[0] == "1 row x 300 columns; only the first 100 columns shown"
    assert inside("{{ frame['n'] | head(2) }}", frame=frame).splitlines()[1:] == ["n", "0", "1"]
    assert inside("{{ frame }}", frame=frame_library.DataFrame({"a": []})).splitlines() == ["0 rows x 1 column", "a"]


def test_the_index_of_pandas() -> None:
    """An index that says something is a column; one that only counts is left out."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"n": [1, 2]}, index=["x", "y"])
    assert inside("{{ f }}", f=frame).splitlines()[1:] == ["index,n", "x,1", "y,2"]
    assert inside("{{ f }}", f=frame.rename_axis("key")).splitlines()[1:] == ["key,n", "x,1", "y,2"]
    assert inside("{{ f }}", f=frame.reset_index(drop=True)).splitlines()[1:] == ["n", "1", "2"]
    assert inside("{{ f }}", f=frame.reset_index(drop=True)[1:]).splitlines()[1:] == ["index,n", "1,2"]
    levels = pandas.DataFrame({"a": [1, 1], "b": [2, 3], "n": [4, 5]}).set_index(["a", "b"])
    assert inside("{{ f }}", f=levels).splitlines()[1:] == ["a,b,n", "1,2,4", "1,3,5"]
    assert inside("{{ f['n'] }}", f=frame).splitlines()[1:] == ["index,n", "x,1", "y,2"]
    both = pandas.DataFrame([[1, 2]], columns=pandas.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
    assert inside("{{ f }}", f=both).splitlines()[1:] == ["a / x,a / y", "1,2"]
    same = pandas.DataFrame([[1, pandas.NaT]], columns=["a", "a"])
    assert inside("{{ f }}", f=same).splitlines()[1:] == ["a,a", "1,"]


def test_lazy_tables() -> None:
    """A lazy table is computed no further than what is shown, and its length is not claimed to be known."""
    polars = pytest.importorskip("polars", reason="polars is not installed")
    lazy = polars.DataFrame({"n": list(range(1000))}).lazy()
    assert inside("{{ t }}", t=lazy).startswith(
        "unknown number of rows x 1 column; only the first 100 rows shown\nn\n0"
    )
    assert inside("{{ t | head(2000) }}", t=lazy).startswith("1,000 rows x 1 column\nn\n0")


def test_other_tables_through_narwhals() -> None:
    """What narwhals reads is a table as well."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = pyarrow.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
    assert inside("{{ t | head(2) }}", t=table) == "3 rows x 2 columns; only the first 2 rows shown\na,b\n1,x\n2,"


def test_arrays() -> None:
    """A large array says that only its edges are shown; a number of numpy is a number."""
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    assert inside("{{ a }}", a=numpy.arange(3)) == "[0 1 2]"
    assert inside("{{ a }}", a=numpy.zeros((50, 50))).startswith(
        "array of shape (50, 50), float64; only its edges are shown\n"
    )
    assert inside("{{ a }}", a=numpy.float64(1.5)) == "1.5"
    assert inside("{{ a | json }}", a={"x": numpy.arange(2), "y": numpy.int64(3), "z": numpy.float64("nan")}) == (
        '{"x":[0,1],"y":3,"z":null}'
    )


@pytest.mark.slow
def test_figures() -> None:
    """A figure of matplotlib, and one of its axes, become a PNG: the same figure the same bytes."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1), dpi=100)
    axes = figure.subplots()
    axes.plot([1, 2, 3])
    line = axes.lines[0]
    found = [insertable(value) for value in (figure, axes, line, figure)]
    assert all(isinstance(each, Attachment) and each.media_type == "image/png" and each.width > 50 for each in found)
    assert len({each.data for each in found if isinstance(each, Attachment)}) == 1


def test_pictures() -> None:
    """Pillow images of any mode, and IPython images, become image blocks."""
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for mode in ("RGB", "RGBA", "L", "P", "1", "CMYK", "F", "I", "LAB", "YCbCr", "HSV"):
        found = insertable(pillow.new(mode, (5, 4)))
        assert isinstance(found, Attachment), mode
        assert (found.media_type, found.width, found.height) == ("image/png", 5, 4)
    with pytest.raises(AttachmentError, match=r"9000 x 1 pixels.*thumbnail"):
        insertable(pillow.new("1", (9000, 1)))


def test_images_of_ipython(tmp_path: Path) -> None:
    """The image that a notebook displays can be sent; one that is only an address cannot, in one line."""
    from IPython.display import Image

    (tmp_path / "a.png").write_bytes(png())
    found = insertable(Image(filename=str(tmp_path / "a.png")))
    assert isinstance(found, Attachment)
    assert found.name == "a.png"
    assert isinstance(insertable(Image(data=jpeg())), Attachment)
    with pytest.raises(AttachmentError, match="has no bytes"):
        insertable(Image(url="https://example.com/a.png"))


def test_json() -> None:
    """JSON is compact, keeps letters, and is always JSON: dates, sets, dataclasses and numbers without value have a form."""
    import datetime

    value = {
        1: datetime.date(2024, 1, 2),
        "é": {3, 1},
        "item": Item("a", float("nan")),
        "inf": [float("inf")],
        "p": Path("x"),
    }
    assert inside("{{ v | json }}", v=value) == (
        '{"1":"2024-01-02","é":[1,3],"item":{"name":"a","price":null},"inf":[null],"p":"x"}'
    )
    assert inside("{{ v | json(indent=1) }}", v=[1]) == "[\n 1\n]"


def test_head_of_other_things() -> None:
    """head cuts lists, mappings and iterators as such, and text by lines, which is said."""
    assert inside("{{ x | head(2) }}", x=[1, 2, 3]) == "[1, 2]"
    assert inside("{{ x | head(1) }}", x={"a": 1, "b": 2}) == "{'a': 1}"
    assert inside("{{ x | head(2) }}", x=iter("abc")) == "['a', 'b']"
    assert inside("{{ x | head(2) }}", x="1\n2\n3\n") == "1\n2\n[first 2 of 3 lines]"
    assert inside("{{ x | head(3) }}", x="1\n2\n3\n") == "1\n2\n3\n"
    for wrong in ("{{ x | head(-1) }}", "{{ x | head('a') }}", "{{ 5 | head }}"):
        with pytest.raises(TemplateError, match=r"^head(: the number must be| takes a table)"):
            render(wrong, {"x": "a"})


@given(st.text(st.sampled_from("`a \n")), st.sampled_from([None, "", "python", "c++"]))
def test_no_text_ends_its_code_block(text: str, language: Optional[str]) -> None:
    """The backticks around code are more than any inside."""
    block = inside("{{ x | code(language) }}", x=text, language=language)
    ticks = re.match("`{3,}", block)
    assert ticks is not None
    assert block.endswith("\n" + ticks.group())
    assert ticks.group() not in block[len(ticks.group()) : -len(ticks.group())]


def test_code_takes_a_language() -> None:
    """The word behind the backticks cannot be more than a word."""
    with pytest.raises(TemplateError, match="code takes the name of a language"):
        render("{{ 'x' | code('a\nb') }}", {})


@given(st.text(), st.integers(1, 50))
def test_truncate_tokens(text: str, count: int) -> None:
    """A text within the estimate is not touched; a longer one is cut to at most the estimate, is its beginning, and says so."""
    cut = truncate_tokens(text, count)
    if text_tokens(text) <= count:
        assert cut == text
        return
    kept, _, note = cut.rpartition("\n")
    assert text.startswith(kept)
    assert text_tokens(kept) <= count
    assert re.fullmatch(r"\[cut here: about [\d,]+ of [\d,]+ tokens, by estimate\]", note)


def test_truncate_tokens_ends_with_a_word() -> None:
    """Words are not cut in two where there is a space near; a text without spaces is cut all the same."""
    assert truncate_tokens("alpha beta gamma delta", 4).startswith("alpha beta gamma\n[cut here: about 4 of 6 tokens")
    assert truncate_tokens("alpha beta gamma delta", 3).startswith("alpha beta\n[cut here: about 3 of 6 tokens")
    assert truncate_tokens("a" * 1000, 5).startswith("a" * 20 + "\n[cut")
    assert truncate_tokens("日本語の文", 3).startswith("日本語\n")
    with pytest.raises(TemplateError, match="truncate_tokens: the number must be a whole number from 1"):
        truncate_tokens("x", 0)


def test_nothing_is_imported_for_a_value() -> None:
    """Values of a notebook without pandas, matplotlib and Pillow are written without importing these."""
    import subprocess

    code = (
        "import sys; from claude_force_nb.prompts.template import render; render('{{ a }} {{ f }} {{ a | table }}', {'a': [{'x': 1}], 'f': render});"
        "assert not {'pandas', 'polars', 'numpy', 'matplotlib', 'PIL', 'narwhals', 'IPython', 'anthropic', 'asyncio'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()


def test_the_largest_image_of_the_documentation_is_under_the_bound() -> None:
    """The bound is above the documentation's largest image: 2576 pixels a side at 28 pixels a patch, 4784 tokens."""
    assert IMAGE_BOUND_TOKENS > 4784


@pytest.mark.parametrize("fence", ["```python", "~~~", "````"])
def test_text_that_is_cut_inside_code(fence: str) -> None:
    """A text that is cut inside a code block ends the block, so that what follows is not code; a whole block is left alone."""
    mark = re.match(r"[`~]+", fence).group()  # type: ignore[union-attr]
    cut = truncate_tokens(f"intro\n{fence}\n" + "line of code\n" * 100 + mark, 20)
    assert cut.splitlines()[-2] == mark
    assert cut.splitlines()[-1].startswith("[cut here")
    done = truncate_tokens(f"{fence}\nx\n{mark}\n" + "words " * 100, 20)
    assert done.splitlines()[-2] != mark


def test_lines_of_a_text() -> None:
    """``head`` counts the lines that an editor counts."""
    text = "one\u2028still one\r\ntwo\x0bstill two\nthree\n"
    assert (
        render("{{ t | head(2) | raw }}", {"t": text}).text
        == "one\u2028still one\r\ntwostill two\n[first 2 of 3 lines]"
    )
