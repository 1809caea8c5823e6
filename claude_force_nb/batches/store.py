"""The jobs on disk, written ahead of every step and shared by all kernels of a user. No prompts, answers or keys."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from claude_force_nb.errors import JobError
from claude_force_nb.messages.usage import add_dollars
from claude_force_nb.storage.database import reason_of
from claude_force_nb.storage.shared_file import SharedFile
from claude_force_nb.storage.user_folders import user_folder

from .owner import is_alive
from .records import (
    OPEN_STATES,
    BrokenRecordError,
    Job,
    Part,
    read_dollars,
    read_fingerprint,
    read_job,
    read_part,
)

__all__ = ["JobStore", "default_jobs_path"]

_BUSY_TIMEOUT_SECONDS = 30.0
# The API keeps results for 29 days.
_KEPT_SECONDS = 29 * 86400.0

_APPLICATION_ID = 0x436C4A31  # "ClJ1"
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    created REAL NOT NULL,
    notebook TEXT,
    cell TEXT,
    agent TEXT,
    model TEXT NOT NULL,
    base_url TEXT NOT NULL,
    caches_answers INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS parts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id),
    state TEXT NOT NULL,
    owner TEXT,
    batch_id TEXT,
    requests INTEGER NOT NULL,
    bound TEXT,
    newest_before TEXT,
    listed_at REAL,
    changed REAL NOT NULL,
    cancelled INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    unanswered INTEGER NOT NULL DEFAULT 0,
    cost TEXT DEFAULT '0'
);
CREATE INDEX IF NOT EXISTS parts_job ON parts (job);
CREATE TABLE IF NOT EXISTS requests (
    part INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    accounted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (part, fingerprint)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_fingerprint ON requests (fingerprint);
"""
_IS_OPEN = f"state IN ({', '.join(repr(state) for state in OPEN_STATES)})"
# Fewer than the 999 parameters that every version of SQLite accepts.
_SQL_CHUNK = 500
_FAULTS = (sqlite3.Error, OSError, BrokenRecordError, UnicodeError)


