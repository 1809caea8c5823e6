"""The budgets of a session."""

from __future__ import annotations

from typing import Iterator, Mapping, Union

from claude_force_nb.costs.budget import Budget, DailyBudget, parse_budget
from claude_force_nb.costs.ledger import default_ledger_path
from claude_force_nb.notebook.options.settings import Settings

__all__ = ["SessionBudgets"]


class SessionBudgets:
    """What the session and the user's day may cost: kept whatever is set in between, so that a new limit forgets no spending.

    Parameters
    ----------
    environ : mapping
        Environment variables, which say where the ledger is.

    Attributes
    ----------
    session : Budget
        Of this session.
    daily : DailyBudget
        Of all notebooks of the user in a day (UTC).
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.session = Budget(None, name="session_budget", option="%claude_config budget")
        self.daily = DailyBudget(None, default_ledger_path(environ), option="%claude_config daily_budget")

    def __iter__(self) -> Iterator[Union[Budget, DailyBudget]]:
        return iter((self.session, self.daily))

    def apply(self, settings: Settings) -> None:
        """Take the limits that the settings give.

        Raises
        ------
        OptionError
            If a setting cannot be used.
        """
        for budget, setting in ((self.session, "budget"), (self.daily, "daily_budget")):
            budget.allow_unknown_price = settings.value("allow_unknown_price")
            limit = parse_budget(settings.value(setting))
            if limit != budget.limit:
                budget.limit = limit
