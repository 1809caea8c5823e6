"""How amounts are written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from support.ledgers import NOW, answer, hit

from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.report import cost_report, dollars


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
        ("-0.25", "-$0.2500"),
        ("-0.00001", "-<$0.0001"),
        (None, "price unknown"),
    ],
)
def test_dollars(amount: str, shown: str) -> None:
    """Amounts are read at a glance, never rounded to nothing, and an unknown one is not zero."""
    assert dollars(None if amount is None else Decimal(amount)) == shown


def test_what_the_prompt_cache_saved_has_a_column_where_it_was_used(ledger: Ledger) -> None:
    """Most people never use it; one who wrote to it for nothing sees that it cost."""
    ledger.append(answer("0.01"))
    assert "saved by prompt cache" not in cost_report(ledger, "model", "", now=NOW).text()
    ledger.append(answer("0.02", model="claude-opus-5-5", prompt_cache_saved=Decimal("0.75")))
    ledger.append(answer("0.03", model="claude-haiku-5-5", prompt_cache_saved=Decimal("-0.0125")))
    ledger.append(hit("0.04"))
    shown = cost_report(ledger, "model", "", now=NOW)
    amounts = {cells[0]: cells[-1] for cells in map(shown.cells, shown.lines)}
    assert amounts == {
        "claude-sonnet-5-5": "$0",
        "claude-opus-5-5": "$0.7500",
        "claude-haiku-5-5": "-$0.0125",
        "total": "$0.7375",
    }
    for text in (shown.text(), shown.markdown()):
        assert "saved by prompt cache" in text
        assert "$0.7375" in text
