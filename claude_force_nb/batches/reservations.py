"""Budget reservations for batches in progress, including those of stopped cells, until their cost is known."""

from __future__ import annotations

from decimal import Decimal
from typing import Dict, Optional, Sequence, Tuple, Union

from claude_force_nb.costs.budget import Budget, BudgetGroup, DailyBudget, Reservation
from claude_force_nb.errors import BudgetExceededError

from .records import Part

__all__ = ["BatchReservations"]


# By file and part. Global, since another orchestrator may collect the batch when the first is gone.
_reserved: Dict[Tuple[str, int], Reservation] = {}


class BatchReservations:
    """The reservations of an orchestrator's message batches.

    Parameters
    ----------
    store : str
        Path of the job store, whose part numbers identify them.
    budgets : sequence of Budget, DailyBudget or None
        Budgets of the orchestrator, the daily one last.
    """

    def __init__(self, store: str, budgets: Sequence[Union[Budget, DailyBudget, None]]) -> None:
        self._store = store
        self._budgets = tuple(budgets)

    def limited(self, budget: Optional[Budget]) -> bool:
        """Return whether the orchestrator or a run with this budget has a limit."""
        return any(each is not None and each.limit is not None for each in (budget, *self._budgets))

    def reserve(self, part: Part, budget: Optional[Budget]) -> None:
        """Reserve the maximum cost of a part in all budgets; raises BudgetExceededError if it does not fit."""
        _reserved[self._store, part.number] = BudgetGroup([budget, *self._budgets]).reserve(part.bound)

    def settle(self, number: int, cost: Optional[Decimal], budget: Optional[Budget] = None) -> None:
        """Count the cost of a part, even if another session sent it, since it is collected here."""
        reservation = _reserved.pop((self._store, number), None)
        if reservation is None:
            try:
                reservation = BudgetGroup([budget, *self._budgets]).reserve(Decimal(0))
            except BudgetExceededError:  # the budget is used up; the part was sent already
                return
        reservation.settle(cost)

    def release(self, number: int) -> None:
        """Release the reservation of a part that was never created."""
        reservation = _reserved.pop((self._store, number), None)
        if reservation is not None:
            reservation.release()
