"""Which parts of an answer's Markdown are rendered, and how."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from typing import Any, List

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.harmless import HARMLESS, Tags

from claude_force_nb.errors import StreamCutError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.answers import result_bundle
from claude_force_nb.notebook.display.code import CODE_STYLE, code_html
from claude_force_nb.notebook.display.formulas import formula
from claude_force_nb.notebook.display.markdown import Block, MarkdownRenderer, markdown_as_html, markdown_of


class Texts(HTMLParser):
    """The texts of a page, and those that stand in elements which MathJax looks at."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.formulas: List[str] = []
        self._open: List[bool] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("br", "hr"):
            self._open.append("mathjax_process" in (dict(attrs).get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and self._open[-1]:
            self.formulas.append(data)


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        ("$x^2$ and $a < b$", [r"\(x^2\)", r"\(a < b\)"]),
        (r"\(\alpha\) and \[ \frac{1}{2} \]", [r"\(\alpha\)"]),
        ("\\[\n\\frac{1}{2}\n\\]", [r"\[\frac{1}{2}\]"]),
        ("$$\nx = y\n$$", [r"\[x = y\]"]),
        ("so $$x = y$$ holds", [r"\[x = y\]"]),
        ("\\begin{align}\na &= b \\tag{1}\n\\end{align}", [r"\[\begin{aligned} a &= b \qquad(1) \end{aligned}\]"]),
        ("$5 and $10", []),
        ("from $5/$10 to $20, or US$5 and A$6", []),
        ("costs $5, see `$HOME` and `$x$`", []),
        ("in $HOME/$USER", []),
        ("a price of $3 (that is 10$)", []),
        ("```\n$x$\n```", []),
    ],
)
def test_what_is_a_formula(text: str, formulas: List[str]) -> None:
    """Mathematics is left to MathJax; prices, variables of a shell and code are text."""
    assert Texts(markdown_as_html(text)).formulas == formulas


@pytest.mark.parametrize(
    "tex",
    [
        r"\href{javascript:alert(1)}{x}",
        r"\input{x}",
        r"\class{a}{b}",
        r"\style{color:red}{b}",
        r"\require{html}",
        r"\def\x{\x}\x",
        r"\newcommand{\x}{y}",
        r"\unicode{x41}",
        r"x^^5cinput{y}",
        r"a % comment",
        r"\begin{document}",
        r"\begin{align}a",
        r"\begin{matrix}a\end{cases}",
        r"a}b{",
        r"{{a}",
        r"\left( a",
        r"\csname input\endcsname",
        r"\text{$\input{x}$}",
        r"\verb|a|",
        "\\",
        "a\u202eb",
        "x" * 6000,
    ],
)
def test_what_is_not_typeset(tex: str) -> None:
    """A command that does more than set type, or a formula that does not end where it should, is shown as its source."""
    assert formula(tex) is None
    for text in (f"${tex}$", f"\\({tex}\\)", f"$$\n{tex}\n$$"):
        assert Texts(markdown_as_html(text)).formulas == []
        assert "mathjax_process" not in markdown_as_html(text)


@given(st.text(alphabet="\\{}[]()<>&$%^_ !ab`|#:/", max_size=30))
def test_a_formula_is_never_more_to_a_reader_who_knows_none(tex: str) -> None:
    """For a program without formulas, no tag, link, image or code begins in a formula, and it ends where it should."""
    found = formula(tex)
    if found is None:
        return
    assert not re.search(r"<[^ ]|\]\(|\]\[|\]:|`|\$", found)
    assert r"\)" not in found
    assert r"\]" not in found
    assert "\n" not in found


def test_code_has_its_colours_name_and_exact_text() -> None:
    """Classes of pygments, variables of Jupyter with fallbacks, the language's name, and not one character changed."""
    code = 'def f(x):\n\treturn "<b>$&"  # c\n\n'
    shown = code_html(code, "python")
    assert '<span class="k">def </span>' in shown
    assert '<div class="highlight" role="group" aria-label="python code" tabindex="0" style="background:rgba(' in shown
    rules = re.findall(r"([^{}]*)\{color:var\(--jp-mirror-editor-(\w+)-color,#\w{6}\)\}", CODE_STYLE)
    assert "keyword" in [name for selectors, name in rules if ".claude-force .highlight .k" in selectors.split(",")]
    assert Texts(shown).text.strip("\n").startswith("python" + code.split("\n")[0])
    for language in ("nosuchlanguage", "", '"><script>', "html+php"):
        block = Texts(code_html("<a> $x$", language))
        assert block.text.endswith("<a> $x$\n") or block.text.endswith("<a> $x$")
        assert {tag for tag, _, _ in Tags(code_html("<a> $x$", language)).found} <= HARMLESS


