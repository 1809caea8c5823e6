"""The rows of a batch, read one by one: checks them before any is sent, and selects the values for each prompt."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import (
    Any,
    AsyncIterable,
    AsyncIterator,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Set,
    Tuple,
    Union,
)

from claude_force_nb.errors import SourceError, UndefinedNameError
from claude_force_nb.prompts.expressions import HOW_TO_SEND_BRACES
from claude_force_nb.prompts.plain import find_name, is_absent
from claude_force_nb.prompts.template import BUILTIN_NAMES, names
from claude_force_nb.vocabulary import counted, did_you_mean

from .columns import text_names
from .feed import BrokenRow, NumberedRows, OwnOptions
from .frames import Table, assemble
from .readers import AsyncBufferedIterator, BufferedIterator, FileRows

__all__ = ["Source"]


class Source:
    """The rows of a batch.

    Parameters
    ----------
    rows : iterable or asynchronous iterable
        Mappings of names to values, or plain values; each iteration reads them anew if they can be read repeatedly.
    name : str
        Name of the source in error messages.
    columns : tuple of str, optional
        Names that every row has; those of the first row by default, if it is a mapping.
    column : str, optional
        The only column that is read.
    limit : int, optional
        Maximum number of rows to read.
    total : int, optional
        Number of rows, if known.
    table : Table, optional
        The data frame that the rows come from, if any.
    prompts : str, optional
        The column with the prompts, if neither a template nor `column` is given.
    """

    def __init__(
        self,
        rows: Any,
        *,
        name: str,
        columns: Optional[Tuple[str, ...]] = None,
        column: Optional[str] = None,
        limit: Optional[int] = None,
        total: Optional[int] = None,
        table: Optional[Table] = None,
        prompts: Optional[str] = None,
    ) -> None:
        self._rows = rows
        self._table = table
        self._column = column
        self._prompts = prompts
        self._templated = False
        self._limit = limit
        self._numbers: Optional[Tuple[int, ...]] = None
        self._with_row = False
        # Names in the template that are both columns and variables, set by `check`. The column takes precedence.
        self.shadowed: Tuple[str, ...] = ()
        self._agent_column: Optional[str] = None
        self._model_column: Optional[str] = None
        self.name = name
        self.columns = columns
        self.total = total if total is None or limit is None else min(total, limit)
        # Number of rows that the current run has taken.
        self.taken = 0
        # Rows in progress by number, if they are to be written with their answers; None otherwise.
        self.pending: Optional[Dict[int, Any]] = None

    def __repr__(self) -> str:
        rows = "unknown rows" if self.total is None else counted(self.total, "row")
        return f"Source({self.name}, {rows})"

    def take_options_from(self, *, agent_column: Optional[str], model_column: Optional[str]) -> None:
        """Read each row's own agent or model from these columns."""
        self._agent_column, self._model_column = agent_column, model_column

    def _own_columns(self, columns: Optional[Tuple[str, ...]]) -> Tuple[str, ...]:
        """Return the agent and model columns; raises SourceError if `columns` lacks one of them."""
        own = tuple(column for column in (self._agent_column, self._model_column) if column is not None)
        for column in own:
            if columns is None:
                raise SourceError(f"{self.name} has no columns, so there is no column {column!r}")
            if column not in columns:
                near = did_you_mean(column, columns) or "; it has " + ", ".join(columns)
                raise SourceError(f"{self.name} has no column {column!r}{near}")
        return own

    def in_memory(self) -> Iterator[Tuple[int, Any]]:
        """Yield row numbers and items of a source in memory; nothing for a file, or if reading would use the rows up."""
        if self.is_once or self.path is not None:
            return
        for number, row in enumerate(islice(self._known(), self._limit)):
            if self._numbers is None or number in self._numbers:
                yield number, self._item(row)

    def check(self, template: Optional[str], variables: Optional[Mapping[str, Any]] = None) -> None:
        """Find errors that affect all rows before any is sent, from the columns or the first row.

        Raises
        ------
        SourceError
            If a column is missing, no row can be read, or there is no template and it is not clear which column holds the
            prompts.
        UndefinedNameError
            If the template needs a name that neither the rows nor `variables` have.
        """
        used = names(template) if template is not None else ()
        self._templated = template is not None
        first = self._first()
        if first and isinstance(first[0], BrokenRow):
            readable = (row for row in islice(self._known(), self._limit) if not isinstance(row, BrokenRow))
            first = list(islice(readable, 1))
            if not first:
                raise self._first()[0].error
        columns = self.columns
        if columns is None and first and isinstance(first[0], Mapping):
            columns = self.columns = text_names(first[0], source=self.name, text=str)
        if not first:
            return
        own = self._own_columns(columns)
        if self._column is not None:
            if columns is None:
                raise SourceError(f"{self.name} has no columns, so there is no column {self._column!r}")
            self._column = find_name(columns, self._column) or self._column
            if self._column not in columns:
                near = did_you_mean(self._column, columns) or "; it has " + ", ".join(columns)
                raise SourceError(f"{self.name} has no column {self._column!r}{near}")
        elif template is None and columns is not None:
            prompts = [column for column in columns if column not in own]
            if len(prompts) != 1 and self._prompts is None:
                names_there = ", ".join(columns)
                raise SourceError(
                    f"{self.name} has the columns {names_there}; say which one is the prompt, as in column={columns[0]}"
                )
            self._column = self._prompts or prompts[0]
        elif self._table is not None and self._table.is_series:
            self._column = self._table.columns[0]
        if self._column is not None:
            columns = (self._column,)
        known = {"item"} if columns is None or self._column is not None else set()
        known |= set(columns or ())
        self._with_row = columns is not None and "row" in used and "row" not in known
        also = () if variables is None else variables
        if columns is not None:
            known |= self._later_columns(set(used) - known - BUILTIN_NAMES - {"item", "row"})
        self.shadowed = tuple(name for name in used if name in known and name != "item" and name in also)
        if self._table is not None:
            known |= set(self._table.index_names)
        for missing in names(template, optional=False) if template is not None else ():
            if (
                find_name(known, missing) is not None
                or missing in BUILTIN_NAMES
                or (variables is not None and missing in variables)
            ):
                continue
            if missing == "row" and self._with_row:
                continue
            near = did_you_mean(missing, known) or "; a row has " + ", ".join(sorted(known))
            raise UndefinedNameError(
                f"{missing!r} in {{{{ }}}} is neither a column of {self.name} nor defined; nothing was sent{near}{HOW_TO_SEND_BRACES}"
            )

    def _later_columns(self, wanted: Set[str]) -> Set[str]:
        """Return those of the names that are columns of rows in memory, though not of the first row."""
        in_memory = not self.is_once and self.path is None and self._table is None and self._column is None
        left = set(wanted)
        for row in islice(self._known(), self._limit) if in_memory else ():
            if not left:
                break
            if isinstance(row, Mapping):
                left -= {name for name in left if name in row}
        return wanted - left

    def is_empty(self) -> bool:
        """Return whether the source is empty; False for an asynchronous one, which is not read."""
        return not isinstance(self._rows, AsyncBufferedIterator) and not self._first()

    @property
    def is_once(self) -> bool:
        """True if reading the rows uses them up."""
        return isinstance(self._rows, (BufferedIterator, AsyncBufferedIterator))

    def _first(self) -> List[Any]:
        if isinstance(self._rows, AsyncBufferedIterator):
            return []
        return self._rows.first() if isinstance(self._rows, BufferedIterator) else list(islice(self._rows, 1))

    @property
    def is_table(self) -> bool:
        """True if the rows are those of a data frame or a series."""
        return self._table is not None

    @property
    def path(self) -> Optional[Path]:
        """The file that the rows are read from; None if they are not."""
        return self._rows.path if isinstance(self._rows, FileRows) else None

    def count(self) -> Optional[int]:
        """Return the number of rows, reading a file once to count them; None if counting would use them up."""
        if self.total is None and isinstance(self._rows, FileRows):
            self.total = sum(1 for _ in islice(self._rows, self._limit))
        return self.total

    def feed(self) -> Union[Iterable[Any], AsyncIterable[Any]]:
        """Return the items for a run, from which prompts are made, with row numbers if only some rows are wanted."""
        self.taken = 0
        if isinstance(self._rows, AsyncBufferedIterator) and self._numbers is None:
            return self._feed_slowly(self._rows)
        if self._numbers is None:
            return self._items()
        return NumberedRows(self._chosen(set(self._numbers)))

    def _items(self) -> Iterator[Any]:
        for number, row in enumerate(islice(self._known(), self._limit)):
            self.taken += 1
            if self.pending is not None:
                self.pending[number] = row
            yield self._item(row)

    def pending_row(self, number: int) -> Any:
        """Return a row in progress, as it is in the source."""
        assert self.pending is not None
        return self.pending[number]

    def forget_row(self, number: int) -> None:
        """Forget a row that is no longer in progress."""
        assert self.pending is not None
        del self.pending[number]

    def _known(self) -> Iterable[Any]:
        rows: Iterable[Any] = self._rows.taken if isinstance(self._rows, AsyncBufferedIterator) else self._rows
        return rows

    def _chosen(self, wanted: Any) -> Iterator[Tuple[int, Any]]:
        for number, row in enumerate(islice(self._known(), self._limit)):
            if number in wanted:
                self.taken += 1
                yield number, self._item(row)
                if self.taken == len(wanted):
                    return

    async def _feed_slowly(self, rows: AsyncIterable[Any]) -> AsyncIterator[Any]:
        async for row in rows:
            if self.pending is not None:
                self.pending[self.taken] = row
            self.taken += 1
            yield self._item(row)
            if self.taken == self._limit:
                return

    def _item(self, row: Any) -> Any:
        item = self._bare_item(row)
        if (self._agent_column is None and self._model_column is None) or isinstance(item, BrokenRow):
            return item
        if not isinstance(row, Mapping):
            return BrokenRow(SourceError("it has no columns, so nothing names its agent or model"))
        agent, model = (None if name is None else row.get(name) for name in (self._agent_column, self._model_column))
        return OwnOptions(item, None if is_absent(agent) else agent, None if is_absent(model) else model)

    def _bare_item(self, row: Any) -> Any:
        if isinstance(row, BrokenRow) or (self._column is None and not self._with_row):
            return row
        if type(row) is not dict and not isinstance(row, Mapping):
            expected = ", ".join(self.columns or ())
            return BrokenRow(SourceError(f"a row with the columns {expected} was expected, not {type(row).__name__}"))
        if self._column is None:
            return {**row, "row": row}
        if self._column not in row:
            return BrokenRow(SourceError(f"it has no column {self._column!r}"))
        value = row[self._column]
        return {"item": value, self._column: value} if self._templated else value

    def only(self, numbers: Iterable[int]) -> Source:
        """Return a source of some of the rows, which keep their numbers."""
        chosen: Source = object.__new__(Source)
        wanted = tuple(numbers)
        chosen.__dict__.update(self.__dict__, _numbers=wanted, total=len(wanted))
        return chosen

    def frame(self, numbers: Tuple[int, ...], added: Mapping[str, List[Any]]) -> Any:
        """Return the rows with these numbers as a data frame, with further columns appended.

        Raises
        ------
        SourceError
            If no library for data frames is installed.
        """
        if self._table is not None:
            return self._table.with_columns(numbers, added)
        found = self.inputs(numbers)
        columns: Dict[str, List[Any]] = {}
        for place, number in enumerate(numbers):
            for name, value in found.get(number, {}).items():
                columns.setdefault(str(name), [None] * len(numbers))[place] = value
        return assemble(numbers, columns, added)

    def inputs(self, numbers: Iterable[int]) -> Dict[int, Mapping[Any, Any]]:
        """Return the values of the rows with these numbers, by number; plain values are called ``item``."""
        wanted = set(numbers)
        rows = self._rows.taken if isinstance(self._rows, BufferedIterator) else self._known()
        found = enumerate(islice(rows, max(wanted, default=-1) + 1))
        return {number: _values(row) for number, row in found if number in wanted}


def _values(row: Any) -> Mapping[Any, Any]:
    return {} if row is None or isinstance(row, BrokenRow) else row if isinstance(row, Mapping) else {"item": row}
