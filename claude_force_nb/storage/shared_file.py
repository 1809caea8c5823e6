"""A SQLite file that all kernels of a user share: opening it, its tables and its locks."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Iterator, List, Mapping, Optional, Union

from . import database
from .lock_wait import begin_immediate
from .migration import migrate
from .private import make_private_file, make_private_folder

__all__ = ["SharedFile"]

_CHANGED = "its tables were changed by another program"
# SQLite instructions allowed in addition to those for the file's size (see `database.WorkLimit`): a few milliseconds
# for queries, and more for transactions, which may write a lot.
_READING = 2_000_000
_WRITING = 50_000_000

# Connections inherited through fork. SQLite forbids using or closing them in the child, so they are kept untouched.
_inherited: List[sqlite3.Connection] = []
_files: weakref.WeakSet[SharedFile] = weakref.WeakSet()


def _close(connection: sqlite3.Connection, owner: int) -> None:
    if os.getpid() == owner:
        connection.close()
    else:
        _inherited.append(connection)


class SharedFile:
    """One connection to the file for all threads of a process, opened on first use.

    Parameters
    ----------
    path : Path or str
        The file. It is created with mode 0600, and missing directories with 0700, when something is first written.
    tables : str
        Statements that create the tables, separated by ``;``.
    application_id : int
        Id in the file's header, not 0. A file with another id belongs to another program and is not touched.
    version : int
        Version of the tables, >= 1. A file of another version is refused, unless it is in `earlier`.
    earlier : mapping, optional
        By earlier version, the statements that created its tables. The rows of such a file are migrated when it is
        opened.
    busy_timeout_seconds : float
        How long to wait for a lock while nobody writes; while others write, wait at least 10 s: see `lock_wait`.
    durable : bool
        Whether a commit must survive a power failure too.

    Attributes
    ----------
    lock : threading.RLock
        Held while the connection is used; replaced in a forked child.

    Notes
    -----
    With the write-ahead log, a commit survives the death of the process at once. It survives a power failure at once
    with ``synchronous=FULL``, otherwise from the next checkpoint on (SQLite documentation, "WAL mode" and
    ``PRAGMA synchronous``).
    """

    def __init__(
        self,
        path: Union[Path, str],
        *,
        tables: str,
        application_id: int,
        version: int,
        busy_timeout_seconds: float,
        durable: bool = False,
        earlier: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self.path = Path(path)
        self._tables = tables
        self._application_id = application_id
        self._version = version
        self._timeout = busy_timeout_seconds
        self._durable = durable
        self._earlier = earlier
        self.lock = threading.RLock()
        self._connection: Optional[sqlite3.Connection] = None
        self._work: Optional[database.WorkLimit] = None
        self._owner = 0
        self._schema_version: Any = None
        self._finalizer: Optional[weakref.finalize] = None  # type: ignore[type-arg]
        _files.add(self)

    def exists(self) -> bool:
        """Return whether there is a file to read."""
        return self._connection is not None or self.path.exists()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection in autocommit mode; other threads wait.

        Raises
        ------
        OSError, sqlite3.Error
            If the file cannot be opened, is not of this kind, or has tables, triggers or views that are not ours.
        """
        with self._opened(_READING) as connection:
            self._check_unchanged(connection)
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside a write transaction, which is rolled back if the body raises."""
        with self._opened(_WRITING) as connection:
            try:
                self._begin(connection)
                self._check_unchanged(connection)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

    def _begin(self, connection: sqlite3.Connection) -> None:
        begin_immediate(connection, str(self.path), self._timeout)

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self.lock:
            # At the end of the process, calling a finalizer does nothing.
            if self._finalizer is not None and self._finalizer.detach() and self._connection is not None:
                _close(self._connection, self._owner)
            self._connection = self._finalizer = None

    @contextmanager
    def _opened(self, instructions: int) -> Iterator[sqlite3.Connection]:
        with self.lock, _plain_errors():
            # At the end of the process, the finalizer may run before others that still write.
            is_open = self._finalizer is not None and self._finalizer.alive and self._owner == os.getpid()
            if not is_open:
                self._open()
            assert self._connection is not None
            assert self._work is not None
            self._work.begin(instructions)
            with self._work.stoppable():
                yield self._connection

    def _open(self) -> None:
        self.close()
        make_private_folder(self.path.parent)
        path = str(self.path)
        if database.belongs_to_other_program(path, self._application_id):
            raise sqlite3.DatabaseError("it is not a file of claude_force_nb")
        make_private_file(path)
        connection = database.connect(path, timeout_seconds=self._timeout)
        work = database.WorkLimit(connection, path)
        work.begin(_WRITING)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._work, self._owner = connection, work, os.getpid()
        self._finalizer = weakref.finalize(self, _close, connection, self._owner)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        database.mark(connection, self._application_id)
        database.switch_to_wal(connection, timeout_seconds=self._timeout)
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        if _version(connection) == 0:
            self._begin(connection)
            for statement in self._tables.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {self._version}")
            connection.execute("COMMIT")
        if _version(connection) in self._earlier:
            self._migrate(connection)
        found = _version(connection)
        if found != self._version:
            age, remedy = ("a newer", "; upgrade the package") if found > self._version else ("an unknown", "")
            raise sqlite3.DatabaseError(f"made by {age} version of claude_force_nb{remedy}")
        self._check_tables(connection)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Migrate a file of an earlier version to the current one, completely or not at all."""
        try:
            self._begin(connection)
            earlier = self._earlier.get(_version(connection))
            if earlier is not None:  # otherwise another process has just migrated it
                if database.schema_of(connection) != _schema_made_by(earlier):
                    raise sqlite3.DatabaseError(_CHANGED)
                migrate(connection, earlier=earlier, tables=self._tables)
                connection.execute(f"PRAGMA user_version = {self._version}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise

    def _check_unchanged(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA schema_version").fetchall() != self._schema_version:
            self._check_tables(connection)

    def _check_tables(self, connection: sqlite3.Connection) -> None:
        """Refuse a file whose schema is not letter for letter ours, since a trigger or view could run other statements."""
        # Read the version first: if the schema changes in between, the next check notices.
        schema_version = connection.execute("PRAGMA schema_version").fetchall()
        if database.schema_of(connection) != _schema_made_by(self._tables):
            raise sqlite3.DatabaseError(_CHANGED)
        self._schema_version = schema_version


@lru_cache(maxsize=8)
def _schema_made_by(tables: str) -> List[Any]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(tables)
        return database.schema_of(connection)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Convert errors about a damaged file to SQLite errors, even if their text cannot be decoded."""
    try:
        yield
    except (UnicodeDecodeError, OverflowError) as error:
        raise sqlite3.DatabaseError(database.reason_of(error)) from None
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise sqlite3.DatabaseError(
                "it is damaged: reading it takes more work than a file of its size can need"
            ) from None
        raise


def _renew_locks() -> None:
    for file in list(_files):
        # The lock may be held by a thread that does not exist in the child.
        file.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
