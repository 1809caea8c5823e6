"""Markdown of an answer, read again by other programs: the same text, and nothing live."""

from __future__ import annotations

import re
from typing import Any, Iterator, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.harmless import Tags

from claude_force_nb.notebook.display.answers import answer_bundle
from claude_force_nb.notebook.display.formulas import formula
from claude_force_nb.notebook.display.markdown import markdown_of
from claude_force_nb.text_tables import without_controls

# As lenient a reader as there is: live HTML, tables, bare links.
READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PARTS = [
    *(
        "<script>",
        "<img src=x onerror=alert(1)>",
        "![a](http://e/)",
        "[a](javascript:alert(1))",
        "$x$",
        "$$\\input{x}$$",
    ),
    *(
        "\\input{/etc/passwd}",
        "`\\input{x}`{=latex}",
        "```{=latex}\n\\input{x}\n```",
        "```{=html}\n<b>\n```",
        "```\n\\end{verbatim}\\input{x}\n```",
        "\n\n",
    ),
    *(
        "\\begin{document}",
        "\\write18{ls}",
        "\\(x\\)",
        "\\[x\\]",
        "---\ntitle: \\input{x}\n---\n",
        "::: {.raw}\n",
        "% t",
    ),
    *("<details>", "&lt;b&gt;", "<!--", "|a|b|\n|-|-|\n|c|d|", "    ", "> ", "- ", "1. ", "[r]: data:text/html,x\n"),
    *(
        "</div>",
        "text",
        "`",
        "``",
        "~~~",
        "\n",
        "*",
        "**",
        "_",
        "!",
        "[ok](http://e/$a`b)",
        "# ",
        "{",
        "}",
        "\\",
        "^",
        "~",
    ),
    *(
        "$![a](http://e/)$",
        "$$[r]: data:x$$",
        "$a<img$",
        "$x^^5cinput{y}$",
        "\\(\\input{x}\\)",
        "\\[a<script>\\]",
        "^[\\input{z}]",
    ),
    *(
        "\\begin{align}\\input{x}\\end{align}",
        "$$\\def\\x{y}$$",
        "- [x] $\\write18{ls}$",
        "~~$x$~~",
        "|$a|b$|\n|-|\n|\\(|\\)|",
    ),
    *("\x1b]0;owned\x07", "\x9b31m", "\r", "\u202e", "[^1]", "[^1]: \\input{y}\n", "@input", "http://e/x"),
    *("[", "](foo)", "~~", "~~~~", "\\|", "\n|a|b|\n|-|-|\n|", "\n```\n", "\n~~~~\n", "\n[^1]: ", "$![$"),
]
HOSTILE = st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=12).map("".join)


def all_tokens(tokens: List[Any]) -> Iterator[Any]:
    for token in tokens:
        yield token
        yield from all_tokens(token.children or [])


@given(HOSTILE, HOSTILE)
def test_no_reader_finds_anything_live(text: str, thinking: str) -> None:
    """Parsed with HTML allowed there is no HTML, no image, and no address but of the web or of mail."""
    for token in all_tokens(READER.parse(answer_bundle(text, thinking, "$1 · <b> · m\\input{x}")["text/markdown"])):
        assert token.type not in ("html_block", "html_inline", "image"), token
        if token.type == "link_open":
            assert re.match("(?i)https?:|mailto:", token.attrGet("href"))


@pytest.mark.parametrize(
    "note",
    [
        "data:text/html,x",
        "javascript:alert(1)",
        "\\input{y}",
        '"a title"',
        "(in brackets)",
        "'quoted'",
        "word 'title'",
        "- item",
        "```",
        "# h",
        "",
        "> x",
        "$x$",
        "> [^1]: javascript:alert(1)",
    ],
)
def test_a_footnote_is_no_address(note: str) -> None:
    """To a reader that knows no footnotes, whose links it would define; its words are there all the same."""
    shown = answer_bundle(f"see [^1]\n\n[^1]: {note}\n", "", "m")["text/markdown"]
    tokens = list(all_tokens(READER.parse(shown)))
    assert not [token for token in tokens if token.type == "link_open"]
    for word in re.findall("[a-z]{4,}", note):
        assert word in prose(shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("``a`<b>``$x^^5$", "``a`<b>`` `$x^^5$`"),
        ("\\(x^^5\\)`<b>`", "`\\(x^^5\\)` `<b>`"),
        ("[``a`<b>``](foo)`c`", "``a`<b>`` `c`"),
        ("|a|b|\n|-|-|\n|`c\\|<b>`|d|", "| a | b |\n| --- | --- |\n| `c`\\|`<b>` | d |"),
        ("|a|b|\n|-|-|\n|[`c\\|<b>`](foo)|d|", "| a | b |\n| --- | --- |\n| `c`\\|`<b>` | d |"),
        ("|a|b|\n|-|-|\n|$c^^\\|<b>$|d|", "| a | b |\n| --- | --- |\n| `$c^^`\\|`<b>$` | d |"),
        ("~~a `b~~<b>`~~", "~~a `b`\\~\\~`<b>`~~"),
        ("[~~a~~](foo) `b~~<b>`", "~~a~~ `b`\\~\\~`<b>`"),
        ("~~a [`b~~<b>`](foo)~~", "~~a `b`\\~\\~`<b>`~~"),
        ("`~~b~~`", "`~~b~~`"),
        ("[~~~~a~~~~](foo)\n\n```\n~~~~\n<b>\n```", "\\~~~~a~~~~\n\n```\n~~~~\n<b>\n```"),
        ("[ ~~~~a~~~~](foo)\n\n```\n~~~~\n<b>\n```", " \\~~~~a~~~~\n\n```\n~~~~\n<b>\n```"),
        ("[$![$](http://e/)", "[$! [$](<http://e/>)"),
        ("$~~a$ `~~<b>`", "$~ ~a$ `~~<b>`"),
    ],
)
def test_marks_that_meet_make_nothing_live(text: str, shown: str) -> None:
    """Neither two pieces of markup side by side, nor a mark in code that some program looks for before code."""
    assert markdown_of(text) == shown
    assert not {token.type for token in all_tokens(READER.parse(shown))} & {"html_block", "html_inline", "image"}


