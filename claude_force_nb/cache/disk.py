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
import stat
import time
from typing import Any, Dict, List, Optional, Tuple

import diskcache
from diskcache.core import DBNAME, MODE_RAW, UNKNOWN

__all__ = ["ERRORS", "DamagedError", "SignedDisk", "Store", "discard", "kind_of"]

# Written into the header of the database: what carries it is ours, and may be removed when it is broken.
APPLICATION_ID = 0x436C4631  # "ClF1"
_SQLITE_MAGIC = b"SQLite format 3\x00"
_COMPANIONS = ("-wal", "-shm", "-journal")

# All of diskcache's settings, so that none is left to a default that a later version changes.
_SETTINGS: Dict[str, Any] = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "least-recently-used",  # for its index; diskcache's own reads, which would write, are not used
    "size_limit": 2**62,
    "cull_limit": 0,  # eviction is ours: diskcache's stops after so many rows, over the limit or not
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2**10,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,  # a mapped file that somebody truncates kills the process
    "sqlite_synchronous": 1,
    "disk_min_file_size": 2**31 - 1,
    "disk_pickle_protocol": 0,
}

_ROW = "mode, filename, CASE WHEN length(value) <= {} THEN value END"
_ALLOWED_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
_FIRST_ROWID = -(2**63)


class DamagedError(Exception):
    """The database is not one that this module could have written."""


ERRORS = (DamagedError, diskcache.Timeout, sqlite3.Error, sqlite3.Warning, OSError, OverflowError)
"""What a `Store` raises; see `kind_of`."""