@given(st.text(), st.sampled_from(["python", "html", "bash", "json", "sql", "diff", "latex", "js", ""]))
def test_highlighting_changes_no_text(code: str, language: str) -> None:
    """Whatever the code is, the block says it as it was written."""
    inner = re.search(r"<code[^>]*>(.*)</code>", code_html(code, language), re.DOTALL)
    assert inner is not None
    expected = code.replace("\r\n", "\n").replace("\r", "\n")
    assert Texts(inner.group(1)).text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "") == expected.replace(
        "\0", ""
    )


def test_what_else_is_set() -> None:
    """Task lists, strikethrough, bare links and footnotes are rendered, in HTML and in Markdown."""
    text = "- [x] done\n- [ ] todo\n\n~~gone~~ https://example.com main.py ftp://e/ //e/x a note[^n].\n\n[^n]: Said so."
    shown = markdown_as_html(text)
    assert "☑ done" in shown
    assert "☐ todo" in shown
    assert "<s>gone</s>" in shown
    links = [value for tag, name, value in Tags(shown).found if (tag, name) == ("a", "href")]
    assert links == ["https://example.com"]
    assert "note<sup>[1]</sup>" in shown
    assert "id=" not in shown
    markdown = markdown_of(text)
    assert "- [x] done\n- [ ] todo" in markdown
    assert "~~gone~~" in markdown
    assert "a note[^1]." in markdown
    assert markdown.endswith("[^1]: &nbsp; Said so.")


def test_a_bar_in_a_formula_ends_no_cell() -> None:
    """In a table of Markdown it is written as a command."""
    assert "| $\\vert x\\vert$ |" in markdown_of("| a |\n| --- |\n| $\\|x\\|$ |").replace(
        "\\vert ", "\\vert", 9
    ).replace("\\vertx", "\\vert x")


def test_half_an_answer_is_marked() -> None:
    """Cut off, refused and broken off: the text says where it ends, in every form; a whole one says nothing."""
    cases = [
        (ClaudeResult(text="Half", stop_reason="max_tokens", status="cut_off"), "the answer is cut off here"),
        (ClaudeResult(text="Half", stop_reason="refusal", status="refused"), "the model refused to continue here"),
        (ClaudeResult(text="Half", status="failed", error=StreamCutError("cut")), "the answer broke off here"),
    ]
    for result, mark in cases:
        shown = result_bundle(result)
        for form in shown.values():
            assert form.index("Half") < form.index(mark)
        assert shown["text/plain"].startswith(f"Half\n[{mark}]\n\n")
    for whole in (
        ClaudeResult(text="All", stop_reason="end_turn"),
        ClaudeResult(stop_reason="refusal", status="refused"),
    ):
        assert not any("here" in form for form in result_bundle(whole).values())


@pytest.mark.slow
def test_a_long_answer_is_shown_in_time() -> None:
    """200 kB with 50 blocks of code, and what would make a search begin again and again."""
    block = "```python\n" + "def half(number):\n    return number / 2  # half\n" * 20 + "```\n"
    text = (("word " * 600 + "\n\n") + block) * 50
    markdown_as_html(block + "$x$")  # the imports
    for hostile in (text, "\\(" * 40_000, "\\[\n" * 20_000, "$" * 80_000, "[^1]" * 10_000, "^[" * 20_000):
        began = time.perf_counter()
        markdown_as_html(hostile)
        assert time.perf_counter() - began < 10.0, hostile[:20]


