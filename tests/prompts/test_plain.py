"""How values are written: in prompts, in JSON, in cells of tables."""

from __future__ import annotations

import datetime
import json
import math
import uuid
from collections import Counter, OrderedDict, deque, namedtuple
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any, Dict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_force_nb.errors import TemplateError
from claude_force_nb.prompts.fences import unfence
from claude_force_nb.prompts.plain import find_name, free_name, is_missing, json_data, literal, shortest
from claude_force_nb.prompts.tables import cell_text, json_text, read_table
from claude_force_nb.prompts.template import render
from claude_force_nb.rows.frames import as_table

numpy = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")

NOON = datetime.datetime(2026, 3, 1, 12, 30)
BERLIN = datetime.timezone(datetime.timedelta(hours=1))


class Colour(Enum):
    RED = "red"
    RGB = (255, 0, 0)


class Size(IntEnum):
    LARGE = 3


@dataclass
class Part:
    price: Decimal
    colour: Colour


Pair = namedtuple("Pair", "name score")

# A value, and what it is in JSON.
VALUES: Dict[str, Any] = {
    "float64": (numpy.float64(0.1), 0.1),
    "float32": (numpy.float32(0.1), 0.1),
    "int64": (numpy.int64(5), 5),
    "uint8": (numpy.uint8(200), 200),
    "bool_": (numpy.bool_(True), True),
    "str_": (numpy.str_("a"), "a"),
    "datetime64 of ns": (numpy.datetime64("2026-03-01T12:30:00", "ns"), "2026-03-01T12:30:00"),
    "datetime64 finer than Python": (numpy.datetime64("2026-03-01T12:30:00.000000001", "ns"), "2026-03-01T12:30:00.000000001"),
    "datetime64 of days": (numpy.datetime64("2026-03-01"), "2026-03-01"),
    "datetime64 of months": (numpy.datetime64("2026-03"), "2026-03"),
    "timedelta64": (numpy.timedelta64(90, "m"), "P0DT1H30M0S"),
    "Timestamp": (pandas.Timestamp(NOON), "2026-03-01T12:30:00"),
    "Timestamp with zone": (pandas.Timestamp(NOON, tz="UTC"), "2026-03-01T12:30:00+00:00"),
    "Timedelta": (pandas.Timedelta(days=-1), "-P1DT0H0M0S"),
    "datetime": (NOON, "2026-03-01T12:30:00"),
    "datetime with zone": (NOON.replace(tzinfo=BERLIN), "2026-03-01T12:30:00+01:00"),
    "date": (NOON.date(), "2026-03-01"),
    "time": (NOON.time(), "12:30:00"),
    "timedelta": (datetime.timedelta(seconds=1, milliseconds=500), "P0DT0H0M1.5S"),
    "Decimal": (Decimal("1.10"), 1.1),
    "Decimal that is whole": (Decimal("12"), 12),
    "Decimal of many digits": (Decimal("1.2345678901234567891"), "1.2345678901234567891"),
    "Enum": (Colour.RED, "red"),
    "Enum of what is not plain": (Colour.RGB, "RGB"),
    "IntEnum": (Size.LARGE, 3),
    "bytes": (b"tea", "tea"),
    "bytes that are not text": (b"\xff\xfe\xfd", "//79"),
    "NaN": (math.nan, None),
    "NaN of 32 bits": (numpy.float32("nan"), None),
    "NaT": (pandas.NaT, None),
    "NaT of numpy": (numpy.datetime64("NaT"), None),
    "NA": (pandas.NA, None),
    "Decimal NaN": (Decimal("nan"), None),
    "infinity": (math.inf, None),
    "path": (PurePosixPath("a/b"), "a/b"),
    "UUID": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "namedtuple": (Pair("Ada", math.nan), {"name": "Ada", "score": None}),
    "dataclass": (Part(Decimal("1.5"), Colour.RED), {"price": 1.5, "colour": "red"}),
    "mapping": (OrderedDict([(NOON.date(), 1), ((1, "a"), 2), (None, 3)]), {"2026-03-01": 1, "1 / a": 2, "null": 3}),
    "keys that become one": ({1: "a", "1": "b"}, {"1": "a", "1_2": "b"}),
    "set": ({"b", "a"}, ["a", "b"]),
    "deque": (deque([1, Colour.RED]), [1, "red"]),
    "range": (range(2), [0, 1]),
    "array": (numpy.array([[1.5, math.nan]]), [[1.5, None]]),
    "array of dates": (numpy.array(["2026-03-01", "NaT"], dtype="datetime64[ns]"), ["2026-03-01T00:00:00", None]),
    "structured": (numpy.array([(1, "a")], dtype=[("n", "i4"), ("t", "U1")]), [{"n": 1, "t": "a"}]),
    "half a surrogate pair": ("half \ud83d", "half \ufffd"),
    "split surrogates": ("\ud83d\ude00", "\U0001f600"),
    "anything else": (SimpleNamespace(a=1), "namespace(a=1)"),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_json(name: str) -> None:
    """In JSON every value is a number, a text, a list, an object or null; no repr, no NaN, no integer of nanoseconds."""
    value, expected = VALUES[name]
    assert json_data(value) == expected
    assert json.loads(json_text({"x": [value]}, None)) == {"x": [expected]}
    assert (
        json.loads(render("{{ x | json }}", {"x": value}).text.partition("\n")[2].rpartition("\n")[0] or "0")
        is not None
    )


@pytest.mark.parametrize("name", [name for name in VALUES if isinstance(VALUES[name][1], (str, int, float))])
def test_prompts_and_cells(name: str) -> None:
    """A single value reads alike in a prompt, in a list of Python and in a cell of a table."""
    value, expected = VALUES[name]
    if name == "bytes that are not text":
        with pytest.raises(TemplateError, match="bytes that are not UTF-8 text, an image or a PDF"):
            render("{{ x }}", {"x": value})
        return
    written = str(value) if isinstance(value, Decimal) else str(expected)
    if isinstance(value, (bool, numpy.bool_)):
        written = "True"
    assert render("{{ x }}", {"x": value}).text == written
    assert cell_text(value) == written
    if not isinstance(value, (PurePosixPath, uuid.UUID, SimpleNamespace)):
        assert str(literal([value])) == str([expected])


def test_no_reprs_of_numpy_in_containers() -> None:
    """Lists, tuples, sets and dicts of Python have no ``np.float64(...)`` in them, at any depth."""
    value = {
        "a": [numpy.float64(0.5), (numpy.int64(1), {numpy.str_("x")})],
        numpy.int64(2): Colour.RED,
        "n": Pair("Ada", NOON),
    }
    text = render("{{ v }}", {"v": value}).text
    assert text == "{'a': [0.5, (1, {'x'})], 2: 'red', 'n': {'name': 'Ada', 'score': '2026-03-01T12:30:00'}}"


class Written:
    """A class that defines how its values are written."""

    def __str__(self) -> str:
        return "as it says"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Part(Decimal("1.5"), Colour.RED), "{'price': 1.5, 'colour': 'red'}"),
        (Pair("Ada", math.nan), "{'name': 'Ada', 'score': None}"),
        (OrderedDict(a=Colour.RED), "{'a': 'red'}"),
        (Counter("aab"), "{'a': 2, 'b': 1}"),
        (deque([numpy.int64(1), NOON]), "[1, '2026-03-01T12:30:00']"),
        ({"a": 1}.keys(), "['a']"),
        (frozenset([Colour.RED]), "{'red'}"),
        ([uuid.UUID(int=1), PurePosixPath("a/b"), Written()], "['00000000-0000-0000-0000-000000000001', 'a/b', 'as it says']"),
        ({Pair("a", 1): {Pair("b", 2)}}, "{('a', 1): [{'name': 'b', 'score': 2}]}"),
        ({"v": numpy.array([1.5, math.nan])}, "{'v': [1.5, None]}"),
        (numpy.array([1.5, math.nan]), "[ 1.5 None]"),
        (numpy.array(["2026-03-01", "NaT"], dtype="datetime64[ns]"), "['2026-03-01T00:00:00', None]"),
        (numpy.array([Colour.RED, None], dtype=object), "['red', None]"),
        (numpy.array([(1, "a")], dtype=[("n", "i4"), ("t", "U1")])[0], "{'n': 1, 't': 'a'}"),
        (pandas.Categorical(["a", None]), "['a', None]"),
        (pandas.Index([1, 2]), "[1, 2]"),
        ([pandas.Period("2026-03", "M"), pandas.NaT], "['2026-03', None]"),
        ({"d": pandas.DataFrame({"a": [1.0, math.nan]})}, "{'d': [{'a': 1.0}, {'a': None}]}"),
        (numpy.void(b"abc"), "abc"),
    ],
)  # fmt: skip
def test_no_repr_in_a_prompt(value: Any, text: str) -> None:
    """Records, collections and arrays are written as Python writes its own data: no repr of a class, no literal NaN."""
    assert unfence(render("{{ v | fence }}", {"v": value}).text) == text


