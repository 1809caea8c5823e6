"""A daily budget that all kernels of a user share, kept in the ledger's file."""

from __future__ import annotations

import sqlite3
import threading
import time
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Tuple, Union

from claude_force_nb.errors import BudgetExceededError, ClaudeForceError, ClaudeForceWarning
from claude_force_nb.messages.usage import EXACT
from claude_force_nb.storage.database import reason_of
from claude_force_nb.warn import warn

from .days import DAY_SECONDS, day_of, start_of
from .ledger_file import LedgerFile
from .ledger_rows import amount_of
from .reservation import (
    Reservation,
    amount_left,
    exceeded,
    nearly_spent,
    warn_nearly_spent,
)
from .spending_limit import SpendingLimit

__all__ = ["DailyBudget"]

_ZERO = Decimal(0)

# Amounts are stored as whole units of 10**-12 US dollars, rounded up, because SQLite adds whole numbers exactly.
_UNITS = 10**12
_MOST_UNITS = 4 * 10**18
_BUSY_TIMEOUT_SECONDS = 10.0

# ValueError: an amount in the file is not valid.
_FILE_ERRORS = (sqlite3.Error, OSError, ValueError)


class _Seen(NamedTuple):
    """The sum of a day's ledger entries up to `last_id`, so that each entry is read only once."""

    day: str
    last_id: int = 0
    total: Decimal = _ZERO


