"""%claude_cost: shows what was spent and saved."""

from __future__ import annotations

from keyword import iskeyword
from typing import Any, Iterable, List, Mapping, MutableMapping, Sequence, Union

from claude_force_nb.costs.budget import Budget, DailyBudget
from claude_force_nb.costs.ledger import Ledger, parse_since
from claude_force_nb.costs.report import answers, budget_line, cost_report, export, prune
from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.display.bars import Bar, Legend
from claude_force_nb.notebook.display.bundles import Bundle, line_bundle
from claude_force_nb.notebook.display.tables import table_bundle
from claude_force_nb.notebook.options.line import parse_pairs
from claude_force_nb.notebook.session.session import NotebookSession

from .reference import Reference, wants_help

__all__ = ["COST_OPTIONS", "REFERENCE", "cost", "cost_bundle", "do_cost"]

# Options of `%claude_cost`.
COST_OPTIONS = ("by", "since", "export", "into", "prune")
REFERENCE = Reference(
    magic="%claude_cost",
    summary="Shows what was spent and what the cache saved, by all notebooks of the user.",
    words=(
        ("by=", "group the answers by this", "model, agent, day, notebook; default model"),
        ("since=", "only answers since then", "7d, 24h or 2026-11-01"),
        ("export=", "write every answer to a file", "a .csv file"),
        ("into=", "every answer as a data frame", "name"),
        ("prune=", "remove older answers from the ledger", "such as 90d"),
    ),
    examples=(
        ("%claude_cost by=day since=7d", "the last week, day by day"),
        ("%claude_cost into=costs", "every answer in the data frame costs"),
        ("%claude_cost export=costs.csv", "the same as a file"),
    ),
    page="how-to/see-what-it-costs.md",
)


def cost(session: NotebookSession, line: str, *, now: float) -> Bundle:
    """Run ``%claude_cost``, and return what to show; see `do_cost`."""
    if wants_help(line):
        return REFERENCE.bundle()
    given = parse_pairs(line, COST_OPTIONS, "%claude_cost")
    orchestrator = session.orchestrator
    assert orchestrator.ledger is not None
    budgets = [budget for budget in (orchestrator.budget, orchestrator.daily_budget) if budget is not None]
    return do_cost(given, orchestrator.ledger, budgets=budgets, names=session.front_end.names, now=now)


def do_cost(
    given: Mapping[str, str],
    ledger: Ledger,
    *,
    budgets: Sequence[Union[Budget, DailyBudget]],
    names: MutableMapping[str, Any],
    now: float,
) -> Bundle:
    """Run one action on the ledger, and return what to show.

    Parameters
    ----------
    given : mapping
        Some of `COST_OPTIONS`.
    ledger : Ledger
    budgets : sequence of Budget or DailyBudget
        Budgets that the footer shows.
    names : mapping
        The notebook's names, to which ``into=`` adds the data frame.
    now : float
        Unix seconds.

    Raises
    ------
    OptionError
        If an option is invalid; nothing is done then.
    """
    since, into = given.get("since", ""), given.get("into", "")
    moment = parse_since(since, now=now) if since else None
    if "prune" in given:
        others = [name for name in given if name != "prune"]
        if others:
            raise OptionError(f"prune cannot be combined with {', '.join(others)}")
        return line_bundle(prune(ledger, given["prune"], now=now))
    if "export" in given and "into" in given:
        raise OptionError("export and into cannot be combined")
    if "by" in given and ("export" in given or "into" in given):
        raise OptionError("by cannot be combined with export or into, which give every answer")
    if "export" in given:
        return line_bundle(export(ledger, given["export"], moment))
    if "into" in given:
        if not into.isidentifier() or iskeyword(into):
            raise OptionError(f"into takes a variable name, not {into!r}")
        names[into] = frame = ledger.to_frame(moment)
        return line_bundle(f"{answers(len(frame))} in {into}")
    return cost_bundle(ledger, given.get("by", "model"), since, now=now, below=map(budget_line, budgets))


def cost_bundle(ledger: Ledger, by: str, since: str, *, now: float, below: Iterable[str] = ()) -> Bundle:
    """Return the report of the ledger with bars; see `cost_report` for the parameters and errors."""
    report = cost_report(ledger, by, since, now=now, below=below)
    if not report.rows:
        return line_bundle(report.footer)
    rows: List[Sequence[Any]] = []
    for row in report.lines:
        bar = Bar(row.cost, row.saved, report.longest, report.bar_label(row)) if report.has_bar(row) else ""
        rows.append((*report.cells(row), bar))
    header = (*report.header, Legend() if report.longest else "")
    return table_bundle(header, rows, footer=report.footer, right=report.number_columns)