def test_keys_that_would_become_one() -> None:
    """A member of an Enum and its value are both kept."""
    assert literal({Colour.RED: 1, "red": 2}) == {Colour.RED: 1, "red": 2}
    assert literal({"red": 2, Colour.RED: 1}) == {"red": 2, Colour.RED: 1}


def test_a_large_table_in_a_mapping_says_what_it_leaves_out() -> None:
    """Where a list of records would be cut, its place has the text that tells of it, in JSON as in a prompt."""
    value = {"d": pandas.DataFrame({"a": range(101)})}
    for template in ("{{ v }}", "{{ v | json }}"):
        assert "101 rows x 1 column; only the first 100 rows shown" in render(template, {"v": value}).text
    assert "shown" not in render("{{ v | json }}", {"v": {"d": value["d"].head(100)}}).text


def test_pydantic_models_in_a_prompt() -> None:
    """A model is written as the record that it is, members of an Enum inside as their values, also in a list."""
    pydantic = pytest.importorskip("pydantic", minversion="2")

    class Car(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        colour: Colour
        built: datetime.date

    class Named(Car):
        def __str__(self) -> str:
            return "a red car"

    car = Car(colour="red", built="2026-03-01")
    assert render("{{ v }}", {"v": car}).text == "{'colour': 'red', 'built': '2026-03-01'}"
    assert render("{{ v }}", {"v": [car, None]}).text == "[{'colour': 'red', 'built': '2026-03-01'}, None]"
    assert render("{{ v }}", {"v": Named(colour="red", built="2026-03-01")}).text == "a red car"


def test_pydantic_models() -> None:
    """Models give what their own JSON has, also where a field has no form in JSON."""
    pydantic = pytest.importorskip("pydantic", minversion="2")

    class Car(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        colour: Colour
        built: datetime.date
        price: Decimal
        extra: SimpleNamespace

    class Names(pydantic.RootModel):  # type: ignore[name-defined, misc]
        root: list  # type: ignore[type-arg]

    car = Car(colour="red", built="2026-03-01", price="1.5", extra=SimpleNamespace())
    assert json_data(car) == {"colour": "red", "built": "2026-03-01", "price": 1.5, "extra": "namespace()"}
    assert json_data([Names([1, math.nan])]) == [[1, None]]


def test_values_that_contain_themselves() -> None:
    """A list that holds itself is one line, not a hang."""
    loop: Any = []
    loop.append(loop)
    with pytest.raises(TemplateError, match="RecursionError"):
        render("{{ x | json }}", {"x": loop})


def test_columns_of_one_name() -> None:
    """Records have a name for each column, though two are called alike, an index is called like one, or names have levels."""
    alike = pandas.DataFrame([[1, 2, 3]], columns=["x", "x", "x_2"])
    assert read_table(alike).records() == [{"x": 1, "x_3": 2, "x_2": 3}]
    indexed = pandas.DataFrame({"x": [1]}, index=pandas.Index(["a"], name="x"))
    assert read_table(indexed).records() == [{"x_index": "a", "x": 1}]
    levels = pandas.DataFrame([[1, 2]], columns=pandas.MultiIndex.from_tuples([("a", "b"), ("a", "c")]))
    levels.index = pandas.MultiIndex.from_tuples([("k", "l")])
    assert read_table(levels).records() == [{"level 0": "k", "level 1": "l", "a / b": 1, "a / c": 2}]


def test_missing_in_tables() -> None:
    """What is missing is an empty cell in CSV and Markdown, and null in JSON."""
    frame = pandas.DataFrame({"n": [1.5, math.nan], "t": [pandas.NaT, pandas.Timestamp(NOON)], "o": [None, pandas.NA]})
    assert render("{{ f | csv }}", {"f": frame}).text.split("\n")[1:4] == ["n,t,o", "1.5,,", ",2026-03-01T12:30:00,"]
    records = json.loads(json_text(frame, None))
    assert records == [{"n": 1.5, "t": None, "o": None}, {"n": None, "t": "2026-03-01T12:30:00", "o": None}]


def test_names() -> None:
    """A free name has a number where it must; a name is found however its letters are composed."""
    assert [free_name("a", taken) for taken in ([], ["a"], ["a", "a_2"])] == ["a", "a_2", "a_3"]
    composed, apart = "Gr\u00f6\u00dfe", "Gro\u0308\u00dfe"
    assert find_name({apart: 1}, composed) == apart
    assert find_name({composed: 1, apart: 2}, apart) == apart
    assert find_name({"a": 1}, composed) is None


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.dates() | st.decimals()
    | st.timedeltas() | st.sampled_from([Colour.RED, Colour.RGB, Size.LARGE, pandas.NaT, pandas.NA, numpy.float32(1.5)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(ANY)
def test_any_value_is_json(value: Any) -> None:
    """Whatever a value holds, its JSON can be encoded, read again, and has no NaN; reading it as JSON data again changes nothing."""
    text = json_text(value, None)
    text.encode("utf-8")
    data = json.loads(text, parse_constant=pytest.fail)
    assert json_data(data) == data
    assert (data is None) == (is_missing(value) or (isinstance(value, (float, Decimal)) and not math.isfinite(value)))


@given(st.floats(width=32))
@example(0.1)
@example(3.4028234663852886e38)
@example(1e-45)
def test_numbers_of_32_bits_are_as_short_as_they_can_be(value: float) -> None:
    """What stands for one means the same 32 bits, and is what numpy writes."""
    single = numpy.float32(value)
    found = shortest(float(single))
    if math.isfinite(value):
        assert numpy.float32(found) == single
        assert found == float(str(single))
    else:
        assert str(found) == str(value)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_32_bits(library: str) -> None:
    """In a table, its JSON, and the rows of a batch."""
    frames = pytest.importorskip(library)
    values = numpy.array([0.1, 2.5], dtype="float32")
    frame = frames.DataFrame({"n": ["a", "b"], "x": values})
    assert read_table(frame).records() == [{"n": "a", "x": 0.1}, {"n": "b", "x": 2.5}]
    assert [dict(row) for row in as_table(frame, "frame")] == [{"n": "a", "x": 0.1}, {"n": "b", "x": 2.5}]
