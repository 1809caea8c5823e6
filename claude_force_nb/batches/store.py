"""What is kept of batch jobs on disk: written ahead of every step, shared by all kernels. No prompts, answers or keys."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from claude_force_nb.errors import JobError
from claude_force_nb.messages.usage import add_dollars
from claude_force_nb.storage.shared_file import SharedFile, data_folder

from .owner import is_alive

__all__ = ["OPEN", "Job", "JobStore", "Part", "default_jobs_path"]

_BUSY_TIMEOUT_SECONDS = 30.0
# The API keeps results for 29 days.
_KEPT_SECONDS = 29 * 86400.0

# planned: claimed, nothing left. sending: a create may have left. sent: its id is known. collecting: results are being
# accounted. collected: all are, but the run that wanted them has not ended. closed, dropped (never made): over.
OPEN = ("planned", "sending", "sent", "collecting", "collected")

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
    keeps INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS parts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id),
    state TEXT NOT NULL,
    owner TEXT,
    batch_id TEXT,
    requests INTEGER NOT NULL,
    bound TEXT,
    anchor TEXT,
    asked REAL,
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
    done INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (part, fingerprint)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_fingerprint ON requests (fingerprint);
"""
_PART = (
    "number, job, state, owner, batch_id, requests, bound, anchor, asked, changed, cancelled, succeeded, failed,"
    " unanswered, cost"
)
_IS_OPEN = "state IN ({})".format(", ".join(map(repr, OPEN)))
_AT_ONCE = 500


@dataclass(frozen=True)
class Job:
    """One run's batches.

    Attributes
    ----------
    id : str
        Six hexadecimal digits.
    created : float
        Unix seconds.
    notebook, cell, agent : str or None
    model, base_url : str
    keeps : bool
        False where its answers are not to be cached.
    """

    id: str
    created: float
    notebook: Optional[str]
    cell: Optional[str]
    agent: Optional[str]
    model: str
    base_url: str
    keeps: bool


@dataclass(frozen=True)
class Part:
    """One batch of a job.

    Attributes
    ----------
    number : int
    job : str
    state : str
        One of `OPEN`, ``closed`` or ``dropped``.
    owner : str or None
        Token of the worker on it, dead or alive.
    batch_id : str or None
    requests : int
    bound : Decimal or None
        US dollars that it can cost at the most; None where that is not known.
    anchor : str or None
        Newest batch of the account before this one was sent.
    asked : float or None
        Unix seconds by the API's clock when that was asked.
    changed : float
        Unix seconds of the last step.
    cancelled : bool
        True where somebody asked for its end.
    succeeded, failed, unanswered : int
        Requests by what became of them, once collected.
    cost : Decimal or None
        US dollars of the answers collected so far; None where one price is unknown.
    """

    number: int
    job: str
    state: str
    owner: Optional[str]
    batch_id: Optional[str]
    requests: int
    bound: Optional[Decimal]
    anchor: Optional[str]
    asked: Optional[float]
    changed: float
    cancelled: bool
    succeeded: int
    failed: int
    unanswered: int
    cost: Optional[Decimal]

    @property
    def open(self) -> bool:
        """True until all that it can give was given."""
        return self.state in OPEN


def _job(row: Sequence[Any]) -> Job:
    values = list(row)
    values[7] = bool(values[7])
    return Job(*values)


def _part(row: Sequence[Any]) -> Part:
    values = list(row)
    values[6] = None if values[6] is None else Decimal(values[6])
    values[10] = bool(values[10])
    values[14] = None if values[14] is None else Decimal(values[14])
    return Part(*values)


