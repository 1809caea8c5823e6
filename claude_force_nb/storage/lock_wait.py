"""Waiting for other processes that write to the same database: as long as they get on, and no longer than a moment where one holds it.

SQLite looks again ever more rarely, ten times a second in the end, and whoever comes by in between is first: between processes that write one
transaction after the other, one may wait for seconds. So it is asked for short waits only, which begin with frequent looks.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Callable, Optional, Tuple

__all__ = ["ONE_WAIT_SECONDS", "begin_immediate", "begin_in_turn", "is_locked"]

ONE_WAIT_SECONDS = 0.05
"""Longest wait of SQLite's own for a lock."""

# While others write. As long as one of them might take to write the answers of a whole run.
_LONGEST_SECONDS = 10.0


def is_locked(error: BaseException) -> bool:
    """Return whether an error of SQLite says that another process holds a lock."""
    # Python has result codes only from 3.11 on.
    return isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "locking" in str(error))


def begin_in_turn(
    begin: Callable[[], object],
    path: str,
    patience_seconds: float,
    is_busy: Callable[[BaseException], bool] = is_locked,
) -> None:
    """Call `begin`, which begins a transaction, until it succeeds.

    Parameters
    ----------
    begin : callable
        Raises an error where it cannot begin, after at most `ONE_WAIT_SECONDS`.
    path : str
        Of the database.
    patience_seconds : float
        How long it may be locked while nobody writes, >= 0.
    is_busy : callable
        Tells whether that error means that another process holds a lock.

    Raises
    ------
    Exception
        That of `begin`, if the database is locked for longer, or for 10 s (or `patience_seconds`, if that is longer) by processes that
        write; or if it cannot be used.
    """
    started = quiet_since = time.monotonic()
    longest = max(_LONGEST_SECONDS, patience_seconds)
    seen = _log_state(path)
    while True:
        try:
            begin()
            return
        except Exception as error:
            if not is_busy(error):
                raise
            now, found = time.monotonic(), _log_state(path)
            if found != seen:
                seen, quiet_since = found, now
            if now - quiet_since >= patience_seconds or now - started >= longest:
                raise


def begin_immediate(connection: sqlite3.Connection, path: str, patience_seconds: float) -> None:
    """Begin a write transaction in turn, on a connection in autocommit mode whose own wait for locks is `patience_seconds`.

    Other statements keep that wait: a read meets a lock only while the log is recovered or removed.

    Raises
    ------
    sqlite3.OperationalError
        As `begin_in_turn`.
    """
    _set_wait(connection, min(patience_seconds, ONE_WAIT_SECONDS))
    try:
        begin_in_turn(lambda: connection.execute("BEGIN IMMEDIATE"), path, patience_seconds)
    finally:
        _set_wait(connection, patience_seconds)


def _set_wait(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}").fetchall()


def _log_state(path: str) -> Optional[Tuple[int, int]]:
    """Return what changes with each transaction of anybody's."""
    try:
        status = os.stat(path + "-wal")
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
