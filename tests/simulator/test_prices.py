"""The simulator's own prices, against figures of the API's price list written down here."""

from __future__ import annotations

from decimal import Decimal
from typing import Tuple

import pytest

from claude_force_nb.simulator.models import ModelTable
from claude_force_nb.simulator.prices import Terms, TokenUsage, dollars

MILLION = 1_000_000

# US dollars for a million tokens: input, output, write for 5 minutes, for an hour, read.
LIST = [
    ("claude-fable-5-2", "8", "40", "10", "16", "0.20"),
    ("claude-mythos-5-1", "10", "50", "12.5", "20", "0.25"),
    ("claude-fable-5", "10", "50", "12.5", "20", "1"),
    ("claude-opus-5-5", "4", "20", "5", "8", "0.20"),
    ("claude-opus-4-8", "5", "25", "6.25", "10", "0.5"),
    ("claude-sonnet-5-5", "2", "10", "2.5", "4", "0.10"),
    ("claude-sonnet-5", "2", "10", "2.5", "4", "0.20"),
    ("claude-sonnet-4-6", "3", "15", "3.75", "6", "0.30"),
    ("claude-haiku-4-5-20251001", "1", "5", "1.25", "2", "0.10"),
]


@pytest.mark.parametrize("row", LIST, ids=lambda row: str(row[0]))
def test_each_kind_of_token(row: Tuple[str, ...]) -> None:
    model, *prices = row
    for name, price in zip(TokenUsage._fields, prices):
        wanted = Decimal(price)
        usage = TokenUsage()._replace(**{name: MILLION})
        assert dollars(model, usage) == wanted
        assert dollars(model, usage, Terms(batch=True)) == wanted / 2
        assert dollars(model, usage, Terms(us_only=True)) == wanted * Decimal("1.1")


@pytest.mark.parametrize(("more", "factor"), [(0, 1), (1, 5)])
def test_a_long_prompt_of_haiku_5_5_is_dearer_as_a_whole(more: int, factor: int) -> None:
    """Above 100,000 tokens, what is read from the cache and written to it included."""
    usage = TokenUsage(40_000 + more, 1000, 20_000, 10_000, 30_000)
    small = 40_000 + more, 1000, 20_000, 10_000, 30_000
    rates = [Decimal(rate) * factor for rate in ("0.10", "0.50", "0.125", "0.20", "0.01")]
    assert dollars("claude-haiku-5-5", usage) == sum(rate * count for rate, count in zip(rates, small)) / MILLION


def test_the_fast_mode() -> None:
    """Twice the price, where there is one."""
    usage = TokenUsage(MILLION, MILLION, 0, 0, MILLION)
    assert dollars("claude-opus-5-5", usage, Terms(fast=True)) == Decimal("8") + 40 + Decimal("0.40")
    assert dollars("claude-fable-5-2", usage, Terms(fast=True)) == 16 + 80 + Decimal("0.40")
    assert dollars("claude-opus-4-7", usage, Terms(fast=True)) == dollars("claude-opus-4-7", usage)


def test_every_listed_model_has_a_price() -> None:
    for model in ModelTable().listed(("active", "deprecated", "retired")):
        assert dollars(model.name, TokenUsage(1)) is not None, model.name
    assert dollars("claude-next", TokenUsage(1)) is None
