"""Expressions of templates: data before methods, and values that are missing."""

from __future__ import annotations

import math
from typing import Any, Dict

import pytest
from support.small_stack import output_with_small_stack

from claude_force_nb.errors import MissingValueError, PromptError, TemplateError, UndefinedNameError
from claude_force_nb.prompts.template import names, render

numpy = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")


@pytest.mark.parametrize("name", ["items", "keys", "values", "get", "copy", "pop", "update", "_private", "two_words"])
def test_data_goes_before_methods(name: str) -> None:
    """A key of a record is its value, whatever methods a dict has, and however deep it lies."""
    assert render("{{ r." + name + " }} {{ r['" + name + "'] }}", {"r": {name: "tea"}}).text == "tea tea"
    assert render("{{ a.b." + name + " }}", {"a": {"b": {name: 5}}}).text == "5"


def test_methods_where_there_is_no_such_data() -> None:
    """Without such a key a method is a method."""
    assert render("{{ r.get('a') }} {{ r.items() | list }}", {"r": {"a": 1}}).text == "1 [('a', 1)]"
    assert render("{{ t.upper() }}", {"t": "tea"}).text == "TEA"


def test_rows_and_tables_of_pandas() -> None:
    """A label of a series and a column of a frame go before the methods of pandas; numbered ones are in nobody's way."""
    row = pandas.Series({"items": "tea", "count": 2, "mean": "kind"})
    assert render("{{ r.items }} {{ r.count }} {{ r.mean }} {{ r['items'] }}", {"r": row}).text == "tea 2 kind tea"
    assert "tea" in render("{{ f.size }}", {"f": pandas.DataFrame({"size": ["tea"]})}).text
    assert render("{{ s.sum() }}", {"s": pandas.Series([1, 2])}).text == "3"


def test_names_composed_otherwise() -> None:
    """A name finds its value however its letters are composed, as on a file that a Mac wrote."""
    composed, apart = "Gr\u00f6\u00dfe", "Gro\u0308\u00dfe"
    for typed, held in ((composed, apart), (apart, composed)):
        assert render("{{ " + typed + " }}", {held: 5}).text == "5"
        assert render("{{ row['" + typed + "'] }} {{ row." + typed + " }}", {"row": {held: 5}}).text == "5 5"


MISSING = [None, math.nan, numpy.float64("nan"), numpy.datetime64("NaT"), pandas.NaT, pandas.NA]


@pytest.mark.parametrize("value", MISSING, ids=repr)
@pytest.mark.parametrize(
    "template",
    ["{{ x }}", "{{ x | upper }}", "{{ x.strip() }}", "{{ 'a: ' ~ x }}", "{{ x | trim | upper }}", "{{ r.x }}", "{{ r['x'] }}",
     "{{ r.x.y }}", "{{ str(x) }}", "{{ x + 1 }}", "{{ x | raw }}", "{{ x | fence }}", "{{ r.x | truncate_tokens(5) }}"],
)  # fmt: skip
def test_what_is_missing(template: str, value: Any) -> None:
    """A value that is missing is never asked about, whatever is done with it; with ``empty`` nothing stands in its place."""
    names: Dict[str, Any] = {"x": value, "r": {"x": value}}
    with pytest.raises(MissingValueError, match="has no value, so the row is skipped; missing=empty"):
        render(template, names, missing="skip")
    assert render("[" + template + "]", names, missing="empty").text == "[]"


@pytest.mark.parametrize("value", MISSING, ids=repr)
@pytest.mark.parametrize(
    ("template", "text"),
    [("{{ x or 'nothing' }}", "nothing"), ("{{ x | default('nothing', true) }}", "nothing"), ("{{ 'no' if x is none else x }}", "no"),
     ("{{ [1, x] }}", "[1, None]"), ("{{ x | json }}", "null"), ("{{ {'a': x} | json }}", '{"a":null}'), ("{{ y or '' }}", ""),
     ("{{ x | default('nothing') }}", "nothing"), ("{{ x | d('-') | upper }}", "-"), ("{{ r.x | default(0) + 1 }}", "1")],
)  # fmt: skip
def test_templates_that_know_of_it(template: str, text: str, value: Any) -> None:
    """An expression that says what to do about a missing value is computed."""
    names = {"x": value, "y": None, "r": {"x": value}}
    assert [render(template, names, missing=missing).text for missing in ("skip", "empty")] == [text, text]


def test_what_is_there_needs_no_default() -> None:
    """A value stays, also one that is empty or 0, unless the filter is told otherwise."""
    names = {"zero": 0, "text": "t", "empty": ""}
    assert render("{{ zero | default(5) }}{{ text | default('x') }}[{{ empty | d('x') }}]", names).text == "0t[]"
    assert render("{{ zero | default(5, true) }}{{ empty | default('x', boolean=True) }}", names).text == "5x"


@pytest.mark.parametrize("missing", ["keep", "skip", "empty"])
@pytest.mark.parametrize(
    ("template", "text"),
    [("{{ y | default('x') }}", "x"), ("{{ y | d }}", ""), ("{{ y | default(['a']) | length }}", "1"), ("{{ (y | default(z)) ~ '!' }}", "1!"),
     ("{{ y if y is defined else 'x' }}", "x"), ("{{ 'x' if y is undefined else y.part }}", "x"), ("{{ y is defined and y > 2 }}", "False")],
)  # fmt: skip
def test_names_that_are_not_defined(template: str, text: str, missing: str) -> None:
    """As in Jinja, an expression that asks about a name may be computed without it."""
    assert render(template, {"z": 1}, missing=missing).text == text
    assert "y" in names(template)
    assert "y" not in names(template, optional=False)


