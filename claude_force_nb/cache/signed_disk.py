"""The cache's rows: text keys and bytes values. Nothing is unpickled, and no file is opened or removed."""

from __future__ import annotations

from typing import Any, Tuple

import diskcache
from diskcache.core import MODE_RAW, UNKNOWN

from .database import DamagedError

__all__ = ["SignedDisk"]


class SignedDisk(diskcache.Disk):  # type: ignore[misc]
    """Text keys and bytes values, kept inside the database and nowhere else.

    diskcache's own `Disk` unpickles keys and values if a row says so, and reads and removes whatever file a row names.
    This class accepts a single kind of row, and has no code that opens or removes a file. Values of any size stay
    inside the row. They are written in the same transaction as their size, so a crash can neither orphan nor truncate
    them.
    """

    def put(self, key: str) -> Tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"a cache key must be text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        if not raw or type(key) is not str:
            raise DamagedError("a cache key must be text")
        return key

    def store(self, value: bytes, read: bool, key: Any = UNKNOWN) -> Tuple[int, int, None, bytes]:
        if read or type(value) is not bytes:
            raise TypeError(f"a cache value must be bytes, not {type(value).__name__}")
        return len(value), MODE_RAW, None, value

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> bytes:
        if mode != MODE_RAW or filename is not None or type(value) is not bytes or read:
            raise DamagedError("a cache value must be bytes inside its row")
        return value

    def filename(self, key: Any = UNKNOWN, value: Any = UNKNOWN) -> Tuple[str, str]:
        raise DamagedError("the cache keeps no files")

    def remove(self, file_path: Any) -> None:
        """Do nothing: no row of ours names a file."""
