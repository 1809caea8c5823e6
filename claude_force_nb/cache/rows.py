"""The records that store and cache exchange."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["READ_TOGETHER", "Evicted", "Judged", "NewValue", "Row", "Scanned", "Sums"]

READ_TOGETHER = 16
"""Number of values read in one statement; reading more at once hardly saves any time per value."""


class Row(NamedTuple):
    """The columns that decide whether a row is ours. A manipulated row may hold any type."""

    mode: Any
    filename: Any
    value: Any


class Scanned(NamedTuple):
    """A row with its key, which may be of any type."""

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
    """A value to store; `used` is the time of the write, later than any earlier use."""

    key: str
    value: bytes
    used: float


class Sums(NamedTuple):
    """Number and size of the stored entries."""

    entries: int
    size_bytes: int


class Evicted(NamedTuple):
    """How many entries a write removed: expired ones, and those over the size limit."""

    expired: int
    for_room: int
