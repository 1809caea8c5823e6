"""The display of a batch: number of rows by status, the first answers, and the first errors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

from claude_force_nb.costs.report import dollars, known_dollars
from claude_force_nb.messages.result import ClaudeResult, StatusCounts
from claude_force_nb.messages.usage import sum_dollars
from claude_force_nb.rows.results import BatchResult, BatchSummary
from claude_force_nb.vocabulary import counted

from .answers import result_bundle
from .batch_rows import BatchRows
from .bundles import Bundle, line_bundle
from .tables import table_bundle

__all__ = ["batch_bundle", "batch_footer", "bundle_of", "is_shown_whole", "summary_line"]

_FIRST_ROWS = 5
_FIRST_ERRORS = 5
_CELL_CHARACTERS = 80


def summary_line(batch: Union[BatchResult, BatchSummary]) -> str:
    """Return one line with the rows by status, cost, savings and time."""
    recorded = _recorded_line(batch)
    if recorded:
        return recorded
    counts = batch.counts
    parts = [_counts_line(len(batch), counts)]
    if isinstance(batch, BatchSummary):
        cost, saved = dollars(batch.cost), dollars(batch.saved)
    else:
        cost, saved = (_sum([getattr(result, name) for result in batch]) for name in ("cost", "saved"))
    parts.append(cost)
    if counts["cached"]:
        parts.append("saved " + saved)
    if batch.prompt_cache_saved > 0:
        parts.append(f"prompt cache saved {dollars(batch.prompt_cache_saved)}")
    # If every row came from the cache, leave out the time, so that a rerun does not change the saved notebook.
    if counts["cached"] < len(batch):
        parts.append(f"{batch.duration_seconds:.1f} s")
    return " · ".join(parts)


def _recorded_line(batch: Union[BatchResult, BatchSummary]) -> str:
    """Return the summary of a batch whose answers are all in an answer file, the same for every run; else ""."""
    counts = StatusCounts()
    counts.update(batch.counts)
    price = ""
    if isinstance(batch, BatchSummary):
        recorded = batch.recorded
    else:
        recorded = sum(result.recorded for result in batch)
        # An answer that several rows share was paid for once.
        distinct = {result.fingerprint: result.price for result in batch if result.recorded}
        price = _sum(list(distinct.values()))
    if not recorded or recorded < counts.answered:
        return ""
    counts["ok"] += counts["cached"]
    counts["cached"] = 0
    return " · ".join(part for part in (_counts_line(len(batch), counts), "recorded", price) if part)


def _counts_line(rows: int, counts: Mapping[str, int]) -> str:
    parts = [counted(rows, "row")]
    return " · ".join(parts + [f"{number:,} {kind.replace('_', ' ')}" for kind, number in counts.items() if number])


def _sum(amounts: Sequence[Optional[Decimal]]) -> str:
    known = [amount for amount in amounts if amount is not None]
    # Rows that cost nothing, because they are cached or were not sent, do not count as rows with a known price.
    return known_dollars(
        sum_dollars(known) or Decimal(0), len(amounts) - len(known), len(amounts) - known.count(Decimal(0))
    )


def batch_bundle(batch: BatchResult, *, note: Optional[str] = None) -> Bundle:
    """Return a batch's bundle: rows without a complete answer first, then others, each with its input, and the totals."""
    listed = BatchRows(batch, characters=_CELL_CHARACTERS)
    bad, good = listed.bad[:_FIRST_ERRORS], listed.good[:_FIRST_ROWS]
    with_input, cells = listed.cells([*bad, *good])
    header = listed.header(with_input=with_input)
    rows = [
        *cells[: len(bad)],
        *_more(len(listed.bad) - len(bad), "without a complete answer", len(header)),
        *cells[len(bad) :],
        *_more(len(listed.good) - len(good), "with an answer", len(header)),
    ]
    return table_bundle(header, rows, footer=batch_footer(batch, listed, note))


def _more(left: int, kind: str, width: int) -> List[Tuple[str, ...]]:
    """Return a row that says how many rows of a kind are not shown; nothing if all are."""
    return [("…", *[""] * (width - 2), f"{left:,} more {kind}")] if left else []


def is_shown_whole(batch: BatchResult) -> bool:
    """Return whether the table of `batch_bundle` has all rows of a batch."""
    listed = BatchRows(batch, characters=_CELL_CHARACTERS)
    return len(listed.bad) <= _FIRST_ERRORS and len(listed.good) <= _FIRST_ROWS


def batch_footer(batch: BatchResult, listed: BatchRows, note: Optional[str] = None) -> str:
    """Return the line below a table of a batch; without a `note` it has the batch's own."""
    left_out = f"not shown: {', '.join(listed.left_out)}; to_frame() has them" if listed.left_out else ""
    return " · ".join(filter(None, (note or batch.notice, summary_line(batch), left_out)))


def bundle_of(value: Any, *, note: Optional[str] = None) -> Bundle:
    """Return the bundle of a magic's value: an answer, a batch, its summary, or an object with a `bundle` method."""
    if isinstance(value, ClaudeResult):
        return result_bundle(value)
    if isinstance(value, BatchResult):
        return batch_bundle(value, note=note)
    if isinstance(value, BatchSummary):
        line = summary_line(value)
        return line_bundle(line if note is None else f"{note} · {line}")
    bundle: Bundle = value.bundle()
    return bundle
