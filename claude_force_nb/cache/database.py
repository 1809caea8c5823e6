"""The files of the database: how ours are recognised, and removed when broken."""

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
    "make_way",
]

DATABASE_NAME = "cache.db"  # diskcache's

# Written into the header of the database: a file with one of them is ours, and may be removed when it is broken.
APPLICATION_ID = 0x436C4631  # "ClF1"
# Its last byte is the version of the tables and of the entries in them: a package that changes either counts on.
USER_VERSION = 0x43614331  # "CaC1"
_NEWEST_USER_VERSION = USER_VERSION | 0xFF
_COMPANIONS = ("-wal", "-shm", "-journal")
_SETTLING_SECONDS = 0.5
_ALLOWED_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
_ALLOWED_FUNCTIONS = ("length", "coalesce")


class DamagedError(Exception):
    """The database is not one that this package could have written."""


class ForeignError(Exception):
    """The file in place of the database is not ours to change: another program's, or one of a newer version of this package."""


def authorize_read(action: int, _name: Any, column: Any, _database: Any, source: Any) -> int:
    """Authorizer of the reading connection: plain reads of tables and two functions.

    SQLite asks when a statement is prepared, and again whenever the schema has changed: a table that somebody replaces by a
    view (`source` names it) or by an endless query is refused before it runs.
    """
    allowed = action in _ALLOWED_READS and source is None
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = allowed and column in _ALLOWED_FUNCTIONS
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def check_ours(path: str) -> None:
    """Raise ForeignError if what is at `path` is not our database, whole or not, and not an empty file either."""
    if belongs_to_other_program(path, APPLICATION_ID, USER_VERSION):
        raise ForeignError(f"{os.path.basename(path)} belongs to another program; set another cache directory")


def check_not_newer(connection: sqlite3.Connection) -> None:
    """Raise ForeignError if tables that are not ours are those of a newer version.

    The mark alone says nothing: a changed byte of it, with our own tables, is healed like any other.
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
    """Whether the file is shorter than its header says, and no log contains the missing part."""
    try:
        header = read_start(path, 100)
        length = os.stat(path).st_size
    except OSError:
        return False
    if not has_empty_log(path):
        return False
    # SQLite file format: page size at 16 (1 stands for 65536), size of the database in pages at 28.
    page_size = int.from_bytes(header[16:18], "big")
    return length < int.from_bytes(header[28:32], "big") * (65536 if page_size == 1 else page_size)


def has_empty_log(path: str) -> bool:
    """Whether the log of the database at `path` holds nothing, or is not there."""
    try:
        return os.stat(path + "-wal").st_size == 0
    except OSError:
        return True


def make_way(path: str) -> None:
    """Move files that cannot be companions of our database out of the way; follows no symbolic link and removes nothing."""
    for name in (path + ending for ending in _COMPANIONS):
        try:
            if not stat.S_ISREG(os.lstat(name).st_mode) or (name.endswith("-journal") and _stays(path, name)):
                _move_aside(name)
        except FileNotFoundError:  # or another process has just done it
            continue


def _stays(path: str, journal: str) -> bool:
    """Whether a rollback journal remains next to a database with a write-ahead log: SQLite would play it back into the database.

    Normally it exists only for a moment, while a new database is switched to the log.
    """
    until = time.monotonic() + _SETTLING_SECONDS
    while os.path.lexists(journal) and read_start(path, 20)[18:20] == b"\2\2":
        if time.monotonic() >= until:
            return True
        time.sleep(0.01)
    return False


def discard(path: str) -> None:
    """Remove a broken database of ours, with its log.

    Raises
    ------
    ForeignError
        If it is not ours.
    OSError
        If it cannot be removed.
    """
    check_ours(path)
    make_way(path)
    # The log first: left behind alone, it would be replayed into the next database.
    discard_log(path)
    if os.path.lexists(path):
        os.unlink(path)


def check_writable(path: str) -> None:
    """Raise OSError if the disk is too full for another file next to `path`; a failure then does not mean that the database is broken."""
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