class JobStore:
    """The job store; every method is one transaction that is durable, even if power is lost, when the method returns.

    Parameters
    ----------
    path : Path
        The SQLite file.
    clock : callable
        Returns Unix seconds.

    Raises
    ------
    JobError
        By every method, if the file cannot be used or contains data that this package never writes.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self.owners = self.path.parent / "job-owners"
        self._clock = clock
        self._file = SharedFile(
            path,
            tables=_TABLES,
            application_id=_APPLICATION_ID,
            version=1,
            busy_timeout_seconds=_BUSY_TIMEOUT_SECONDS,
            durable=True,
        )

    def __repr__(self) -> str:
        return f"JobStore({str(self.path)!r})"

    def close(self) -> None:
        """Close the file; a later use opens it again."""
        self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        try:
            with self._file.transaction() as connection:
                yield _cursor(connection)
        except _FAULTS as error:
            self._file.close()
            raise JobError(f"the batch jobs in {self.path} cannot be saved ({_reason(error)})") from None

    def _read(self, query: str, values: Sequence[Any], read: Callable[[Mapping[str, Any]], Any]) -> List[Any]:
        try:
            if not self._file.exists():
                return []
            with self._file.connection() as connection:
                return [read(row) for row in _cursor(connection).execute(query, values)]
        except _FAULTS as error:
            self._file.close()
            raise JobError(f"the batch jobs in {self.path} cannot be read ({_reason(error)})") from None

    # ------------------------------------------------------------------ planning

    def plan(
        self, job: Job, fingerprints: Sequence[bytes], owner: str, bounds: Optional[Mapping[bytes, Decimal]]
    ) -> Tuple[Optional[Part], Dict[bytes, int]]:
        """Claim requests for a new part of `job`.

        Returns
        -------
        Part or None, dict of bytes to int
            The new part with the requests that are in no open part, or None if there are none; and the open parts of the
            other requests, by fingerprint.
        """
        with self._writing() as cursor:
            elsewhere = _open_parts(cursor, fingerprints, job.base_url)
            mine = [fingerprint for fingerprint in fingerprints if fingerprint not in elsewhere]
            if not mine:
                return None, elsewhere
            cursor.execute(
                "INSERT OR IGNORE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    job.created,
                    job.notebook,
                    job.cell,
                    job.agent,
                    job.model,
                    job.base_url,
                    int(job.caches_answers),
                ),
            )
            bound = None if bounds is None else format(sum((bounds[each] for each in mine), Decimal(0)), "f")
            insert = "INSERT INTO parts (job, state, owner, requests, bound, changed) VALUES (?, 'planned', ?, ?, ?, ?)"
            number = cursor.execute(insert, (job.id, owner, len(mine), bound, self._clock())).lastrowid
            cursor.executemany(
                "INSERT INTO requests (part, fingerprint) VALUES (?, ?)", ((number, each) for each in mine)
            )
            return read_part(cursor.execute("SELECT * FROM parts WHERE number = ?", (number,)).fetchone()), elsewhere

    def claim(self, number: int, owner: str) -> bool:
        """Take over a part from a dead worker; return False if its worker is alive, or the part has ended."""
        with self._writing() as cursor:
            row = cursor.execute(f"SELECT * FROM parts WHERE number = ? AND {_IS_OPEN}", (number,)).fetchone()
            if row is None:
                return False
            part = read_part(row)
            if part.owner != owner and self.has_live_owner(part):
                return False
            cursor.execute("UPDATE parts SET owner = ? WHERE number = ?", (owner, number))
            return True

    def release(self, owner: str) -> None:
        """Release all parts of a worker unchanged, so that another one may claim them."""
        with self._writing() as cursor:
            cursor.execute("UPDATE parts SET owner = NULL WHERE owner = ?", (owner,))

    # ------------------------------------------------------------------ steps

    def mark_sending(self, number: int, *, newest_before: Optional[str], listed_at: float) -> bool:
        """Record that a create request is about to be sent; return False if the part was cancelled before."""
        with self._writing() as cursor:
            cursor.execute(
                "UPDATE parts SET state = 'sending', newest_before = ?, listed_at = ?, changed = ?"
                " WHERE number = ? AND state IN ('planned', 'sending') AND cancelled = 0",
                (newest_before, listed_at, self._clock(), number),
            )
            return cursor.rowcount == 1

    def mark_sent(self, number: int, batch_id: str) -> bool:
        """Record a message batch's id; return True if its cancellation was requested meanwhile."""
        with self._writing() as cursor:
            cursor.execute(
                "UPDATE parts SET state = 'sent', batch_id = ?, changed = ? WHERE number = ?",
                (batch_id, self._clock(), number),
            )
            row = cursor.execute("SELECT cancelled FROM parts WHERE number = ?", (number,)).fetchone()
            return row is not None and bool(row["cancelled"])

    def drop(self, number: int) -> None:
        """Record that a part was never created, so that its requests may be sent again."""
        self._end(number, "dropped")

    def mark_collecting(self, number: int) -> None:
        """Record that results are about to be collected."""
        with self._writing() as cursor:
            cursor.execute(
                "UPDATE parts SET state = 'collecting', changed = ? WHERE number = ? AND state = 'sent'",
                (self._clock(), number),
            )

    def mark_accounted(self, number: int, fingerprints: Sequence[bytes], cost: Optional[Decimal]) -> None:
        """Record that these answers are accounted for, and their cost in US dollars; None if unknown."""
        with self._writing() as cursor:
            cursor.executemany(
                "UPDATE requests SET accounted = 1 WHERE part = ? AND fingerprint = ?",
                ((number, each) for each in fingerprints),
            )
            row = cursor.execute("SELECT cost FROM parts WHERE number = ?", (number,)).fetchone()
            so_far = None if row is None else read_dollars(row, "cost")
            if so_far is not None:
                total = None if cost is None else format(add_dollars(so_far, cost), "f")
                cursor.execute("UPDATE parts SET cost = ? WHERE number = ?", (total, number))

    def mark_collected(self, number: int, *, succeeded: int, failed: int, unanswered: int) -> None:
        """Record that all results are collected."""
        with self._writing() as cursor:
            cursor.execute(
                "UPDATE parts SET state = 'collected', succeeded = ?, failed = ?, unanswered = ?, changed = ?"
                " WHERE number = ? AND state = 'collecting'",
                (succeeded, failed, unanswered, self._clock(), number),
            )

    def finish(self, number: int) -> None:
        """Record that a collected part is finished."""
        self._end(number, "closed")

    def _end(self, number: int, state: str) -> None:
        with self._writing() as cursor:
            cursor.execute(
                "UPDATE parts SET state = ?, owner = NULL, changed = ? WHERE number = ?", (state, self._clock(), number)
            )
            cursor.execute("DELETE FROM requests WHERE part = ?", (number,))
            old = self._clock() - _KEPT_SECONDS
            stale = "SELECT number FROM parts WHERE changed < ?"
            cursor.execute(f"DELETE FROM requests WHERE part IN ({stale})", (old,))
            cursor.execute("DELETE FROM parts WHERE changed < ?", (old,))
            cursor.execute("DELETE FROM jobs WHERE created < ? AND id NOT IN (SELECT job FROM parts)", (old,))

    def cancel(self, job: str) -> None:
        """Record that a job is to be cancelled; parts that have not been sent will not be."""
        with self._writing() as cursor:
            cursor.execute(f"UPDATE parts SET cancelled = 1 WHERE job = ? AND {_IS_OPEN}", (job,))

    def forget(self, job: str) -> None:
        """Remove a job."""
        with self._writing() as cursor:
            cursor.execute("DELETE FROM requests WHERE part IN (SELECT number FROM parts WHERE job = ?)", (job,))
            cursor.execute("DELETE FROM parts WHERE job = ?", (job,))
            cursor.execute("DELETE FROM jobs WHERE id = ?", (job,))

    # ------------------------------------------------------------------ reading

    def part(self, number: int) -> Optional[Part]:
        """Return a part; None if it was forgotten."""
        found = self._read("SELECT * FROM parts WHERE number = ?", (number,), read_part)
        return found[0] if found else None

    def parts(self, job: str) -> List[Part]:
        """Return the parts of a job, in order."""
        return self._read("SELECT * FROM parts WHERE job = ? ORDER BY number", (job,), read_part)

    def jobs(self) -> List[Job]:
        """Return all jobs, newest first."""
        return self._read("SELECT * FROM jobs ORDER BY created DESC, id", (), read_job)

    def job(self, name: str) -> Optional[Job]:
        """Return a job by its id."""
        found = self._read("SELECT * FROM jobs WHERE id = ?", (name,), read_job)
        return found[0] if found else None

    def requests(self, number: int) -> Dict[bytes, bool]:
        """Return the fingerprints of an open part, and whether each is accounted for."""
        query = "SELECT fingerprint, accounted FROM requests WHERE part = ?"
        return dict(self._read(query, (number,), lambda row: (read_fingerprint(row), bool(row["accounted"]))))

    def batch_ids(self) -> List[str]:
        """Return the ids of all known message batches."""
        parts: List[Part] = self._read("SELECT * FROM parts WHERE batch_id IS NOT NULL", (), read_part)
        return [part.batch_id for part in parts if part.batch_id is not None]

    def has_live_owner(self, part: Part) -> bool:
        """Return whether a live worker owns a part."""
        try:
            return part.owner is not None and is_alive(self.owners, part.owner)
        except OSError as error:
            raise JobError(
                f"cannot tell which process is working on the batch jobs in {self.path} ({error.strerror or error}: {self.owners})"
            ) from None


def _cursor(connection: sqlite3.Connection) -> sqlite3.Cursor:
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor


def _reason(error: Exception) -> str:
    if isinstance(error, BrokenRecordError):
        return f"its {error} was changed by another program; move the file away to start over"
    return reason_of(error)


def _open_parts(cursor: sqlite3.Cursor, fingerprints: Sequence[bytes], server: str) -> Dict[bytes, int]:
    # Simulators of different sessions have the same name, but do not know each other's batches.
    found: Dict[bytes, int] = {}
    if cursor.execute("SELECT 1 FROM requests LIMIT 1").fetchone() is None:
        return found
    for start in range(0, len(fingerprints), _SQL_CHUNK):
        some = fingerprints[start : start + _SQL_CHUNK]
        query = (
            f"SELECT fingerprint, part FROM requests WHERE fingerprint IN ({', '.join('?' * len(some))})"
            f" AND part IN (SELECT number FROM parts JOIN jobs ON jobs.id = parts.job WHERE {_IS_OPEN} AND base_url = ?)"
        )
        for row in cursor.execute(query, (*some, server)):
            found[read_fingerprint(row)] = row["part"]
    return found


def default_jobs_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the user's job store."""
    return user_folder("data", environ) / "jobs.db"
