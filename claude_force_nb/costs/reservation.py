"""Limits, reservations and error messages that all budgets share."""

from __future__ import annotations

import threading
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Callable, Optional

from claude_force_nb.errors import BudgetExceededError, ClaudeForceWarning, OptionError
from claude_force_nb.messages.usage import EXACT
from claude_force_nb.vocabulary import shown_value
from claude_force_nb.warn import warn

__all__ = [
    "Reservation",
    "amount_left",
    "checked_amount",
    "exceeded",
    "nearly_spent",
    "parse_budget",
    "warn_nearly_spent",
]

_ZERO = Decimal(0)
_WARN_AT = Decimal("0.8")


def parse_budget(value: Any, *, name: str = "budget") -> Optional[Decimal]:
    """Return a limit in US dollars; None for None, ``"none"``, ``"off"`` and ``""``.

    Parameters
    ----------
    value : str, int, float, Decimal or None
        For example ``0.5`` or ``"$0.50"``.
    name : str
        Name of the option, for the error message.

    Raises
    ------
    OptionError
        If it is not a number from 0 to a million.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "none", "off")):
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
            raise ValueError
        limit = Decimal(str(value).strip().lstrip("$"))
        if not 0 <= limit <= 10**6:
            raise ValueError
    except (ValueError, ArithmeticError, RecursionError):
        shown = shown_value(value)
        shown = shown if len(shown) <= 40 else shown[:39] + "…"
        raise OptionError(f"{name} must be US dollars from 0 to 1000000, or none, not {shown}") from None
    return limit


class Reservation:
    """Money reserved for one call. The first `settle` or `release` ends the reservation; later ones have no effect.

    Parameters
    ----------
    amount : Decimal
        US dollars, at least 0.
    end : callable
        Called once with the US dollars to count for the call.
    """

    def __init__(self, amount: Decimal, end: Callable[[Decimal], None]) -> None:
        self.amount = amount
        self._end: Optional[Callable[[Decimal], None]] = end
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Reservation({self.amount}, {'ended' if self._end is None else 'open'})"

    def settle(self, actual: Optional[Decimal]) -> None:
        """Replace the reservation by the actual cost; None (unknown) counts the whole reservation.

        An `actual` above the reservation counts in full.
        """
        self._finish(self.amount if actual is None else actual)

    def release(self) -> None:
        """Count nothing, because the call was not sent or is certain not to be billed."""
        self._finish(_ZERO)

    def _finish(self, actual: Decimal) -> None:
        with self._lock:
            end, self._end = self._end, None
        if end is not None:
            end(actual)


def checked_amount(
    amount: Optional[Decimal], limit: Optional[Decimal], option: str, name: str, allow_unknown: bool
) -> Decimal:
    """Return the amount to reserve; raises BudgetExceededError if it is unknown and that is not allowed."""
    if amount is None:
        if limit is not None and not allow_unknown:
            raise BudgetExceededError(
                f"the price of this call is unknown or has no bound, so the {_shown(limit)} {_spoken(name)} cannot be enforced;"
                f" give the model's price with prices=, allow such calls with allow_unknown_price=on, or set {option}=none"
            )
        return _ZERO
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"a reservation must be a finite amount >= 0, not {amount}")
    return amount


def amount_left(limit: Decimal, spent: Decimal, reserved: Decimal) -> Decimal:
    """Return the amount left; below 0 if more was spent than reserved."""
    return EXACT.subtract(limit, EXACT.add(spent, reserved))


def exceeded(
    need: Decimal,
    left: Decimal,
    limit: Decimal,
    name: str,
    option: str,
    *,
    left_if_calls_are_free: Optional[Decimal] = None,
) -> BudgetExceededError:
    """Return an error whose message says what is needed, what is left and what to do.

    Parameters
    ----------
    need, left, limit : Decimal
        US dollars.
    name, option : str
        The budget's name, and the option that sets it.
    left_if_calls_are_free : Decimal, optional
        US dollars that would be left if the calls in flight cost nothing.
    """
    left = max(_ZERO, left)
    digits = 4
    # Use at least two significant digits, and enough to show that more is needed than is left.
    while digits < 18 and (
        need < Decimal(1).scaleb(1 - digits)
        or _rounded(need, digits, ROUND_CEILING) <= _rounded(left, digits, ROUND_FLOOR)
    ):
        digits += 2
    error = BudgetExceededError(
        f"needs up to ${_rounded(need, digits, ROUND_CEILING)} but ${_rounded(left, digits, ROUND_FLOOR)}"
        f" of the {_shown(limit)} {_spoken(name)} is left; raise it with {option}=… or lower max_tokens="
    )
    error.left_if_calls_are_free = left_if_calls_are_free
    return error


def _rounded(amount: Decimal, digits: int, rounding: str) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-digits), rounding=rounding, context=EXACT)


def _shown(limit: Decimal) -> str:
    whole, _, cents = format(limit, "f").partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def nearly_spent(spent: Decimal, limit: Optional[Decimal]) -> bool:
    """Return whether 80 % of the limit is spent."""
    return limit is not None and spent >= EXACT.multiply(limit, _WARN_AT)


def warn_nearly_spent(spent: Decimal, limit: Decimal, name: str) -> None:
    """Warn that the budget is nearly spent. Do not call this while holding a lock."""
    warn(f"${_rounded(spent, 4, ROUND_CEILING)} of the {_shown(limit)} {_spoken(name)} is spent", ClaudeForceWarning)
