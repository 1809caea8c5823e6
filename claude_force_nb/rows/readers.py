"""Reads rows on demand: from iterators, which yield them once, and from files."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections import Counter
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any, AsyncIterable, AsyncIterator, BinaryIO, Dict, Iterable, Iterator, List, Optional, Tuple

from claude_force_nb.errors import SourceError
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.storage.regular_file import open_regular, project_of
from claude_force_nb.vocabulary import counted

from .columns import distinct_names
from .csv_dialect import CsvDialect, find_dialect, fits, header_names
from .csv_limit import FIELD_CHARACTERS
from .feed import BrokenRow

__all__ = ["FILE_KINDS", "AsyncBufferedIterator", "BufferedIterator", "FileRows", "file_kind"]

# Supported file name extensions; all but .parquet may be followed by .gz.
FILE_KINDS = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
# Appended to the lines of a CSV file to detect a quote that is never closed; no file contains it.
_END_OF_FILE = "\ue000end of the file\ue000"
# How much of a file is examined to detect its dialect.
_SAMPLE_CHARACTERS = 256 * 1024
_PARQUET_ROWS = 1000
# First bytes of compressed files, and of Excel workbooks, which are often named .csv.
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "Parquet",
}


class BufferedIterator:
    """An iterator whose first item can be peeked at, and whose items so far can be read again."""

    def __init__(self, items: Iterator[Any], keep: bool) -> None:
        self._items: Iterator[Any] = items
        self._keep = keep
        self.taken: List[Any] = []

    def __iter__(self) -> Iterator[Any]:
        position = 0
        while True:
            if position < len(self.taken):
                item = self.taken[position]
                if not self._keep:
                    self.taken.clear()
                    position -= 1
            else:
                try:
                    item = next(self._items)
                except StopIteration:
                    return
                if self._keep:
                    self.taken.append(item)
            position += 1
            yield item

    def first(self) -> List[Any]:
        """Return a list with the first item; it is empty for an empty source."""
        if not self.taken:
            self.taken.extend(islice(self._items, 1))
        return self.taken[:1]

    def __getstate__(self) -> Dict[str, Any]:
        return {"_items": iter(()), "_keep": True, "taken": self.taken}


class AsyncBufferedIterator:
    """An asynchronous iterable whose items are kept as they arrive."""

    def __init__(self, items: AsyncIterable[Any], keep: bool) -> None:
        self._items = items
        self._keep = keep
        self.taken: List[Any] = []

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for item in self._items:
            if self._keep:
                self.taken.append(item)
            yield item

    def __getstate__(self) -> Dict[str, Any]:
        return {"_items": None, "_keep": True, "taken": self.taken}


def file_kind(path: Path) -> str:
    """Return a file's extension in lower case, ignoring .gz."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


