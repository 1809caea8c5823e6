"""The database file: opened with every guard SQLite has, told apart from what is not ours, cleared away when broken."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import time
from typing import Any, List, Optional, Tuple

__all__ = [
    "APPLICATION_ID",
    "DamagedError",
    "authorize_read",
    "check_writable",
    "connect",
    "discard",
    "has_empty_log",
    "identity",
    "is_truncated",
    "make_way",
    "schema_of",
    "turn_to_log",
]

DATABASE_NAME = "cache.db"  # diskcache's

# Written into the header of the database: what carries it is ours, and may be removed when it is broken.
APPLICATION_ID = 0x436C4631  # "ClF1"
_SQLITE_MAGIC = b"SQLite format 3\x00"
_COMPANIONS = ("-wal", "-shm", "-journal")
_SETTLING_SECONDS = 0.5
_ALLOWED_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
_ALLOWED_FUNCTIONS = ("length", "coalesce")


class DamagedError(Exception):
    """The database is not one that this package could have written."""


def connect(path: str, *, timeout_seconds: float) -> sqlite3.Connection:
    """Open the database at `path`, in autocommit mode, for use by one thread at a time; its text comes as bytes."""
    connection = sqlite3.connect(path, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)
    try:
        connection.text_factory = bytes  # text that is no UTF-8 must not raise
        # Functions and virtual tables named by the schema are not to be run; broken cells are errors at once.
        connection.execute("PRAGMA trusted_schema = 0")
        connection.execute("PRAGMA cell_size_check = 1")
        # A mapped file that somebody truncates kills the process.
        connection.execute("PRAGMA mmap_size = 0").fetchall()
        if hasattr(connection, "setconfig"):
            connection.setconfig(getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE"), True)  # noqa: B009
    except BaseException:
        connection.close()
        raise
    return connection


def turn_to_log(connection: sqlite3.Connection, *, timeout_seconds: float) -> None:
    """Give the database a write-ahead log, where it has none; SQLite itself does not wait for others who do just that."""
    until = time.monotonic() + timeout_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = wal").fetchall()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= until:
                raise
        time.sleep(0.01)


def authorize_read(action: int, _name: Any, column: Any, _database: Any, source: Any) -> int:
    """Authorizer of the reading connection: plain reads of tables and two functions.

    SQLite asks when a statement is prepared, and again whenever the schema has changed: a table that somebody replaces by a
    view (`source` names it) or by an endless query is refused before it runs.
    """
    allowed = action in _ALLOWED_READS and source is None
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = allowed and column in _ALLOWED_FUNCTIONS
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def schema_of(connection: sqlite3.Connection) -> List[Any]:
    """Return every table, index, trigger and view, each as (type, name, table, SQL)."""
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name, type").fetchall()


def identity(path: str) -> Tuple[Optional[Tuple[int, int]], ...]:
    """Return what tells whether the database and its log are still the same files, and no rollback journal has come."""
    found: List[Optional[Tuple[int, int]]] = []
    for name in (path, path + "-wal", path + "-journal"):
        try:
            status = os.stat(name)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return tuple(found)


def is_truncated(path: str) -> bool:
    """Whether the file is shorter than its own header says, and no log has what is missing."""
    try:
        header = _header_of(path)
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
    """Move what is no regular file out of the way of the database, following no symbolic link and removing nothing."""
    for name in (path, *(path + ending for ending in _COMPANIONS)):
        try:
            if not stat.S_ISREG(os.lstat(name).st_mode) or (name.endswith("-journal") and _stays(path, name)):
                _move_aside(name)
        except FileNotFoundError:  # or another process has just done it
            continue


def _stays(path: str, journal: str) -> bool:
    """Whether a rollback journal is there to stay beside a database with a write-ahead log: it would be played back into it.

    Whoever makes the database has one for a moment, while it is turned to the log.
    """
    until = time.monotonic() + _SETTLING_SECONDS
    while os.path.lexists(journal) and _header_of(path)[18:20] == b"\2\2":
        if time.monotonic() >= until:
            return True
        time.sleep(0.01)
    return False


def discard(path: str) -> bool:
    """Clear the place of a broken database: one that is ours is removed, anything else is moved aside, never removed.

    Returns
    -------
    bool
        Whether something was moved aside.

    Raises
    ------
    OSError
        If it cannot be moved or removed.
    """
    make_way(path)
    ours = is_ours(path)
    # The log first: left behind alone, it would be replayed into the next database.
    discard_log(path)
    if not ours:
        _move_aside(path)
    elif os.path.lexists(path):
        os.unlink(path)
    return not ours


def _header_of(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(100)
    except FileNotFoundError:
        return b""


def check_writable(path: str) -> None:
    """Raise OSError if there is no room for another file beside `path`: what fails then may be whole."""
    with tempfile.TemporaryFile(dir=os.path.dirname(path)) as file:
        file.write(bytes(2**16))
        file.flush()


def discard_log(path: str) -> None:
    """Remove what SQLite keeps beside the database at `path`."""
    for ending in _COMPANIONS:
        try:
            os.unlink(path + ending)
        except FileNotFoundError:
            pass


def is_ours(path: str) -> bool:
    """Whether a database of this package is at `path`, whole or not, or nothing, or an empty file."""
    header = _header_of(path)
    if header[:16] != _SQLITE_MAGIC:
        return not header
    # One page has no room for a table: the making of a database stopped before our mark was in it.
    return header[68:72] == APPLICATION_ID.to_bytes(4, "big") or header[28:32] == b"\0\0\0\1"


def _move_aside(name: str) -> None:
    for number in range(1, 1000):
        target = f"{name}.unusable-{number}"
        if not os.path.lexists(target):
            os.rename(name, target)
            return
    raise OSError(f"too many unusable files beside {name}")
