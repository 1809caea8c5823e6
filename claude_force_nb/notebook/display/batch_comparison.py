"""The results of the same rows from several models and agents: what each column cost, and how far the columns agree."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from claude_force_nb.costs.report import dollars
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import sum_dollars
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.text_tables import one_line, without_controls
from claude_force_nb.vocabulary import counted

from .bundles import Bundle, bundle, line_bundle
from .comparison import compared_name
from .receipts import why_missing
from .tables import table_bundle

__all__ = ["Agreement", "BatchComparison", "ComparedBatch"]

_MOST_ROWS = 5
_CELL_CHARACTERS = 60
# Rows up to this number are read again from the source to show their input beside the answers.
_LAST_INPUT = 10_000


@dataclass(frozen=True)
class ComparedBatch:
    """One column of a comparison.

    Attributes
    ----------
    model, agent : str or None
        As requested; None for the default.
    sample : int
        Number of the sample, from 1.
    batch : BatchResult
        The answers, by row.
    """

    model: Optional[str]
    agent: Optional[str]
    sample: int
    batch: BatchResult

    @property
    def name(self) -> str:
        """Heading of the column."""
        usual = self.batch[0].model if len(self.batch) else ""
        return compared_name(self.agent, self.model or usual, self.sample)


@dataclass(frozen=True)
class Agreement:
    """Agreement of two columns.

    Attributes
    ----------
    rows : int
        Number of rows to which both have a complete answer.
    share : float or None
        Share of these rows with the same answer, 0 to 1; None if there are no such rows.
    kappa : float or None
        Cohen's kappa (Cohen 1960): 1 if all agree, 0 if they agree as often as by chance; None if it is undefined, because
        both give the same single answer to every row.
    """

    rows: int
    share: Optional[float]
    kappa: Optional[float]

    @classmethod
    def of(cls, pairs: Sequence[Tuple[str, str]]) -> Agreement:
        """Return the agreement of pairs of normalised answers."""
        rows = len(pairs)
        if not rows:
            return cls(0, None, None)
        share = sum(one == other for one, other in pairs) / rows
        ones, others = (Counter(pair[at] for pair in pairs) for at in (0, 1))
        chance = sum(count * others[answer] for answer, count in ones.items()) / rows**2
        return cls(rows, share, None if chance == 1 else (share - chance) / (1 - chance))

    def __str__(self) -> str:
        if self.share is None:
            return ""
        return f"{self.share:.0%}" if self.kappa is None else f"{self.share:.0%} (κ {self.kappa:.2f})"


@dataclass(frozen=True)
class BatchComparison:
    """Columns of answers to the same rows; the others are compared with the first.

    Attributes
    ----------
    columns : tuple of ComparedBatch
        Ordered by model, then agent, then sample.
    notice : str
        What is said about the server, such as ``simulated``; "" if nothing.
    """

    columns: Tuple[ComparedBatch, ...]
    notice: str = ""

    def __len__(self) -> int:
        return len(self.columns)

    def __repr__(self) -> str:
        rows = len(self.columns[0].batch) if self.columns else 0
        return f"BatchComparison({counted(rows, 'row')}: {', '.join(column.name for column in self.columns)})"

    @property
    def batches(self) -> List[BatchResult]:
        """The answers of each column, in order."""
        return [column.batch for column in self.columns]

    def agreement(self, one: int, other: int) -> Agreement:
        """Return the agreement of two columns, given by their numbers from 0.

        Answers are the same if they are the same JSON, or else the same words, ignoring case and white space.
        """
        answers = [_by_row(self.columns[at].batch) for at in (one, other)]
        return Agreement.of([(answer, answers[1][row]) for row, answer in answers[0].items() if row in answers[1]])

    def differing(self) -> List[int]:
        """Return the numbers, from 0, of the rows on which the columns that answered do not all agree."""
        found: Dict[int, Set[str]] = {}
        for column in self.columns:
            for row, answer in _by_row(column.batch).items():
                found.setdefault(row, set()).add(answer)
        return sorted(row for row, answers in found.items() if len(answers) > 1)

    def to_frame(self) -> Any:
        """Return the source's rows with a column of answers for each compared column, and ``agree``: whether all are the same.

        An answer is None if it is missing or the model refused.

        Raises
        ------
        SourceError
            If neither pandas nor polars is installed.
        """
        first = self.columns[0].batch
        differing = set(self.differing())
        added: Dict[str, List[Any]] = {column.name: _texts(column.batch) for column in self.columns}
        whole = [set(_by_row(column.batch)) for column in self.columns]
        added["agree"] = [
            number not in differing if all(number in rows for rows in whole) else None for number in first.numbers
        ]
        return first.with_columns(added)

    def bundle(self) -> Bundle:
        """Return three tables: cost and time of each column, agreement of each pair, and the first rows that differ."""
        names = [column.name for column in self.columns]
        header = ("column", "rows", "ok", "tokens", "cost", "seconds", "like the first")
        rows = [self._row(at) for at in range(len(names))]
        took = table_bundle(header, rows, footer=self._footer(), right=(1, 2, 3, 4, 5, 6))
        parts = [took]
        if len(names) > 2:
            matrix = [
                [name, *("—" if one == other else str(self.agreement(one, other)) for other in range(len(names)))]
                for one, name in enumerate(names)
            ]
            parts.append(table_bundle(("agreement", *names), matrix, right=range(1, len(names) + 1)))
        parts.append(self._differences(names))
        joined = {form: "\n\n".join(part[form] for part in parts) for form in ("text/plain", "text/markdown")}
        return bundle(joined["text/plain"], joined["text/markdown"], "".join(part["text/html"] for part in parts))

    def _row(self, at: int) -> Tuple[str, ...]:
        column = self.columns[at]
        results = list(column.batch)
        answered = [result for result in results if result.answered and result.error is None]
        # An answer that several rows share was paid for once.
        distinct = {result.fingerprint: result for result in answered}.values()
        tokens = [
            sum(counts) for counts in zip(*((r.usage.total_input_tokens, r.usage.output_tokens) for r in distinct))
        ]
        complete = sum(not result.incomplete for result in answered)
        return (
            column.name,
            f"{len(results):,}",
            f"{complete:,}",
            "→".join(f"{count:,}" for count in tokens),
            dollars(sum_dollars(result.price for result in distinct)) if distinct else dollars(Decimal(0)),
            f"{sum(result.call_seconds for result in distinct):.1f}",
            str(self.agreement(0, at)) if at else "",
        )

    def _footer(self) -> str:
        """Return the notice, and how many rows of each column lack a complete answer, with the reason of the first one."""
        problems = [self.notice] if self.notice else []
        for column in self.columns:
            bad = [result for result in column.batch if result.error is not None or result.incomplete]
            if bad:
                why = bad[0].shortcoming if bad[0].error is None else f"{type(bad[0].error).__name__}: {bad[0].error}"
                problems.append(f"{column.name}: {len(bad):,} without a complete answer, the first: {_short(why, 200)}")
        return " · ".join(problems)

    def _differences(self, names: Sequence[str]) -> Bundle:
        differing = self.differing()
        shown = differing[:_MOST_ROWS]
        first = self.columns[0].batch
        inputs = _inputs(first, [number for number in shown if number < _LAST_INPUT])
        places = [{number: at for at, number in enumerate(column.batch.numbers)} for column in self.columns]
        rows = []
        for number in shown:
            answers = [
                _short(_shown(column.batch[place[number]])) if number in place else ""
                for column, place in zip(self.columns, places)
            ]
            rows.append((str(number), _short(" · ".join(map(str, inputs.get(number, {}).values()))), *answers))
        verb = "differs" if len(differing) == 1 else "differ"
        footer = f"{len(differing):,} of {counted(len(first), 'row')} {verb}"
        if not rows:
            return line_bundle(footer)
        return table_bundle(("row", "input", *names), rows, footer=footer)


def _by_row(batch: BatchResult) -> Dict[int, str]:
    """Return the complete answers, normalised for comparison, by row number."""
    return {
        number: _meaning(result)
        for number, result in zip(batch.numbers, batch)
        if result.answered and result.error is None and not result.incomplete
    }


def _meaning(result: ClaudeResult) -> str:
    if result.parsed is not None:
        try:
            return json.dumps(load_json(result.text), sort_keys=True)
        except (ValueError, RecursionError):
            pass
    return " ".join(result.text.split()).casefold()


def _texts(batch: BatchResult) -> List[Optional[str]]:
    return [None if result.error is not None or result.status == "refused" else result.text for result in batch]


def _shown(result: ClaudeResult) -> str:
    return without_controls(result.text) if result.error is None else why_missing(result)


def _short(text: str, most: int = _CELL_CHARACTERS) -> str:
    text = one_line(text[: 4 * most])
    return text if len(text) <= most else text[: most - 1] + "…"


def _inputs(batch: BatchResult, numbers: Sequence[int]) -> Mapping[int, Mapping[Any, Any]]:
    try:
        return batch.inputs(numbers)
    except Exception:  # the source may be gone; show the answers without their input
        return {}
