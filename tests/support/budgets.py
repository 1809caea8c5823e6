"""Shared code of the tests of budgets: a time, amounts, and steps in any order."""

from __future__ import annotations

import warnings
from decimal import Decimal
from typing import Any, Callable, List

from hypothesis import strategies as st

from claude_force_nb.costs.reservation import Reservation
from claude_force_nb.errors import BudgetExceededError, ClaudeForceWarning

NOON = 1_793_534_400.0  # 2026-11-01 12:00 UTC
D = Decimal
cents = st.integers(0, 60).map(lambda number: D(number) / 100)
# What happens next: reserve an amount, or end one of the reservations with a share of its amount (0: release).
steps = st.lists(st.one_of(cents, st.tuples(st.integers(0, 20), st.integers(0, 4))), max_size=40)


def quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClaudeForceWarning)
        return function(*arguments)


def walk(budget: Any, steps: List[Any]) -> None:
    """Take the steps, checking after each."""
    taken: List[Reservation] = []
    settled = D(0)
    for step in steps:
        if isinstance(step, tuple):
            if taken:
                reservation = taken[step[0] % len(taken)]
                actual = reservation.amount * step[1] / 4
                ended = repr(reservation).endswith("ended)")
                settled += 0 if ended else actual
                if step[1]:
                    quietly(reservation.settle, actual)
                else:
                    reservation.release()
        else:
            try:
                taken.append(budget.reserve(step))
            except BudgetExceededError:
                assert step > budget.left
        assert budget.spent + budget.reserved <= budget.limit
        assert budget.spent == settled
        assert budget.reserved >= 0
