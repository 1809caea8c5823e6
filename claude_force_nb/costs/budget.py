"""Budgets: the worst case of a call is reserved before it leaves, its real cost settled after, so no limit is passed."""

from __future__ import annotations

import datetime
import sqlite3
import threading
import time
from contextlib import ExitStack
from decimal import ROUND_CEILING, Context, Decimal
from pathlib import Path
from typing import Any, Callable, Iterable, List, Optional, Tuple, Union

from claude_force_nb.costs.ledger_file import LedgerFile
from claude_force_nb.costs.reservation import (
    Reservation,
    amount_left,
    checked_amount,
    exceeded,
    nearly_spent,
    parse_budget,
    warn_nearly_spent,
)
from claude_force_nb.errors import BudgetExceededError, ClaudeForceError, ClaudeForceWarning, warn

__all__ = ["Budget", "BudgetGroup", "DailyBudget", "Reservation", "parse_budget"]

_EXACT = Context(prec=100)
_ZERO = Decimal(0)

# The daily budget counts in whole units of 10**-12 US dollars, which SQLite adds exactly; amounts are rounded up to them.
_UNITS = 10**12
_MOST_UNITS = 4 * 10**18
_BUSY_TIMEOUT_SECONDS = 10.0


class Budget:
    """A limit on what one process spends; for any number of threads.

    Parameters
    ----------
    limit : Decimal, number, str or None
        US dollars, see `parse_budget`; None for no limit.
    name : str
        The option that sets it, named in messages: ``budget`` is shown as "the $0.50 budget".
    allow_unknown_price : bool
        True lets calls of unknown price pass, counting what is not known as 0.

    Notes
    -----
    As long as no call costs more than was reserved for it, ``spent + reserved`` never passes the limit.
    """

    def __init__(self, limit: Any, *, name: str = "budget", allow_unknown_price: bool = False) -> None:
        self.limit = parse_budget(limit, name=name)
        self.name = name
        self.allow_unknown_price = allow_unknown_price
        self._lock = threading.Lock()
        self._spent = self._reserved = _ZERO
        self._warned = False

    def __repr__(self) -> str:
        return "Budget(limit={}, spent={}, reserved={})".format(self.limit, self.spent, self.reserved)

    @property
    def spent(self) -> Decimal:
        """US dollars of settled calls."""
        return self._spent

    @property
    def reserved(self) -> Decimal:
        """US dollars set aside for calls that are not settled."""
        return self._reserved

    @property
    def left(self) -> Optional[Decimal]:
        """US dollars that can be reserved, at least 0; None without a limit."""
        with self._lock:
            return None if self.limit is None else max(_ZERO, amount_left(self.limit, self._spent, self._reserved))

    def reserve(self, amount: Optional[Decimal]) -> Reservation:
        """Set `amount` aside.

        Parameters
        ----------
        amount : Decimal or None
            The most the call can cost, in US dollars, at least 0; None where its price is not known.

        Raises
        ------
        BudgetExceededError
            If it does not fit what is left, or is not known while there is a limit. One line: need, left, what to do.
        """
        amount = checked_amount(amount, self.limit, self.name, self.allow_unknown_price)
        with self._lock:
            if self.limit is not None:
                left = amount_left(self.limit, self._spent, self._reserved)
                if amount > left:
                    raise exceeded(amount, left, self.limit, self.name)
            self._reserved = _EXACT.add(self._reserved, amount)
        return Reservation(amount, lambda actual: self._settle(amount, actual))

    def _settle(self, amount: Decimal, actual: Decimal) -> None:
        with self._lock:
            self._reserved = _EXACT.subtract(self._reserved, amount)
            self._spent = spent = _EXACT.add(self._spent, actual)
            nearly = not self._warned and actual > 0 and nearly_spent(spent, self.limit)
            self._warned = self._warned or nearly
        if nearly and self.limit is not None:
            warn_nearly_spent(spent, self.limit, self.name)


