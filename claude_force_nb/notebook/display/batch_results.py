"""What a batch looks like when it is shown: how many rows came to what end, its first answers, and what went wrong."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

from claude_force_nb.costs.report import dollars, known_dollars
from claude_force_nb.messages.result import ClaudeResult, StatusCounts
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
# A source is read up to this row for what is shown beside an answer.
_LAST_INPUT = 10_000


def summary_line(batch: Union[BatchResult, BatchSummary]) -> str:
    """Return rows by status, cost, saving and time in one line."""
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
    parts.append(f"{batch.duration_seconds:.1f} s")
    return " · ".join(parts)


def _recorded_line(batch: Union[BatchResult, BatchSummary]) -> str:
    """Return the line of a batch whose answers are all in an answer file, the same for every run; "" for any other."""
    counts = StatusCounts()
    counts.update(batch.counts)
    price = ""
    if isinstance(batch, BatchSummary):
        recorded = batch.recorded
    else:
        recorded = sum(result.recorded for result in batch)
        # Rows that share an answer were paid for once.
        distinct = {result.fingerprint: result.price for result in batch if result.recorded}
        price = _sum(list(distinct.values()))
    if not recorded or recorded < counts.answered:
        return ""
    counts["ok"] += counts["cached"]
    counts["cached"] = 0
    return " · ".join(part for part in (_counts_line(len(batch), counts), "recorded", price) if part)


def _counts_line(rows: int, counts: Mapping[str, int]) -> str:
    parts = [f"{rows:,} rows" if rows != 1 else "1 row"]
    return " · ".join(
        parts + ["{:,} {}".format(number, kind.replace("_", " ")) for kind, number in counts.items() if number]
    )


def _sum(amounts: Sequence[Optional[Decimal]]) -> str:
    known = [amount for amount in amounts if amount is not None]
    # Rows that cost nothing because they are cached or were not sent are not a known price.
    return known_dollars(
        sum_dollars(known) or Decimal(0), len(amounts) - len(known), len(amounts) - known.count(Decimal(0))
    )


def _short(text: str) -> str:
    text = one_line(text[: 4 * _CELL_CHARACTERS])
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"


def _row(number: int, result: ClaudeResult, given: Optional[Mapping[Any, Any]]) -> Tuple[str, ...]:
    shown = result.shortcoming or result.text if result.error is None else f"{result.error}"
    if result.shortcoming and result.text:
        shown = f"{shown}: {result.text}"
    return str(number), result.shown_status.replace("_", " "), _input(given), _short(shown)


def _input(given: Optional[Mapping[Any, Any]]) -> str:
    """Return a row of the source on one line; one value without its name."""
    if not given:
        return ""
    texts = [_text_of(value) for value in given.values()]
    if len(texts) == 1:
        return _short(texts[0])
    return _short(" · ".join(f"{name}: {text}" for name, text in zip(given, texts)))


def _text_of(value: Any) -> str:
    try:
        return str(value)[: 4 * _CELL_CHARACTERS]
    except Exception:  # an object of the notebook may do anything
        return type(value).__name__


def _inputs(batch: BatchResult, numbers: Sequence[int]) -> Mapping[int, Mapping[Any, Any]]:
    try:
        return batch.inputs(numbers)
    except Exception:  # the source is read again, and may be gone; the answers are there all the same
        return {}


def batch_bundle(batch: BatchResult, *, note: Optional[str] = None) -> Bundle:
    """Return the bundle of a batch: first the rows without a complete answer, then others, each beside what it asked, and the sums."""
    pairs: Sequence[Tuple[int, ClaudeResult]] = list(zip(batch.numbers, batch))
    bad = [pair for pair in pairs if pair[1].error is not None or pair[1].incomplete]
    good = [pair for pair in pairs if pair[1].error is None and not pair[1].incomplete]
    rows: List[Sequence[Any]] = []
    shown = [*bad[:_FIRST_ERRORS], *good[:_FIRST_ROWS]]
    inputs = _inputs(batch, [number for number, _ in shown if number < _LAST_INPUT])
    for some, most, kind in ((bad, _FIRST_ERRORS, "without a complete answer"), (good, _FIRST_ROWS, "with an answer")):
        rows += [_row(number, result, inputs.get(number)) for number, result in some[:most]]
        if len(some) > most:
            rows.append(("…", "", "", f"{len(some) - most:,} more {kind}"))
    if not any(inputs.values()):
        rows = [(number, status, answer) for number, status, _, answer in rows]
    footer = summary_line(batch) if note is None else f"{note} · {summary_line(batch)}"
    return table_bundle(
        ("row", "status", "input", "answer") if any(inputs.values()) else ("row", "status", "answer"),
        rows,
        footer=footer,
    )


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
