"""The budgets of a session."""

from __future__ import annotations

from decimal import Decimal
from typing import Mapping, NamedTuple, Optional, Union

from claude_force_nb.costs.budget import Budget, DailyBudget, parse_budget
from claude_force_nb.costs.ledger import default_ledger_path
from claude_force_nb.notebook.options.settings import Settings

__all__ = ["BudgetPair", "SessionBudgets"]


class BudgetPair(NamedTuple):
    """The budgets that apply to every call.

    Attributes
    ----------
    session : Budget
        Budget of this session.
    daily : DailyBudget
        Budget for all notebooks of the user on a day (UTC).
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
    """The budgets of the session and of the user's day. They survive changes of settings, so that spending is not forgotten.

    Answers of servers on this machine count in separate budgets with the same limits, since they are not real spending.

    Parameters
    ----------
    environ : mapping
        Environment variables, which determine the path of the ledger.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._pairs = {local: _pair(environ, local) for local in (False, True)}

    def of(self, *, local: bool) -> BudgetPair:
        """Return the budgets for calls to servers on this machine, or to other servers."""
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
            If a setting is invalid.
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
