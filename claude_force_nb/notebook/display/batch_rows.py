"""The rows of a batch as table cells: incomplete rows first, each row with its input."""

from __future__ import annotations

from typing import Any, Iterable, List, Mapping, Sequence, Tuple

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.text_tables import one_line

__all__ = ["BatchRows"]

# Rows up to this number are read again from the source to show their input beside the answers.
_LAST_INPUT = 10_000
# Maximum number of columns for the parts of answers with a schema.
_MOST_PARTS = 8


class BatchRows:
    """The rows of a batch in the order of a table.

    Parameters
    ----------
    batch : BatchResult
    characters : int
        Maximum length of a cell.

    Attributes
    ----------
    bad, good : list of int
        Positions in the batch of the rows without a complete answer, and of the others.
    left_out : tuple of str
        Parts of answers with a schema that get no column.
    """

    def __init__(self, batch: BatchResult, *, characters: int) -> None:
        self._batch = batch
        self._characters = characters
        self.bad: List[int] = []
        self.good: List[int] = []
        for place, result in enumerate(batch):
            (self.bad if result.error is not None or result.incomplete else self.good).append(place)
        parts = tuple(batch.parts(batch[0])) if len(batch) else ()
        self._parts, self.left_out = parts[:_MOST_PARTS], parts[_MOST_PARTS:]

    @property
    def order(self) -> List[int]:
        """Positions in the batch, rows without a complete answer first."""
        return [*self.bad, *self.good]

    def header(self, *, with_input: bool) -> Tuple[str, ...]:
        """Return the column names; with a schema each part of the answers has a column, otherwise the answer has one."""
        names = ["row", "status", *(["input"] if with_input else ()), *self._parts]
        if not self._parts or self.bad:
            names.append("answer" if not self._parts else "what is wrong")
        return tuple(names)

    def cells(self, places: Iterable[int]) -> Tuple[bool, List[Tuple[str, ...]]]:
        """Return whether there is any input to show, and the cells of the rows at these positions."""
        chosen = list(places)
        inputs = self._inputs(chosen)
        with_input = any(inputs.values())
        return with_input, [self._row(place, inputs, with_input) for place in chosen]

    def text(self, place: int, given: Mapping[Any, Any]) -> str:
        """Return the whole text of a row, to search in."""
        result = self._batch[place]
        said = [result.shown_status.replace("_", " "), *map(_text_of, given.values()), result.text, result.shortcoming]
        return " ".join([*said, "" if result.error is None else str(result.error)])

    def all_inputs(self) -> Mapping[int, Mapping[Any, Any]]:
        """Return the source's values of all rows, by position."""
        return self._inputs(range(len(self._batch)))

    def _inputs(self, places: Sequence[int]) -> Mapping[int, Mapping[Any, Any]]:
        numbers = self._batch.numbers
        try:
            found = self._batch.inputs([numbers[place] for place in places if numbers[place] < _LAST_INPUT])
        except Exception:  # the source may be gone; show the answers without their input
            return {}
        return {place: found.get(numbers[place], {}) for place in places}

    def _row(self, place: int, inputs: Mapping[int, Mapping[Any, Any]], with_input: bool) -> Tuple[str, ...]:
        result = self._batch[place]
        cells = [str(self._batch.numbers[place]), result.shown_status.replace("_", " ")]
        if with_input:
            cells.append(self._input(inputs.get(place, {})))
        if self._parts:
            parts = self._batch.parts(result)
            cells += [self._short("" if parts.get(name) is None else _text_of(parts[name])) for name in self._parts]
        if not self._parts or self.bad:
            complete = result.error is None and not result.incomplete
            cells.append("" if self._parts and complete else self._short(_said(result)))
        return tuple(cells)

    def _input(self, given: Mapping[Any, Any]) -> str:
        """Return a source row on one line; a single value is shown without its name."""
        texts = [_text_of(value)[: 4 * self._characters] for value in given.values()]
        if len(texts) == 1:
            return self._short(texts[0])
        return self._short(" · ".join(f"{name}: {text}" for name, text in zip(given, texts)))

    def _short(self, text: str) -> str:
        text = one_line(text[: 4 * self._characters])
        return text if len(text) <= self._characters else text[: self._characters - 1] + "…"


def _said(result: ClaudeResult) -> str:
    if result.error is not None:
        return str(result.error)
    return ": ".join(part for part in (result.shortcoming, result.text) if part)


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # __str__ of a user's object may raise anything
        return type(value).__name__