class SignedDisk(diskcache.Disk):  # type: ignore[misc]
    """Text keys and bytes values, kept inside the database and nowhere else.

    diskcache's own `Disk` unpickles keys and values if a row says so, and reads and removes whatever file a row names. This one
    knows a single kind of row, and has no code that opens or removes a file. Values of any size stay inside the row: written in
    one transaction with their size, they cannot be left behind or lost half-way by a crash.
    """

    def put(self, key: str) -> Tuple[str, bool]:
        if type(key) is not str:
            raise TypeError("a key of the cache is text, not {}".format(type(key).__name__))
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        if not raw or type(key) is not str:
            raise DamagedError("a key of the cache is text")
        return key

    def store(self, value: bytes, read: bool, key: Any = UNKNOWN) -> Tuple[int, int, None, bytes]:
        if read or type(value) is not bytes:
            raise TypeError("a value of the cache is bytes, not {}".format(type(value).__name__))
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

    Not safe for use by two threads at once: the owner holds a lock. Reads go through a connection of their own that cannot
    write, so that they never wait for a writer.

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
        self._path = os.path.join(directory, DBNAME)
        self._reader: Optional[sqlite3.Connection] = None
        self._writer: Optional[sqlite3.Connection] = None
        memory = sqlite3.connect(":memory:", isolation_level=None)
        memory.text_factory = bytes
        self._building: Optional[sqlite3.Connection] = memory
        self.pid = os.getpid()
        try:
            # The root directory stands in for ours, whose name diskcache would search for ~ and $.
            super().__init__(os.sep, timeout=timeout_seconds, disk=SignedDisk, **_SETTINGS)
            schema = _schema(memory)
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
        _make_way(self._path)
        self._writer = self._connect()
        sql = self._writer.execute
        sql("PRAGMA auto_vacuum = {}".format(_SETTINGS["sqlite_auto_vacuum"]))
        sql("PRAGMA journal_mode = {}".format(_SETTINGS["sqlite_journal_mode"])).fetchall()
        sql("PRAGMA synchronous = {}".format(_SETTINGS["sqlite_synchronous"]))
        sql("PRAGMA cache_size = {}".format(_SETTINGS["sqlite_cache_size"]))
        sql("PRAGMA journal_size_limit = {}".format(2**24))
        found = _schema(self._writer)
        if not found:
            self._create(schema)
            found = _schema(self._writer)
        if found != schema:
            raise DamagedError("the tables are not those of this cache")
        self.schema_version = self._value("PRAGMA schema_version")

        self._reader = self._connect()
        self._reader.execute("PRAGMA query_only = 1")
        self._reader.execute("PRAGMA cache_size = -16384")
        self._reader.set_authorizer(_authorize_read)
        self.read = self._reader.execute
        row = self._row = _ROW.format(int(max_value_bytes))
        self.read_statement = "SELECT {} FROM Cache WHERE key = ? AND raw = 1".format(row)
        self._scan_statement = (
            "SELECT rowid, key, raw, coalesce(length(value), 0), {} FROM Cache WHERE rowid >= ? ORDER BY rowid LIMIT 1"
        ).format(row)
        self.read(self.read_statement, ("",)).fetchall()
        self._identity = _identity(self._path)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            connection.text_factory = bytes  # text that is no UTF-8 must not raise
            # Functions and virtual tables named by the schema are not to be run; broken cells are errors at once.
            connection.execute("PRAGMA trusted_schema = 0")
            connection.execute("PRAGMA cell_size_check = 1")
            connection.execute("PRAGMA mmap_size = {}".format(_SETTINGS["sqlite_mmap_size"])).fetchall()
            if hasattr(connection, "setconfig"):
                connection.setconfig(getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE"), True)  # noqa: B009
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, schema: List[Any]) -> None:
        sql = self._con.execute
        sql("BEGIN IMMEDIATE")
        try:
            if not _schema(self._con):  # another process may have been first
                sql("PRAGMA application_id = {}".format(APPLICATION_ID))
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
        self._con.execute("PRAGMA busy_timeout = {}".format(int(seconds * 1000))).fetchall()

    def is_current(self) -> bool:
        """Whether the files under our names are still those that are open here."""
        return self._identity == _identity(self._path)

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

    # ------------------------------------------------------------------ one transaction

    def _value(self, statement: str, *arguments: Any) -> Any:
        row = self._con.execute(statement, arguments).fetchone()
        return row[0] if row else None

    def check_schema(self) -> None:
        """Raise DamagedError if the tables or triggers were changed since they were looked at; call it in a transaction."""
        if self._value("PRAGMA schema_version") != self.schema_version:
            raise DamagedError("the tables were changed by somebody else")

    def sums(self) -> Tuple[int, int]:
        """Return entries and bytes stored, as the triggers keep them; call it in a transaction that may write."""
        return self._recorded() or self.recount()

    def _recorded(self) -> Optional[Tuple[int, int]]:
        rows = dict(self._con.execute("SELECT key, value FROM Settings WHERE key IN ('count', 'size')").fetchall())
        count, size = rows.get(b"count"), rows.get(b"size")
        if type(count) is int and type(size) is int and count >= 0 and size >= 0 and bool(count) == bool(size):
            return count, size
        return None

    def recount(self) -> Tuple[int, int]:
        """Count entries and bytes from the values themselves, and set the sums right; call it in a transaction."""
        sql = self._con.execute
        actual = "coalesce(length(CAST(value AS BLOB)), 0)"
        sql("UPDATE Cache SET size = {0} WHERE size IS NOT {0}".format(actual))
        count, size = sql("SELECT count(*), coalesce(sum(size), 0) FROM Cache").fetchone()
        self._con.executemany("INSERT OR REPLACE INTO Settings VALUES (?, ?)", [("count", count), ("size", size)])
        return count, size

    def _make_room(self, max_size_bytes: int, *, spare: str, added_bytes: int) -> int:
        """Evict least-recently-used entries other than `spare` until the sum is at most `max_size_bytes`.

        `added_bytes` is what this transaction has added at most. Returns the number of entries evicted; call it in a transaction.
        """
        evicted = 0
        _, size = self.sums()
        if size > max_size_bytes + added_bytes:
            # The limit was lowered, or the sum forged: count before a whole cache is thrown away for it.
            _, size = self.recount()
        while True:
            excess = size - max_size_bytes
            if excess <= 0:
                return evicted
            rows = self._con.execute(
                "SELECT rowid, size FROM Cache WHERE key IS NOT ? ORDER BY access_time LIMIT 100", (spare,)
            ).fetchall()
            if not rows:
                self.recount()
                return evicted
            chosen = []
            for rowid, row_size in rows:
                chosen.append((rowid,))
                if type(row_size) is int and row_size > 0:
                    excess -= row_size
                if excess <= 0:
                    break
            self._con.executemany("DELETE FROM Cache WHERE rowid = ?", chosen)
            evicted += len(chosen)
            _, size = self.sums()

    def write(
        self,
        key: str,
        value: bytes,
        *,
        now: float,
        expires: Optional[float],
        max_size_bytes: int,
        uses: Dict[str, float],
    ) -> Tuple[int, int]:
        """Store `value`, and evict what is expired and what then is too much, in one transaction.

        Parameters
        ----------
        now, expires : float
            Seconds since 1970 UTC.
        uses : dict
            Notes of `note_uses` to be written first if entries have to go, and then emptied.

        Returns
        -------
        expired, evicted : int
        """
        noted = False
        with self.transact():
            self.check_schema()
            expired = self._drop_expired(now)
            if uses and self.sums()[1] + len(value) > max_size_bytes:
                self._note(uses)
                noted = True
            self.set(key, value, expire=None if expires is None else expires - time.time())
            evicted = self._make_room(max_size_bytes, spare=key, added_bytes=len(value))
        if noted:
            uses.clear()
        return expired, evicted

    def evict(self, judged: List[Tuple[str, Any, Any]]) -> int:
        """Remove entries that were judged unusable, unless another process has replaced them since.

        `judged` has one (column, its value, row as read) for each, with the column ``"key"`` or ``"rowid"``.
        """
        evicted = 0
        with self.transact():
            self.check_schema()
            sql = self._con.execute
            for column, name, row in judged:
                where = "WHERE key = ? AND raw = 1" if column == "key" else "WHERE rowid = ?"
                if sql("SELECT {} FROM Cache {}".format(self._row, where), (name,)).fetchall() == [row]:
                    evicted += sql("DELETE FROM Cache {}".format(where), (name,)).rowcount
            self.sums()
        return evicted

    def remove(self, key: str) -> bool:
        """Remove the entry of `key`; False where there is none."""
        with self.transact():
            self.check_schema()
            return bool(self._con.execute("DELETE FROM Cache WHERE key = ? AND raw = 1", (key,)).rowcount)

    def empty(self) -> int:
        """Remove every row, and give the space back; return how many there were."""
        with self.transact():
            self.check_schema()
            removed = self._con.execute("DELETE FROM Cache").rowcount
            self.recount()
        self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return int(removed)

    def note_uses(self, uses: Dict[str, float]) -> None:
        """Record when entries were last used (key to seconds since 1970 UTC), in one transaction, and empty `uses`."""
        with self.transact():
            self.check_schema()
            self._note(uses)
        uses.clear()

    def totals(self, *, count_anew: bool = False) -> Tuple[int, int]:
        """Return entries and bytes stored; `count_anew` reads every row and mends the sums."""
        if not count_anew:
            found = self._recorded()
            if found is not None:
                return found
        with self.transact():
            self.check_schema()
            return self.recount()

    def scan(self, start: int = _FIRST_ROWID) -> Optional[Tuple[Any, ...]]:
        """Return (rowid, key, raw, bytes, (mode, filename, value)) of the first row from rowid `start`; None after the last."""
        if start >= 2**63:
            return None
        rows = self.read(self._scan_statement, (start,)).fetchall()
        return (*rows[0][:4], tuple(rows[0][4:])) if rows else None

    def _note(self, uses: Dict[str, float]) -> None:
        self._con.executemany(
            "UPDATE Cache SET access_time = ? WHERE key = ? AND raw = 1", [(when, key) for key, when in uses.items()]
        )

    def _drop_expired(self, now: float) -> int:
        # What the row says of its end is not signed: it can shorten a life, never extend one.
        rows = self._con.execute(
            "SELECT rowid FROM Cache WHERE expire_time < ? ORDER BY expire_time LIMIT 10", (now,)
        ).fetchall()
        if rows:
            self._con.executemany("DELETE FROM Cache WHERE rowid = ?", rows)
        return len(rows)


