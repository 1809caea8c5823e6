"""Counts and sums over the results of rows. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Optional

from claude_force_nb.messages.result import ClaudeResult, StatusCounts
from claude_force_nb.messages.usage import add_dollars

__all__ = ["RowTally"]


class RowTally:
    """Counts and sums over results, which are not kept.

    Attributes
    ----------
    counts : StatusCounts
        Rows by status.
    cost, saved : Decimal or None
        US dollars paid, and not paid because the cache answered; None once one price is unknown.
    known_cost : Decimal
        US dollars paid for the answers whose price is known.
    prompt_cache_saved : Decimal
        US dollars by which the API's prompt cache made the calls cheaper, as far as that is known.
    input_tokens, output_tokens : int
    recorded : int
        Rows whose answer is in an answer file.
    """

    __slots__ = (
        "cost",
        "counts",
        "input_tokens",
        "known_cost",
        "output_tokens",
        "prompt_cache_saved",
        "recorded",
        "saved",
    )

    def __init__(self) -> None:
        self.counts = StatusCounts()
        self.cost: Optional[Decimal] = Decimal(0)
        self.saved: Optional[Decimal] = Decimal(0)
        self.known_cost = Decimal(0)
        self.prompt_cache_saved = Decimal(0)
        self.input_tokens = 0
        self.output_tokens = 0
        self.recorded = 0

    def __len__(self) -> int:
        return sum(self.counts.values())

    def add(self, result: ClaudeResult) -> None:
        """Count one result."""
        self.counts[result.status] += 1
        if result.cost is None:
            self.cost = None
        elif result.cost:
            self.known_cost = add_dollars(self.known_cost, result.cost)
            self.cost = None if self.cost is None else self.known_cost
        if result.saved is None:
            self.saved = None
        elif result.saved and self.saved is not None:
            self.saved = add_dollars(self.saved, result.saved)
        if result.prompt_cache_saved:
            self.prompt_cache_saved = add_dollars(self.prompt_cache_saved, result.prompt_cache_saved)
        self.input_tokens += result.usage.total_input_tokens
        self.output_tokens += result.usage.output_tokens
        self.recorded += result.recorded
