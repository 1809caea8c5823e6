"""The pure parts of the notebook room: rewriting cells, reading options, rendering."""

from __future__ import annotations

import ast
import re
import shlex
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage
from claude_force_nb.notebook.commands.views import config_view
from claude_force_nb.notebook.display.render import answer_bundle, dollars, receipt, result_bundle, table_bundle
from claude_force_nb.notebook.magics.awaiting import await_magics, protect_questions
from claude_force_nb.notebook.options.line import parse_line
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.notebook.options.table import LINE_OPTIONS, OPTIONS, SETTINGS, read_setting

NAMES = ("claude",)
CALL = "get_ipython().run_line_magic('claude', 'hi')"
AWAITED = "(await get_ipython().run_line_magic('claude_async', 'hi'))"


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
    """IPython refuses a cell magic with an empty body, so an empty line goes instead."""
    code = "get_ipython().run_cell_magic('claude', '--help', '')\n"
    assert rewritten(code) == "(await get_ipython().run_cell_magic('claude_async', '--help', '\\n'))\n"


@given(st.text(), st.text())
def test_line_and_body_survive_the_rewriting(line: str, body: str) -> None:
    """Whatever stands in the cell, the awaited call gets exactly that."""
    code = f"get_ipython().run_cell_magic('claude', {line!r}, {body!r})\n"
    tree = compile(rewritten(code), "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    call = tree.body[0].value.value  # type: ignore[attr-defined]
    assert [argument.value for argument in call.args] == ["claude_async", line, body or "\n"]


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
def test_a_question_is_no_request_for_help(typed: str, becomes: str) -> None:
    """A line that ends in a question mark asks Claude; help on the magic itself stays help."""
    assert "".join(protect_questions([typed], NAMES)) == (becomes or typed)


def test_text_in_a_string_is_left_alone() -> None:
    """A line of a multi-line string is text, whatever it looks like."""
    lines = ['text = """\n', "%claude is this a question?\n", '"""\n', "%claude is this?\n"]
    assert protect_questions(lines, NAMES) == [*lines[:3], "get_ipython().run_line_magic('claude', 'is this?')\n"]


VALUE = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)


@given(VALUE, VALUE, st.booleans(), st.integers(1, 10**6))
def test_quoted_values_are_read_as_in_a_shell(system: str, agent: str, dashes: bool, tokens: int) -> None:
    """Whatever text is quoted for a shell comes back as it was, in both spellings."""
    form = "--system {} --agent={} --max-tokens {}" if dashes else "system={} agent={} max_tokens={}"
    options = parse_line(form.format(shlex.quote(system), shlex.quote(agent), tokens)).options
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


def test_settings_read_what_toml_and_traitlets_give() -> None:
    """Numbers and booleans are read like their texts; an unknown setting names its nearest."""
    assert read_setting("stream", False, where="x") is False
    assert read_setting("max_tokens", 12, where="x") == 12
    with pytest.raises(OptionError, match="x: unknown setting 'modl'; did you mean 'model'"):
        read_setting("modl", 1, where="x")
    assert set(SETTINGS) <= set(OPTIONS)
    assert "into" in LINE_OPTIONS


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0"),
        ("0.00009999", "<$0.0001"),
        ("0.0001", "$0.0001"),
        ("0.0033", "$0.0033"),
        ("0.99994", "$0.9999"),
        ("1", "$1.00"),
        ("1234.5", "$1,234.50"),
        (None, "price unknown"),
    ],
)
def test_dollars(amount: str, shown: str) -> None:
    """Amounts are read at a glance, never rounded to nothing, and an unknown one is not zero."""
    assert dollars(None if amount is None else Decimal(amount)) == shown


def test_receipts() -> None:
    """The receipt tells who, tokens, price and time, or age and saving."""
    usage = Usage(input_tokens=500, cache_read_tokens=12, output_tokens=230)
    paid = ClaudeResult("a", "claude-sonnet-5-5", usage, Decimal("0.0033"), agent="reviewer", duration_seconds=1.94)
    assert receipt(paid) == "reviewer · claude-sonnet-5-5 · 512→230 tok · $0.0033 · 1.9 s"
    cached = ClaudeResult("a", "m", usage, Decimal(0), Decimal("0.0033"), cached=True, age_seconds=3 * 3600 + 5)
    assert receipt(cached) == "m · cached 3 h ago · saved $0.0033"
    unknown = ClaudeResult("a", "m", usage, None, stop_reason="max_tokens", attempts=3)
    assert (
        receipt(unknown) == "m · 512→230 tok · price unknown · 0.0 s · 3 attempts · cut off at max_tokens, not cached"
    )