class FileRows:
    """Rows of a file, which every iteration reads anew and which are never all held in memory.

    A .txt file has a row on each line, .csv and .tsv have a header, .jsonl has a JSON value on each line. Text is UTF-8 or
    UTF-16, and may be compressed with gzip (.csv.gz). Parquet needs pyarrow.

    Attributes
    ----------
    columns : tuple of str or None
        The column names; None for a file without a header.

    Raises
    ------
    SourceError
        If the file cannot be read, is not a regular file, is neither UTF-8 nor UTF-16, or is not what its name says.
    """

    columns: Optional[Tuple[str, ...]] = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kind = file_kind(path)
        self._dialect = CsvDialect()
        if self.kind == ".parquet":
            self._look_at_parquet()
            return
        self._encoding = "utf-8-sig"
        with self._errors():
            self._encoding = self._find_encoding()
            if self.kind in (".csv", ".tsv"):
                self._look_at_header()
            elif self.kind != ".txt":
                self._look_for_one_value()

    def __iter__(self) -> Iterator[Any]:
        if self.kind == ".parquet":
            return self._parquet_rows()
        rows = {".csv": self._records, ".tsv": self._records, ".txt": self._texts}.get(self.kind, self._json)
        return self._text_rows(rows)

    def _text_rows(self, rows: Any) -> Iterator[Any]:
        with self._errors(), self._text() as file:
            yield from rows(self._lines(file))

    # --- opening

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the errors of reading a file into a SourceError of one line."""
        try:
            yield
        except UnicodeError:
            advice = "save it as UTF-8"
            if self.kind in (".csv", ".tsv"):
                advice = "save it as “CSV UTF-8”, or give pandas.read_csv(path, encoding='cp1252')"
            message = f"{self.path} is not UTF-8; {advice} (older Windows programs write cp1252)"
            raise SourceError(message) from None
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise SourceError(f"{self.path} cannot be read: it is not valid gzip, or is truncated") from None
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read: {error.strerror or error}") from None

    @contextmanager
    def _binary(self) -> Iterator[BinaryIO]:
        with open_regular(self.path, within=project_of(self.path)) as file:
            if self.path.suffix.lower() != ".gz":
                yield file
                return
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked  # type: ignore[misc]

    @contextmanager
    def _text(self) -> Iterator[TextIOWrapper]:
        # newline="" leaves line ends as they are: a quoted field may contain some.
        newline = "" if self.kind in (".csv", ".tsv") else None
        with self._binary() as file, TextIOWrapper(file, encoding=self._encoding, newline=newline) as text:
            yield text

    def _find_encoding(self) -> str:
        with self._binary() as file:
            head = file.read(4096)
        for mark, what in _PACKED.items():
            if head.startswith(mark):
                advice = f"name it {self.path.name}.gz" if what == "gzip" else "unpack it"
                raise SourceError(f"{self.path.name} is not text but {what}; {advice}")
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
        nothing = (head[1::2].count(0), head[::2].count(0))
        # UTF-16 without a byte order mark: in text in Latin script every other byte is zero.
        if max(nothing) > len(head) // 4:
            return "utf-16-le" if nothing[0] > nothing[1] else "utf-16-be"
        return "utf-8-sig"

    def _lines(self, file: TextIOWrapper) -> Iterator[str]:
        for number, line in enumerate(iter(lambda: file.readline(FIELD_CHARACTERS), ""), 1):
            if len(line) >= FIELD_CHARACTERS and not line.endswith("\n"):
                raise SourceError(f"line {number} of {self.path.name} has more than 64 million characters")
            yield line

    # --- lines

    @staticmethod
    def _texts(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            line = line.rstrip("\n")
            if line.strip():
                yield line

    def _json(self, lines: Iterable[str]) -> Iterator[Any]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield load_json(line, object_pairs_hook=_object)
            except _TwiceError as error:
                yield BrokenRow(SourceError(f"line {number} of {self.path.name} has the name {error.args[0]!r} twice"))
            except (ValueError, RecursionError):
                yield BrokenRow(SourceError(f"line {number} of {self.path.name} is not valid JSON"))

    def _look_for_one_value(self) -> None:
        """Raise SourceError if a file is one JSON value over many lines, or a list of records on a single line."""
        with self._text() as file:
            lines = [line.strip() for line in islice(filter(str.strip, self._lines(file)), 2)]
        if not lines:
            return
        try:
            first = load_json(lines[0])
        except (ValueError, RecursionError):
            if not _goes_on(lines[0]) or (len(lines) > 1 and lines[0] not in ("[", "{") and _is_json(lines[1])):
                return
        else:
            if len(lines) > 1 or not (
                isinstance(first, list) and first and all(isinstance(row, dict) for row in first)
            ):
                return
        what = "array" if lines[0][0] == "[" else "object"
        raise SourceError(
            f"{self.path.name} is one JSON {what} instead of a JSON value on each line; read it with json.load() and pass the list"
        )

    # --- CSV

    def _look_at_header(self) -> None:
        with self._text() as file:
            sample = file.read(_SAMPLE_CHARACTERS)
        delimiters = "\t" if self.kind == ".tsv" else ",;\t|"
        self._dialect = find_dialect(sample, is_whole=len(sample) < _SAMPLE_CHARACTERS, delimiters=delimiters)
        try:
            with self._text() as file:
                # A quoted name may contain line ends.
                header: List[str] = next(
                    filter(None, self._dialect.reader(chain(self._lines(file), [_END_OF_FILE]))), []
                )
        except csv.Error as error:
            raise SourceError(f"the header of {self.path.name}: {error}") from None
        if header == [_END_OF_FILE]:
            header = []
        elif header[-1].endswith(_END_OF_FILE):
            raise SourceError(f"the header of {self.path.name} has a quoted name that is never closed")
        self.columns = tuple(distinct_names(header_names(header), source=self.path.name))

    def _records(self, lines: Iterable[str]) -> Iterator[Any]:
        names = self.columns or ()
        # Python's reader silently closes a quote that is still open at the end of the file. The appended line reveals that.
        reader = self._dialect.reader(chain(lines, [_END_OF_FILE]))
        above = self._dialect.lines_above
        try:
            next(filter(None, reader), None)
            end = reader.line_num
            for fields in reader:
                line, end = end + 1 + above, reader.line_num
                if not fields or fields == [_END_OF_FILE]:
                    continue
                if fields[-1].endswith(_END_OF_FILE):
                    message = f"line {line} of {self.path.name} opens a quoted field that is never closed and takes in all lines below"
                    yield BrokenRow(SourceError(message))
                elif fits(fields, len(names)):
                    yield dict(zip(names, fields))
                else:
                    line = reader.line_num + above
                    message = f"line {line} of {self.path.name} has {counted(len(fields), 'field')}, but its header has {len(names)}"
                    yield BrokenRow(SourceError(message))
        except csv.Error as error:
            raise SourceError(f"line {reader.line_num + above} of {self.path.name}: {error}") from None

    # --- Parquet

    def _look_at_parquet(self) -> None:
        if find_spec("pyarrow") is None:
            raise SourceError(
                f"reading {self.path.name} needs pyarrow: pip install pyarrow; or give a .csv or .jsonl file"
            )
        with self._parquet() as file:
            names = list(file.schema_arrow.names)
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        if twice:
            raise SourceError(f"{self.path.name} has two columns named {twice[0]!r}")
        self.columns = tuple(names)

    @contextmanager
    def _parquet(self) -> Iterator[Any]:
        parquet = import_module("pyarrow.parquet")
        try:
            with open_regular(self.path, within=project_of(self.path)) as opened, parquet.ParquetFile(opened) as file:
                yield file
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read: {error.strerror or error}") from None
        except ValueError as error:  # pyarrow's errors are subclasses
            reason = " ".join(str(error).split())[:200]
            raise SourceError(f"{self.path} cannot be read as Parquet: {reason}") from None

    def _parquet_rows(self) -> Iterator[Any]:
        with self._parquet() as file:
            batches = (batch.to_pylist() for batch in file.iter_batches(_PARQUET_ROWS))
            yield from chain.from_iterable(batches)


def _goes_on(line: str) -> bool:
    """Return whether a line is the beginning of a longer JSON value: valid up to its end, or up to a comma there."""
    try:
        load_json(line)
    except json.JSONDecodeError as error:
        if line[:1] == "[":
            return error.pos >= len(line) - (line[-1] == ",")
        return line[:1] == "{" and error.pos >= len(line)
    except (ValueError, RecursionError):
        return False
    return False


def _is_json(line: str) -> bool:
    try:
        load_json(line)
    except (ValueError, RecursionError):
        return False
    return True


class _TwiceError(ValueError):
    """A record has the same name twice, so one of the two values would be lost."""


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return found
