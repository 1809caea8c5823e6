"""The SQLite file that the ledger and the daily budget share."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Union

from claude_force_nb.storage.shared_file import SharedFile
from claude_force_nb.storage.user_folders import user_folder

__all__ = ["LedgerFile", "default_ledger_path", "is_local"]

_APPLICATION_ID = 0x436C4C31  # "ClL1"
_SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    notebook TEXT,
    cell TEXT,
    agent TEXT,
    model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    web_searches INTEGER NOT NULL,
    service_tier TEXT NOT NULL,
    speed TEXT NOT NULL,
    cost TEXT,
    saved TEXT,
    prompt_cache_saved TEXT,
    cached INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    request_id TEXT,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    duration_seconds REAL,
    call_seconds REAL
);
CREATE INDEX IF NOT EXISTS entries_time ON entries (time);
CREATE TABLE IF NOT EXISTS reservations (id INTEGER PRIMARY KEY AUTOINCREMENT, day TEXT NOT NULL, amount INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS reservations_day ON reservations (day);
CREATE TABLE IF NOT EXISTS days (day TEXT PRIMARY KEY, spent INTEGER NOT NULL);
"""
_SCHEMA_2 = _SCHEMA.replace(",\n    duration_seconds REAL,\n    call_seconds REAL", "")
# Schemas of earlier versions, from which the answers are migrated.
_EARLIER = {1: _SCHEMA_2.replace("    prompt_cache_saved TEXT,\n", ""), 2: _SCHEMA_2}


class LedgerFile(SharedFile):
    """The SQLite file with the tables of the ledger and of the daily budget.

    Parameters
    ----------
    path : Path or str
        See `SharedFile`.
    busy_timeout_seconds : float
        See `SharedFile`.
    """

    def __init__(self, path: Union[Path, str], *, busy_timeout_seconds: float) -> None:
        super().__init__(
            path,
            tables=_SCHEMA,
            application_id=_APPLICATION_ID,
            version=_SCHEMA_VERSION,
            earlier=_EARLIER,
            busy_timeout_seconds=busy_timeout_seconds,
        )


_LOCAL_NAME = "ledger-local.db"


def default_ledger_path(environ: Mapping[str, str], *, local: bool = False) -> Path:
    """Return the user's ledger, in the data directory.

    Parameters
    ----------
    environ : mapping
        Environment variables.
    local : bool
        True for answers of servers on this machine. Nobody bills them, so they must neither count as spending nor use
        up a budget.
    """
    return user_folder("data", environ) / (_LOCAL_NAME if local else "ledger.db")


def is_local(path: Path) -> bool:
    """Return whether `path` is the ledger for servers on this machine."""
    return path.name == _LOCAL_NAME
