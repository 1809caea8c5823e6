"""A SQLite file that all kernels of a user share: opening it, its tables, its locks."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Mapping, Optional, Union

__all__ = ["SharedFile", "data_folder"]

# Connections inherited through fork. SQLite forbids to use or close them in the child, so they are kept, untouched.
_inherited: List[sqlite3.Connection] = []
# No thread may open a file while another one still has the descriptor that made it.
_making = threading.Lock()
_files: weakref.WeakSet[SharedFile] = weakref.WeakSet()


def _close(connection: sqlite3.Connection, owner: int) -> None:
    if os.getpid() == owner:
        connection.close()
    else:
        _inherited.append(connection)


class SharedFile:
    """One connection to the file, opened at its first use, for all threads of a process.

    Parameters
    ----------
    path : Path or str
        The file; it is made with mode 0600, its missing directories with 0700, when something is first written.
    tables : str
        Statements that make the tables, separated by ``;``.
    version : int
        Of the tables, >= 1; a file of another version is refused.
    busy_timeout_seconds : float
        How long to wait for another process's transaction.
    durable : bool
        True where a commit has to survive the loss of power as well.

    Attributes
    ----------
    lock : threading.RLock
        Held while the connection is used; renewed in a forked child.

    Notes
    -----
    Write-ahead log: what is committed survives the death of the process at once, and the loss of power at once with
    ``synchronous=FULL``, else up to the last checkpoint (SQLite documentation, "WAL mode" and ``PRAGMA synchronous``).
    """

    def __init__(
        self,
        path: Union[Path, str],
        *,
        tables: str,
        version: int,
        busy_timeout_seconds: float,
        durable: bool = False,
    ) -> None:
        self.path = Path(path)
        self._tables = tables
        self._version = version
        self._timeout = busy_timeout_seconds
        self._durable = durable
        self.lock = threading.RLock()
        self._connection: Optional[sqlite3.Connection] = None
        self._owner = 0
        self._finalizer: Optional[weakref.finalize] = None  # type: ignore[type-arg]
        _files.add(self)

    def exists(self) -> bool:
        """Return whether there is anything to read."""
        return self._connection is not None or self.path.exists()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection, in autocommit mode; other threads wait.

        Raises
        ------
        OSError, sqlite3.Error
            If the file cannot be opened, or is not of this kind.
        """
        with self.lock:
            if self._connection is None or self._owner != os.getpid():
                self._open()
            assert self._connection is not None
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection inside a write transaction, which is rolled back if the body raises."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

    def close(self) -> None:
        """Close the connection; it opens again when it is used again."""
        with self.lock:
            if self._finalizer is not None:
                self._finalizer()
            self._connection = self._finalizer = None

    def _open(self) -> None:
        self.close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(self.path)
        connection = sqlite3.connect(
            str(self.path), timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection, deadline=time.monotonic() + self._timeout)
        except BaseException:
            connection.close()
            raise
        self._connection, self._owner = connection, os.getpid()
        self._finalizer = weakref.finalize(self, _close, connection, self._owner)

    def _prepare(self, connection: sqlite3.Connection, *, deadline: float) -> None:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL").fetchone()
                break
            except sqlite3.OperationalError:
                # Turning to WAL does not wait for locks by itself, and several kernels may start at once.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        connection.execute("PRAGMA synchronous={}".format("FULL" if self._durable else "NORMAL"))
        version = _version(connection)
        if version == 0:
            connection.execute("BEGIN IMMEDIATE")
            for statement in self._tables.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={self._version}")
            connection.execute("COMMIT")
            version = _version(connection)
        if version != self._version:
            raise sqlite3.DatabaseError("made by another version of claude_force_nb")


def _make(path: Path) -> None:
    """Make an empty file with mode 0600 where there is none.

    SQLite would make it with the mode that the umask leaves; its -wal and -shm files copy this one's mode. One that is there
    must not even be opened: closing any descriptor of a file takes away all locks that the process has on it, those of
    other connections too ("How To Corrupt An SQLite Database File", section 2.2), and then another process takes itself
    for the last one and removes the log that is in use.
    """
    with _making:
        try:
            os.close(os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass


def _renew_locks() -> None:
    global _making
    # A lock may be held by a thread that the child does not have.
    _making = threading.Lock()
    for file in list(_files):
        file.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def data_folder(environ: Mapping[str, str]) -> Path:
    """Return the user's data directory: outside the cache, which may be shared, cleared and written by others."""
    folder = environ.get("CLAUDE_FORCE_DATA_DIR")
    if not folder:
        from platformdirs import user_data_dir

        folder = user_data_dir("claude_force_nb", appauthor=False)
    return Path(folder)
