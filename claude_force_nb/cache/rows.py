"""What goes between the store and the cache."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Evicted", "Judged", "NewValue", "Row", "Scanned", "Sums"]


class Row(NamedTuple):
    """Of a row what decides whether it is ours, whatever it is."""

    mode: Any
    filename: Any
    value: Any


class Scanned(NamedTuple):
    """A row with its key, of whatever kind."""

    rowid: int
    key: Any
    raw: Any
    row: Row


class Judged(NamedTuple):
    """A row found unusable: by which `column` it was found (``"key"`` or ``"rowid"``), under what `name`, and as it was read."""

    column: str
    name: Any
    row: Row


class NewValue(NamedTuple):
    """A value to be stored; `used` is the moment of the write, later than every use before."""

    key: str
    value: bytes
    used: float


class Sums(NamedTuple):
    """What is stored."""

    entries: int
    size_bytes: int


class Evicted(NamedTuple):
    """What a write removed: entries past their end, and entries that were too much."""

    expired: int
    for_room: int