class DailyBudget:
    """A limit on what all kernels that share a ledger spend in one day (UTC).

    Reservations are rows in the ledger's file, made in a transaction that no other process can interleave with. One that
    a killed process leaves behind counts as spent for the rest of its day: its call may have been billed. Where the file
    cannot be written nothing can be promised, so `reserve` refuses.

    What the ledger recorded of the day counts too, so that a budget set at noon knows the morning.

    Parameters
    ----------
    limit : Decimal, number, str or None
        US dollars; None for no limit, and then nothing is read or written.
    path : Path or str
        The ledger's file (`Ledger.path`).
    clock : callable
        Gives Unix seconds.
    name, allow_unknown_price
        As in `Budget`.
    """

    def __init__(
        self,
        limit: Any,
        path: Union[Path, str],
        *,
        clock: Callable[[], float] = time.time,
        name: str = "daily_budget",
        allow_unknown_price: bool = False,
    ) -> None:
        self.limit = parse_budget(limit, name=name)
        self.name = name
        self.allow_unknown_price = allow_unknown_price
        self._clock = clock
        # A connection of its own: a budget may wait for other kernels where the ledger must not.
        self._file = LedgerFile(path, busy_timeout_seconds=_BUSY_TIMEOUT_SECONDS)
        self._seen: Tuple[str, int, Decimal] = ("", 0, _ZERO)
        self._warned_on = ""
        self._warned_of_file = False

    def __repr__(self) -> str:
        return "DailyBudget(limit={}, path={!r})".format(self.limit, str(self._file.path))

    @property
    def spent(self) -> Decimal:
        """US dollars of today's settled calls of all kernels. Raises ClaudeForceError if the file cannot be read."""
        return self._today()[0]

    @property
    def reserved(self) -> Decimal:
        """US dollars set aside today, by all kernels, also by those that died. Raises as `spent`."""
        return self._today()[1]

    @property
    def left(self) -> Optional[Decimal]:
        """US dollars that can be reserved today, at least 0; None without a limit. Raises as `spent`."""
        return None if self.limit is None else max(_ZERO, amount_left(self.limit, *self._today()))

    def reserve(self, amount: Optional[Decimal]) -> Reservation:
        """Set `amount` aside, for all kernels; as `Budget.reserve`.

        Raises
        ------
        BudgetExceededError
            As `Budget.reserve`, and if the file cannot be written.
        """
        amount = checked_amount(amount, self.limit, self.name, self.allow_unknown_price)
        if self.limit is None:
            return Reservation(amount, lambda actual: None)
        units = _units(amount)
        day = _day(self._clock())
        try:
            with self._file.transaction() as connection:
                left = amount_left(self.limit, *self._amounts(connection, day))
                if _dollars(units) > left:
                    raise exceeded(amount, left, self.limit, self.name)
                insert = "INSERT INTO reservations (day, amount) VALUES (?, ?)"
                number = connection.execute(insert, (day, units)).lastrowid
        except (sqlite3.Error, OSError) as error:
            self._file.close()
            message = "the daily budget cannot be kept: {} cannot be written ({}); mend it or set {}=none"
            raise BudgetExceededError(message.format(self._file.path, error, self.name)) from None
        return Reservation(amount, lambda actual: self._settle(day, number, actual))

    def close(self) -> None:
        """Close the file. Idempotent; a later use opens it again."""
        self._file.close()

    def _settle(self, day: str, number: Optional[int], actual: Decimal) -> None:
        try:
            with self._file.transaction() as connection:
                connection.execute("DELETE FROM reservations WHERE id = ?", (number,))
                spent = min(_settled(connection, day) + _units(actual), _MOST_UNITS)
                connection.execute("INSERT OR REPLACE INTO days (day, spent) VALUES (?, ?)", (day, spent))
                nearly = actual > 0 and self._warned_on < day and nearly_spent(_dollars(spent), self.limit)
                self._warned_on = day if nearly else self._warned_on
        except (sqlite3.Error, OSError) as error:
            # The answer is worth more than the difference: what was reserved goes on counting.
            self._file.close()
            if not self._warned_of_file:
                self._warned_of_file = True
                message = "the daily budget counts worst cases as spent, because {} cannot be written ({})"
                warn(message.format(self._file.path, error), ClaudeForceWarning)
            return
        if nearly and self.limit is not None:
            warn_nearly_spent(_dollars(spent), self.limit, self.name)

    def _today(self) -> Tuple[Decimal, Decimal]:
        if not self._file.exists():
            return _ZERO, _ZERO
        try:
            with self._file.transaction() as connection:
                return self._amounts(connection, _day(self._clock()))
        except (sqlite3.Error, OSError) as error:
            self._file.close()
            message = "the daily budget cannot be read from {} ({})"
            raise ClaudeForceError(message.format(self._file.path, error)) from None

    def _amounts(self, connection: sqlite3.Connection, day: str) -> Tuple[Decimal, Decimal]:
        settled = _dollars(_settled(connection, day))
        query = "SELECT COALESCE(SUM(amount), 0) FROM reservations WHERE day = ?"
        reserved = _dollars(connection.execute(query, (day,)).fetchone()[0])
        # Settled calls are in the ledger too, a moment later; what it has beyond them was spent without this budget.
        return max(settled, self._recorded(connection, day)), reserved

    def _recorded(self, connection: sqlite3.Connection, day: str) -> Decimal:
        seen_day, last, total = self._seen
        if seen_day != day:
            last, total = 0, _ZERO
        # The plus sign keeps SQLite from choosing the row number where the index on time is the better start.
        query = (
            "SELECT id, cost FROM entries WHERE {}id > ? AND time >= ? AND time < ?"
            " AND cached = 0 AND cost IS NOT NULL ORDER BY id"
        ).format("" if last else "+")
        start = datetime.datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=datetime.timezone.utc).timestamp()
        for number, cost in connection.execute(query, (last, start, start + 86400)).fetchall():
            last, total = number, _EXACT.add(total, Decimal(cost))
        self._seen = (day, last, total)
        return total


