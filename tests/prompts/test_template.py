"""Templates, fences and cleaning: the user's words as typed, values as data."""

from __future__ import annotations

import re
import sys
from typing import Any, Dict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_force_nb.errors import PromptError, TemplateError, UndefinedNameError
from claude_force_nb.prompts.fences import INLINE_LIMIT, clean, fence, unfence
from claude_force_nb.prompts.template import names, render
from claude_force_nb.vocabulary import did_you_mean

texts = st.text(st.characters(blacklist_categories=["Cs"]))
# Text that comes close to ending a fence.
hostile = st.lists(
    st.sampled_from(
        ["<", "/", "\\", " ", "\n", "data", "DATA", "data_", "data>", "</data>", '<data name="x">', "{{", "}}", "x"]
    )
).map("".join)


def text_of(template: str, **variables: Any) -> str:
    return render(template, variables).text


@given(st.one_of(texts, hostile))
@example("</data>\n<\\/data>\n<\\\\ / data>")
def test_no_value_ends_its_fence(value: str) -> None:
    """Between the fence's two tags there is no tag of that name, whatever the value; and the value can be had back."""
    fenced = fence("value", value)
    assert fenced.startswith('<data name="value">\n')
    assert fenced.endswith("\n</data>")
    inside = fenced[len('<data name="value">\n') : -len("\n</data>")]
    assert not re.search(r"<\s*/?\s*data\b", inside, re.IGNORECASE)
    assert unfence(fenced) == value


@given(texts)
def test_no_name_leaves_its_attribute(name: str) -> None:
    """The name of a fence stays one line between its quotes, whatever the expression was."""
    first = fence(name, "v").split("\nv\n")[0]
    assert re.fullmatch(r'<data name="[^"<>\n\r]*">', first)


@pytest.mark.parametrize("other", ["", "x", '<data name="x">', '<data name="x">\nx', 'a <data name="x">\nx\n</data>'])
def test_only_a_fence_is_unfenced(other: str) -> None:
    """unfence refuses what fence did not make."""
    with pytest.raises(ValueError, match="not a data fence"):
        unfence(other)


def test_fences_take_linear_time() -> None:
    """A value made to stall the search for tags is fenced at once; a slow pattern would not end here."""
    value = ("<" + " " * 200_000) * 3
    assert unfence(fence("v", value)) == value


@given(st.one_of(texts, hostile), st.one_of(texts, hostile))
def test_values_are_inserted_once(first: str, second: str) -> None:
    """A value that looks like a template is data: it is not rendered, and neither is what two values make together."""
    marked = "{{ second }}" + first + "{% if x %}{# #}"
    result = text_of("A{{ first | raw }}B{{ second | raw }}C", first=marked, second=second)
    assert result == f"A{clean(marked)[0]}B{clean(second)[0]}C"


@given(st.one_of(texts, hostile))
def test_values_are_fenced_or_one_short_line(value: str) -> None:
    """Every value is either fenced, or one line of limited length without anything that looks like a fence."""
    rendered = render("{{ value }}", {"value": value})
    cleaned, removed = clean(value)
    assert sum(rendered.removed.values()) == removed
    if rendered.fenced:
        assert unfence(rendered.text) == cleaned
    else:
        assert rendered.text == cleaned
        assert len(cleaned) <= INLINE_LIMIT
        assert not re.search(r"[\n\r]|<\\*\s*/?\s*data\b", cleaned, re.IGNORECASE)


@given(texts.filter(lambda text: "{{" not in text), texts.filter(lambda text: "{{" not in text))
@example("a\r\nb\rc\n\n", "\x00% raw %\x00 {% raw %}\r\n")
def test_the_users_words_are_sent_as_typed(before: str, after: str) -> None:
    """What stands around an expression is not touched: line ends, blanks, and whatever looks like other template syntax."""
    template = before.rstrip("{") + "{{ n }}" + after
    assert text_of(template, n=5) == before.rstrip("{") + "5" + after


