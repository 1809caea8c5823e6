"""Parsing of a magic's line."""

from __future__ import annotations

import shlex
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.options.batch_line import parse_batch_line
from claude_force_nb.notebook.options.line import parse_line
from claude_force_nb.notebook.options.names import find_schema

VALUE = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)


def _quoted(value: str) -> str:
    """Quote for a shell; also what `shlex.quote` leaves bare although it looks like an option."""
    return f"'{value}'" if shlex.quote(value).startswith("--") else shlex.quote(value)


@given(VALUE, VALUE, st.booleans(), st.integers(1, 10**6))
@example("--", "--agent=b", True, 1)
def test_quoted_values_are_read_as_in_a_shell(system: str, agent: str, dashes: bool, tokens: int) -> None:
    """Whatever text is quoted for a shell comes back as it was, in both spellings."""
    form = "--system {} --agent={} --max-tokens {}" if dashes else "system={} agent={} max_tokens={}"
    options = parse_line(form.format(_quoted(system), _quoted(agent), tokens)).options
    assert options == {"system": system, "agent": agent, "max_tokens": tokens}


@given(st.text())
def test_a_line_is_read_or_refused(line: str) -> None:
    """Whatever is typed, the line parses or is refused with one line, and a prompt is never changed."""
    try:
        rest = parse_line(line, free_text=True).rest
    except OptionError as error:
        shown = error._render_traceback_()
    else:
        shown = [""]
        assert line.strip().endswith(rest)
    assert len(shown) == 1
    assert "\n" not in shown[0]


def test_the_prompt_keeps_its_quotes() -> None:
    """In the line form options come first; what follows is the prompt as typed."""
    invocation = parse_line('model=opus --refresh  What\'s "x=1" in {{ x }}? --raw', free_text=True)
    assert invocation.options == {"model": "opus", "refresh": True}
    assert invocation.rest == 'What\'s "x=1" in {{ x }}? --raw'


@pytest.mark.parametrize("line", ["--system --", "--system --agent=b", "--system"])
def test_an_option_is_not_the_value_of_another(line: str) -> None:
    """What looks like an option and bears no quotation marks was not meant as a value."""
    with pytest.raises(OptionError, match="--system needs a value"):
        parse_line(line, free_text=True)


@pytest.mark.parametrize("name", ["1x", "a b", "class"])
def test_into_takes_a_name_that_a_program_can_use(name: str) -> None:
    """Otherwise the result would be in a variable that cannot be read."""
    with pytest.raises(OptionError, match="into takes a variable name"):
        parse_line(f"into={shlex.quote(name)}", free_text=False)


_OBJECT, _OTHER = '{"type": "object"}', "{'type': 'object'}"
# A schema as typed, and how it has to be written.
_LOSING = {
    f"schema={_OBJECT}": f"schema='{_OBJECT}'",
    f"--schema {_OBJECT} model=haiku": f"schema='{_OBJECT}'",
    f'schema="{_OBJECT}"': f"schema='{_OBJECT}'",
    f"schema={_OTHER}": f'schema="{_OTHER}"',
    f"schema='{_OTHER}'": f'schema="{_OTHER}"',
    'model=haiku schema=Literal["a", "b"]': 'schema=\'Literal["a", "b"]\'',
    """schema={'type': "object"}""": "schema=NAME",
    'schema={"title": "%s"}' % ("x" * 300): "schema=NAME",
}


@pytest.mark.parametrize("parse", [parse_line, parse_batch_line], ids=["line", "batch"])
@pytest.mark.parametrize("typed", _LOSING, ids=range(len(_LOSING)))
def test_quotes_that_the_line_would_take_away(typed: str, parse: Any) -> None:
    """A schema typed without quotes around it is one line with the right spelling, which is then read as it is meant."""
    with pytest.raises(OptionError) as raised:
        parse(typed)
    line = str(raised.value)
    assert "\n" not in line
    assert line.startswith("the value of schema contains quotes, which a magic line removes")
    assert line.endswith("write " + _LOSING[typed])
    options = parse(_LOSING[typed]).options
    assert options["schema"] in typed or options["schema"] == "NAME"
    find_schema(options["schema"], {"NAME": {"type": "object"}, "Literal": Literal})


def test_a_schema_that_is_not_there_has_a_name_of_the_user_as_the_nearest() -> None:
    """What every notebook has, such as `open`, is not meant."""
    names = {"open": open, "Review": {"type": "object"}}
    with pytest.raises(OptionError, match="there is no 'Reviw'; did you mean 'Review'"):
        find_schema("Reviw", names)
    with pytest.raises(OptionError, match=r"there is no 'nope'$"):
        find_schema("nope", names)


@pytest.mark.parametrize("parse", [parse_line, parse_batch_line], ids=["line", "batch"])
def test_quotes_around_a_schema(parse: Any) -> None:
    """What has its quotes around it, or none at all, is read; another option keeps the way of a shell."""
    for typed in (f"'{_OBJECT}'", f'"{_OTHER}"', "List[int]", '"List[int]"', '"{\\"type\\": 1}"'):
        assert parse(f"schema={typed}").options["schema"] in (_OBJECT, _OTHER, "List[int]", '{"type": 1}')
    assert parse('system=a"b c"d').options == {"system": "ab cd"}
    with pytest.raises(OptionError, match="a quote is not closed"):
        parse("schema='{")
