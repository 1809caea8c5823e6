"""What %claude_cost and ``python -m claude_force_nb cost`` show and do."""

from __future__ import annotations

from decimal import Decimal
from keyword import iskeyword
from pathlib import Path
from typing import Any, Dict, List, Mapping, MutableMapping, Optional, Sequence, Union

from claude_force_nb.costs.budget import Budget, DailyBudget
from claude_force_nb.costs.ledger import Ledger, LedgerRow, parse_since
from claude_force_nb.errors import ClaudeForceError, OptionError
from claude_force_nb.notebook.display.bars import Bar, Legend
from claude_force_nb.notebook.display.render import dollars, known_dollars, line_bundle, table_bundle
from claude_force_nb.vocabulary import did_you_mean

__all__ = ["COST_OPTIONS", "GROUPS", "budget_line", "cost_bundle", "do_cost", "export", "prune"]

GROUPS = ("model", "agent", "day", "notebook")
# What `%claude_cost` takes.
COST_OPTIONS = ("by", "since", "export", "into", "prune")


def do_cost(
    given: Mapping[str, str],
    ledger: Ledger,
    *,
    budgets: Sequence[Union[Budget, DailyBudget]],
    names: MutableMapping[str, Any],
    now: float,
) -> Dict[str, str]:
    """Do what ``%claude_cost`` is asked for, and return what to show.

    Parameters
    ----------
    given : mapping
        Some of `COST_OPTIONS`.
    ledger : Ledger
    budgets : sequence of Budget or DailyBudget
        Named below the table.
    names : mapping
        Where ``into=`` puts the data frame.
    now : float
        Unix seconds.

    Raises
    ------
    OptionError
        If one of them cannot be used; then nothing was done.
    """
    since, into = given.get("since", ""), given.get("into", "")
    moment = parse_since(since, now=now) if since else None
    if "prune" in given:
        others = [name for name in given if name != "prune"]
        if others:
            raise OptionError("prune stands alone, without {}".format(", ".join(others)))
        return line_bundle(prune(ledger, given["prune"], now=now))
    if "export" in given and "into" in given:
        raise OptionError("export and into go one at a time")
    if "by" in given and ("export" in given or "into" in given):
        raise OptionError("by groups the table; export and into give every answer, without by")
    if "export" in given:
        return line_bundle(export(ledger, given["export"], moment))
    if "into" in given:
        if not into.isidentifier() or iskeyword(into):
            raise OptionError(f"into takes a variable name, not {into!r}")
        names[into] = frame = ledger.to_frame(moment)
        return line_bundle(f"{_answers(len(frame))} in {into}")
    return cost_bundle(ledger, given.get("by", "model"), since, now=now, below=map(budget_line, budgets))


def export(ledger: Ledger, target: str, moment: Optional[float]) -> str:
    """Write the answers to a CSV file; return the line that says so."""
    if Path(target).suffix.lower() != ".csv":
        raise OptionError(f"export takes the name of a .csv file, not {target!r}")
    try:
        count = ledger.export_csv(Path(target).expanduser(), since=moment)
    except OSError as error:
        raise ClaudeForceError(f"{target} cannot be written: {error.strerror or error}") from None
    return f"{_answers(count)} written to {target}"


def prune(ledger: Ledger, age: str, *, now: float) -> str:
    """Remove what is older; return the line that says so."""
    try:
        moment = parse_since(age, now=now)
    except OptionError as error:
        raise OptionError(str(error).replace("since", "prune", 1)) from None
    count = ledger.prune(max(0.0, now - moment))
    return f"{_answers(count)} older than {age} removed from the ledger; those of today stay"


def _answers(count: int) -> str:
    return "{:,} {}".format(count, "answer" if count == 1 else "answers")


def cost_bundle(ledger: Ledger, by: str, since: str, *, now: float, below: Any = ()) -> Dict[str, str]:
    """Return spend and savings, grouped, with bars.

    Parameters
    ----------
    ledger : Ledger
    by : str
        One of `GROUPS`.
    since : str
        See `parse_since`; "" for everything.
    now : float
        Unix seconds.
    below : iterable of str
        Lines below the table; empty ones are passed over.

    Raises
    ------
    OptionError
        If `by` or `since` cannot be used.
    """
    if by not in GROUPS:
        raise OptionError("by must be one of {}, not {!r}{}".format(", ".join(GROUPS), by, did_you_mean(by, GROUPS)))
    moment = parse_since(since, now=now) if since else None
    rows = ledger.summary(by=by, since=moment)
    scope = "all notebooks of this user" + (f", since {since}" if since else "")
    lines = [line for line in below if line]
    if not rows:
        return line_bundle(" · ".join(["nothing was asked yet", scope, *lines]))
    longest = max(row.cost + row.saved for row in rows)
    cells: List[Sequence[Any]] = [_cells(row.key or "(none)", row, longest) for row in rows]
    if len(rows) > 1:
        cells.append(_cells("total", ledger.total(since=moment), None))
    footer = " · ".join([scope, *lines])
    header = (by, "calls", "cached", "tokens in", "tokens out", "cost", "saved", Legend() if longest else "")
    return table_bundle(header, cells, footer=footer, right=range(1, 7))


def _cells(name: str, row: LedgerRow, longest: Optional[Decimal]) -> Sequence[Any]:
    counts = (f"{number:,}" for number in (row.calls, row.hits, row.input_tokens, row.output_tokens))
    cost = known_dollars(row.cost, row.unknown_price, row.calls)
    saved = known_dollars(row.saved, row.unknown_saved, row.hits)
    label = f"{name}: {cost} spent, {saved} saved"
    return (name, *counts, cost, saved, "" if longest is None else Bar(row.cost, row.saved, longest, label))


def budget_line(budget: Union[Budget, DailyBudget]) -> str:
    """Return how much of a budget is left, or "" where it has no limit."""
    if budget.limit is None:
        return ""
    return "{} of the {} {} left".format(dollars(budget.left), dollars(budget.limit), budget.name.replace("_", " "))
