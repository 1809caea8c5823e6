"""How what was spent is written."""

from __future__ import annotations

from decimal import Decimal

import pytest

from claude_force_nb.costs.report import dollars


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
