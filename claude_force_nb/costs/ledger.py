"""The ledger: what every answer cost or saved, on disk for all kernels of a user, without prompts, answers or keys."""

from __future__ import annotations

import atexit
import os
import sqlite3
import time
import weakref
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Callable, Deque, Dict, Iterable, Iterator, List, Optional, Tuple, Union

from claude_force_nb.errors import ClaudeForceError, ClaudeForceWarning, OptionError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.storage.database import reason_of
from claude_force_nb.storage.regular_file import replace_file
from claude_force_nb.vocabulary import shown_value
from claude_force_nb.warn import warn

from .days import DAY_SECONDS, day_of
from .ledger_export import frame_of, write_csv
from .ledger_file import LedgerFile, default_ledger_path
from .ledger_rows import COLUMNS, LARGEST_COUNT, Group, LedgerEntry, LedgerRow, Speed, entry_of, sum_groups
from .since import parse_since
from .speeds import speeds_of

__all__ = ["Ledger", "LedgerEntry", "LedgerRow", "default_ledger_path", "parse_since"]

_LONGEST_NAME = 200

# After a failure, wait this long before trying the file again, so that a lock held by a stuck process does not slow
# every call.
_RETRY_SECONDS = 30.0
_BUSY_TIMEOUT_SECONDS = 2.0
_MOST_PENDING = 10_000
# Cached answers are written together after this time, or at this number. They cost nothing, so none of them is worth a
# transaction of its own, which would take longer than the cache took to answer.
_HIT_SECONDS = 1.0
_MOST_HITS = 512

_INSERT = f"INSERT INTO entries ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_KEYS = {
    None: "'total'",
    "model": "model",
    "agent": "COALESCE(agent, '')",
    "notebook": "COALESCE(notebook, '')",
    "day": "date(time, 'unixepoch')",
}

_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()


@atexit.register
def _flush_all() -> None:
    for ledger in list(_ledgers):
        ledger.close()


