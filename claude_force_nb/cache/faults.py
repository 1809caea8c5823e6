"""Classify the errors of the store."""

from __future__ import annotations

import sqlite3

import diskcache

from claude_force_nb.storage.database import SQLITE_ERRORS
from claude_force_nb.storage.database import reason_of as words_of

from .database import DamagedError, ForeignError, is_truncated

__all__ = ["ERRORS", "is_busy", "is_damage", "kind_of", "reason_of"]

ERRORS = (DamagedError, ForeignError, diskcache.Timeout, OSError, *SQLITE_ERRORS)
"""Errors that a `Store` raises; see `kind_of`."""

# Parts of SQLite's messages for a file with invalid content (sqlite3ErrStr and the parser). Python exposes the result
# codes only since 3.11.
_DAMAGE = (
    "malformed",
    "not a database",
    "no such",
    "no column",
    "not authorized",
    "prohibited",
    "cannot modify",
    "interrupted",
)
_USELESS = ("unable to open", "readonly", "full", "out of memory", "permission")


def kind_of(error: BaseException) -> str:
    """Classify an error of the store.

    Returns
    -------
    str
        ``"busy"``: another process holds a lock. ``"damaged"``: the database cannot be used as it is. ``"broken"``:
        something failed that may succeed on a new connection. ``"unavailable"``: the directory cannot be used.
    """
    if isinstance(error, diskcache.Timeout):
        # diskcache raises Timeout whenever a transaction cannot begin, whatever the reason.
        return kind_of(error.__context__) if error.__context__ is not None else "busy"
    text = str(error)
    # A UnicodeDecodeError is an SQLite error whose message quotes damaged text.
    if isinstance(error, (DamagedError, UnicodeDecodeError)):
        return "damaged"
    if type(error) in (sqlite3.DatabaseError, sqlite3.IntegrityError):
        return "damaged"
    if isinstance(error, sqlite3.Error):
        if "locked" in text or "locking" in text:
            return "busy"
        if any(part in text for part in _DAMAGE):
            return "damaged"
        if not any(part in text for part in _USELESS):
            return "broken"
    return "unavailable"


def is_busy(error: BaseException) -> bool:
    """Whether a transaction could not begin because another process holds a lock."""
    return isinstance(error, diskcache.Timeout) and kind_of(error) == "busy"


def is_damage(error: BaseException, path: str) -> bool:
    """Whether `error` means that the database at `path` must be created again."""
    kind = kind_of(error)
    return kind == "damaged" or (kind == "broken" and is_truncated(path))


def reason_of(error: BaseException) -> str:
    """Return the error's message on one line."""
    if isinstance(error, diskcache.Timeout) and error.__context__ is not None:
        error = error.__context__
    return words_of(error)
