"""Python's limit on the length of a CSV field, raised only while one of our rows is read.

The limit holds for the whole process. It suits spreadsheets but not documents, and other code may rely on it.
"""

from __future__ import annotations

import csv
import threading
from typing import Any, Iterator, List

__all__ = ["FIELD_CHARACTERS", "LargeFieldReader"]

FIELD_CHARACTERS = 64 * 1024 * 1024
"""Our limit on the length of a field."""


class LargeFieldReader:
    """A `csv.reader` that accepts fields of up to 64 million characters.

    Attributes
    ----------
    line_num : int
        The number of lines read.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def __iter__(self) -> Iterator[List[str]]:
        return self

    def __next__(self) -> List[str]:
        with _raised:
            row: List[str] = next(self._reader)
            return row

    @property
    def line_num(self) -> int:
        return int(self._reader.line_num)


class _RaisedLimit:
    """Raises the limit from the first entry, in any thread, to the last exit. A limit that others set meanwhile is left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = self._ours = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = csv.field_size_limit()
                self._ours = max(FIELD_CHARACTERS, self._before)
                csv.field_size_limit(self._ours)
            self._inside += 1

    def __exit__(self, *_: Any) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and csv.field_size_limit() == self._ours:
                csv.field_size_limit(self._before)


_raised = _RaisedLimit()
