"""Recognise our SQLite databases before opening them, and open them defensively."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from contextlib import contextmanager
from typing import Any, Iterator, List, Optional

from claude_force_nb.text_tables import one_line

from .private import read_start

__all__ = [
    "SQLITE_ERRORS",
    "WorkLimit",
    "belongs_to_other_program",
    "connect",
    "mark",
    "reason_of",
    "schema_of",
    "switch_to_wal",
]

SQLITE_ERRORS = (sqlite3.Error, sqlite3.Warning, UnicodeDecodeError, OverflowError)
"""Exceptions that SQLite raises for a damaged or hostile file; its messages may quote the file and be invalid UTF-8."""

# SQLite file format: user version at offset 60, application id at offset 68, four bytes each, big-endian.
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"


# Instructions of SQLite's virtual machine: between two checks, and allowed for each byte of a file. A row takes about
# ten, and has more bytes than that.
_STEP = 100_000
_INSTRUCTIONS_PER_BYTE = 20


class WorkLimit:
    """Ends a query that takes more work than its file can justify, with an OperationalError that says "interrupted".

    The pages of a database form a tree. In a manipulated file, many branches may lead to the same page, so that a query
    over 64 KB can have so many rows that it never ends.

    Parameters
    ----------
    connection : sqlite3.Connection
    path : str
        Path of the database.
    """

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._path = path
        self._left = 0
        self._knows_size = False
        connection.set_progress_handler(self._step, _STEP)

    def begin(self, instructions: int) -> None:
        """Allow this much work from now on, plus an allowance for the size of the file.

        The size is looked up only when `instructions` are used up, since nearly all queries end long before.
        """
        self._left, self._knows_size = instructions // _STEP, False

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Raise KeyboardInterrupt if Ctrl-C, and not this limit, ended a query: SQLite drops what is raised in `_step`."""
        try:
            yield
        except sqlite3.OperationalError as error:
            exceeded = self._left < 0 and self._knows_size
            # The context is the first error if a rollback failed too, since SQLite had already rolled back.
            was_interrupted = "interrupted" in f"{error} {error.__context__}"
            if was_interrupted and not exceeded and threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt from None
            raise

    def _size(self) -> int:
        size = 0
        for name in (self._path, self._path + "-wal"):
            try:
                size += os.stat(name).st_size
            except OSError:
                pass
        return size

    def _step(self) -> bool:
        self._left -= 1
        if self._left < 0 and not self._knows_size:
            self._knows_size = True
            self._left += _INSTRUCTIONS_PER_BYTE * self._size() // _STEP
        return self._left < 0


def belongs_to_other_program(path: str, application_id: int, user_version: Optional[int] = None) -> bool:
    """Return whether the file at `path` lacks our mark: it is another program's database, or not a database.

    SQLite does not open the file here, since it would write another program's log back into its database.

    Parameters
    ----------
    path : str
        Path of a database. A missing or empty file belongs to nobody.
    application_id : int
        Our mark.
    user_version : int, optional
        A second mark. If given, one of the two is enough, so that we recognise our own database even if one byte has
        changed.

    Raises
    ------
    OSError
        If the file exists and cannot be read.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        return True
    header = read_start(path, _HEADER_BYTES)
    if not header:
        return False
    if header[:16] == _MAGIC and header[28:32] == b"\0\0\0\1" and not _has_log(path):
        return False  # one page has no room for a table: the database was abandoned before it contained anything
    marks = (int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big"))
    return marks[0] != application_id and (user_version is None or marks[1] != user_version)


def _has_log(path: str) -> bool:
    try:
        return os.lstat(path + "-wal").st_size > 0
    except FileNotFoundError:
        return False


def connect(path: str, *, timeout_seconds: float) -> sqlite3.Connection:
    """Open the database at `path` in autocommit mode, for use by one thread at a time."""
    connection = sqlite3.connect(path, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)
    try:
        # Do not run functions and virtual tables that the schema names, and raise errors for broken cells at once.
        connection.execute("PRAGMA trusted_schema = 0")
        connection.execute("PRAGMA cell_size_check = 1")
        # Disable memory mapping: if somebody truncates a mapped file, the process is killed.
        connection.execute("PRAGMA mmap_size = 0").fetchall()
        if hasattr(connection, "setconfig"):
            connection.setconfig(getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE"), True)  # noqa: B009
    except BaseException:
        connection.close()
        raise
    return connection


def mark(connection: sqlite3.Connection, application_id: int, user_version: Optional[int] = None) -> None:
    """Write our mark into a database that does not have it; see `belongs_to_other_program`.

    Call this before switching to a write-ahead log, since the mark has to be in the file itself.
    """
    if int(connection.execute("PRAGMA application_id").fetchone()[0]) == application_id:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA application_id = {application_id}")
        if user_version is not None:
            connection.execute(f"PRAGMA user_version = {user_version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise


def switch_to_wal(connection: sqlite3.Connection, *, timeout_seconds: float) -> None:
    """Switch the database to a write-ahead log if needed, waiting for others that do the same, which SQLite does not."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = wal").fetchall()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
        time.sleep(0.01)


def schema_of(connection: sqlite3.Connection) -> List[Any]:
    """Return every table, index, trigger and view, each as (type, name, table, SQL)."""
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name, type").fetchall()


def reason_of(error: BaseException) -> str:
    """Return an error's message on one short line."""
    if isinstance(error, UnicodeDecodeError):
        return "database disk image is malformed"
    # SQLite's messages may quote the file, which may contain control characters.
    text = one_line(getattr(error, "strerror", None) or error) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