@pytest.mark.parametrize(
    "template", ["{{ y | default('x') }} {{ y }}", "{{ y | upper | default('x') }}", "{{ y.part | default('x') }}",
                 "{{ y is none }}", "{{ z | default(y) }}", "{{ y ~ (y | default('x')) }}"]
)  # fmt: skip
@pytest.mark.parametrize("missing", ["keep", "skip", "empty"])
def test_names_that_nobody_asks_about(template: str, missing: str) -> None:
    """Used in any other way, an undefined name stays an error."""
    with pytest.raises(UndefinedNameError, match="'y'"):
        render(template, {}, missing=missing)


def test_a_value_that_a_row_lacks_ends_what_rows_share() -> None:
    """What stands in place of a column that this row lacks is no part of what all rows have in common."""
    template = "Shared. {{ y | default('x') }} {{ z }}"
    shared = [render(template, row, varying=row.keys()).shared_characters for row in ({"z": 1}, {"y": 2, "z": 1})]
    assert shared == [8, 8]


@pytest.mark.parametrize(
    ("template", "text"),
    [("{{ row[2] }}", "two"), ("{{ row['a', 'b'] }}", "levels"), ("{{ row[('a', 'b')] }}", "levels"), ("{{ own[2] }}", "number"),
     ("{{ row['2'] }}", "two"), ("{{ [7, 8][1] }}", "8")],
)  # fmt: skip
def test_labels_that_are_not_texts(template: str, text: str) -> None:
    """A row has texts for the labels of its columns; numbers and several levels find them, as in the data frame."""
    assert render(template, {"row": {"2": "two", "a / b": "levels"}, "own": {2: "number", "2": "text"}}).text == text


def test_missing_is_kept_outside_of_batches() -> None:
    """In a single prompt a value is what Python writes, as the one who typed it sees it."""
    texts = [render("{{ x }}", {"x": value}).text for value in (None, math.nan, pandas.NaT, pandas.NA)]
    assert texts == ["None", "nan", "NaT", "<NA>"]


@pytest.mark.parametrize(
    "template",
    ["<p>{{msg}}</p>", "{{#each items}}x{{/each}}", "{{> partial}}", "{{ user.name }}", "{{ x.msg }}", "{{ rows[0].msg }}", "{{}}", "{{ a", "{{ x | capitalizeAll }}"],
)  # fmt: skip
def test_braces_of_other_template_languages(template: str) -> None:
    """A prompt about a template of Vue or Handlebars is one line that says how to send it as typed."""
    with pytest.raises((TemplateError, UndefinedNameError)) as raised:
        render(template, {"x": 1, "rows": [{}]})
    assert "to send {{ }} literally, use --raw" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, PromptError)


_DEEP = {
    "lists": ("[", "1", "]"), "dicts": ("{1: ", "1", "}"), "brackets": ("(", "1", ")"), "not": ("not ", "1", ""), "signs": ("- ", "1", ""),
    "sums": ("1 + ", "1", ""), "filters": ("", "x", " | upper"), "attributes": ("", "x", ".y"), "items": ("", "x", "[0]"),
    "calls": ("", "x", "()"), "conditions": ("", "1", " if 1 else 1"), "mixed": ("[1 + not (", "x", ")]"),
}  # fmt: skip


def _deep(name: str, levels: int) -> str:
    before, middle, behind = _DEEP[name]
    return "{{ " + before * levels + middle + behind * levels + " }}"


@pytest.mark.parametrize("levels", [300, 20_000])
@pytest.mark.parametrize("name", _DEEP)
def test_expressions_that_are_too_deep(name: str, levels: int) -> None:
    """Levels of brackets and operators are counted before anything goes down into them: one line, whatever the recursion limit."""
    with pytest.raises(TemplateError, match=r"^too many levels of brackets or operators in") as raised:
        render(_deep(name, levels), {"x": 1})
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "template",
    ["{{ " + "[" * 25 + "1" + "]" * 25 + " }}", "{{ 1" + " + 1" * 150 + " }}", "{{ [" + "[1, -2], " * 500 + "] | length }}",
     "{{ '" + "[" * 500 + "' }}", "{{ '" + "not " * 500 + "' }}", "{{ {" + "'a': 1 + 2, " * 300 + "} | length }}", "{{ 1 }} + " * 500],
    ids=["brackets", "sum", "wide", "text", "words", "dict", "many"],
)  # fmt: skip
def test_expressions_that_are_only_long(template: str) -> None:
    """Items beside each other, and what is in quotes, are no levels."""
    render(template, {})


_REFUSED = """
from claude_force_nb.errors import TemplateError
from claude_force_nb.prompts.template import render

def main():
    for levels in (35, 20_000):
        for before, behind in ("[]", ("{1: ", "}"), ("not ", ""), ("1 + ", ""), ("", "[0]")):
            try:
                render("{{ " + before * levels + "1" + behind * levels + " }}", {})
            except Exception as error:
                print(type(error).__name__)
"""


def test_an_expression_that_would_end_the_process() -> None:
    """A small stack with a high recursion limit does not overflow."""
    printed = output_with_small_stack(_REFUSED, size_bytes=1024 * 1024)
    assert printed.split() == ["UndefinedNameError"] + ["TemplateError"] * 5
