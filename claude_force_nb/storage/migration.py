"""Migrate the rows of a file from an earlier version of its tables to the current one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Dict, List

__all__ = ["migrate"]


def migrate(connection: sqlite3.Connection, *, earlier: str, tables: str) -> None:
    """Create the current tables and copy the rows of the earlier ones; new columns become NULL.

    Parameters
    ----------
    connection : sqlite3.Connection
        Must be in a transaction, and have exactly the tables of `earlier`.
    earlier, tables : str
        Statements that create the tables of the earlier and of the current version, separated by ``;``.

    Notes
    -----
    ``ALTER TABLE … ADD COLUMN`` would give equivalent tables whose SQL text differs, and we compare this text to detect
    files that somebody else has changed.
    """
    before = _columns_by_table(earlier)
    for table in before:
        connection.execute(f"ALTER TABLE {table} RENAME TO {table}_earlier")
    for index in _indexes(earlier):
        connection.execute(f"DROP INDEX {index}")
    for statement in tables.split(";"):
        connection.execute(statement)
    for table, columns in _columns_by_table(tables).items():
        if table in before:
            kept = ", ".join(column for column in columns if column in before[table])
            connection.execute(f"INSERT INTO {table} ({kept}) SELECT {kept} FROM {table}_earlier ORDER BY rowid")
    for table in before:
        connection.execute(f"DROP TABLE {table}_earlier")


def _columns_by_table(statements: str) -> Dict[str, List[str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(statements)
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return {
            name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})").fetchall()]
            for (name,) in names.fetchall()
        }


def _indexes(statements: str) -> List[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(statements)
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        return [name for (name,) in found.fetchall()]
