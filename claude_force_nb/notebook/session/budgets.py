"""The budgets of a session."""

from __future__ import annotations

from decimal import Decimal
from typing import Mapping, NamedTuple, Optional, Union

from claude_force_nb.costs.budget import Budget, DailyBudget, parse_budget
from claude_force_nb.costs.ledger import default_ledger_path
from claude_force_nb.notebook.options.settings import Settings

__all__ = ["BudgetPair", "SessionBudgets"]


class BudgetPair(NamedTuple):
    """The budgets that every call has to fit.

    Attributes
    ----------
    session : Budget
        Of this session.
    daily : DailyBudget
        Of all notebooks of the user in a day (UTC).
    """

    session: Budget
    daily: DailyBudget


def _pair(environ: Mapping[str, str], local: bool) -> BudgetPair:
    path = default_ledger_path(environ, local=local)
    return BudgetPair(
        Budget(None, name="session_budget", option="%claude_config budget"),
        DailyBudget(None, path, option="%claude_config daily_budget"),
    )


class SessionBudgets:
    """The limits of the session and of the user's day; kept when settings change, so that a new limit does not forget spending.

    Answers of servers on this machine count in separate budgets with the same limits: they are not real spending, and must
    not use up the real budgets.

    Parameters
    ----------
    environ : mapping
        Environment variables, which say where the ledger is.

    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._pairs = {local: _pair(environ, local) for local in (False, True)}

    def of(self, *, local: bool) -> BudgetPair:
        """Return the budgets of calls to servers on this machine, or to any other."""
        return self._pairs[local]

    def close(self) -> None:
        """Close the files of the daily budgets."""
        for pair in self._pairs.values():
            pair.daily.close()

    def apply(self, settings: Settings) -> None:
        """Apply the limits of the settings.

        Raises
        ------
        OptionError
            If a setting cannot be used.
        """
        allow_unknown_price = settings.value("allow_unknown_price")
        session, daily = (parse_budget(settings.value(setting)) for setting in ("budget", "daily_budget"))
        for pair in self._pairs.values():
            _limit(pair.session, session, allow_unknown_price)
            _limit(pair.daily, daily, allow_unknown_price)


def _limit(budget: Union[Budget, DailyBudget], limit: Optional[Decimal], allow_unknown_price: bool) -> None:
    budget.allow_unknown_price = allow_unknown_price
    if limit != budget.limit:
        budget.limit = limit
