"""The one line under an answer."""

from __future__ import annotations

from decimal import Decimal

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage
from claude_force_nb.notebook.display.answers import result_bundle
from claude_force_nb.notebook.display.receipts import receipt


def test_receipts() -> None:
    """The receipt tells who, tokens, price and time, or age and saving."""
    usage = Usage(input_tokens=500, cache_read_tokens=12, output_tokens=230)
    paid = ClaudeResult("a", "claude-sonnet-5-5", usage, Decimal("0.0033"), agent="reviewer", duration_seconds=1.94)
    assert receipt(paid) == "reviewer · claude-sonnet-5-5 · 512→230 tok · $0.0033 · 1.9 s"
    cached = ClaudeResult("a", "m", usage, Decimal(0), Decimal("0.0033"), cached=True, age_seconds=3 * 3600 + 5)
    for hour in (4, 12, 23):  # of the day on which it is run again
        now = 1_793_491_200.0 + hour * 3600
        assert receipt(cached, now=now) == "m · cached · asked 2026-11-01 · saved $0.0033"
    unknown = ClaudeResult("a", "m", usage, None, stop_reason="max_tokens", attempts=3)
    assert (
        receipt(unknown)
        == "m · 512→230 tok · price unknown · 0.0 s · 3 attempts · cut off at max_tokens; raise it · not cached"
    )


def test_an_answer_without_text_is_told() -> None:
    """It was paid for, and is not kept."""
    empty = ClaudeResult("", "m", Usage(5, 1), Decimal("0.5"), stop_reason="end_turn")
    assert receipt(empty) == "m · 5→1 tok · $0.5000 · 0.0 s · no text in the answer · not cached"
    assert "no text" not in receipt(empty.changed(text="x"))
    paused = receipt(empty.changed(text="Let me see.", stop_reason="pause_turn"))
    assert paused.endswith(" · paused by the API before its end · not cached")
    assert "no text" not in receipt(empty.changed(stop_reason="refusal", status="refused"))


def test_a_receipt_is_one_line_of_text() -> None:
    """Whatever a server calls its model: no line of its own, no heading, no character reference that becomes a tag."""
    shown = result_bundle(ClaudeResult("a", "m\n\n# loud\r&lt;b&gt;", cost=Decimal("0.5"), agent="R&D"))
    assert shown["text/plain"] == "a\n\nR&D · m # loud &lt;b&gt; · 0→0 tok · $0.5000 · 0.0 s"
    assert shown["text/markdown"].endswith("*R&D · m \\# loud \\&lt;b\\&gt; · 0→0 tok · \\$0.5000 · 0.0 s*")
    assert "m # loud &amp;lt;b&amp;gt;" in shown["text/html"]
