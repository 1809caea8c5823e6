"""Data frames of any library, read and extended through narwhals. A library is imported only if a frame of it is used."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from claude_force_nb.errors import SourceError
from claude_force_nb.prompts.plain import free_name, shortest, single_precision
from claude_force_nb.prompts.tables import index_names, zone_fault

from .columns import distinct_names, text_names

__all__ = ["Table", "as_table", "assemble"]

# Libraries whose objects may be tables, recognised by module name so that none of them has to be imported.
_LIBRARIES = {"pandas", "polars", "pyarrow", "modin", "cudf", "duckdb", "dask", "ibis", "pyspark", "sqlframe"}


class Table:
    """A data frame whose rows are mappings.

    Parameters
    ----------
    native : DataFrame
        The user's own object.
    frame : narwhals.DataFrame
        The same data as a narwhals frame.
    is_series : bool
        True for a series, whose only column holds the items.
    """

    def __init__(self, native: Any, frame: Any, *, is_series: bool = False) -> None:
        # A shallow copy, unaffected by columns that the user adds or drops meanwhile.
        self._native = native.copy(deep=False) if _is_pandas(native) else native
        self._frame = frame
        self.is_series = is_series
        self.columns = text_names(frame.columns, source="the table")
        # Pandas only: an index that is more than a row number is kept with the row.
        self.index_names: Tuple[str, ...] = _index_names(self._native, self.columns)

    def __len__(self) -> int:
        return len(self._frame)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        names = self.columns
        if not self.index_names:
            for row in self._values():
                yield dict(zip(names, row))
            return
        several = len(self.index_names) > 1
        for label, row in zip(self._native.index, self._values()):
            levels = dict(zip(self.index_names, label if several else (label,)))
            yield {**dict(zip(names, row)), **levels}

    def _values(self) -> Iterator[Sequence[Any]]:
        places = single_precision(self._frame.schema.values())
        if not places:
            return iter(self._frame.iter_rows())
        return (
            [shortest(cell) if place in places else cell for place, cell in enumerate(row)]
            for row in self._frame.iter_rows()
        )

    def with_columns(self, numbers: Sequence[int], added: Mapping[str, List[Any]]) -> Any:
        """Return the rows with these numbers in the user's library, with further columns appended."""
        names = _free_names(added, self.columns)
        everything = len(numbers) == len(self)
        if _is_pandas(self._native):
            frame = self._native.copy() if everything else self._native.iloc[list(numbers)].copy()
            levels = getattr(frame.columns, "nlevels", 1)
            for name, values in added.items():
                key = names[name] if levels == 1 else (names[name], *[""] * (levels - 1))
                # A series of the frame's own library (pandas, modin, cudf), whatever its columns are.
                frame[key] = type(frame.index.to_series())(values, index=frame.index) if values else None
            return frame
        rows = self._frame if everything else self._frame[list(numbers)]
        namespace = self._frame.__native_namespace__()
        return import_module("narwhals.stable.v1").to_native(
            rows.with_columns(*(_series(namespace, name, names[name], values) for name, values in added.items()))
        )


def _is_pandas(native: Any) -> bool:
    return hasattr(native, "iloc")


def _index_names(native: Any, columns: Sequence[str]) -> Tuple[str, ...]:
    """Return the names of an index's levels; empty if the index only numbers the rows."""
    index = getattr(native, "index", None) if _is_pandas(native) else None
    if index is None or (list(index.names) == [None] and getattr(index.dtype, "kind", "O") in "iu"):
        return ()
    levels = [None if name is None else text_names([name], source="the index")[0] for name in index.names]
    return tuple(index_names(levels, columns))


def _series(namespace: Any, kind: str, name: str, values: List[Any]) -> Any:
    narwhals = import_module("narwhals.stable.v1")
    if namespace.__name__ == "polars":
        return narwhals.from_native(_polars_series(namespace, kind, name, values), series_only=True)
    return narwhals.new_series(name, values, native_namespace=namespace)


def _polars_series(polars: Any, kind: str, name: str, values: List[Any]) -> Any:
    # Frames can be concatenated only if their columns have the same types, even where a column is all null, as "error"
    # often is.
    texts = dict.fromkeys(("answer", "status", "stop_reason", "error"), polars.String)
    dtype = {**texts, "cost": polars.Float64}.get(kind)
    return polars.Series(name, values, dtype=dtype, strict=False)


def as_table(value: Any, name: str) -> Optional[Table]:
    """Return a data frame or a series as a table, or None if the value is neither.

    Raises
    ------
    SourceError
        If the frame is lazy.
    """
    libraries = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    if not libraries & _LIBRARIES and not hasattr(value, "__narwhals_dataframe__"):
        return None
    narwhals = import_module("narwhals.stable.v1")
    # narwhals refuses duplicate names; and 1 and "1" are the same name in a template.
    columns = getattr(value, "columns", ()) if _is_pandas(value) else getattr(value, "column_names", ())
    names = list(text_names(columns, source=name))
    if len(set(names)) < len(names):
        value = _renamed(value, distinct_names(names, source=name))
    seen = narwhals.from_native(value, pass_through=True, allow_series=True)
    if isinstance(seen, narwhals.LazyFrame):
        raise SourceError(f"{name} is lazy: its rows are not loaded yet; collect it first")
    if isinstance(seen, narwhals.Series):
        native = value.to_frame(seen.name or "item") if hasattr(value, "to_frame") else None
        if native is None:
            return None
        value, seen = native, narwhals.from_native(native)
        is_series = True
    elif isinstance(seen, narwhals.DataFrame):
        is_series = False
    else:
        return None
    fault = zone_fault(seen.columns, value.dtypes) if "polars" in libraries else ""
    if fault:
        raise SourceError(f"{name}: {fault}")
    return Table(value, seen, is_series=is_series)


def _renamed(value: Any, names: List[str]) -> Any:
    return value.set_axis(names, axis=1) if _is_pandas(value) else value.rename_columns(names)


def assemble(numbers: Sequence[int], columns: Mapping[str, List[Any]], added: Mapping[str, List[Any]]) -> Any:
    """Return columns as a data frame of pandas, or of polars if pandas is not installed; the index holds the row numbers.

    Raises
    ------
    SourceError
        If neither is installed.
    """
    names = _free_names(added, columns)
    ours = {names[name]: name for name in added}
    data: Dict[str, List[Any]] = {**columns, **{names[name]: values for name, values in added.items()}}
    if find_spec("pandas") is not None:
        pandas = import_module("pandas")
        plain = {name: pandas.Series(values, index=list(numbers), dtype=None) for name, values in data.items()}
        return pandas.DataFrame(plain, index=list(numbers))
    if find_spec("polars") is not None:
        polars = import_module("polars")
        return polars.DataFrame(
            [_polars_series(polars, ours.get(name, ""), name, values) for name, values in data.items()]
        )
    raise SourceError("to_frame() needs pandas or polars; install one of them, or use the results as a list")


def _free_names(wanted: Iterable[str], taken: Iterable[str]) -> Dict[str, str]:
    """Return a name for each new column that is not taken, so that the source's data is never replaced."""
    used = set(taken)
    names = {}
    for name in wanted:
        names[name] = free_name(name, used)
        used.add(names[name])
    return names
