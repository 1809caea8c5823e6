"""The store under the response cache: diskcache's tables and transactions, without trusting the file.

`diskcache.Cache` configures itself from the ``Settings`` rows of the database it opens, and unpickles values if the
``mode`` and ``raw`` columns say so. We therefore build it on an empty database in memory, which nobody else can have
written to, and only then point it at the file, whose schema must be letter for letter the one just built. So no
setting, trigger, view or pragma that a stranger put into the file has any effect. Of its ``Settings`` only the two
totals are read, and those are counted anew if they cannot be true.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import diskcache
from diskcache.core import MODE_RAW

from claude_force_nb.storage.database import SQLITE_ERRORS, WorkLimit, connect, mark, schema_of, switch_to_wal
from claude_force_nb.storage.lock_wait import ONE_WAIT_SECONDS, begin_in_turn
from claude_force_nb.storage.private import make_private_file, make_private_folder

from . import database, faults
from .database import DamagedError
from .rows import READ_TOGETHER, Evicted, Judged, NewValue, Row, Scanned, Sums
from .signed_disk import SignedDisk
from .uses import UseLog

__all__ = ["Store"]

# Every setting of diskcache, so that nothing depends on defaults that a later version may change.
_SETTINGS: Dict[str, Any] = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "least-recently-used",  # only for its index: we do not use diskcache's reads, which would write
    "size_limit": 2**62,
    "cull_limit": 0,  # we evict ourselves: diskcache stops after a fixed number of rows, even if still over the limit
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2**12,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 1,
    "disk_min_file_size": 2**31 - 1,
    "disk_pickle_protocol": 0,
}

_FIRST_ROWID = -(2**63)
# Longer values are read one at a time, so that a group of values does not fill the memory.
_MOST_TOGETHER_BYTES = 2**20
# SQLite instructions allowed per transaction, in addition to those for the size of the file; see `WorkLimit`. Reads
# find one row by its key and need no limit.
_INSTRUCTIONS = 50_000_000

# Length of a value in bytes. SQLite knows the length of a blob without reading it; anything else is not ours, and is
# read.
_LENGTH = "CASE typeof(value) WHEN 'blob' THEN length(value) ELSE coalesce(length(CAST(value AS BLOB)), 0) END"


_SUMS = "SELECT (SELECT value FROM Settings WHERE key = 'count'), (SELECT value FROM Settings WHERE key = 'size')"
_BEFORE_WRITE = "SELECT (SELECT rowid FROM Cache WHERE key = ? AND raw = 1), (SELECT rowid FROM Cache WHERE expire_time < ? LIMIT 1)"


class Store(diskcache.Cache):  # type: ignore[misc]
    """`diskcache.Cache` over one database file, with connections that can be shared and closed by any thread.

    It has two connections. Reads use one that cannot write, so they never wait for a writer. Two threads must not use
    the same connection at once; the owner has a lock for each.

    Parameters
    ----------
    directory : str
        Created with mode 0700 if missing, the database in it with 0600.
    timeout_seconds : float
        Longest wait for another process's lock. A write waits longer while other processes write; see `storage.lock_wait`.
    max_value_bytes : int
        Longer values are read as None: a manipulated row must not fill the memory.

    Raises
    ------
    ForeignError
        If the database belongs to another program; it is left untouched.
    DamagedError, sqlite3.Error, OSError
        See `faults.kind_of`.
    """

    def __init__(self, directory: str, *, timeout_seconds: float, max_value_bytes: int) -> None:
        make_private_folder(directory)
        self._path = os.path.join(directory, database.DATABASE_NAME)
        database.check_ours(self._path)
        self._reader: Optional[sqlite3.Connection] = None
        self._writer: Optional[sqlite3.Connection] = None
        memory = sqlite3.connect(":memory:", isolation_level=None)
        memory.text_factory = bytes
        self._building: Optional[sqlite3.Connection] = memory
        self.pid = os.getpid()
        try:
            # Pass the root directory instead of ours: diskcache would expand ~ and $ in our name.
            super().__init__(os.sep, timeout=timeout_seconds, disk=SignedDisk, **_SETTINGS)
            schema = schema_of(memory)
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
        # diskcache's own version waits up to a minute, whatever the time-out.
        return self._con.execute

    def _attach(self, schema: List[Any], max_value_bytes: int) -> None:
        database.set_aside_companions(self._path)
        make_private_file(self._path)
        self._writer = self._connect()
        self._work = WorkLimit(self._writer, self._path)
        self._work.begin(_INSTRUCTIONS)
        sql = self._writer.execute
        found = schema_of(self._writer)
        if not found:
            # This has an effect only before there are tables; later it would merely cost a write.
            sql(f"PRAGMA auto_vacuum = {_SETTINGS['sqlite_auto_vacuum']}")
        mark(self._writer, database.APPLICATION_ID, database.USER_VERSION)
        switch_to_wal(self._writer, timeout_seconds=self._timeout)
        sql(f"PRAGMA synchronous = {_SETTINGS['sqlite_synchronous']}")
        sql(f"PRAGMA cache_size = {_SETTINGS['sqlite_cache_size']}")
        sql(f"PRAGMA journal_size_limit = {2**24}")
        if not found:
            self._create(schema)
        # The order matters: if the schema changes in between, the next transaction notices.
        self._schema_version = sql("PRAGMA schema_version").fetchall()
        if schema_of(self._writer) != schema:
            database.check_not_newer(self._writer)
            raise DamagedError("the tables are not those of this cache")

        self._reader = self._connect()
        self._reader.execute("PRAGMA query_only = 1")
        self._reader.execute("PRAGMA cache_size = -16384")
        self._reader.set_authorizer(database.authorize_read)
        self.read = self._reader.execute
        # Reads of values find only rows that can be ours; `row_of` and `scan` show whatever else is there.
        ours = f"raw = 1 AND mode = {MODE_RAW} AND filename IS NULL AND length(value) <="
        self.read_statement = f"SELECT value FROM Cache WHERE key = ? AND {ours} {int(max_value_bytes)}"
        several = ", ".join("?" * READ_TOGETHER)
        self._read_several = f"SELECT key, value FROM Cache WHERE key IN ({several}) AND {ours} {_MOST_TOGETHER_BYTES}"
        self._row = f"mode, filename, CASE WHEN length(value) <= {int(max_value_bytes)} THEN value END"
        self._scan_statement = f"SELECT rowid, key, raw, {self._row} FROM Cache WHERE rowid >= ? ORDER BY rowid LIMIT 1"
        self.read(self.read_statement, ("",)).fetchall()
        self._identity = database.identity(self._path)
        self.set_patience(self._timeout)

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self._path, timeout_seconds=self._timeout)
        connection.text_factory = bytes  # text that is not UTF-8 must not raise
        return connection

    def _create(self, schema: List[Any]) -> None:
        sql = self._con.execute
        sql("BEGIN IMMEDIATE")
        try:
            if not schema_of(self._con):  # another process may have been first
                for wanted in (b"table", b"index", b"trigger"):
                    for kind, _name, _table, statement in schema:
                        if kind == wanted and statement is not None:
                            sql(statement.decode("ascii"))
                rows = [*_SETTINGS.items(), ("count", 0), ("size", 0), ("hits", 0), ("misses", 0)]
                self._con.executemany("INSERT INTO Settings VALUES (?, ?)", rows)
            sql("COMMIT")
        except BaseException:
            if self._con.in_transaction:
                sql("ROLLBACK")
            raise

    def set_patience(self, seconds: float) -> None:
        """Set the longest wait of a write for another process's lock while nobody writes."""
        self._patience_seconds = seconds
        self._con.execute(f"PRAGMA busy_timeout = {int(min(seconds, ONE_WAIT_SECONDS) * 1000)}").fetchall()

    def is_current(self) -> bool:
        """Whether the files on disk are still the ones opened here."""
        return self._identity == database.identity(self._path)

    def was_replaced(self) -> bool:
        """Whether another file now has the name of the open database."""
        main = database.identity(self._path).main
        opened = getattr(self, "_identity", None)
        return opened is not None and main is not None and main != opened.main

    def close(self) -> None:
        """Close both connections; a second call does nothing."""
        for name in ("_reader", "_writer"):
            connection = getattr(self, name, None)
            if connection is not None:
                setattr(self, name, None)
                try:
                    connection.close()
                except SQLITE_ERRORS:
                    pass

    # ------------------------------------------------------------------ reading

    def values_of(self, keys: Sequence[str]) -> Dict[str, bytes]:
        """Return the values of 1 to `READ_TOGETHER` keys; leaves out values over 1 MiB and rows that cannot be ours."""
        every = list(keys)
        every += every[-1:] * (READ_TOGETHER - len(every))
        return {key.decode("ascii"): value for key, value in self.read(self._read_several, every).fetchall()}

    def row_of(self, key: str) -> Optional[Row]:
        """Return the row of `key`, whatever its content; None if it does not exist."""
        rows = self.read(f"SELECT {self._row} FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchall()
        return Row(*rows[0]) if rows else None

    def scan(self, start: int = _FIRST_ROWID) -> Optional[Scanned]:
        """Return the first row from rowid `start`; None after the last."""
        if start >= 2**63:
            return None
        rows = self.read(self._scan_statement, (start,)).fetchall()
        for rowid, key, raw, *row in rows:
            if type(rowid) is not int or rowid < start:
                raise DamagedError("the rows are not in order")
            return Scanned(rowid, key, raw, Row(*row))
        return None

    def totals(self, *, count_anew: bool = False) -> Sums:
        """Return the number of entries and stored bytes; `count_anew` reads every row and corrects the stored totals."""
        found = None if count_anew else self._recorded()
        if found is None:
            with self._changing():
                found = self._recount()
        return found

    # ------------------------------------------------------------------ writing, a transaction each

    def write(
        self,
        new: Sequence[NewValue],
        *,
        now: float,
        expires: Optional[float],
        max_size_bytes: int,
        uses: UseLog,
    ) -> Evicted:
        """Store values in order, evict expired entries, then evict until the size limit is met.

        Parameters
        ----------
        new : sequence of NewValue
        now, expires : float
            Seconds since 1970 UTC.
        uses : UseLog
            Uses not yet recorded. If they decide what is evicted, they are recorded and the log is emptied.
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
                if uses.times and not noted and self._sums().size_bytes + len(value) > max_size_bytes:
                    noted = True
                    self._note(uses.oldest(None))
                columns = (expires, None, *self._disk.store(value, False, key=key))
                if rowid is not None:
                    self._row_update(rowid, used, columns)
                else:
                    self._row_insert(key, True, used, columns)
                evicted += self._make_room(max_size_bytes, spare=key, added_bytes=len(value), moment=used)
        if noted:
            uses.times.clear()
        return Evicted(expired, evicted)

    def evict(self, judged: List[Judged]) -> int:
        """Remove unusable rows, unless another process has replaced them since; return how many."""
        evicted = 0
        with self._changing() as sql:
            for column, name, row in judged:
                where = "key = ? AND raw = 1" if column == "key" else "rowid = ?"
                found = sql(f"SELECT rowid, {self._row} FROM Cache WHERE {where}", (name,)).fetchall()
                evicted += self._evict([(rowid,) for rowid, *now in found if tuple(now) == row])
            self._sums()
        return evicted

    def remove(self, key: str) -> bool:
        """Remove the entry of `key`; False if it does not exist."""
        with self._changing() as sql:
            return bool(self._evict(sql("SELECT rowid FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchall()))

    def empty(self) -> int:
        """Remove every row and release the disk space; return how many there were."""
        with self._changing() as sql:
            removed = sql("DELETE FROM Cache").rowcount
            self._recount()
        self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return int(removed)

    def note_uses(self, uses: List[Tuple[str, float]]) -> None:
        """Record when entries were last used: (key, seconds since 1970 UTC) of each."""
        with self._changing():
            self._note(uses)

    # ------------------------------------------------------------------ inside a transaction

    @contextmanager
    def _changing(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        self._work.begin(_INSTRUCTIONS)
        with self._work.stoppable(), ExitStack() as transaction:
            enter = transaction.enter_context
            begin_in_turn(lambda: enter(self._transact()), self._path, self._patience_seconds, faults.is_busy)
            sql = self._con.execute
            # If somebody added a trigger after we checked the tables, it would run now.
            if sql("PRAGMA schema_version").fetchall() != self._schema_version:
                raise DamagedError("the tables were changed by somebody else")
            yield sql

    def _evict(self, rowids: List[Tuple[int]]) -> int:
        """Remove rows. No other code removes expired, evicted or corrupt entries."""
        return int(self._con.executemany("DELETE FROM Cache WHERE rowid = ?", rowids).rowcount) if rowids else 0

    def _make_room(self, max_size_bytes: int, *, spare: str, added_bytes: int, moment: float) -> int:
        """Evict least recently used entries other than `spare` until the total is at most `max_size_bytes`; return how many."""
        evicted = 0
        size = self._sums().size_bytes
        if size > max_size_bytes + added_bytes:
            # This transaction cannot have added so much: the limit was lowered, or the total is forged. Count before
            # evicting a whole cache for nothing.
            size = self._recount().size_bytes
        if size > max_size_bytes:
            self._end_future_uses(moment)
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
            removed = self._evict(chosen)
            if not removed:
                raise DamagedError("rows listed in an index are missing")
            evicted += removed
            size = self._sums().size_bytes
        return evicted

    def _end_future_uses(self, moment: float) -> None:
        """Move uses later than `moment`, which a fast clock recorded, to just before it, in the same order."""
        ((latest,),) = self._con.execute("SELECT max(access_time) FROM Cache").fetchall()
        if type(latest) is float and latest > moment:
            self._con.execute(
                "UPDATE Cache SET access_time = access_time - ? WHERE access_time > ?",
                (latest - moment + 1e-6, moment),
            )

    def _note(self, uses: List[Tuple[str, float]]) -> None:
        # Never set the time back: the entry may have been written again since that use.
        statement = "UPDATE Cache SET access_time = ? WHERE key = ? AND raw = 1 AND access_time < ?"
        self._con.executemany(statement, [(when, key, when) for key, when in uses])

    def _sums(self) -> Sums:
        return self._recorded() or self._recount()

    def _recorded(self) -> Optional[Sums]:
        """Return the number of entries and stored bytes as maintained by diskcache's triggers; None if they cannot be true."""
        ((count, size),) = self._con.execute(_SUMS).fetchall()
        if type(count) is int and type(size) is int and count >= 0 and size >= 0 and (count or not size):
            return Sums(count, size)
        return None

    def _recount(self) -> Sums:
        """Count entries and bytes from the values themselves, and correct the stored totals."""
        sql = self._con.execute
        sql(f"UPDATE Cache SET size = {_LENGTH} WHERE size IS NOT {_LENGTH}")
        ((count, size),) = sql("SELECT count(*), coalesce(sum(size), 0) FROM Cache").fetchall()
        self._con.executemany("INSERT OR REPLACE INTO Settings VALUES (?, ?)", [("count", count), ("size", size)])
        return Sums(count, size)