class DailyBudget(SpendingLimit):
    """A limit on what all kernels that share a ledger spend in one day (UTC).

    Reservations are rows in the ledger's file, inserted in exclusive transactions. A reservation left behind by a
    killed process counts as spent for the rest of the day, since its call may have been billed. If the file cannot be
    written, the limit cannot be guaranteed, so `reserve` refuses.

    Costs recorded in the ledger earlier that day count too, so a budget set at noon includes the morning.

    Parameters
    ----------
    limit : Decimal, number, str or None
        US dollars; None for no limit, in which case nothing is read or written.
    path : Path or str
        The ledger's file (`Ledger.path`).
    clock : callable
        Returns Unix seconds.
    name, option, allow_unknown_price
        As in `budget.Budget`.
    """

    def __init__(
        self,
        limit: Any,
        path: Union[Path, str],
        *,
        clock: Callable[[], float] = time.time,
        name: str = "daily_budget",
        option: Optional[str] = None,
        allow_unknown_price: bool = False,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight = 0  # units
        # A connection of its own, because a budget may wait for other kernels, but the ledger must not.
        self._file = LedgerFile(path, busy_timeout_seconds=_BUSY_TIMEOUT_SECONDS)
        self._seen = _Seen("")
        self._warned_of_file = False
        super().__init__(limit, name=name, option=option, allow_unknown_price=allow_unknown_price)

    def __repr__(self) -> str:
        return f"DailyBudget(limit={self.limit}, path={str(self._file.path)!r})"

    @property
    def spent(self) -> Decimal:
        """US dollars spent today on settled calls of all kernels. Raises ClaudeForceError if the file cannot be read."""
        return self._today()[0]

    @property
    def reserved(self) -> Decimal:
        """US dollars reserved today by all kernels, including dead ones. Raises like `spent`."""
        return self._today()[1]

    @property
    def left(self) -> Optional[Decimal]:
        """US dollars that can still be reserved today, at least 0; None without a limit. Raises like `spent`."""
        return None if self.limit is None else max(_ZERO, amount_left(self.limit, *self._today()))

    def reserve(self, amount: Optional[Decimal], *, in_flight: bool = False) -> Reservation:
        """Reserve `amount` like `Budget.reserve`, visibly for all kernels.

        Raises
        ------
        BudgetExceededError
            As in `Budget.reserve`, and if the file cannot be written.
        """
        limit = self.limit
        amount = self._checked(amount)
        if limit is None:
            return Reservation(amount, lambda actual: None)
        units = _units(amount)
        day = day_of(self._clock())
        try:
            with self._file.transaction() as connection:
                left = amount_left(limit, *self._amounts(connection, day))
                if _dollars(units) > left:
                    # Count only our own calls in flight: other kernels may be dead and never settle theirs.
                    later = EXACT.add(left, _dollars(self._in_flight))
                    raise exceeded(amount, left, limit, self.name, self.option, left_if_calls_are_free=later)
                self._begin_day(connection, day)
                insert = "INSERT INTO reservations (day, amount) VALUES (?, ?)"
                number = connection.execute(insert, (day, units)).lastrowid
        except _FILE_ERRORS as error:
            self._file.close()
            raise BudgetExceededError(
                f"the daily budget cannot be enforced: {self._file.path} cannot be written ({reason_of(error)});"
                f" fix that or set {self.option}=none"
            ) from None
        if in_flight:
            with self._lock:
                self._in_flight += units
        return Reservation(amount, lambda actual: self._settle(day, number, actual, units if in_flight else 0))

    def _begin_day(self, connection: sqlite3.Connection, day: str) -> None:
        """Start the day's sum with the amount spent before there was a budget.

        Otherwise a call that was billed but not recorded, because its answer was lost, would count for less than it cost.
        """
        insert = "INSERT OR IGNORE INTO days (day, spent) VALUES (?, ?)"
        connection.execute(insert, (day, _units(self._recorded(connection, day))))

    def close(self) -> None:
        """Close the file. Idempotent; a later use opens it again."""
        self._file.close()

    def _settle(self, day: str, number: Optional[int], actual: Decimal, in_flight_units: int) -> None:
        try:
            self._settle_in_file(day, number, actual)
        finally:
            with self._lock:
                self._in_flight -= in_flight_units
            self.queue.wake_first()

    def _settle_in_file(self, day: str, number: Optional[int], actual: Decimal) -> None:
        limit = self.limit
        try:
            with self._file.transaction() as connection:
                connection.execute("DELETE FROM reservations WHERE id = ?", (number,))
                spent = min(_settled(connection, day) + _units(actual), _MOST_UNITS)
                connection.execute("INSERT OR REPLACE INTO days (day, spent) VALUES (?, ?)", (day, spent))
                nearly = actual > 0 and self._warned_on < day and nearly_spent(_dollars(spent), limit)
                self._warned_on = day if nearly else self._warned_on
        except _FILE_ERRORS as error:
            # Never lose an answer because of this: the reservation simply keeps counting.
            self._file.close()
            if not self._warned_of_file:
                self._warned_of_file = True
                warn(
                    f"the daily budget counts the worst case of each call as spent, because {self._file.path} cannot be written"
                    f" ({reason_of(error)})",
                    ClaudeForceWarning,
                )
            return
        if nearly and limit is not None:
            warn_nearly_spent(_dollars(spent), limit, self.name)

    def _today(self) -> Tuple[Decimal, Decimal]:
        if not self._file.exists():
            return _ZERO, _ZERO
        try:
            with self._file.transaction() as connection:
                return self._amounts(connection, day_of(self._clock()))
        except _FILE_ERRORS as error:
            self._file.close()
            raise ClaudeForceError(
                f"the daily budget cannot be read from {self._file.path} ({reason_of(error)})"
            ) from None

    def _amounts(self, connection: sqlite3.Connection, day: str) -> Tuple[Decimal, Decimal]:
        """Return the amounts spent and reserved on a day; raises ValueError if an amount in the file is not valid."""
        settled = _dollars(_settled(connection, day))
        # Compare the number of integers with that of rows: SQLite sums any text as 0.
        query = (
            "SELECT COALESCE(SUM(amount), 0), COALESCE(MIN(amount), 0), COUNT(*), TOTAL(typeof(amount) = 'integer')"
            " FROM reservations WHERE day = ?"
        )
        total, least, count, whole = connection.execute(query, (day,)).fetchone()
        if count != whole or least < 0:
            raise ValueError("a reservation is not a valid amount")
        # A settled call is in the ledger too, a moment later. Anything beyond that in the ledger was spent without this
        # budget.
        return max(settled, self._recorded(connection, day)), _dollars(total)

    def _recorded(self, connection: sqlite3.Connection, day: str) -> Decimal:
        seen = self._seen if self._seen.day == day else _Seen(day)
        # "+id" stops SQLite from searching by row number while the index on time is the better start.
        query = (
            f"SELECT id, cost FROM entries WHERE {'' if seen.last_id else '+'}id > ? AND time >= ? AND time < ?"
            " AND cached = 0 AND cost IS NOT NULL ORDER BY id"
        )
        start = start_of(day)
        last, total = seen.last_id, seen.total
        for number, cost in connection.execute(query, (last, start, start + DAY_SECONDS)):
            # A damaged file can return the same rows over and over.
            if type(number) is not int or number <= last:
                raise ValueError("its rows are out of order")
            last, total = number, EXACT.add(total, amount_of(cost))
        self._seen = _Seen(day, last, total)
        return total


def _units(amount: Decimal) -> int:
    whole = EXACT.multiply(amount, _UNITS).to_integral_value(ROUND_CEILING, EXACT)
    return min(int(whole), _MOST_UNITS)


def _dollars(units: int) -> Decimal:
    return EXACT.scaleb(Decimal(units), -12) if units else _ZERO


def _settled(connection: sqlite3.Connection, day: str) -> int:
    row = connection.execute("SELECT spent FROM days WHERE day = ?", (day,)).fetchone()
    if row is None:
        return 0
    (spent,) = row
    if type(spent) is not int or spent < 0:
        raise ValueError("the sum of the day is not a valid amount")
    return spent