def test_a_receipt_is_one_line_of_text() -> None:
    """Whatever a server calls its model: no line of its own, no heading, no character reference that becomes a tag."""
    shown = result_bundle(ClaudeResult("a", "m\n\n# loud\r&lt;b&gt;", cost=Decimal("0.5"), agent="R&D"))
    assert shown["text/plain"] == "a\n\nR&D · m # loud &lt;b&gt; · 0→0 tok · $0.5000 · 0.0 s"
    assert shown["text/markdown"].endswith("*R&D · m \\# loud \\&lt;b\\&gt; · 0→0 tok · \\$0.5000 · 0.0 s*")
    assert "m # loud &amp;lt;b&amp;gt;" in shown["text/html"]


def test_amounts_in_the_settings_are_read_at_a_glance(tmp_path: Path) -> None:
    """``1e3`` is shown as the thousand dollars that it is."""
    settings = Settings(configurable=None, environ={"CLAUDE_FORCE_BUDGET": "1e3"}, folder=tmp_path)
    assert re.search(r"^budget +1000 +CLAUDE_FORCE_BUDGET", config_view(settings)["text/plain"], re.MULTILINE)


@pytest.mark.parametrize("name", ["1x", "a b", "class"])
def test_into_takes_a_name_that_a_program_can_use(name: str) -> None:
    """A result in a variable that cannot be read is lost."""
    with pytest.raises(OptionError, match="into takes a variable name"):
        parse_line(f"into={shlex.quote(name)}", free_text=False)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: List[Tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, str | None]]) -> None:
        self.found += [(tag, name, value or "") for name, value in attrs or [("", "")]]


HARMLESS = {
    *(
        [
            "div",
            "details",
            "summary",
            "p",
            "ul",
            "ol",
            "li",
            "code",
            "pre",
            "em",
            "strong",
            "a",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "blockquote",
            "hr",
            "br",
            "span",
        ]
    ),
    *(["table", "thead", "tbody", "tr", "th", "td"]),
}
HOSTILE = st.lists(
    st.sampled_from(
        [
            *("<script>", "<img src=x onerror=alert(1)>", "![a](http://e/)", "[a](javascript:alert(1))", "$x$", "```"),
            *("<details>", "&lt;b&gt;", "<!--", "|a|b|\n|-|-|\n|c|d|", "    ", "> ", "- ", "[r]: data:text/html,x"),
            *("</div>", "text", "`", "\n"),
        ]
    )
).map("".join)


@given(HOSTILE | st.text(), HOSTILE)
def test_no_answer_becomes_live_html(text: str, thinking: str) -> None:
    """Whatever a model writes, only harmless tags without scripts, images and handlers reach the page."""
    parser = _Tags()
    parser.feed(answer_bundle(text, thinking, "$1 · <b>")["text/html"])
    for tag, name, value in parser.found:
        assert tag in HARMLESS
        assert not name.startswith("on")
        if name in ("href", "src"):
            assert not value.strip().lower().startswith(("javascript:", "vbscript:", "data:", "file:"))


@given(st.lists(st.tuples(HOSTILE, HOSTILE)))
def test_tables_show_names_as_text(rows: List[Tuple[str, str]]) -> None:
    """A name in a table is text in HTML, whatever it holds."""
    parser = _Tags()
    parser.feed(table_bundle(("a", "b"), rows)["text/html"])
    assert {tag for tag, _, _ in parser.found} <= {"div", "table", "thead", "tbody", "tr", "th", "td", "span"}


def test_code_in_an_answer_stays_as_it_is() -> None:
    """Dollars and angle brackets are escaped in prose, and left alone in code."""
    text = "costs $5 <b> `<i>$x`\n\n    <pre>$indented\n\n```html\n<b>$1</b>\n```\nthen $6"
    markdown = answer_bundle(text)["text/markdown"]
    assert markdown == "costs \\$5 &lt;b> `<i>$x`\n\n    <pre>$indented\n\n```html\n<b>$1</b>\n```\nthen \\$6"


def test_a_failed_result_says_why() -> None:
    """A result without an answer shows its error instead of a receipt."""
    failed = ClaudeResult(status="not_sent", error=OptionError("no such thing"))
    assert result_bundle(failed)["text/plain"].strip() == "not sent: no such thing"
