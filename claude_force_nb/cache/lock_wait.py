"""Waiting for other processes that write to the same database: as long as they get on, and no longer than a moment where one holds it.

SQLite looks again ever more rarely, ten times a second in the end, and whoever comes by in between is first: between processes that write one
transaction after the other, one may wait for seconds. So it is asked for short waits only, which begin with frequent looks.
"""

from __future__ import annotations

import os
import time
from typing import Callable, Optional, Tuple

import diskcache

from . import faults

__all__ = ["ONE_WAIT_SECONDS", "begin_in_turn"]

ONE_WAIT_SECONDS = 0.05
"""Longest wait of SQLite's own for a lock."""

# While others write. As long as one of them might take to write the answers of a whole run.
_LONGEST_SECONDS = 10.0


def begin_in_turn(begin: Callable[[], object], path: str, patience_seconds: float) -> None:
    """Call `begin`, which begins a transaction, until it succeeds.

    Parameters
    ----------
    begin : callable
        Raises diskcache.Timeout where it cannot begin.
    path : str
        Of the database.
    patience_seconds : float
        How long it may be locked while nobody writes, >= 0.

    Raises
    ------
    diskcache.Timeout
        If it is locked for longer, or for 10 s by processes that write; or if the database cannot be used.
    """
    started = quiet_since = time.monotonic()
    seen = _log_state(path)
    while True:
        try:
            begin()
            return
        except diskcache.Timeout as error:
            if faults.kind_of(error) != "busy":
                raise
            now, found = time.monotonic(), _log_state(path)
            if found != seen:
                seen, quiet_since = found, now
            if now - quiet_since >= patience_seconds or now - started >= _LONGEST_SECONDS:
                raise


def _log_state(path: str) -> Optional[Tuple[int, int]]:
    """Return what changes with each transaction of anybody's."""
    try:
        status = os.stat(path + "-wal")
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