class Ledger:
    """Append-only record of what answers cost, shared by several threads and processes.

    Constructing it reads and writes nothing. A paid answer is on disk when `append` returns, so it survives the death
    of the process. Cached answers are written together: with the next paid one, with a later call once a second has
    passed, or by `flush`. If the ledger cannot be written, there is one `ClaudeForceWarning` and no answer is lost: up
    to 10,000 rows wait in memory until they can be written.

    Parameters
    ----------
    path : Path or str
        The SQLite file.
    clock : callable
        Returns Unix seconds.
    """

    def __init__(self, path: Union[Path, str], *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._clock = clock
        self._file = LedgerFile(path, busy_timeout_seconds=_BUSY_TIMEOUT_SECONDS)
        self._pending: List[Tuple[Any, ...]] = []
        self._hits: Deque[Tuple[ClaudeResult, float, Optional[str], Optional[str]]] = deque()
        self._first_hit: Optional[float] = None
        self._owner = os.getpid()
        _ledgers.add(self)
        self._failed_at: Optional[float] = None
        self._warned = False

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r})"

    def append(self, result: ClaudeResult, *, notebook: Optional[str] = None, cell: Optional[str] = None) -> None:
        """Record one answer from the API or the cache, or one failure. Requests that were not sent are not recorded.

        Parameters
        ----------
        result : ClaudeResult
        notebook, cell : str, optional
            Name of the notebook and id of the cell; truncated to 200 characters.
        """
        if not result.cached:
            self.append_many((result,), notebook=notebook, cell=cell)
            return
        now = self._clock()
        self._hits.append((result, now, notebook, cell))
        first = self._first_hit
        if first is None:
            self._first_hit = now
        elif len(self._hits) >= _MOST_HITS or not 0 <= now - first < _HIT_SECONDS:
            self._write([], now)

    def append_many(
        self, results: Iterable[ClaudeResult], *, notebook: Optional[str] = None, cell: Optional[str] = None
    ) -> None:
        """Record several answers in one transaction, like `append`."""
        now = self._clock()
        rows: List[Tuple[Any, ...]] = []
        for result in results:
            if result.cached:
                self._hits.append((result, now, notebook, cell))
                self._first_hit = now if self._first_hit is None else self._first_hit
            elif result.status != "not_sent":
                rows.append(_row(result, now, notebook, cell))
        first = self._first_hit
        if rows or len(self._hits) >= _MOST_HITS or (first is not None and not 0 <= now - first < _HIT_SECONDS):
            self._write(rows, now)

    def _waiting_hits(self) -> List[Tuple[Any, ...]]:
        self._first_hit = None
        if self._owner != os.getpid():  # after a fork: the parent writes these itself
            self._owner = os.getpid()
            self._hits.clear()
            self._pending.clear()
        waiting = []
        while True:
            try:
                waiting.append(_row(*self._hits.popleft()))
            except IndexError:
                return waiting

    def flush(self, *, last: bool = False) -> None:
        """Write the pending cached answers; with `last`, also retry rows that could not be written before."""
        if self._hits or (last and self._pending):
            self._write([], self._clock(), last=last)

    def _write(self, rows: List[Tuple[Any, ...]], now: float, *, last: bool = False) -> None:
        problem: Optional[Exception] = None
        with self._file.lock:
            rows = [*self._waiting_hits(), *rows]
            if not rows and not (last and self._pending):  # another thread has just written them
                return
            if self._failed_at is not None:
                self._pending.extend(rows[: max(0, _MOST_PENDING - len(self._pending))])
                if 0 <= now - self._failed_at < _RETRY_SECONDS and not last:
                    return
                rows = self._pending
            try:
                with self._file.transaction() as connection:
                    connection.executemany(_INSERT, rows)
                if self._failed_at is not None:
                    self._pending, self._failed_at, self._warned = [], None, False
            except (sqlite3.Error, OSError) as error:
                # The file behind a failed connection may be gone; the next try opens it again.
                self._file.close()
                if self._failed_at is None:
                    self._pending = rows[:_MOST_PENDING]
                self._failed_at = now
                if not self._warned:
                    self._warned, problem = True, error
        if problem is not None:
            warn(
                f"the ledger {self.path} cannot be written ({reason_of(problem)}): costs are not recorded until it can; "
                "move the file away to start a new one",
                ClaudeForceWarning,
            )

    def summary(self, by: Optional[str] = None, since: Optional[float] = None) -> List[LedgerRow]:
        """Return sums by ``"model"``, ``"agent"``, ``"day"`` or ``"notebook"``, or one row for all.

        Parameters
        ----------
        by : str, optional
            The key. Days are in chronological order, other groups most expensive first.
        since : float, optional
            Unix seconds; earlier answers are ignored. See `parse_since`.

        Raises
        ------
        OptionError
            If `by` is not one of these.
        ClaudeForceError
            If the file cannot be read.
        """
        if by not in _KEYS:
            raise OptionError(f"by must be model, agent, day or notebook, not {shown_value(by)}")
        query = (
            f"SELECT {_KEYS[by]}, cached, cost, saved, prompt_cache_saved, COUNT(*), SUM(input_tokens + cache_write_5m_tokens"
            " + cache_write_1h_tokens + cache_read_tokens), SUM(output_tokens) FROM entries WHERE time >= ? GROUP BY 1, 2, 3, 4, 5"
        )
        groups = (Group(*row) for row in self._select(query, (since or 0.0,)))
        try:
            rows = sum_groups(groups, keys=() if by else ("total",))
        except ValueError as error:
            raise self._unreadable(error) from None
        return sorted(rows, key=lambda row: (0 if by == "day" else -row.cost, row.key))

    def speeds(self, by: Optional[str] = None, since: Optional[float] = None) -> Dict[str, Speed]:
        """Return how quickly and reliably calls were answered, by key; parameters and errors are those of `summary`."""
        if by not in _KEYS:
            raise OptionError(f"by must be model, agent, day or notebook, not {shown_value(by)}")
        try:
            return speeds_of(self._select, _KEYS[by], since or 0.0)
        except ValueError as error:
            raise self._unreadable(error) from None

    def total(self, since: Optional[float] = None) -> LedgerRow:
        """Return the sums of all answers from `since` (Unix seconds) on."""
        return self.summary(None, since)[0]

    def entries(self, since: Optional[float] = None) -> Iterator[LedgerEntry]:
        """Yield the answers from `since` (Unix seconds) on, in the order they were recorded.

        Raises
        ------
        ClaudeForceError
            If the file cannot be read.
        """
        query = f"SELECT id, {', '.join(COLUMNS)} FROM entries WHERE id > ? AND time >= ? ORDER BY id LIMIT 1000"
        last = 0
        while True:
            # Read in pages, so that no transaction stays open between two of them.
            page = self._select(query, (last, since or 0.0))
            for number, *row in page:
                try:
                    # A damaged file can return the same rows over and over.
                    if type(number) is not int or number <= last:
                        raise ValueError("its rows are out of order")
                    entry = entry_of(row)
                except ValueError as error:
                    raise self._unreadable(error) from None
                last = number
                yield entry
            if not page:
                return

    def prune(self, older_than_seconds: float) -> int:
        """Remove older answers and return how many were removed.

        Today's answers (UTC) are always kept, and a daily budget's reservations of the last two days too: otherwise the
        daily budget would forget what has been spent.

        Parameters
        ----------
        older_than_seconds : float
            At least 0.

        Raises
        ------
        ClaudeForceError
            If the file cannot be written.
        """
        if not self._file.exists():
            return 0
        now = self._clock()
        before = min(now - older_than_seconds, now - now % DAY_SECONDS)
        day = day_of(min(before, now - 2 * DAY_SECONDS))
        try:
            with self._file.transaction() as connection:
                gone = connection.execute("DELETE FROM entries WHERE time < ?", (before,)).rowcount
                connection.execute("DELETE FROM reservations WHERE day < ?", (day,))
                connection.execute("DELETE FROM days WHERE day < ?", (day,))
        except (sqlite3.Error, OSError) as error:
            raise ClaudeForceError(f"the ledger {self.path} cannot be pruned ({reason_of(error)})") from None
        return int(gone)

    def export_csv(self, target: Union[Path, str, IO[str]], since: Optional[float] = None) -> int:
        """Write the answers as CSV with a header and return how many there were.

        Parameters
        ----------
        target : Path, str or text file
            A path is written as UTF-8, replacing an existing file. Times are ISO 8601 in UTC, amounts exact US dollars.
            Text that a spreadsheet would run as a formula gets a leading apostrophe.
        since : float, optional
            Unix seconds.

        Raises
        ------
        ClaudeForceError
            If the ledger cannot be read, or the file cannot be written; links are not followed.
        """
        if isinstance(target, (str, Path)):
            try:
                with replace_file(target, newline="") as file:
                    return self.export_csv(file, since)
            except OSError as error:
                raise ClaudeForceError(f"{target} cannot be written: {error.strerror or error}") from None
        return write_csv(self.entries(since), target)

    def to_frame(self, since: Optional[float] = None) -> Any:
        """Return the answers as a data frame of pandas, or of polars if pandas is not installed.

        There is one row per answer, in the order they were recorded, with the fields of `LedgerEntry` as columns.
        ``time`` is in UTC; amounts are floating-point US dollars, and missing if the price is unknown.

        Parameters
        ----------
        since : float, optional
            Unix seconds.

        Raises
        ------
        OptionError
            If neither library is installed.
        """
        return frame_of(self.entries(since))

    def close(self) -> None:
        """Try once more to write pending rows, then close the file. Idempotent; any later call opens it again."""
        self.flush(last=True)
        self._file.close()

    def _select(self, query: str, parameters: Tuple[Any, ...]) -> List[Tuple[Any, ...]]:
        self.flush()
        if not self._file.exists():
            return []
        try:
            with self._file.connection() as connection:
                return connection.execute(query, parameters).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> ClaudeForceError:
        return ClaudeForceError(
            f"the ledger {self.path} cannot be read ({reason_of(error)}); move the file away to start a new one"
        )


