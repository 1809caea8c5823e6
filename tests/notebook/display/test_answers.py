"""Answers in the forms in which they are shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.harmless import HARMLESS, HOSTILE, Tags

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.answers import answer_bundle, result_bundle


@given(HOSTILE | st.text(), HOSTILE)
def test_no_answer_becomes_live_html(text: str, thinking: str) -> None:
    """Whatever a model writes, only harmless tags without scripts, images and handlers reach the page."""
    parser = Tags(answer_bundle(text, thinking, "$1 · <b>")["text/html"])
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
