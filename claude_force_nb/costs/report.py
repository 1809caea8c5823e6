"""Spending and savings as text: dollar formatting, and the ledger's report, export and pruning."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from claude_force_nb.errors import OptionError
from claude_force_nb.storage.user_folders import is_temporary
from claude_force_nb.text_tables import escape_markdown, markdown_table, one_line, plain_table, terminal_width, wrapped
from claude_force_nb.vocabulary import did_you_mean

from .budget import Budget, DailyBudget
from .ledger import Ledger, LedgerRow, parse_since
from .ledger_file import is_local
from .ledger_rows import Speed

__all__ = [
    "GROUPS",
    "LEGEND",
    "CostReport",
    "answers",
    "bar_blocks",
    "budget_line",
    "cost_report",
    "dollars",
    "export",
    "known_dollars",
    "prune",
]

GROUPS = ("model", "agent", "day", "notebook")
# Columns of every report, after the one it is grouped by.
_COLUMNS = ("calls", "cached", "tokens in", "tokens out", "cost", "saved")
# Further columns of a report by agent.
_SPEED_COLUMNS = ("median time", "95 % within", "tokens/s", "failed")
_BAR_WIDTH = 20
_SPENT, _SAVED = "█", "░"
LEGEND = f"{_SPENT} spent {_SAVED} saved"


def dollars(amount: Optional[Decimal]) -> str:
    """Format US dollars for display: ``$0``, ``$0.0033``, ``-$0.0033``, ``$12.35``, or ``price unknown``."""
    if amount is None:
        return "price unknown"
    if amount == 0:
        return "$0"
    if amount < 0:
        return f"-{dollars(-amount)}"
    if amount < Decimal("0.0001"):
        return "<$0.0001"
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"


def known_dollars(known: Decimal, unknown: int, count: int) -> str:
    """Format the dollars of `count` answers, `unknown` of which are not included; an unknown price is never shown as $0."""
    if not unknown:
        return dollars(known)
    if unknown == count:
        return "price unknown"
    return f"{dollars(known)} + {unknown:,} price unknown"


def bar_blocks(spent: Decimal, saved: Decimal, longest: Decimal) -> str:
    """Return a bar of block characters: filled for the amount spent, then light for the amount saved.

    Parameters
    ----------
    spent, saved : Decimal
        At least 0.
    longest : Decimal
        The sum of both that fills the whole bar, at least 0.
    """
    # Any amount above 0 gets at least one block.
    filled = min(_blocks(spent, longest), _BAR_WIDTH - 1 if saved else _BAR_WIDTH)
    light = min(_blocks(saved, longest), _BAR_WIDTH - filled)
    return _SPENT * filled + _SAVED * light


def _blocks(amount: Decimal, longest: Decimal) -> int:
    if not amount:
        return 0
    share = min(1.0, float(amount / longest)) if longest > 0 else 0.0
    return max(1, round(share * _BAR_WIDTH))


@dataclass(frozen=True)
class CostReport:
    """Spending and savings from the ledger, grouped.

    Attributes
    ----------
    by : str
        One of `GROUPS`.
    rows : tuple of LedgerRow
        Most expensive first, days in chronological order; empty if no call was made.
    total : LedgerRow or None
        Sum of the rows; None unless there are several.
    footer : str
        Whose answers these are, since when, and how much is left of the budgets.
    speeds : mapping
        By key of a row, ``total`` for all; empty if the report has no such columns.
    """

    by: str
    rows: Tuple[LedgerRow, ...]
    total: Optional[LedgerRow]
    footer: str
    speeds: Mapping[str, Speed] = field(default_factory=dict)

    @property
    def longest(self) -> Decimal:
        """US dollars that fill the whole bar."""
        return max((row.cost + row.saved for row in self.rows), default=Decimal(0))

    @property
    def header(self) -> Tuple[str, ...]:
        """Names of the columns, without the bars; includes the API's prompt cache only if it was used."""
        prompt_cache = ("saved by prompt cache",) if self._prompt_cache_used else ()
        return (self.by, *_COLUMNS, *prompt_cache, *(_SPEED_COLUMNS if self.speeds else ()))

    @property
    def number_columns(self) -> Sequence[int]:
        """Indices of the columns that contain numbers."""
        return range(1, len(self.header))

    @property
    def _prompt_cache_used(self) -> bool:
        return any(row.prompt_cache_saved for row in self.rows)

    @property
    def lines(self) -> List[LedgerRow]:
        """The rows, followed by the total if there is one."""
        return [*self.rows] if self.total is None else [*self.rows, self.total]

    def cells(self, row: LedgerRow) -> Tuple[str, ...]:
        """Return the cells of one of `lines`, without its bar."""
        name = "total" if row is self.total else one_line(row.key) or "(none)"
        counts = (f"{number:,}" for number in (row.calls, row.hits, row.input_tokens, row.output_tokens))
        cost = known_dollars(row.cost, row.unknown_price, row.calls)
        saved = known_dollars(row.saved, row.unknown_saved, row.hits)
        prompt_cache = (dollars(row.prompt_cache_saved),) if self._prompt_cache_used else ()
        speed = _speed_cells(self.speeds.get(row.key, Speed())) if self.speeds else ()
        return (name, *counts, cost, saved, *prompt_cache, *speed)

    def bar_label(self, row: LedgerRow) -> str:
        """Return a description in words of the bar of one of `lines`."""
        name, *_, cost, saved = self.cells(row)[: 1 + len(_COLUMNS)]
        return f"{name}: {cost} spent, {saved} saved"

    def has_bar(self, row: LedgerRow) -> bool:
        """Return whether bars help to compare the rows."""
        return row is not self.total and self.longest > 0

    def text(self) -> str:
        """Return the report for a terminal."""
        if not self.rows:
            return self.footer
        width = terminal_width()
        table = plain_table(*self._table(), right=self.number_columns, width=width)
        return "\n".join([*table, "", *wrapped(self.footer, width)])

    def markdown(self) -> str:
        """Return the report in Markdown."""
        footer = f"*{escape_markdown(self.footer)}*"
        if not self.rows:
            return footer
        return "\n".join([*markdown_table(*self._table(), right=self.number_columns), "", footer])

    def _table(self) -> Tuple[Sequence[str], List[Sequence[str]]]:
        longest = self.longest
        rows: List[Sequence[str]] = []
        for row in self.lines:
            bar = bar_blocks(row.cost, row.saved, longest) if self.has_bar(row) else ""
            rows.append((*self.cells(row), bar))
        return (*self.header, LEGEND if longest else ""), rows


