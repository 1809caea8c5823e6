"""Answers in the forms in which they are displayed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.harmless import HARMLESS, HOSTILE, Page, Tags

from claude_force_nb.errors import OptionError, StoppedError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.answers import AnswerRenderer, answer_bundle, result_bundle
from claude_force_nb.notebook.display.code import CODE_STYLE


@given(HOSTILE | st.text(), HOSTILE)
def test_no_answer_becomes_live_html(text: str, thinking: str) -> None:
    """Whatever a model writes, only harmless tags without scripts, images and handlers reach the page."""
    shown = answer_bundle(text, thinking, "$1 · <b>")["text/html"]
    parser = Tags(shown.replace(CODE_STYLE, "", 1))
    for tag, name, value in parser.found:
        assert tag in HARMLESS
        assert not name.startswith("on")
        if name in ("href", "src"):
            assert not value.strip().lower().startswith(("javascript:", "vbscript:", "data:", "file:"))


def test_code_in_an_answer_stays_as_it_is() -> None:
    """Dollars and angle brackets are escaped in prose, and left alone in code."""
    text = "costs $5 <b> `<i>$x`\n\n    <pre>$indented\n\n```html\n<b>$1</b>\n```\nthen $6"
    markdown = answer_bundle(text)["text/markdown"]
    assert markdown == (
        "costs \\$5 &lt;b\\> `<i>$x`\n\n```\n<pre>$indented\n```\n\n```html\n<b>$1</b>\n```\n\nthen \\$6"
    )


def test_a_failed_result_says_why() -> None:
    """A result without an answer shows its error instead of a receipt."""
    failed = ClaudeResult(status="not_sent", error=OptionError("no such thing"))
    assert result_bundle(failed)["text/plain"].strip() == "not sent: no such thing"
    half = ClaudeResult(text="Half of", status="stopped", error=StoppedError("stopped after 7 characters"), cost=None)
    assert result_bundle(half)["text/plain"] == "Half of\n[the answer broke off here]\n\nstopped after 7 characters"


def test_a_long_answer_is_folded() -> None:
    """From the end of a block on; nothing is left out, the last lines stay in sight, and other forms have the whole."""
    parts = [f"Part {number}. " + "Some words. " * 40 for number in range(60)]
    text = "\n\n".join(parts)
    shown = answer_bundle(text, footer="the receipt", mark="cut off")
    before, _, after = shown["text/html"].partition("<details")
    inside, _, below = after.partition("</details>")
    assert "Part 0." in before
    assert "Part 12." in before
    assert "Part 59." in inside
    assert "Part 59." not in before
    assert "<summary>The rest of the answer: 2" in inside
    assert "cut off" in below
    assert "the receipt" in below
    assert all(f"Part {number}." in before + inside for number in range(60))
    assert "<details" not in shown["text/markdown"]
    assert all(part.strip() in shown["text/markdown"] and part.strip() in shown["text/plain"] for part in parts)
    assert "<details" not in answer_bundle("\n\n".join(parts[:30]))["text/html"]
    assert "<details" not in AnswerRenderer().partial(text)["text/html"]


def test_one_long_block_is_not_folded_away() -> None:
    """Code that is all of an answer stays in sight, in a box that is scrolled."""
    shown = answer_bundle("```python\n" + "x = 1\n" * 5000 + "```")["text/html"]
    assert "<details" not in shown
    assert "max-height" in shown
    assert "max-height:40em" not in answer_bundle("```python\n" + "x = 1\n" * 50 + "```")["text/html"]


def test_folded_thinking_of_a_result_is_kept_while_it_arrives() -> None:
    """The thinking of an answer that arrives is folded as that of a complete one."""
    partial = AnswerRenderer().partial("Yes.", "Let me *think*.", "writing")
    assert "<summary>Thinking</summary><p>Let me <em>think</em>.</p>" in partial["text/html"]
    assert partial["text/plain"] == "Yes.\n\nwriting"


@given(HOSTILE | st.text())
def test_html_in_markdown_stays_html(text: str) -> None:
    """nbconvert writes HTML into Markdown: to whoever reads that, all of it is one piece of HTML, code with blank lines as well."""
    code = f"```\n{text}\n\n![x](http://e)\n \n\n![x](http://e)\n```"
    shown = answer_bundle(f"{text}\n\n{code}", thinking=code)["text/html"]
    tokens = MarkdownIt("commonmark", {"html": True}).parse(shown)
    assert [token.type for token in tokens] == ["html_block"]


def test_code_with_blank_lines_keeps_them() -> None:
    """A blank line in code is a blank line on the page, however it is encoded."""
    page = Page(answer_bundle("```python\na = 1\n\n\n    \nb = 2\n```")["text/html"])
    assert "a = 1\n\n\n    \nb = 2" in page.text
