"""The part that all budgets share: a limit that can change while calls are sent, its name, and the queue of waiting calls."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Optional

from .reservation import checked_amount, parse_budget
from .waiting import WaitingQueue

__all__ = ["SpendingLimit"]


class SpendingLimit:
    """The part of a budget that does not depend on where amounts are stored.

    Parameters
    ----------
    limit, name, option, allow_unknown_price
        See `budget.Budget`.
    """

    def __init__(self, limit: Any, *, name: str, option: Optional[str], allow_unknown_price: bool) -> None:
        self.name = name
        self.option = option or name
        self.allow_unknown_price = allow_unknown_price
        self.queue = WaitingQueue()
        self.limit = limit

    @property
    def limit(self) -> Optional[Decimal]:
        """US dollars, None for no limit. A new limit applies to calls sent from then on; the amount spent is kept."""
        return self._limit

    @limit.setter
    def limit(self, value: Any) -> None:
        self._limit = parse_budget(value, name=self.name)
        # When the user was last warned that the budget is nearly spent.
        self._warned_on = ""
        self.queue.wake_first()

    def _checked(self, amount: Optional[Decimal]) -> Decimal:
        """Return the amount to reserve; raises BudgetExceededError if it is unknown and that is not allowed."""
        return checked_amount(amount, self._limit, self.option, self.name, self.allow_unknown_price)
