"""The cache's database files: recognise our own, and remove them when they are broken."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import time
from typing import Any, NamedTuple, Optional, Tuple

from claude_force_nb.storage.database import belongs_to_other_program
from claude_force_nb.storage.private import read_start

__all__ = [
    "APPLICATION_ID",
    "DATABASE_NAME",
    "USER_VERSION",
    "DamagedError",
    "ForeignError",
    "Identity",
    "authorize_read",
    "check_not_newer",
    "check_ours",
    "check_writable",
    "discard",
    "discard_log",
    "has_empty_log",
    "identity",
    "is_truncated",
    "set_aside_companions",
]

DATABASE_NAME = "cache.db"  # the name that diskcache uses

# Both are written into the database header. A file that carries either is ours and may be removed when it is broken.
APPLICATION_ID = 0x436C4631  # "ClF1"
# The last byte is the version of the tables and entries: increment it when either changes.
USER_VERSION = 0x43614331  # "CaC1"
_NEWEST_USER_VERSION = USER_VERSION | 0xFF
_COMPANIONS = ("-wal", "-shm", "-journal")
_SETTLING_SECONDS = 0.5
_ALLOWED_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
_ALLOWED_FUNCTIONS = ("length", "coalesce")


class DamagedError(Exception):
    """The database is not one that this package could have written."""


class ForeignError(Exception):
    """The database file is not ours to change: another program or a newer version of this package created it."""


def authorize_read(action: int, _name: Any, column: Any, _database: Any, source: Any) -> int:
    """Authorize only plain reads of tables, and two functions, on the read connection.

    SQLite calls this when it prepares a statement, and again after each change of the schema. So if somebody replaces a
    table by a view (`source` is then its name) or an endless query, the statement is refused before it runs.
    """
    allowed = action in _ALLOWED_READS and source is None
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = allowed and column in _ALLOWED_FUNCTIONS
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def check_ours(path: str) -> None:
    """Raise ForeignError unless the file at `path` is missing, empty, or our own database, intact or damaged."""
    if belongs_to_other_program(path, APPLICATION_ID, USER_VERSION):
        raise ForeignError(f"{os.path.basename(path)} belongs to another program; set another cache directory")


def check_not_newer(connection: sqlite3.Connection) -> None:
    """Raise ForeignError if a newer version of this package made the database.

    Call this only if the tables differ from ours. The version number alone proves nothing: if only that byte has
    changed, it is damage, and is repaired like any other.
    """
    found = (
        connection.execute("PRAGMA application_id").fetchone() + connection.execute("PRAGMA user_version").fetchone()
    )
    if found[0] == APPLICATION_ID and USER_VERSION < found[1] <= _NEWEST_USER_VERSION:
        raise ForeignError(
            f"{DATABASE_NAME} was made by a newer version of claude_force_nb; upgrade the package, or set another cache directory"
        )


class Identity(NamedTuple):
    """Device and inode of the database and its companion files; None for a missing one."""

    main: Optional[Tuple[int, int]]
    log: Optional[Tuple[int, int]]
    journal: Optional[Tuple[int, int]]


def identity(path: str) -> Identity:
    """Return a value that changes if the database or its log is replaced, or a rollback journal appears."""
    return Identity(_file_number(path), _file_number(path + "-wal"), _file_number(path + "-journal"))


def _file_number(path: str) -> Optional[Tuple[int, int]]:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_truncated(path: str) -> bool:
    """Whether the file is shorter than its header says, and no write-ahead log contains the missing part."""
    try:
        header = read_start(path, 100)
        length = os.stat(path).st_size
    except OSError:
        return False
    if not has_empty_log(path):
        return False
    # SQLite file format: offset 16 holds the page size (1 means 65536), offset 28 the size of the database in pages.
    page_size = int.from_bytes(header[16:18], "big")
    return length < int.from_bytes(header[28:32], "big") * (65536 if page_size == 1 else page_size)


def has_empty_log(path: str) -> bool:
    """Whether the write-ahead log of the database at `path` is empty or missing."""
    try:
        return os.stat(path + "-wal").st_size == 0
    except OSError:
        return True


def set_aside_companions(path: str) -> None:
    """Rename files that have the names of companion files but cannot be ours; follows no symbolic link and removes nothing."""
    for name in (path + ending for ending in _COMPANIONS):
        try:
            if not stat.S_ISREG(os.lstat(name).st_mode) or (name.endswith("-journal") and _journal_stays(path, name)):
                _move_aside(name)
        except FileNotFoundError:  # none, or another process has just moved it
            continue


def _journal_stays(path: str, journal: str) -> bool:
    """Whether a rollback journal stays beside a database in WAL mode; SQLite would roll the database back to it.

    Normally a journal exists only for a moment, while a new database is switched to WAL mode.
    """
    until = time.monotonic() + _SETTLING_SECONDS
    while os.path.lexists(journal) and read_start(path, 20)[18:20] == b"\2\2":
        if time.monotonic() >= until:
            return True
        time.sleep(0.01)
    return False


def discard(path: str) -> None:
    """Remove our broken database with its companion files.

    Raises
    ------
    ForeignError
        If it is not ours.
    OSError
        If it cannot be removed.
    """
    check_ours(path)
    set_aside_companions(path)
    # The log goes first: if it were left behind, SQLite would replay it into the next database.
    discard_log(path)
    if os.path.lexists(path):
        os.unlink(path)


def check_writable(path: str) -> None:
    """Raise OSError if the disk has no room for another file beside `path`: a full disk must not pass for a broken database."""
    with tempfile.TemporaryFile(dir=os.path.dirname(path)) as file:
        file.write(bytes(2**16))
        file.flush()


def discard_log(path: str) -> None:
    """Remove SQLite's companion files of the database at `path`."""
    for ending in _COMPANIONS:
        try:
            os.unlink(path + ending)
        except FileNotFoundError:
            pass


def _move_aside(name: str) -> None:
    for number in range(1, 1000):
        target = f"{name}.unusable-{number}"
        if not os.path.lexists(target):
            os.rename(name, target)
            return
    raise OSError(f"too many unusable files beside {name}")
