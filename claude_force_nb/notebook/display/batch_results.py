"""What a batch looks like when it is shown: how many rows came to what end, its first answers, and what went wrong."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, List, Optional, Sequence, Tuple, Union

from claude_force_nb.costs.report import dollars, known_dollars
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import sum_dollars
from claude_force_nb.rows.results import BatchResult, BatchSummary
from claude_force_nb.text_tables import one_line

from .answers import result_bundle
from .bundles import Bundle, line_bundle
from .tables import table_bundle

__all__ = ["batch_bundle", "bundle_of", "summary_line"]

_FIRST_ROWS = 5
_FIRST_ERRORS = 5
_CELL_CHARACTERS = 80


def summary_line(batch: Union[BatchResult, BatchSummary]) -> str:
    """Return rows by status, cost, saving and time in one line."""
    counts = batch.counts
    parts = [f"{len(batch):,} rows" if len(batch) != 1 else "1 row"]
    parts += ["{:,} {}".format(number, kind.replace("_", " ")) for kind, number in counts.items() if number]
    if isinstance(batch, BatchSummary):
        cost, saved = dollars(batch.cost), dollars(batch.saved)
    else:
        cost, saved = (_sum([getattr(result, name) for result in batch]) for name in ("cost", "saved"))
    parts.append(cost)
    if counts["cached"]:
        parts.append("saved " + saved)
    if batch.prompt_cache_saved > 0:
        parts.append(f"prompt cache saved {dollars(batch.prompt_cache_saved)}")
    parts.append(f"{batch.duration_seconds:.1f} s")
    return " · ".join(parts)


def _sum(amounts: Sequence[Optional[Decimal]]) -> str:
    known = [amount for amount in amounts if amount is not None]
    # Rows that cost nothing because they are cached or were not sent are not a known price.
    return known_dollars(
        sum_dollars(known) or Decimal(0), len(amounts) - len(known), len(amounts) - known.count(Decimal(0))
    )


def _short(text: str) -> str:
    text = one_line(text[: 4 * _CELL_CHARACTERS])
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"


def _row(number: int, result: ClaudeResult) -> Tuple[str, str, str]:
    shown = result.shortcoming or result.text if result.error is None else f"{result.error}"
    return str(number), result.status.replace("_", " "), _short(shown)


def batch_bundle(batch: BatchResult, *, note: Optional[str] = None) -> Bundle:
    """Return the bundle of a batch: its first rows, the first ones without an answer, and the sums."""
    pairs: Sequence[Tuple[int, ClaudeResult]] = list(zip(batch.numbers, batch))
    rows: List[Sequence[Any]] = [_row(*pair) for pair in pairs[:_FIRST_ROWS]]
    bad = [pair for pair in pairs[_FIRST_ROWS:] if pair[1].error is not None or pair[1].incomplete]
    shown = bad[:_FIRST_ERRORS]
    if len(pairs) > _FIRST_ROWS and (not shown or shown[0][0] != pairs[_FIRST_ROWS][0]):
        rows.append(("…", "", ""))
    rows += [_row(*pair) for pair in shown]
    if len(bad) > len(shown):
        rows.append(("…", "", f"{len(bad) - len(shown):,} more rows without a complete answer"))
    footer = summary_line(batch) if note is None else f"{note} · {summary_line(batch)}"
    return table_bundle(("row", "status", "answer"), rows, footer=footer)


def bundle_of(value: Any, *, note: Optional[str] = None) -> Bundle:
    """Return the bundle of whatever the magics give: an answer, a batch, its sums, or a job."""
    if isinstance(value, ClaudeResult):
        return result_bundle(value)
    if isinstance(value, BatchResult):
        return batch_bundle(value, note=note)
    if isinstance(value, BatchSummary):
        line = summary_line(value)
        return line_bundle(line if note is None else f"{note} · {line}")
    bundle: Bundle = value.bundle()
    return bundle
