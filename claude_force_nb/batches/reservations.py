"""Money reserved for batches in progress, including those of stopped cells, until their cost is known."""

from __future__ import annotations

from decimal import Decimal
from typing import Dict, Optional, Sequence, Tuple, Union

from claude_force_nb.costs.budget import Budget, BudgetGroup, DailyBudget, Reservation
from claude_force_nb.errors import BudgetExceededError

from .records import Part

__all__ = ["BatchReservations"]


# By file and part: an orchestrator may be gone when its batch is collected by the next one.
_reserved: Dict[Tuple[str, int], Reservation] = {}


class BatchReservations:
    """The reservations of an orchestrator's message batches.

    Parameters
    ----------
    store : str
        The file that numbers them.
    budgets : sequence of Budget, DailyBudget or None
        Of the orchestrator, the daily one last.
    """

    def __init__(self, store: str, budgets: Sequence[Union[Budget, DailyBudget, None]]) -> None:
        self._store = store
        self._budgets = tuple(budgets)

    def limited(self, budget: Optional[Budget]) -> bool:
        """Return whether the orchestrator or a run of it has a limit."""
        return any(each is not None and each.limit is not None for each in (budget, *self._budgets))

    def reserve(self, part: Part, budget: Optional[Budget]) -> None:
        """Reserve the worst case of a part in both budgets; raises BudgetExceededError if it does not fit."""
        _reserved[self._store, part.number] = BudgetGroup([budget, *self._budgets]).reserve(part.bound)

    def settle(self, number: int, cost: Optional[Decimal], budget: Optional[Budget] = None) -> None:
        """Count what a part cost; one that another session sent is counted here as well, since it is collected here."""
        reservation = _reserved.pop((self._store, number), None)
        if reservation is None:
            try:
                reservation = BudgetGroup([budget, *self._budgets]).reserve(Decimal(0))
            except BudgetExceededError:  # nothing is left, and nothing more is sent for it
                return
        reservation.settle(cost)

    def release(self, number: int) -> None:
        """Count nothing: the part was never created."""
        reservation = _reserved.pop((self._store, number), None)
        if reservation is not None:
            reservation.release()
