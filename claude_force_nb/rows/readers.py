"""Rows that are read as they are needed: of iterators, which give them once, and of files."""

from __future__ import annotations

import csv
import io
import json
from itertools import islice
from pathlib import Path
from typing import Any, AsyncIterable, AsyncIterator, Dict, Iterable, Iterator, List, Optional, Tuple

from claude_force_nb.errors import SourceError
from claude_force_nb.storage.regular_file import open_regular, project_of

from .feed import BrokenRow

__all__ = ["AsyncBufferedIterator", "FileRows", "BufferedIterator"]

# Longer fields are refused by Python's reader, which was made for spreadsheets and not for documents.
_FIELD_CHARACTERS = 64 * 1024 * 1024


class BufferedIterator:
    """An iterator that can be looked into, and read again as far as it was read."""

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
        """Return the first item in a list, or an empty one where there is none."""
        if not self.taken:
            self.taken.extend(islice(self._items, 1))
        return self.taken[:1]

    def __getstate__(self) -> Dict[str, Any]:
        return {"_items": iter(()), "_keep": True, "taken": self.taken}


class AsyncBufferedIterator:
    """An asynchronous iterable whose items are kept as they come."""

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


def _open_text(path: Path, *, newline: Optional[str], errors: str = "strict") -> io.TextIOWrapper:
    """Open a source: a pipe would never end, and a repository may hold a link to what is nobody's business."""
    return io.TextIOWrapper(
        open_regular(path, within=project_of(path)), encoding="utf-8-sig", newline=newline, errors=errors
    )


class FileRows:
    """Rows of a .txt, .csv, .tsv or .jsonl file, read anew by every iteration and never held as a whole.

    Attributes
    ----------
    columns : tuple of str or None
        Of a file with a header.
    """

    columns: Optional[Tuple[str, ...]] = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.delimiter = ","
        if path.suffix.lower() in (".csv", ".tsv"):
            csv.field_size_limit(max(_FIELD_CHARACTERS, csv.field_size_limit()))
            self._look_at_header()

    def __iter__(self) -> Iterator[Any]:
        kind = self.path.suffix.lower()
        table = kind in (".csv", ".tsv")
        try:
            # An empty line end: a quoted field may have line ends of its own.
            with _open_text(self.path, newline="" if table else None) as file:
                yield from self._records(file) if table else self._texts(file) if kind == ".txt" else self._json(file)
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.path} is not UTF-8: {error.reason}") from None
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read: {error.strerror or error}") from None

    @staticmethod
    def _texts(file: Iterable[str]) -> Iterator[str]:
        for line in file:
            line = line.rstrip("\n")
            if line.strip():
                yield line

    def _json(self, file: Iterable[str]) -> Iterator[Any]:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield BrokenRow(SourceError(f"line {number} of {self.path.name} is no JSON"))

    def _records(self, file: Iterable[str]) -> Iterator[Any]:
        reader = csv.reader(file, delimiter=self.delimiter)
        header: Optional[List[str]] = None
        try:
            for fields in reader:
                if header is None:
                    header = fields or None
                elif len(fields) == len(header):
                    yield dict(zip(header, fields))
                elif fields:
                    message = "line {} of {} has {} fields, its header {}"
                    found = (reader.line_num, self.path.name, len(fields), len(header))
                    yield BrokenRow(SourceError(message.format(*found)))
        except csv.Error as error:
            raise SourceError(f"line {reader.line_num} of {self.path.name}: {error}") from None

    def _look_at_header(self) -> None:
        try:
            with _open_text(self.path, newline="", errors="replace") as file:
                line = next((line for line in file if line.strip("\r\n")), "")
                self.delimiter = max(",;\t", key=line.count) if self.path.suffix.lower() == ".csv" else "\t"
                file.seek(0)
                # A name may have line ends of its own.
                header = next(filter(None, csv.reader(file, delimiter=self.delimiter)), [])
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read: {error.strerror or error}") from None
        except csv.Error as error:
            raise SourceError(f"the header of {self.path.name}: {error}") from None
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SourceError(f"{self.path.name} has two columns named {twice[0]!r}")
        self.columns = tuple(header)