class JobStore:
    """The file; every method is one transaction that is on disk, through a loss of power too, when it returns.

    Parameters
    ----------
    path : Path
        The SQLite file.
    clock : callable
        Gives Unix seconds.

    Raises
    ------
    JobError
        By every method, where the file cannot be used; one line.
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
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._file.transaction() as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            self._file.close()
            raise JobError(f"the batch jobs in {self.path} cannot be kept ({error})") from None

    def _rows(self, query: str, values: Sequence[Any] = ()) -> List[Tuple[Any, ...]]:
        if not self._file.exists():
            return []
        try:
            with self._file.connection() as connection:
                return connection.execute(query, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._file.close()
            raise JobError(f"the batch jobs in {self.path} cannot be read ({error})") from None

    # ------------------------------------------------------------------ planning

    def plan(
        self, job: Job, fingerprints: Sequence[bytes], owner: str, bounds: Optional[Mapping[bytes, Decimal]]
    ) -> Tuple[Optional[Part], Dict[bytes, int]]:
        """Claim requests for a new part of `job`.

        Returns
        -------
        Part or None, dict of bytes to int
            The new part, of the requests that are in no open part, None where all are; and the parts of the others.
        """
        with self._writing() as connection:
            elsewhere = _open_parts(connection, fingerprints)
            mine = [fingerprint for fingerprint in fingerprints if fingerprint not in elsewhere]
            if not mine:
                return None, elsewhere
            connection.execute(
                "INSERT OR IGNORE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (job.id, job.created, job.notebook, job.cell, job.agent, job.model, job.base_url, int(job.keeps)),
            )
            bound = None if bounds is None else format(sum((bounds[each] for each in mine), Decimal(0)), "f")
            insert = "INSERT INTO parts (job, state, owner, requests, bound, changed) VALUES (?, 'planned', ?, ?, ?, ?)"
            number = connection.execute(insert, (job.id, owner, len(mine), bound, self._clock())).lastrowid
            connection.executemany(
                "INSERT INTO requests (part, fingerprint) VALUES (?, ?)", ((number, each) for each in mine)
            )
            row = connection.execute(f"SELECT {_PART} FROM parts WHERE number = ?", (number,)).fetchone()
            return _part(row), elsewhere

    def claim(self, number: int, owner: str) -> bool:
        """Take a part over from a worker that is gone; False where one lives, or the part is over."""
        with self._writing() as connection:
            row = connection.execute(f"SELECT owner FROM parts WHERE number = ? AND {_IS_OPEN}", (number,)).fetchone()
            if row is None or (row[0] is not None and row[0] != owner and is_alive(self.owners, row[0])):
                return False
            connection.execute("UPDATE parts SET owner = ? WHERE number = ?", (owner, number))
            return True

    def release(self, owner: str) -> None:
        """Give up all parts of a worker; they stay as they are for the next one."""
        with self._writing() as connection:
            connection.execute("UPDATE parts SET owner = NULL WHERE owner = ?", (owner,))

    # ------------------------------------------------------------------ steps

    def sending(self, number: int, *, anchor: Optional[str], asked: float) -> bool:
        """Write that a create is about to leave; False where the part was cancelled before."""
        with self._writing() as connection:
            done = connection.execute(
                "UPDATE parts SET state = 'sending', anchor = ?, asked = ?, changed = ?"
                " WHERE number = ? AND state IN ('planned', 'sending') AND cancelled = 0",
                (anchor, asked, self._clock(), number),
            )
            return done.rowcount == 1

    def sent(self, number: int, batch_id: str) -> bool:
        """Write a batch's id; True where its end was asked for meanwhile."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE parts SET state = 'sent', batch_id = ?, changed = ? WHERE number = ?",
                (batch_id, self._clock(), number),
            )
            row = connection.execute("SELECT cancelled FROM parts WHERE number = ?", (number,)).fetchone()
            return row is not None and bool(row[0])

    def drop(self, number: int) -> None:
        """Write that a part was never made: its requests are free again."""
        self._end(number, "dropped")

    def collecting(self, number: int) -> None:
        """Write that results are about to be accounted."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE parts SET state = 'collecting', changed = ? WHERE number = ? AND state = 'sent'",
                (self._clock(), number),
            )

    def done(self, number: int, fingerprints: Sequence[bytes], cost: Optional[Decimal]) -> None:
        """Write that these answers are accounted, and what they cost; None for not known."""
        with self._writing() as connection:
            connection.executemany(
                "UPDATE requests SET done = 1 WHERE part = ? AND fingerprint = ?",
                ((number, each) for each in fingerprints),
            )
            so_far = connection.execute("SELECT cost FROM parts WHERE number = ?", (number,)).fetchone()
            if so_far is not None and so_far[0] is not None:
                total = None if cost is None else format(add_dollars(Decimal(so_far[0]), cost), "f")
                connection.execute("UPDATE parts SET cost = ? WHERE number = ?", (total, number))

    def collected(self, number: int, *, succeeded: int, failed: int, unanswered: int) -> None:
        """Write that all results are accounted."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE parts SET state = 'collected', succeeded = ?, failed = ?, unanswered = ?, changed = ?"
                " WHERE number = ? AND state = 'collecting'",
                (succeeded, failed, unanswered, self._clock(), number),
            )

    def finish(self, number: int) -> None:
        """Write that a collected part has nothing more to give."""
        self._end(number, "closed")

    def _end(self, number: int, state: str) -> None:
        with self._writing() as connection:
            connection.execute(
                "UPDATE parts SET state = ?, owner = NULL, changed = ? WHERE number = ?", (state, self._clock(), number)
            )
            connection.execute("DELETE FROM requests WHERE part = ?", (number,))
            old = self._clock() - _KEPT_SECONDS
            stale = "SELECT number FROM parts WHERE changed < ?"
            connection.execute(f"DELETE FROM requests WHERE part IN ({stale})", (old,))
            connection.execute("DELETE FROM parts WHERE changed < ?", (old,))
            connection.execute("DELETE FROM jobs WHERE created < ? AND id NOT IN (SELECT job FROM parts)", (old,))

    def cancel(self, job: str) -> None:
        """Write that the end of a job's parts is asked for; what is not sent yet will not be."""
        with self._writing() as connection:
            connection.execute(f"UPDATE parts SET cancelled = 1 WHERE job = ? AND {_IS_OPEN}", (job,))

    def forget(self, job: str) -> None:
        """Remove a job."""
        with self._writing() as connection:
            connection.execute("DELETE FROM requests WHERE part IN (SELECT number FROM parts WHERE job = ?)", (job,))
            connection.execute("DELETE FROM parts WHERE job = ?", (job,))
            connection.execute("DELETE FROM jobs WHERE id = ?", (job,))

    # ------------------------------------------------------------------ looking

    def part(self, number: int) -> Optional[Part]:
        """Return a part; None where it was forgotten."""
        rows = self._rows(f"SELECT {_PART} FROM parts WHERE number = ?", (number,))
        return _part(rows[0]) if rows else None

    def parts(self, job: str) -> List[Part]:
        """Return the parts of a job, in order."""
        return [_part(row) for row in self._rows(f"SELECT {_PART} FROM parts WHERE job = ? ORDER BY number", (job,))]

    def jobs(self) -> List[Job]:
        """Return all jobs, newest first."""
        rows = self._rows("SELECT * FROM jobs ORDER BY created DESC, id")
        return [_job(row) for row in rows]

    def job(self, name: str) -> Optional[Job]:
        """Return a job by its id."""
        rows = self._rows("SELECT * FROM jobs WHERE id = ?", (name,))
        return _job(rows[0]) if rows else None

    def requests(self, number: int) -> Dict[bytes, bool]:
        """Return the fingerprints of a part that is not over, and whether each is accounted."""
        query = "SELECT fingerprint, done FROM requests WHERE part = ?"
        return {bytes(each): bool(done) for each, done in self._rows(query, (number,))}

    def batch_ids(self) -> List[str]:
        """Return the ids of all batches that are known."""
        return [str(row[0]) for row in self._rows("SELECT batch_id FROM parts WHERE batch_id IS NOT NULL")]

    def lives(self, part: Part) -> bool:
        """Return whether a worker is on a part."""
        return part.owner is not None and is_alive(self.owners, part.owner)


def _open_parts(connection: sqlite3.Connection, fingerprints: Sequence[bytes]) -> Dict[bytes, int]:
    found: Dict[bytes, int] = {}
    if connection.execute("SELECT 1 FROM requests LIMIT 1").fetchone() is None:
        return found
    query = "SELECT fingerprint, part FROM requests WHERE fingerprint IN ({}) AND part IN (SELECT number FROM parts WHERE {})"
    for start in range(0, len(fingerprints), _AT_ONCE):
        some = fingerprints[start : start + _AT_ONCE]
        for fingerprint, part in connection.execute(query.format(", ".join("?" * len(some)), _IS_OPEN), some):
            found[bytes(fingerprint)] = part
    return found


def default_jobs_path(environ: Mapping[str, str]) -> Path:
    """Return the user's file of batch jobs."""
    return data_folder(environ) / "jobs.db"