def _authorize_read(action: int, _name: Any, column: Any, _database: Any, source: Any) -> int:
    # Asked when a statement is prepared, again whenever the schema has changed: a table that was replaced by a view (`source`
    # names it) or by an endless query is refused before it runs.
    if (
        action in _ALLOWED_READS
        and source is None
        and (action != sqlite3.SQLITE_FUNCTION or column in ("length", "coalesce"))
    ):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _schema(connection: sqlite3.Connection) -> List[Any]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name, type").fetchall()


def _identity(path: str) -> Tuple[Any, ...]:
    found: List[Any] = []
    for name in (path, path + "-wal"):
        try:
            status = os.stat(name)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return tuple(found)


def _make_way(path: str) -> None:
    """Move what is no regular file out of the way of the database, following no symbolic link and deleting nothing."""
    for name in (path, *(path + ending for ending in _COMPANIONS)):
        try:
            status = os.lstat(name)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            _move_aside(name)


def _move_aside(name: str) -> None:
    for number in range(1, 1000):
        target = "{}.unusable-{}".format(name, number)
        if not os.path.lexists(target):
            os.rename(name, target)
            return
    raise OSError("too many unusable files beside {}".format(name))


def _is_ours(path: str) -> bool:
    with open(path, "rb") as file:
        header = file.read(100)
    return header[:16] == _SQLITE_MAGIC and header[68:72] == APPLICATION_ID.to_bytes(4, "big")