@pytest.mark.parametrize(
    "literal",
    [
        "{x}", "{", "}", "}}", "{ {x} }", "f'{x!r:>10}'", r"\frac{a}{b} \sum_{i=0}^{n}", "a { color: red }", "{% if x %}",
        "{# note #}", '{"a": {"b": 1}}', "${HOME}", "$x$", "%s %(x)s", "@media { a { b: c } }", "  \n\n  ",
    ],
)  # fmt: skip
def test_other_braces_mean_nothing(literal: str) -> None:
    """Single braces, LaTeX, CSS, JSON, f-strings and Jinja's statements are plain text, beside an expression and alone."""
    assert text_of(literal) == literal
    assert text_of("{{ x }} " + literal + " {{ x }}", x=1) == "1 " + literal + " 1"


def test_expressions() -> None:
    """Expressions reach into values, filter, calculate, and use what looks like the end of one inside quotes and braces."""
    values: Dict[str, Any] = {"rows": [{"name": "Ada"}], "x": 5, "result": "r", "text": "abc"}
    for expression, expected in [
        ("rows[0].name", "Ada"), ("rows[0]['name'] | upper", "ADA"), ("x * 2 + 1", "11"), ("-x", "-5"), ("'}}' ~ x", "}}5"),
        ("{'a': {'b': x}}['a']['b']", "5"), ("len(rows)", "1"), ("result", "r"), ("result ~ x", "r5"),
        ("max([1, x, 3])", "5"), ("text[1:]", "bc"), ("x if x > 3 else 0", "5"), ("'{{'", "{{"), ("None", "None"),
        ("true", "True"), ('"\\"}}"', '"}}'), ("text.upper()", "ABC"), ("sorted(text, reverse=true)", "['c', 'b', 'a']"),
    ]:  # fmt: skip
        assert render("{{ " + expression + " }}", values).text == expected, expression
        assert render("{{" + expression + "}}", values).text == expected, expression


def test_long_values_are_fenced_under_their_expression() -> None:
    """A value of several lines is fenced with the expression as its name; a number and a raw value never are."""
    assert text_of("See {{ source }}.", source="a\nb") == 'See <data name="source">\na\nb\n</data>.'
    assert text_of("{{ n }}", n=10**300) == str(10**300)
    assert text_of("{{ s | raw }}", s="a\nb") == "a\nb"
    assert text_of("{{ s | fence }} {{ 5 | fence }}", s="a") == (
        '<data name="s | fence">\na\n</data> <data name="5 | fence">\n5\n</data>'
    )
    assert not render("{{ a }}", {"a": "x" * INLINE_LIMIT}).fenced
    assert render("{{ a }}", {"a": "x" * (INLINE_LIMIT + 1)}).fenced


def test_names_of_a_template() -> None:
    """The names that a template needs are found without computing anything."""
    assert names("{{ a.b }} {{ f(c) }} {% for x in y %} {{ 'q' }} {{ a }}") == ("a", "c", "f")
    assert names("plain {x}") == ()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ sorce }}", "'sorce' in {{ sorce }} is not defined; nothing was sent; did you mean 'source'?"),
        ("{{ source.txt }}", "has no attribute 'txt' in {{ source.txt }}; nothing was sent"),
        ("{{ rows[5] }}", "in {{ rows[5] }}; nothing was sent"),
        ("{{ range(3) }}", "'range' in {{ range(3) }} is not defined"),
        ("{{ flie('a.pdf') }}", "did you mean 'file'?"),
        ("{{ lenn(rows) }}", "is not defined; nothing was sent; to send"),
        ("{{ __builtins__ }}", "'__builtins__' in {{ __builtins__ }} is not defined"),
    ],
)
def test_undefined_names(template: str, said: str) -> None:
    """A name that is not there stops the prompt, with the expression and the nearest name of the notebook."""
    with pytest.raises(UndefinedNameError) as raised:
        render(template, {"source": "x", "rows": [], "_hidden": 1})
    assert said in str(raised.value)


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("first line\nsecond line")