def _speed_cells(speed: Speed) -> Tuple[str, ...]:
    seconds = (f"{each:,.1f} s" if each is not None else "" for each in (speed.median_seconds, speed.p95_seconds))
    rate = "" if speed.tokens_per_second is None else f"{speed.tokens_per_second:,.0f}"
    return (*seconds, rate, f"{100 * speed.failure_rate:.1f} %" if speed.calls else "")


def cost_report(ledger: Ledger, by: str, since: str, *, now: float, below: Iterable[str] = ()) -> CostReport:
    """Return spending and savings, grouped.

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
        Further lines for the footer; empty ones are skipped.

    Raises
    ------
    OptionError
        If `by` or `since` cannot be used.
    """
    if by not in GROUPS:
        raise OptionError(f"by must be one of {', '.join(GROUPS)}, not {by!r}{did_you_mean(by, GROUPS)}")
    moment = parse_since(since, now=now) if since else None
    rows = tuple(ledger.summary(by=by, since=moment))
    parts = [] if rows else ["no answers yet"]
    kept = "this process only; nothing is kept, because there is no home folder"
    if is_local(ledger.path):
        parts.append("answered by servers on this machine, counted apart from real spending")
    parts.append(
        (kept if is_temporary(ledger.path) else "all notebooks of this user") + (f", since {since}" if since else "")
    )
    parts += [line for line in below if line]
    total = ledger.total(since=moment) if len(rows) > 1 else None
    speeds: Mapping[str, Speed] = {}
    if by == "agent" and rows:
        speeds = {**ledger.speeds(by, moment), **(ledger.speeds(None, moment) if total is not None else {})}
    return CostReport(by, rows, total, " · ".join(parts), speeds)


def budget_line(budget: Union[Budget, DailyBudget]) -> str:
    """Return how much of a budget is left, or "" if it has no limit."""
    if budget.limit is None:
        return ""
    name = budget.name.replace("_", " ")
    return f"{dollars(budget.left)} of the {dollars(budget.limit)} {name} left"


def answers(count: int) -> str:
    """Return ``1 answer`` or ``1,234 answers``."""
    return f"{count:,} {'answer' if count == 1 else 'answers'}"


def export(ledger: Ledger, target: str, moment: Optional[float]) -> str:
    """Write the answers since `moment` (Unix seconds; None: all) to a CSV file; return a one-line confirmation.

    Raises
    ------
    OptionError
        If the file is not named ``.csv``.
    ClaudeForceError
        If it cannot be written.
    """
    if Path(target).suffix.lower() != ".csv":
        raise OptionError(f"export takes the name of a .csv file, not {target!r}")
    count = ledger.export_csv(os.path.expanduser(target), since=moment)
    return f"{answers(count)} written to {target}"


def prune(ledger: Ledger, age: str, *, now: float) -> str:
    """Remove answers older than `age` (in the form that `parse_since` takes); return a one-line confirmation."""
    try:
        moment = parse_since(age, now=now)
    except OptionError as error:
        raise OptionError(str(error).replace("since", "prune", 1)) from None
    count = ledger.prune(max(0.0, now - moment))
    return f"{answers(count)} older than {age} removed from the ledger; today's are kept"