class BudgetGroup:
    """Several budgets that a call must fit at once.

    Parameters
    ----------
    budgets : iterable of Budget, DailyBudget or None
        Asked in this order; None is passed over. Put the daily one last: the others cost less to ask.

    Notes
    -----
    What was reserved before one budget refused is given back, so a call that runs at the same moment may be refused in
    between though it would have fitted after; none is ever let through that does not fit.
    """

    def __init__(self, budgets: Iterable[Union[Budget, DailyBudget, None]]) -> None:
        self.budgets = tuple(budget for budget in budgets if budget is not None)

    @property
    def left(self) -> Optional[Decimal]:
        """US dollars that can be reserved in all of them; None where none has a limit."""
        lefts = [left for left in (budget.left for budget in self.budgets) if left is not None]
        return min(lefts) if lefts else None

    def reserve(self, amount: Optional[Decimal]) -> Reservation:
        """Set `amount` aside in all budgets or in none; raises as `Budget.reserve`."""
        taken: List[Reservation] = []
        try:
            for budget in self.budgets:
                taken.append(budget.reserve(amount))
        except BaseException:
            for reservation in taken:
                reservation.release()
            raise

        def end(actual: Decimal) -> None:
            # A warning may be an error in the user's settings; the other budgets are settled all the same.
            with ExitStack() as stack:
                for reservation in reversed(taken):
                    stack.callback(reservation.settle, actual)

        return Reservation(_ZERO if amount is None else amount, end)


def _units(amount: Decimal) -> int:
    whole = _EXACT.multiply(amount, _UNITS).to_integral_value(ROUND_CEILING, _EXACT)
    return min(int(whole), _MOST_UNITS)


def _dollars(units: int) -> Decimal:
    return _EXACT.scaleb(Decimal(units), -12) if units else _ZERO


def _settled(connection: sqlite3.Connection, day: str) -> int:
    row = connection.execute("SELECT spent FROM days WHERE day = ?", (day,)).fetchone()
    return 0 if row is None else int(row[0])


def _day(unix_seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(unix_seconds))