MARKDOWN = st.lists(
    st.sampled_from(
        [
            *(
                "a",
                "text b",
                "\n",
                "\n\n",
                "    ",
                "- ",
                "1. ",
                "7) ",
                "> ",
                "# ",
                "---\n",
                "===\n",
                "```python\n",
                "```\n",
                "~~~\n",
            ),
            *(
                "| a | b |\n|---|---|\n",
                "| 1 | 2 |\n",
                "*",
                "**",
                "`",
                "$x^2$",
                "$$\ny\n$$",
                "\\[z\\]",
                "- [x] ",
                "https://e.com ",
            ),
            *(
                "[r]",
                "[r]: https://e.com\n",
                "[^1]",
                "[^1]: note\n",
                "\r\n",
                "\t",
                "\\begin{align}\na\n\\end{align}\n",
                "\0",
            ),
        ]
    ),
    max_size=30,
).map("".join)


@pytest.mark.parametrize("text", ["- ```\n  x\n\n\nwords", "1. ~~~\n\nwords\n\n\n"])
def test_code_that_its_list_ends_looks_as_if_it_had_come_at_once(text: str) -> None:
    """Blank lines at its end are lines of the code."""
    renderer = MarkdownRenderer()
    for end in range(len(text) + 1):
        blocks = renderer.blocks(text[:end])
        assert [block.html for block in blocks] == [block.html for block in MarkdownRenderer().blocks(text[:end])]


@given(MARKDOWN, st.data())
def test_a_growing_text_looks_as_if_it_had_come_at_once(text: str, data: st.DataObject) -> None:
    """What is kept from one rendering for the next changes nothing, whatever comes later."""
    renderer = MarkdownRenderer()
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    for end in [*ends, len(text), len(text)]:
        blocks, at_once = renderer.blocks(text[:end]), MarkdownRenderer().blocks(text[:end])
        assert [(block.html, block.characters) for block in blocks] == [(b.html, b.characters) for b in at_once]
        assert markdown_of(text[:end], blocks) == markdown_of(text[:end])


def coloured_code(blocks: List[Block]) -> List[bool]:
    """Return for each block with code whether it is highlighted."""
    return ['class="k"' in block.html for block in blocks if block.code_characters]


def test_all_code_has_its_colours_a_part_at_a_time_where_that_is_asked_for() -> None:
    """In one go only so much code of an answer gets its colours, since finding them takes time, and never the same twice."""
    parts = [f"Words.\n\n```python\ndef f{n}():\n" + "    return 1\n" * 200 + "```" for n in range(20)]
    text = "\n\n".join(parts)
    renderer = MarkdownRenderer()
    numbers = [0]
    kept: List[Block] = []
    while numbers[-1] < 20:
        blocks = renderer.blocks(text, in_full=False)
        coloured = coloured_code(blocks)
        assert coloured == sorted(coloured, reverse=True)
        assert 0 < coloured.count(True) - numbers[-1] <= 9
        assert all(each is before for each, before in zip(blocks, kept) if before.coloured and before.code_characters)
        numbers.append(coloured.count(True))
        kept = blocks
    assert "".join(block.html for block in blocks) == markdown_as_html(text)
    half = MarkdownRenderer()
    assert not all(coloured_code(half.blocks(text, in_full=False)))
    assert all(coloured_code(half.blocks(text)))
    streamed = MarkdownRenderer()
    for end in range(0, len(text) + 2000, 2000):
        blocks = streamed.blocks(text[:end], in_full=False)
    assert all(coloured_code(blocks))


def test_only_what_is_new_is_rendered() -> None:
    """From the second time on, the blocks that have not changed are those of the time before."""
    text = "\n\n".join(f"Part {number} with *some* words and `code`." for number in range(400))
    renderer = MarkdownRenderer()
    renderer.blocks(text[:5000])
    before, after = renderer.blocks(text[:10_000]), renderer.blocks(text)
    assert len(before) > 100
    assert all(each is kept for each, kept in zip(before[:-1], after))


def test_columns_of_a_table_are_set_to_the_left_unless_the_answer_says_otherwise() -> None:
    """Front ends set the cells of an output to the right."""
    shown = markdown_as_html("| a | b |\n| --- | ---: |\n| text | 1 |\n")
    assert re.findall(r'<(t[hd]) style="text-align:(\w+)">', shown) == [
        ("th", "left"),
        ("th", "right"),
        ("td", "left"),
        ("td", "right"),
    ]
