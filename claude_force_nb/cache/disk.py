"""The store under the response cache: diskcache's tables and transactions, with nothing of the file believed.

`diskcache.Cache` configures itself from the ``Settings`` rows of the database it opens and unpickles what the ``mode`` and
``raw`` columns tell it to. Here it is built on an empty database in memory instead, which nobody else can have written to, and
only then pointed at the file, whose schema must be letter for letter the one just built. So no setting, trigger, view or
pragma that a stranger put into the file has any effect; of its ``Settings`` only the two sums are read, and those are counted
anew when they cannot be true.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import diskcache
from diskcache.core import MODE_RAW, UNKNOWN

from . import database
from .database import DamagedError

__all__ = ["SignedDisk", "Store"]

# All of diskcache's settings, so that none is left to a default that a later version changes.
_SETTINGS: Dict[str, Any] = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "least-recently-used",  # for its index; diskcache's own reads, which would write, are not used
    "size_limit": 2**62,
    "cull_limit": 0,  # eviction is ours: diskcache's stops after so many rows, over the limit or not
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2**12,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 1,
    "disk_min_file_size": 2**31 - 1,
    "disk_pickle_protocol": 0,
}

_FIRST_ROWID = -(2**63)

# Bytes of a value; only for a value that is no blob, and so not ours, is it read to be counted.
_LENGTH = "CASE typeof(value) WHEN 'blob' THEN length(value) ELSE coalesce(length(CAST(value AS BLOB)), 0) END"


_SUMS = "SELECT (SELECT value FROM Settings WHERE key = 'count'), (SELECT value FROM Settings WHERE key = 'size')"
_BEFORE_WRITE = "SELECT (SELECT rowid FROM Cache WHERE key = ? AND raw = 1), (SELECT rowid FROM Cache WHERE expire_time < ? LIMIT 1)"


class SignedDisk(diskcache.Disk):  # type: ignore[misc]
    """Text keys and bytes values, kept inside the database and nowhere else.

    diskcache's own `Disk` unpickles keys and values if a row says so, and reads and removes whatever file a row names. This one
    knows a single kind of row, and has no code that opens or removes a file. Values of any size stay inside the row: written in
    one transaction with their size, they cannot be left behind or lost half-way by a crash.
    """

    def put(self, key: str) -> Tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"a key of the cache is text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        if not raw or type(key) is not str:
            raise DamagedError("a key of the cache is text")
        return key

    def store(self, value: bytes, read: bool, key: Any = UNKNOWN) -> Tuple[int, int, None, bytes]:
        if read or type(value) is not bytes:
            raise TypeError(f"a value of the cache is bytes, not {type(value).__name__}")
        return len(value), MODE_RAW, None, value

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> bytes:
        if mode != MODE_RAW or filename is not None or type(value) is not bytes or read:
            raise DamagedError("a value of the cache is bytes inside its row")
        return value

    def filename(self, key: Any = UNKNOWN, value: Any = UNKNOWN) -> Tuple[str, str]:
        raise DamagedError("the cache keeps no files")

    def remove(self, file_path: Any) -> None:
        """Do nothing: no row of ours names a file."""


class Store(diskcache.Cache):  # type: ignore[misc]
    """`diskcache.Cache` over one database file, with connections that can be shared and closed by any thread.

    It has two connections: reads go through one that cannot write, so that they never wait for a writer. Neither may be used by
    two threads at once; the owner has a lock for each.

    Parameters
    ----------
    directory : str
        Made with mode 0700 where it is missing.
    timeout_seconds : float
        Longest wait for another process's lock.
    max_value_bytes : int
        Longer values are read as None: a row grown by hand must not fill the memory.

    Raises
    ------
    DamagedError, sqlite3.Error, OSError
        See `kind_of`.
    """

    def __init__(self, directory: str, *, timeout_seconds: float, max_value_bytes: int) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._path = os.path.join(directory, database.DATABASE_NAME)
        self._reader: Optional[sqlite3.Connection] = None
        self._writer: Optional[sqlite3.Connection] = None
        memory = sqlite3.connect(":memory:", isolation_level=None)
        memory.text_factory = bytes
        self._building: Optional[sqlite3.Connection] = memory
        self.pid = os.getpid()
        try:
            # The root directory stands in for ours, whose name diskcache would search for ~ and $.
            super().__init__(os.sep, timeout=timeout_seconds, disk=SignedDisk, **_SETTINGS)
            schema = database.schema_of(memory)
        finally:
            self._building = None
            memory.close()
        self._directory = self._disk._directory = directory
        try:
            self._attach(schema, max_value_bytes)
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------ connections

    @property
    def _con(self) -> sqlite3.Connection:
        connection = self._writer or self._building
        if connection is None:
            raise sqlite3.ProgrammingError("the cache is closed")
        return connection

    @property
    def _sql_retry(self) -> Any:
        # diskcache's own waits up to a minute, whatever the time-out.
        return self._con.execute

    def _attach(self, schema: List[Any], max_value_bytes: int) -> None:
        database.make_way(self._path)
        self._writer = database.connect(self._path, timeout_seconds=self._timeout)
        sql = self._writer.execute
        found = database.schema_of(self._writer)
        if not found:
            # Only of effect before there are tables, and later a write each time.
            sql("PRAGMA auto_vacuum = {}".format(_SETTINGS["sqlite_auto_vacuum"]))
        database.turn_to_log(self._writer, timeout_seconds=self._timeout)
        sql("PRAGMA synchronous = {}".format(_SETTINGS["sqlite_synchronous"]))
        sql("PRAGMA cache_size = {}".format(_SETTINGS["sqlite_cache_size"]))
        sql(f"PRAGMA journal_size_limit = {2**24}")
        if not found:
            self._create(schema)
        # In this order: what is changed in between is found by the next transaction.
        self._schema_version = sql("PRAGMA schema_version").fetchall()
        if database.schema_of(self._writer) != schema:
            raise DamagedError("the tables are not those of this cache")

        self._reader = database.connect(self._path, timeout_seconds=self._timeout)
        self._reader.execute("PRAGMA query_only = 1")
        self._reader.execute("PRAGMA cache_size = -16384")
        self._reader.set_authorizer(database.authorize_read)
        self.read = self._reader.execute
        # The first finds only rows such as ours; the others show what else is there.
        self.read_statement = f"SELECT value FROM Cache WHERE key = ? AND raw = 1 AND mode = {MODE_RAW} AND filename IS NULL AND length(value) <= {int(max_value_bytes)}"
        self._row = f"mode, filename, CASE WHEN length(value) <= {int(max_value_bytes)} THEN value END"
        self._scan_statement = f"SELECT rowid, key, raw, {self._row} FROM Cache WHERE rowid >= ? ORDER BY rowid LIMIT 1"
        self.read(self.read_statement, ("",)).fetchall()
        self._identity = database.identity(self._path)

    def _create(self, schema: List[Any]) -> None:
        sql = self._con.execute
        sql("BEGIN IMMEDIATE")
        try:
            if not database.schema_of(self._con):  # another process may have been first
                sql(f"PRAGMA application_id = {database.APPLICATION_ID}")
                for kind in (b"table", b"index", b"trigger"):
                    for row in schema:
                        if row[0] == kind and row[3] is not None:
                            sql(row[3].decode("ascii"))
                rows = [*_SETTINGS.items(), ("count", 0), ("size", 0), ("hits", 0), ("misses", 0)]
                self._con.executemany("INSERT INTO Settings VALUES (?, ?)", rows)
            sql("COMMIT")
        except BaseException:
            if self._con.in_transaction:
                sql("ROLLBACK")
            raise

    def set_patience(self, seconds: float) -> None:
        """Set the longest wait of a write for another process's lock."""
        self._con.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}").fetchall()

    def is_current(self) -> bool:
        """Whether the files under our names are still those that are open here."""
        return self._identity == database.identity(self._path)

    def close(self) -> None:
        """Close both connections; a second call does nothing."""
        for name in ("_reader", "_writer"):
            connection = getattr(self, name, None)
            if connection is not None:
                setattr(self, name, None)
                try:
                    connection.close()
                except sqlite3.Error:
                    pass

    # ------------------------------------------------------------------ reading

    def row_of(self, key: str) -> Optional[Tuple[Any, ...]]:
        """Return (mode, filename, value) of the row of `key`, whatever they are; None where there is none."""
        rows = self.read(f"SELECT {self._row} FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchall()
        return rows[0] if rows else None

    def scan(self, start: int = _FIRST_ROWID) -> Optional[Tuple[Any, ...]]:
        """Return (rowid, key, raw, (mode, filename, value)) of the first row from rowid `start`; None after the last."""
        if start >= 2**63:
            return None
        rows = self.read(self._scan_statement, (start,)).fetchall()
        return (*rows[0][:3], rows[0][3:]) if rows else None

    def totals(self, *, count_anew: bool = False) -> Tuple[int, int]:
        """Return entries and bytes stored; `count_anew` reads every row and mends the sums."""
        found = None if count_anew else self._recorded()
        if found is None:
            with self._changing():
                found = self._recount()
        return found

    # ------------------------------------------------------------------ writing, a transaction each

    def write(
        self,
        new: Sequence[Tuple[str, bytes, float]],
        *,
        now: float,
        expires: Optional[float],
        max_size_bytes: int,
        uses: Dict[str, float],
    ) -> Tuple[int, int]:
        """Store values one after the other, and evict what is expired and what then is too much.

        Parameters
        ----------
        new : sequence of (key, value, used)
            `used` is the same as `now`, made later than every use before.
        now, expires : float
            Seconds since 1970 UTC.
        uses : dict
            Key to time of last use, not yet written: they are, and the dict is emptied, where they decide what has to go.

        Returns
        -------
        expired, evicted : int
        """
        expired = evicted = 0
        noted = False
        with self._changing() as sql:
            for key, value, used in new:
                ((rowid, one_expired),) = sql(_BEFORE_WRITE, (key, now)).fetchall()
                if one_expired is not None:
                    expired += self._evict(
                        sql(
                            "SELECT rowid FROM Cache WHERE expire_time < ? AND rowid IS NOT ? LIMIT 10", (now, rowid)
                        ).fetchall()
                    )
                if uses and not noted and self._sums()[1] + len(value) > max_size_bytes:
                    noted = True
                    self._note(list(uses.items()))
                columns = (expires, None, *self._disk.store(value, False, key=key))
                if rowid is not None:
                    self._row_update(rowid, used, columns)
                else:
                    self._row_insert(key, True, used, columns)
                evicted += self._make_room(max_size_bytes, spare=key, added_bytes=len(value))
        if noted:
            uses.clear()
        return expired, evicted

    def evict(self, judged: List[Tuple[str, Any, Any]]) -> int:
        """Remove entries that were judged unusable, unless another process has replaced them since.

        `judged` has (column, its value, row as read) of each, with the column ``"key"`` or ``"rowid"``. Returns their number.
        """
        evicted = 0
        with self._changing() as sql:
            for column, name, row in judged:
                where = "key = ? AND raw = 1" if column == "key" else "rowid = ?"
                found = sql(f"SELECT rowid, {self._row} FROM Cache WHERE {where}", (name,)).fetchall()
                evicted += self._evict([(rowid,) for rowid, *now in found if tuple(now) == row])
            self._sums()
        return evicted

    def remove(self, key: str) -> bool:
        """Remove the entry of `key`; False where there is none."""
        with self._changing() as sql:
            return bool(self._evict(sql("SELECT rowid FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchall()))

    def empty(self) -> int:
        """Remove every row, and give the space back; return how many there were."""
        with self._changing() as sql:
            removed = sql("DELETE FROM Cache").rowcount
            self._recount()
        self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return int(removed)

    def note_uses(self, uses: List[Tuple[str, float]]) -> None:
        """Write down when entries were last used: (key, seconds since 1970 UTC) of each."""
        with self._changing():
            self._note(uses)

    # ------------------------------------------------------------------ inside a transaction

    @contextmanager
    def _changing(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        with self._transact():
            sql = self._con.execute
            # A trigger that was added since the tables were looked at would run now.
            if sql("PRAGMA schema_version").fetchall() != self._schema_version:
                raise DamagedError("the tables were changed by somebody else")
            yield sql

    def _evict(self, rowids: List[Tuple[int]]) -> int:
        """Remove rows: the one way out of the cache for the expired, the evicted and the corrupt."""
        if rowids:
            self._con.executemany("DELETE FROM Cache WHERE rowid = ?", rowids)
        return len(rowids)

    def _make_room(self, max_size_bytes: int, *, spare: str, added_bytes: int) -> int:
        """Evict least-recently-used entries other than `spare` until the sum is at most `max_size_bytes`; return how many."""
        evicted = 0
        _, size = self._sums()
        if size > max_size_bytes + added_bytes:
            # More than this transaction can have added: the limit was lowered, or the sum forged. Count before a whole cache is
            # thrown away for it.
            _, size = self._recount()
        while size > max_size_bytes:
            rows = self._con.execute(
                "SELECT rowid, size FROM Cache WHERE key IS NOT ? ORDER BY access_time LIMIT 100", (spare,)
            ).fetchall()
            if not rows:
                self._recount()
                break
            excess = size - max_size_bytes
            chosen = []
            for rowid, row_size in rows:
                chosen.append((rowid,))
                excess -= row_size if type(row_size) is int else 0
                if excess <= 0:
                    break
            evicted += self._evict(chosen)
            _, size = self._sums()
        return evicted

    def _note(self, uses: List[Tuple[str, float]]) -> None:
        # Never back: the entry may have been written again since it was read.
        statement = "UPDATE Cache SET access_time = ? WHERE key = ? AND raw = 1 AND access_time < ?"
        self._con.executemany(statement, [(when, key, when) for key, when in uses])

    def _sums(self) -> Tuple[int, int]:
        return self._recorded() or self._recount()

    def _recorded(self) -> Optional[Tuple[int, int]]:
        """Return entries and bytes stored, as diskcache's triggers keep them; None where that cannot be true."""
        ((count, size),) = self._con.execute(_SUMS).fetchall()
        if type(count) is int and type(size) is int and count >= 0 and size >= 0 and (count or not size):
            return count, size
        return None

    def _recount(self) -> Tuple[int, int]:
        """Count entries and bytes from the values themselves, and set the sums right."""
        sql = self._con.execute
        sql(f"UPDATE Cache SET size = {_LENGTH} WHERE size IS NOT {_LENGTH}")
        ((count, size),) = sql("SELECT count(*), coalesce(sum(size), 0) FROM Cache").fetchall()
        self._con.executemany("INSERT OR REPLACE INTO Settings VALUES (?, ?)", [("count", count), ("size", size)])
        return count, size
