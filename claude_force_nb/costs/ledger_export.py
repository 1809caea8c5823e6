"""The ledger's entries as CSV or as a data frame. Data frame libraries are imported only when needed."""

from __future__ import annotations

import csv
import datetime
import re
import sys
from dataclasses import astuple
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import IO, Any, Dict, Iterable, List

from claude_force_nb.errors import OptionError

from .ledger_rows import COLUMNS, LedgerEntry

__all__ = ["frame_of", "write_csv"]

_COUNTS = (*(name for name in COLUMNS if name.endswith("_tokens")), "web_searches", "attempts")
_NUMBERS = ("cost", "saved", "prompt_cache_saved", "duration_seconds", "call_seconds")
# Control characters and Unicode line separators.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# The start of a formula: at the beginning of a cell, or after a semicolon. In locales with a decimal comma,
# spreadsheets split cells at semicolons, even inside quotes.
_FORMULA = re.compile(r"(\A|;)(?=\s*[=+\-@＝＋－＠])")
_TEXTS = tuple(name for name in COLUMNS if name not in (*_COUNTS, *_NUMBERS, "time", "cached"))


def write_csv(entries: Iterable[LedgerEntry], target: IO[str]) -> int:
    """Write entries as CSV with a header, in the format of `Ledger.export_csv`; return how many there were."""
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for entry in entries:
        count += 1
        writer.writerow([_moment(entry).isoformat(timespec="milliseconds"), *map(_cell, astuple(entry)[1:])])
    return count


def frame_of(entries: Iterable[LedgerEntry]) -> Any:
    """Return entries as a data frame of pandas, or of polars if pandas is not installed.

    Raises
    ------
    OptionError
        If neither library is installed.
    """
    library = next((name for name in ("pandas", "polars") if find_spec(name) is not None), None)
    if library is None:
        raise OptionError("a data frame needs pandas or polars; install one of them, or export to a .csv file")
    columns: Dict[str, List[Any]] = {name: [] for name in COLUMNS}
    for entry in entries:
        for name, values in columns.items():
            value = getattr(entry, name)
            # Data frames can add, group and plot floats, but not Decimals. The CSV has the exact amounts.
            values.append(float(value) if isinstance(value, Decimal) else value)
        columns["time"][-1] = _moment(entry)
    frames = import_module(library)
    if library == "pandas":
        frame = frames.DataFrame(columns)
        # Set the types even if there are no entries or known prices, so that programs can rely on them.
        types = {**dict.fromkeys(_NUMBERS, "float64"), **dict.fromkeys(_COUNTS, "int64"), "cached": "bool"}
        if frame.empty:  # otherwise pandas infers its own type for text
            types.update(dict.fromkeys(_TEXTS, "object"))
        frame = frame.astype(types)
        frame["time"] = frames.to_datetime(frame["time"], utc=True)
        return frame
    if sys.version_info < (3, 9):  # polars cannot return time zones there
        columns["time"] = [moment.replace(tzinfo=None) for moment in columns["time"]]
    types = {
        **dict.fromkeys(_NUMBERS, frames.Float64),
        **dict.fromkeys(_COUNTS, frames.Int64),
        **dict.fromkeys(_TEXTS, frames.Utf8),
        "cached": frames.Boolean,
    }
    return frames.DataFrame(columns, schema_overrides=types)


def _moment(entry: LedgerEntry) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(entry.time, datetime.timezone.utc)


def _cell(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, str):
        # A bare carriage return would start a new line, which could be a formula.
        plain = _CONTROL.sub(" ", value)
        return _FORMULA.sub(r"\1'", plain)
    return value