def _name(value: Optional[str]) -> Optional[str]:
    if value is None or (type(value) is str and len(value) <= _LONGEST_NAME and value.isascii()):
        return value
    text = str(value)[:_LONGEST_NAME]
    # SQLite cannot store a lone surrogate, and a server may send one.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _amount(value: Optional[Decimal]) -> Optional[str]:
    if value is None:
        return None
    text = str(value)
    return format(value, "f") if "E" in text else text  # formatting takes three times as long


def _row(result: ClaudeResult, now: float, notebook: Optional[str], cell: Optional[str]) -> Tuple[Any, ...]:
    usage = result.usage
    return (
        now,
        _name(notebook),
        _name(cell),
        _name(result.agent),
        _name(result.model),
        min(usage.input_tokens, LARGEST_COUNT),
        min(usage.output_tokens, LARGEST_COUNT),
        min(usage.cache_write_5m_tokens, LARGEST_COUNT),
        min(usage.cache_write_1h_tokens, LARGEST_COUNT),
        min(usage.cache_read_tokens, LARGEST_COUNT),
        min(usage.web_searches, LARGEST_COUNT),
        _name(usage.service_tier),
        _name(usage.speed),
        _amount(result.cost),
        _amount(result.saved),
        "0" if result.prompt_cache_saved == 0 else _amount(result.prompt_cache_saved),
        int(result.cached),
        _name(result.fingerprint),
        _name(result.request_id),
        result.status,
        result.attempts,
        None if result.cached else _seconds(result.duration_seconds),
        None if result.cached or not result.answered else _seconds(result.call_seconds),
    )


def _seconds(value: float) -> Optional[float]:
    # 0 means that it was not measured, as for a row of a message batch.
    return float(value) if value > 0 else None
