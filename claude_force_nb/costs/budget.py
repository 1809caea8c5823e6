"""Budgets: reserve the worst case of a call before it is sent, and settle its real cost afterwards."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from decimal import Decimal
from typing import Any, Iterable, List, Optional, Tuple, Union

from claude_force_nb.errors import BudgetExceededError
from claude_force_nb.messages.usage import EXACT

from .daily_budget import DailyBudget
from .reservation import (
    Reservation,
    amount_left,
    exceeded,
    nearly_spent,
    parse_budget,
    warn_nearly_spent,
)
from .spending_limit import SpendingLimit
from .waiting import WaitingQueue

__all__ = ["Budget", "BudgetGroup", "DailyBudget", "Reservation", "parse_budget", "reserve_in_turn"]

_ZERO = Decimal(0)


class Budget(SpendingLimit):
    """A limit on what one process spends. Thread-safe.

    Parameters
    ----------
    limit : Decimal, number, str or None
        US dollars, see `parse_budget`; None for no limit.
    name : str
        Name in messages: ``session_budget`` is shown as "the $0.50 session budget".
    option : str
        How the user sets the budget, for messages, such as ``%claude_config budget``; `name` by default.
    allow_unknown_price : bool
        Whether to allow calls of unknown price, counting the unknown part as 0.
    warns : bool
        Whether to warn once when 80 % of the limit is spent.

    Attributes
    ----------
    queue : WaitingQueue
        Calls that wait until enough of the budget is free; see `reserve_in_turn`.

    Notes
    -----
    As long as no call costs more than was reserved for it, ``spent + reserved`` never passes the limit.
    """

    def __init__(
        self,
        limit: Any,
        *,
        name: str = "budget",
        option: Optional[str] = None,
        allow_unknown_price: bool = False,
        warns: bool = True,
    ) -> None:
        self._warns = warns
        self._lock = threading.Lock()
        self._spent = self._reserved = self._in_flight = _ZERO
        super().__init__(limit, name=name, option=option, allow_unknown_price=allow_unknown_price)

    def __repr__(self) -> str:
        return f"Budget(limit={self.limit}, spent={self.spent}, reserved={self.reserved})"

    @property
    def spent(self) -> Decimal:
        """US dollars spent on settled calls."""
        return self._spent

    @property
    def reserved(self) -> Decimal:
        """US dollars reserved for calls that are not settled yet."""
        return self._reserved

    @property
    def left(self) -> Optional[Decimal]:
        """US dollars that can still be reserved, at least 0; None without a limit."""
        with self._lock:
            return None if self.limit is None else max(_ZERO, amount_left(self.limit, self._spent, self._reserved))

    def reserve(self, amount: Optional[Decimal], *, in_flight: bool = False) -> Reservation:
        """Reserve `amount` for a call.

        Parameters
        ----------
        amount : Decimal or None
            The most the call can cost, in US dollars, at least 0; None if its price is unknown.
        in_flight : bool
            Whether the call will be settled soon, so that other calls may wait for it.

        Raises
        ------
        BudgetExceededError
            If `amount` is more than is left, or unknown while there is a limit. The message says what is needed, what
            is left and what to do.
        """
        amount = self._checked(amount)
        with self._lock:
            if self._limit is not None:
                left = amount_left(self._limit, self._spent, self._reserved)
                if amount > left:
                    later = EXACT.add(left, self._in_flight)
                    raise exceeded(amount, left, self._limit, self.name, self.option, left_if_calls_are_free=later)
            self._reserved = EXACT.add(self._reserved, amount)
            self._in_flight = EXACT.add(self._in_flight, amount) if in_flight else self._in_flight
        return Reservation(amount, lambda actual: self._settle(amount, actual, in_flight))

    def lower_to_used(self) -> Decimal:
        """Lower the limit to the amount spent and reserved; return the US dollars by which it was lowered."""
        with self._lock:
            if self._limit is None:
                return _ZERO
            left = max(_ZERO, amount_left(self._limit, self._spent, self._reserved))
            self._limit = EXACT.subtract(self._limit, left)
            return left

    def _settle(self, amount: Decimal, actual: Decimal, in_flight: bool) -> None:
        with self._lock:
            self._reserved = EXACT.subtract(self._reserved, amount)
            self._in_flight = EXACT.subtract(self._in_flight, amount) if in_flight else self._in_flight
            self._spent = spent = EXACT.add(self._spent, actual)
            limit = self._limit
            nearly = self._warns and not self._warned_on and actual > 0 and nearly_spent(spent, limit)
            self._warned_on = "this run" if nearly else self._warned_on
        self.queue.wake_first()
        if nearly and limit is not None:
            warn_nearly_spent(spent, limit, self.name)


class BudgetGroup:
    """Several budgets, all of which a call must fit.

    Parameters
    ----------
    budgets : iterable of Budget, DailyBudget or None
        Checked in this order; None is skipped. Put the daily one last: the others are faster to check.

    Notes
    -----
    If one budget refuses, the reservations in the earlier ones are released. In between, a concurrent call may be
    refused although it would fit afterwards; a call that does not fit is never allowed.
    """

    def __init__(self, budgets: Iterable[Union[Budget, DailyBudget, None]]) -> None:
        self.budgets = tuple(budget for budget in budgets if budget is not None)

    @property
    def left(self) -> Optional[Decimal]:
        """US dollars that can be reserved in all budgets; None if all are unlimited."""
        lefts = [left for left in (budget.left for budget in self.budgets) if left is not None]
        return min(lefts) if lefts else None

    def queue_ahead(self) -> Optional[WaitingQueue]:
        """Return the queue of a budget that other calls are waiting for; None if there is none."""
        for budget in self.budgets:
            if len(budget.queue):
                return budget.queue
        return None

    def reserve_or_queue(self, amount: Optional[Decimal]) -> Tuple[Optional[Reservation], Optional[WaitingQueue]]:
        """Reserve `amount`, or return the queue of the budget that may have enough once calls in flight are settled.

        Raises
        ------
        BudgetExceededError
            If waiting cannot help.
        """
        asked: List[Union[Budget, DailyBudget]] = []
        try:
            return self.reserve(amount, in_flight=True, asked=asked), None
        except BudgetExceededError as error:
            if amount is None or error.left_if_calls_are_free is None or amount > error.left_if_calls_are_free:
                raise
            return None, asked[-1].queue

    def reserve(
        self,
        amount: Optional[Decimal],
        *,
        in_flight: bool = False,
        asked: Optional[List[Union[Budget, DailyBudget]]] = None,
    ) -> Reservation:
        """Reserve `amount` in all budgets or in none, like `Budget.reserve`; adds each budget it tries to `asked`."""
        taken: List[Reservation] = []
        try:
            for budget in self.budgets:
                if asked is not None:
                    asked.append(budget)
                taken.append(budget.reserve(amount, in_flight=in_flight))
        except BaseException:
            for reservation in taken:
                reservation.release()
            raise

        def end(actual: Decimal) -> None:
            # Settle the other budgets even if the user's settings turn a warning of one into an error.
            with ExitStack() as stack:
                for reservation in reversed(taken):
                    stack.callback(reservation.settle, actual)

        return Reservation(_ZERO if amount is None else amount, end)


async def reserve_in_turn(budgets: BudgetGroup, amount: Optional[Decimal]) -> Reservation:
    """Reserve `amount`, waiting while it may still fit once calls in flight are settled.

    Calls in flight are those of this process that this function reserved. Callers are served in order, so that cheap
    calls cannot overtake an expensive one forever.

    Raises
    ------
    BudgetExceededError
        As in `Budget.reserve`, if `amount` would not fit even if the calls in flight cost nothing.
    """
    queue = budgets.queue_ahead()
    if queue is None:
        reservation, queue = budgets.reserve_or_queue(amount)
    else:
        reservation = None
    while reservation is None:
        assert queue is not None
        joined = queue
        waiter = joined.join()
        try:
            while True:
                # Check after joining the queue: then no call can be settled unnoticed between check and wait.
                if joined.is_first(waiter):
                    reservation, queue = budgets.reserve_or_queue(amount)
                    if queue is not joined:
                        break
                await waiter.wait()
        finally:
            joined.leave(waiter)
    return reservation
