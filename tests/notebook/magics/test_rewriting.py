"""Cells rewritten before they run."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.notebook.magics.claude_magics import AWAITABLE, ClaudeMagics
from claude_force_nb.notebook.magics.rewriting import await_magics, protect_questions

NAMES = {"claude": True, "claude_fix": False}
CALL = "get_ipython().run_line_magic('claude', 'hi')"
AWAITED = "(await get_ipython()._claude_force_extension.awaitable('claude', 'hi'))"


def rewritten(code: str) -> str:
    return "".join(await_magics(code.splitlines(keepends=True), NAMES))


@pytest.mark.parametrize(
    "frame",
    [
        "{}\n",
        "x = {}\n",
        "x['a'] = f({})[0]\n",
        "for i in range(3):\n    if i:\n        y = {}\n",
        "try:\n    {}\nfinally:\n    pass\n",
        "with open('x') as f:\n    {}\n",
        "ü = 'äöü €'; x = {}\n",
        "print({}, 'é')\n",
        "x = await other(); y = {}\n",
    ],
)
def test_top_level_calls_are_awaited(frame: str) -> None:
    """Wherever a top-level await is allowed, the call becomes one, and nothing else changes."""
    assert rewritten(frame.format(CALL)) == frame.format(AWAITED)


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    return {}\n",
        "async def f():\n    return {}\n",
        "f = lambda: {}\n",
        "x = [{} for i in range(3)]\n",
        "x = {{i: {} for i in range(3)}}\n",
        "class C:\n    x = {}\n",
        's = "{}"\n',
        "# {}\n",
        "this is not python {}\n",
        "get_ipython().run_line_magic('claude_cost', 'hi')\n",
        "get_ipython().run_line_magic('time', 'claude')\n",
        "get_ipython().run_cell_magic('claude_fix', '', 'IPython says that it is not a cell magic')\n",
    ],
)
def test_everything_else_stays(code: str) -> None:
    """Where an await is not allowed or the call is another one, the very same lines come back."""
    lines = code.format(CALL).splitlines(keepends=True)
    assert await_magics(lines, NAMES) is lines


def test_several_calls_on_one_line() -> None:
    """Each call of a line is rewritten, the inner ones of nested calls not twice."""
    assert rewritten(f"a = {CALL}; b = {CALL}\n") == f"a = {AWAITED}; b = {AWAITED}\n"


def test_an_empty_cell_body_reaches_the_magic() -> None:
    """IPython refuses a cell magic with an empty body; awaited, the magic itself says what is missing."""
    code = "get_ipython().run_cell_magic('claude', '--help', '')\n"
    assert rewritten(code) == "(await get_ipython()._claude_force_extension.awaitable('claude', '--help', ''))\n"


def test_every_cell_magic_can_be_awaited() -> None:
    """Any of them may be run with an empty body."""
    assert {name for name, is_cell_magic in AWAITABLE.items() if is_cell_magic} == set(ClaudeMagics.magics["cell"])


@given(st.text(), st.text())
def test_line_and_body_survive_the_rewriting(line: str, body: str) -> None:
    """Whatever stands in the cell, the awaited call gets exactly that."""
    code = f"get_ipython().run_cell_magic('claude', {line!r}, {body!r})\n"
    tree = compile(rewritten(code), "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    call = tree.body[0].value.value  # type: ignore[attr-defined]
    assert [argument.value for argument in call.args] == ["claude", line, body]


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("%claude what is up?\n", "get_ipython().run_line_magic('claude', 'what is up?')\n"),
        ('  x = %claude "why"?', "  x = get_ipython().run_line_magic('claude', '\"why\"?')"),
        ("x[k] = %claude why??\n", "x[k] = get_ipython().run_line_magic('claude', 'why??')\n"),
        ("%claude?\n", None),
        ("%claude ?\n", None),
        ("%claude_cost by=model?\n", None),
        ("%timeit f(x)?\n", None),
        ("print('%claude what?')\n", None),
    ],
)
def test_a_question_is_not_a_request_for_help(typed: str, becomes: str) -> None:
    """A line that ends in a question mark asks Claude; help on the magic itself stays help."""
    assert "".join(protect_questions([typed], NAMES)) == (becomes or typed)


def test_text_in_a_string_is_left_alone() -> None:
    """A line of a multi-line string is text, whatever it looks like."""
    lines = ['text = """\n', "%claude is this a question?\n", '"""\n', "%claude is this?\n"]
    assert protect_questions(lines, NAMES) == [*lines[:3], "get_ipython().run_line_magic('claude', 'is this?')\n"]
