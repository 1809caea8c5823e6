"""What a batch looks like."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage
from claude_force_nb.notebook.display.batch_results import summary_line
from claude_force_nb.rows.results import BatchResult


def paid(cost: Any, model: str = "claude-opus-5-5", agent: Any = None) -> ClaudeResult:
    usage = Usage(input_tokens=1000, output_tokens=200)
    return ClaudeResult(model=model, agent=agent, usage=usage, cost=None if cost is None else D(cost))


def hit(saved: Any, model: str = "claude-opus-5-5") -> ClaudeResult:
    return ClaudeResult(model=model, cached=True, status="cached", cost=D(0), saved=None if saved is None else D(saved))


def test_a_batch_counts_unknown_prices_apart() -> None:
    """What is known is summed; rows of unknown price are counted, and never shown as nothing."""
    rows = [paid("0.5"), paid("0.25"), paid(None), hit("0.1"), hit(None)]
    assert "$0.7500 + 1 price unknown · saved $0.1000 + 1 price unknown" in summary_line(BatchResult(rows))
    assert "· price unknown ·" in summary_line(BatchResult([paid(None), paid(None), hit("0.1")]))
    assert "· $0.5000 ·" in summary_line(BatchResult([paid("0.5")]))
    assert "· $0 · saved $0.1000" in summary_line(BatchResult([hit("0.1")]))
