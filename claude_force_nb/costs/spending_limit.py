"""What all budgets have: a limit that may be changed while calls are sent, its name, and who waits for room."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Optional

from .reservation import checked_amount, parse_budget
from .waiting import WaitingQueue

__all__ = ["SpendingLimit"]


class SpendingLimit:
    """The part of a budget that does not depend on where amounts are kept.

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
        """US dollars, None for no limit. Setting it keeps what was spent, and applies to calls sent from then on."""
        return self._limit

    @limit.setter
    def limit(self, value: Any) -> None:
        self._limit = parse_budget(value, name=self.name)
        # When it was last said that it is nearly spent.
        self._warned_on = ""
        self.queue.wake_first()

    def _checked(self, amount: Optional[Decimal]) -> Decimal:
        """Return the amount to reserve; raises BudgetExceededError if it is unknown and that is not allowed."""
        return checked_amount(amount, self._limit, self.option, self.name, self.allow_unknown_price)