@pytest.mark.parametrize("container", ["> ", "- ", "> - ", "1. "])
def test_a_footnote_in_a_footnote(container: str) -> None:
    """Only the outer one is a footnote; what is opened in it is closed in it."""
    text = f"see [^1]\n\n[^1]: {container}note\n\n    {container}[^2]: further"
    html = answer_bundle(text)["text/html"]
    for tag in ("blockquote", "ul", "ol", "li"):
        assert html.count(f"<{tag}>") == html.count(f"</{tag}>")
    assert markdown_of(text).startswith("see [^1]\n\n[^1]: ")


def prose(text: str) -> str:
    tokens = all_tokens(READER.parse(text))
    return "".join(token.content for token in tokens if token.type in ("text", "code_inline", "fence", "code_block"))


@given(
    st.lists(st.sampled_from(["a", "<b>", "$5", "\\x", "`c $`", "{y}", "\n", " ", "# h\n", "- l\n", "1. n\n", "> q\n"]))
)
def test_the_text_stays_the_same(parts: List[str]) -> None:
    """Whoever reads the new Markdown reads the words of the old one."""
    text = "".join(parts)
    before = MarkdownIt("commonmark", {"html": False}).enable("table")
    known = "".join(
        token.content
        for token in all_tokens(before.parse(text))
        if token.type in ("text", "code_inline", "fence", "code_block")
    )
    assert re.sub(r"\s", "", prose(markdown_of(text))) == re.sub(r"\s", "", known)


@pytest.mark.slow
@settings(max_examples=60)
@given(HOSTILE)
def test_latex_has_no_command_of_the_answer(text: str) -> None:
    """pandoc, which nbconvert takes for LaTeX and PDF, passes raw LaTeX on; nothing of the answer is."""
    pypandoc = pytest.importorskip("pypandoc")
    latex = pypandoc.convert_text(answer_bundle(text)["text/markdown"], "latex", format="markdown")
    # What LaTeX sets as it stands, up to the first end of it.
    latex = re.sub(r"\\begin\{verbatim\}.*?\\end\{verbatim\}", "", latex, flags=re.DOTALL)
    assert not re.search(r"\\(input|include|write|begin\{document|openin|usepackage)", latex), latex
    # In code a dollar is a dollar.
    latex = re.sub(r"\\begin\{Highlighting\}.*?\\end\{Highlighting\}", "", latex, flags=re.DOTALL)
    # Inside of \\st pandoc writes dollars; and boxes are those of its task lists.
    signs = r"(?<!\\)\\\((.+?)\\\)|(?<!\\)\\\[(.+?)\\\]|(?<!\\)\$(.+?)(?<!\\)\$"
    for match in re.finditer(signs, latex, re.DOTALL):
        tex = next(filter(None, match.groups()))
        assert tex in (r"\boxtimes", r"\square") or formula(tex) is not None, latex
    html = pypandoc.convert_text(answer_bundle(text)["text/markdown"], "html", format="markdown")
    assert not {tag for tag, _, _ in Tags(html).found} & {"script", "img", "iframe", "math", "b", "details"}


@given(HOSTILE)
def test_no_form_commands_a_terminal(text: str) -> None:
    """Neither the answer nor its receipt has a control character but line ends and tabs; lines stay lines."""
    for form in answer_bundle(text, text, text).values():
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", form)
    assert without_controls("a\r\nb\rc\x1b[31m") == "a\nb\nc\N{REPLACEMENT CHARACTER}[31m"


def test_ordinary_answers_stay_as_they_are() -> None:
    """Prose, emphasis, lists, tables and code read as before; only what could be live is written otherwise."""
    text = (
        "A *word* and `code`.\n\n1. one\n2. two\n\n```python\nx = {}  # $\n```\n\n| a | b |\n| --- | ---: |\n| c | d |"
    )
    assert markdown_of(text) == text
    assert markdown_of("- a\n  - b\n- c") == "- a\n  - b\n- c"
    assert markdown_of("costs $5 <b> at \\input{x}") == "costs \\$5 &lt;b\\> at \\\\input\\{x\\}"