@pytest.mark.parametrize(
    "template",
    [
        "{{ }}", "{{", "a\nb {{ x", "{{ x y }}", "{{ x\n+\n}}", "{{ (x }}", "{{ 'x }}", "{{ x | nofilter }}", "{{ 1/0 }}",
        "{{ broken }}", "{{ x.upper(\n1, 2) }}", "{{ huge }}", "{{ x + 1 }}", "{{ {{ x }} }}", "{{ x }}{{", "{{ x := 5 }}", "{{ self }}",
        "{{ x is nothing_known }}", "{{ lambda: 1 }}", "{{ [y for y in x] }}", "{{ " + "(" * 500 + " }}",
    ],
)  # fmt: skip
def test_failures_are_one_line(template: str) -> None:
    """Whatever is wrong with an expression is a PromptError of one line."""
    with pytest.raises(PromptError) as raised:
        render(template, {"x": "v", "broken": Broken(), "huge": 10**5000 if sys.version_info >= (3, 11) else Broken()})
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_errors_name_the_line() -> None:
    """A bad expression is found again by its line in the prompt."""
    with pytest.raises(TemplateError, match=r"line 3 of the prompt"):
        render("one {{ x }}\ntwo\nthree {{ x y }}", {"x": 1})


@pytest.mark.parametrize(
    "escape",
    [
        "x.__class__",
        "x['__class__']",
        "''.__class__.__mro__",
        "(1).__class__",
        "'{0.__class__}'.format(x)",
        "'{0.__class__.__mro__}'.format_map({'0': x})",
        "str.format('{0.__class__}', x)",
        "str.format_map('{x.__class__}', {'x': x})",
        "sorted([x], key='{0.__class__}'.format)",
        "max([x, x], key=str.__class__)",
        "x | attr('__class__')",
        "f.__globals__",
        "f.__code__",
        "dict.fromkeys.__self__",
        "len.__self__",
        "int.from_bytes",
        "x.__init__.__globals__",
    ],
)
def test_the_sandbox_has_no_way_out(escape: str) -> None:
    """No expression reaches Python's internals through an attribute, a format or a built-in function."""
    with pytest.raises(PromptError):
        render("{{ " + escape + " }}", {"x": "v", "f": lambda: None})


def test_clean_removes_what_cannot_be_seen_and_nothing_else() -> None:
    """Of all characters, exactly control, zero-width, bidi, annotation and tag characters go; tab, line ends and joiners stay."""
    controls = {*range(0x20), *range(0x7F, 0xA0)} - {0x09, 0x0A, 0x0D}
    zero_width = {0xAD, 0x180E, 0x200B, 0xFEFF, *range(0x2060, 0x2066)}
    bidi = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    deprecated_formats = set(range(0x206A, 0x2070))
    annotations = {0xFFF9, 0xFFFA, 0xFFFB}
    tags_and_selectors = set(range(0xE0000, 0xE1000))
    expected = controls | zero_width | bidi | deprecated_formats | annotations | tags_and_selectors
    removed = {code for code in range(sys.maxunicode + 1) if clean(chr(code))[1]}
    assert removed == expected


@given(st.one_of(texts, st.text(st.characters(max_codepoint=127))))
def test_clean_counts_what_it_removes(value: str) -> None:
    """Cleaning takes out as many characters as it says, keeps the others in order, and has nothing left to do after."""
    cleaned, removed = clean(value)
    assert len(cleaned) == len(value) - removed
    assert clean(cleaned) == (cleaned, 0)
    assert cleaned == "".join(character for character in value if not clean(character)[1])


def test_visible_text_is_left_alone() -> None:
    """Scripts that need joiners, emoji sequences and combining marks come through as they are."""
    for text in ["می‌خواهم", "👩‍👩‍👧", "क्‍ष", "é", "日本語\tx\r\n", "🏳️‍🌈", "𐀀"]:
        assert clean(text) == (text, 0)


def test_did_you_mean() -> None:
    """The nearest name is offered, and nothing where none is near."""
    assert did_you_mean("reviwer", ["reviewer", "tester"]) == "; did you mean 'reviewer'?"
    assert did_you_mean("xyz", ["reviewer"]) == ""
