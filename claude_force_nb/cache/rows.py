"""The records exchanged by store and cache."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["READ_TOGETHER", "Evicted", "Judged", "NewValue", "Row", "Scanned", "Sums"]

READ_TOGETHER = 16
"""Values read in one statement: with more of them a value takes hardly less time."""


class Row(NamedTuple):
    """The columns that decide whether a row is ours, of any type."""

    mode: Any
    filename: Any
    value: Any


class Scanned(NamedTuple):
    """A row with its key, of any type."""

    rowid: int
    key: Any
    raw: Any
    row: Row


class Judged(NamedTuple):
    """An unusable row: the `column` by which it was found (``"key"`` or ``"rowid"``), its `name` there, and the row as read."""

    column: str
    name: Any
    row: Row


class NewValue(NamedTuple):
    """A value to be stored; `used` is the moment of the write, later than every use before."""

    key: str
    value: bytes
    used: float


class Sums(NamedTuple):
    """Number and size of the stored entries."""

    entries: int
    size_bytes: int


class Evicted(NamedTuple):
    """What a write removed: expired entries, and entries over the size limit."""

    expired: int
    for_room: int