def discard(directory: str) -> bool:
    """Clear the place of a broken database: one that is ours is removed, anything else is moved aside, never removed.

    Returns whether something was moved aside.

    Raises
    ------
    OSError
        If it cannot be moved or removed.
    """
    path = os.path.join(directory, DBNAME)
    _make_way(path)
    # The log first: left behind alone, it would be replayed into the next database.
    ours = os.path.exists(path) and _is_ours(path)
    for ending in _COMPANIONS:
        if os.path.lexists(path + ending):
            os.unlink(path + ending)
    if ours:
        os.unlink(path)
    elif os.path.lexists(path):
        _move_aside(path)
        return True
    return False


def kind_of(error: BaseException) -> str:
    """Sort an error of the store.

    Returns
    -------
    str
        ``"busy"``: another process holds a lock. ``"damaged"``: the database is not usable as it is. ``"broken"``: a read or
        write failed, which a damaged file or a failing disk can cause. ``"unavailable"``: the place cannot be used.
    """
    if isinstance(error, diskcache.Timeout):
        # diskcache says Timeout for every reason why a transaction did not begin.
        return kind_of(error.__context__) if error.__context__ is not None else "busy"
    text = str(error)
    if isinstance(error, DamagedError):
        return "damaged"
    if isinstance(error, sqlite3.OperationalError):
        if "locked" in text or "locking" in text:
            return "busy"
        if "disk I/O error" in text or "transaction" in text:
            return "broken"
        if "unable to open" in text or "readonly" in text or "full" in text or "out of memory" in text:
            return "unavailable"
        return "damaged"
    if isinstance(error, sqlite3.ProgrammingError):
        return "broken"
    if isinstance(error, sqlite3.Error):
        return "damaged"
    return "unavailable"
