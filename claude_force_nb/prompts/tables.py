"""Tables as text: pandas, polars, other libraries that narwhals supports, and plain rows. Imports none of them itself."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib import import_module
from io import StringIO
from typing import Any, Collection, Dict, Iterable, List, Mapping, Optional, Sequence

from claude_force_nb.errors import TemplateError
from claude_force_nb.messages.nesting import check_level
from claude_force_nb.messages.text import well_formed
from claude_force_nb.vocabulary import counted, whole_number_fault

from .plain import free_name, json_data, literal, scalar, shortest, single_precision

__all__ = [
    "COLUMNS_SHOWN",
    "ROWS_SHOWN",
    "Table",
    "cell_text",
    "column_name",
    "index_names",
    "is_table",
    "json_text",
    "read_table",
    "table_text",
    "without_tables",
    "zone_fault",
]

_PLAIN = (str, int, float, bool)

# How much of a table is shown by default.
ROWS_SHOWN = 100
COLUMNS_SHOWN = 100

# Libraries that narwhals supports (its documentation, "Supported libraries"), besides pandas and polars.
_OTHERS = ("modin", "cudf", "pyarrow", "dask", "ibis", "duckdb", "pyspark", "sqlframe")


@dataclass(frozen=True)
class Table:
    """The first rows of a table, and its full size.

    Attributes
    ----------
    columns : sequence of str
    rows : sequence of sequences
        The rows to show.
    row_count, column_count : int or None
        Size of the whole table; None if it would have to be computed first.
    more : bool
        Whether there are more rows than are shown.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    row_count: Optional[int]
    column_count: int
    more: bool = False

    def __str__(self) -> str:
        return self.described(self.csv())

    @property
    def is_cut(self) -> bool:
        """Whether rows or columns are left out."""
        return self.more or len(self.columns) < self.column_count

    def shape(self) -> str:
        """Describe the full size, and the part that is shown."""
        rows = "unknown number of rows" if self.row_count is None else counted(self.row_count, "row")
        parts = [f"{rows} x {counted(self.column_count, 'column')}"]
        if self.more:
            parts.append(f"only the first {counted(len(self.rows), 'row')} shown")
        if len(self.columns) < self.column_count:
            parts.append(f"only the first {counted(len(self.columns), 'column')} shown")
        return "; ".join(parts)

    def described(self, text: str) -> str:
        """Put the shape above a text."""
        return f"{self.shape()}\n{text}"

    def head(self, count: int) -> Table:
        """Return the table with at most this many rows."""
        if count >= len(self.rows):
            return self
        return replace(self, rows=self.rows[:count], more=True)

    def csv(self) -> str:
        """Return the shown rows as CSV."""
        written = StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow([cell_text(cell) for cell in row])
        return written.getvalue().rstrip("\n")

    def markdown(self) -> str:
        """Return the shown rows as a Markdown table."""
        lines = [
            list(self.columns),
            ["---"] * len(self.columns),
            *([cell_text(cell) for cell in row] for row in self.rows),
        ]
        return "\n".join("| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines)

    def records(self) -> List[Dict[str, Any]]:
        """Return the shown rows as mappings; columns with the same name are renamed."""
        names: List[str] = []
        for name in self.columns:
            names.append(free_name(name, {*names, *self.columns[len(names) + 1 :]} if name in names else names))
        return [dict(zip(names, row)) for row in self.rows]


def _markdown_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def cell_text(cell: Any) -> str:
    """Return a cell as text; "" for a missing value."""
    if isinstance(cell, str):
        return well_formed(cell)
    value = scalar(cell)
    if isinstance(cell, Decimal) and cell.is_finite():
        return str(cell)
    return "" if value is None else str(value if isinstance(value, _PLAIN) else literal(value))


def _root(value: Any) -> str:
    return (type(value).__module__ or "").partition(".")[0]


def is_table(value: Any) -> bool:
    """Return whether a value is a table or a column of pandas, polars, or another library that narwhals supports."""
    if isinstance(value, Table):
        return True
    root = _root(value)
    if root in ("pandas", "polars"):
        return type(value).__name__ in ("DataFrame", "Series", "LazyFrame", "GeoDataFrame")
    return root in _OTHERS and type(value).__name__ in (
        "DataFrame",
        "Series",
        "Table",
        "DuckDBPyRelation",
        "ChunkedArray",
    )


def table_text(value: Any) -> str:
    """Return the shape of a table and its first rows as CSV."""
    return str(read_table(value))


def read_table(value: Any, rows: Optional[int] = None) -> Table:
    """Read the first rows of a table.

    Parameters
    ----------
    value : table, mappings, sequences, or a mapping of columns
    rows : int, optional
        Most rows to read, >= 0; `ROWS_SHOWN` by default.

    Raises
    ------
    TemplateError
        If `value` is none of these.
    """
    most = ROWS_SHOWN if rows is None else rows
    fault = whole_number_fault(most, "the number of rows", 0)
    if fault:
        raise TemplateError(fault)
    if isinstance(value, Table):
        return value if rows is None else value.head(most)
    root = _root(value)
    if root == "pandas" and is_table(value):
        return _from_pandas(value, most)
    if root == "polars" and is_table(value):
        return _from_polars(value, most)
    if is_table(value):
        return _from_narwhals(value, most)
    return _from_rows(value, most)


def _made(columns: Sequence[Any], rows: Sequence[Sequence[Any]], count: Optional[int], most: int) -> Table:
    names = list(map(column_name, columns))
    kept = [list(row)[:COLUMNS_SHOWN] for row in rows[:most]]
    more = len(rows) > most if count is None else count > len(kept)
    return Table(names[:COLUMNS_SHOWN], kept, count, len(names), more)


def column_name(name: Any) -> str:
    """Return the name of a column as text; several levels are joined with ``/``."""
    return " / ".join(map(str, name)) if isinstance(name, tuple) else cell_text(name) or str(name)


def index_names(levels: Sequence[Any], columns: Sequence[str]) -> List[str]:
    """Return a name for each level of an index; if a column has the same name, ``_index`` is appended."""
    names: List[str] = []
    for at, level in enumerate(levels):
        name = ("index" if len(levels) == 1 else f"level {at}") if level is None else column_name(level)
        names.append(free_name(name + "_index" if name in columns else name, [*columns, *names]))
    return names


def _shortened(rows: Iterable[Sequence[Any]], places: Collection[int]) -> List[Sequence[Any]]:
    """Return rows with the numbers of these columns rounded by `shortest`."""
    if not places:
        return list(rows)
    return [[shortest(cell) if place in places else cell for place, cell in enumerate(row)] for row in rows]


def _from_pandas(value: Any, most: int) -> Table:
    count = len(value)
    frame = value.head(most)
    if type(value).__name__ == "Series":
        frame = frame.to_frame(name="value" if value.name is None else value.name)
    columns = list(frame.columns)
    rows = _shortened(frame.itertuples(index=False, name=None), single_precision(frame.dtypes))
    # Leave out an index that only counts the rows.
    index = frame.index
    counts = type(index).__name__ == "RangeIndex" and index.name is None and index.start == 0 and index.step == 1
    if not counts:
        levels = list(index.names)
        several = len(levels) > 1
        columns = [*index_names(levels, list(map(column_name, columns))), *columns]
        rows = [(*(at if several else (at,)), *row) for at, row in zip(index, rows)]
    return _made(columns, rows, count, most)


def zone_fault(names: Iterable[Any], dtypes: Iterable[Any]) -> str:
    """Return why a polars frame with time zones cannot be read, because Python has no time zone data; "" if it can.

    On Python 3.8, polars would panic, which does not raise an Exception and writes to the terminal.
    """
    zoned = next((name for name, dtype in zip(names, dtypes) if getattr(dtype, "time_zone", None)), None)
    if zoned is None or _has_zones():
        return ""
    return f"column {zoned} has times with a time zone, which polars reads on this Python with pip install backports.zoneinfo tzdata"


def _has_zones() -> bool:
    for name in ("zoneinfo", "backports.zoneinfo"):
        try:
            import_module(name)
        except ImportError:
            continue
        return True
    return False


def _from_polars(value: Any, most: int) -> Table:
    kind = type(value).__name__
    is_lazy = kind == "LazyFrame"
    frame = (
        value.head(most + 1).collect()
        if is_lazy
        else value.to_frame(value.name or "value")
        if kind == "Series"
        else value
    )
    fault = zone_fault(frame.columns, frame.dtypes)
    if fault:
        raise TemplateError(fault)
    rows = _shortened((frame if is_lazy else frame.head(most)).rows(), single_precision(frame.dtypes))
    count = frame.height if not is_lazy or frame.height <= most else None
    return _made(frame.columns, rows, count, most)


def _from_narwhals(value: Any, most: int) -> Table:
    import narwhals.stable.v1 as narwhals

    frame: Any = narwhals.from_native(value, allow_series=True)
    if hasattr(frame, "to_frame"):
        frame = frame.to_frame()
    head = frame.head(most + 1)
    head = head.collect() if hasattr(head, "collect") else head
    rows = _shortened(head.rows(), single_precision(head.schema.values()))
    count = len(frame) if hasattr(frame, "shape") else len(rows) if len(rows) <= most else None
    return _made(head.columns, rows, count, most)


def _from_rows(value: Any, most: int) -> Table:
    """Read mappings, sequences, or a mapping of columns."""
    if isinstance(value, Mapping) and value and all(_is_sequence(column) for column in value.values()):
        count = max(len(column) for column in value.values())
        rows = [
            [column[at] if at < len(column) else None for column in value.values()] for at in range(min(count, most))
        ]
        return _made(list(value), rows, count, most)
    if _is_sequence(value) and value and all(isinstance(row, Mapping) for row in value):
        columns = list(dict.fromkeys(name for row in value for name in row))
        rows = [[row.get(name) for name in columns] for row in value[:most]]
        return _made(columns, rows, len(value), most)
    if _is_sequence(value) and value and all(_is_sequence(row) for row in value):
        width = max(map(len, value))
        rows = [list(row) + [None] * (width - len(row)) for row in value[:most]]
        return _made([f"column {at + 1}" for at in range(width)], rows, len(value), most)
    kind = type(value).__name__
    raise TemplateError(f"{kind} is not a table; use a DataFrame, a list of mappings or rows, or a mapping of columns")


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, Sequence) and not isinstance(value, (str, bytes)))


def json_text(value: Any, indent: Optional[int]) -> str:
    """Return a value as JSON. Tables in it become lists of records; NaN and infinity, which JSON does not have, become null."""
    separators = (",", ":") if indent is None else None
    data = json_data(without_tables(value))
    return json.dumps(data, ensure_ascii=False, indent=indent, separators=separators, allow_nan=False)


def without_tables(value: Any, depth: int = 0) -> Any:
    """Return a value with each table in its lists and dicts replaced by a list of records, or, if large, by a text.

    The text says what is left out.
    """
    if is_table(value):
        table = read_table(value)
        return str(table) if table.is_cut else table.records()
    kind = type(value)
    if kind not in (dict, list, tuple):
        return value
    check_level(depth)
    if kind is dict:
        return {key: without_tables(item, depth + 1) for key, item in value.items()}
    return kind([without_tables(item, depth + 1) for item in value])
