"""Wait for other processes that write to the same database: long while they make progress, briefly if one blocks it.

SQLite's busy handler polls ever more rarely, in the end ten times a second, and the lock goes to whichever process asks
first. So a process could wait for seconds beside others that write one transaction after another. We therefore let
SQLite wait only briefly each time, since every wait begins with frequent polls.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Callable, Optional, Tuple

__all__ = ["ONE_WAIT_SECONDS", "begin_immediate", "begin_in_turn", "is_locked"]

ONE_WAIT_SECONDS = 0.05
"""Longest time that SQLite itself waits for a lock."""

# Longest wait while others write: as long as one of them may take to write the answers of a whole run.
_LONGEST_SECONDS = 10.0


def is_locked(error: BaseException) -> bool:
    """Return whether an SQLite error means that another process holds a lock."""
    # Python exposes result codes only since 3.11.
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
        Raises an exception, after at most `ONE_WAIT_SECONDS`, if it cannot begin the transaction.
    path : str
        Path of the database.
    patience_seconds : float
        How long to wait for a lock while nobody writes, >= 0.
    is_busy : callable
        Returns whether an exception of `begin` means that another process holds a lock.

    Raises
    ------
    Exception
        The exception of `begin`, if the database stays locked for longer than that, or for 10 s (or `patience_seconds`,
        if longer) while others write, or if it cannot be used.
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
    """Begin a write transaction with `begin_in_turn`, on a connection in autocommit mode with a time-out of `patience_seconds`.

    The connection keeps this time-out for other statements: a read meets a lock only while the log is recovered or
    removed.

    Raises
    ------
    sqlite3.OperationalError
        See `begin_in_turn`.
    """
    _set_wait(connection, min(patience_seconds, ONE_WAIT_SECONDS))
    try:
        begin_in_turn(lambda: connection.execute("BEGIN IMMEDIATE"), path, patience_seconds)
    finally:
        _set_wait(connection, patience_seconds)


def _set_wait(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}").fetchall()


def _log_state(path: str) -> Optional[Tuple[int, int]]:
    """Return a value that changes with every transaction of any process."""
    try:
        status = os.stat(path + "-wal")
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
