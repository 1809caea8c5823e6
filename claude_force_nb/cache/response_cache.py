"""The response cache: answers on disk, trusted only if their signature is valid."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.vocabulary import is_positive, shown_value

from . import entries
from .admission import encoded
from .entries import CLOCK_SKEW_SECONDS, Entry, Verified, answer_of
from .fingerprints import fingerprint_of, is_fingerprint
from .keys import KeySource
from .lifecycle import StoreLifecycle
from .notices import Notices
from .report import CacheStats, VerifyReport
from .rows import Evicted, Judged, NewValue, Row
from .signing import NEVER, KeyRing, RecordKeys
from .uses import MAX_NOTES
from .verification import verify_store

if TYPE_CHECKING:
    from .shared_answers import SharedAnswers
    from .store import Store

__all__ = ["MAX_ENTRY_BYTES", "ResponseCache"]

MAX_ENTRY_BYTES = 64 * 2**20
"""Size limit of one entry, whatever the limit of the cache: far above any answer of the API (128,000 tokens are about 1 MB)."""

# Number of uses recorded together.
_FLUSHED_NOTES = 256


class ResponseCache:
    """A signed, size-limited and exactly counted cache of API answers on disk, safe for threads and any number of processes.

    Nothing is opened before the first use, and disk errors never raise: a cache that cannot be used issues one
    `CacheWarning` and then every look-up is a miss. An entry that fails its check is a miss too; it is counted, evicted
    and reported in one `CacheIntegrityWarning`.

    Parameters
    ----------
    directory : str or path, optional
        Default: ``CLAUDE_CACHE_DIR``, else ``claude_force_nb`` in the user's cache directory. ``~`` is expanded; a relative path
        is resolved now. New folders and files are accessible to the user only (0700, 0600).
    ttl_hours : float or None
        Lifetime of an entry in hours, > 0; None for no expiry. The expiry is part of the signed entry. If `ttl_hours`
        is shorter the next time, old entries expire earlier too; if it is longer, expired ones are not revived.
    max_size_mb : float
        Limit of the stored bytes, in millions, > 0. The database takes up to about twice that on disk.
    secret : str or bytes, optional
        Default: ``CLAUDE_CACHE_SECRET``, else a random key, created once in the user's config directory. Entries signed
        with a secret in ``CLAUDE_CACHE_SECRET_PREVIOUS`` are read as well.
    environ : mapping
        The environment variables.
    clock : callable
        Seconds since 1970 UTC.
    config_directory : str or path, optional
        Where the random key is kept.
    url : str, optional
        Address of a Redis server to share entries with others who have the same secret. Default: ``CLAUDE_CACHE_URL``.

    Attributes
    ----------
    shared : SharedAnswers or None
        The shared tier on that server.

    Raises
    ------
    OptionError
        If `ttl_hours` or `max_size_mb` is out of bounds, or `url` cannot be used.
    SecretError
        If `secret` is empty, or ``CLAUDE_FORCE_REQUIRE_SECRET`` is set and the secret is missing or weak.

    Warns
    -----
    CacheSecretWarning
        If a secret is a placeholder or short.
    CacheKeyWarning
        When the first entry is signed with a newly created random key.
    """

    def __init__(
        self,
        directory: Union[str, os.PathLike[str], None] = None,
        *,
        ttl_hours: Optional[float] = 24,
        max_size_mb: float = 500,
        secret: Union[str, bytes, None] = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
        config_directory: Union[str, os.PathLike[str], None] = None,
        url: Optional[str] = None,
    ) -> None:
        if ttl_hours is not None and not is_positive(ttl_hours):
            raise OptionError(f"ttl_hours must be greater than 0, or None for no expiry, not {shown_value(ttl_hours)}")
        if not is_positive(max_size_mb):
            raise OptionError(f"max_size_mb must be greater than 0, not {shown_value(max_size_mb)}")
        self._ttl_seconds = None if ttl_hours is None else float(ttl_hours) * 3600.0
        self._max_size_bytes = int(max_size_mb * 1_000_000)
        self._max_value_bytes = min(self._max_size_bytes, MAX_ENTRY_BYTES)
        self._clock = clock
        self._notices = Notices()
        self._keys = KeySource(secret, environ, config_directory=config_directory, notices=self._notices)
        self._lifecycle = StoreLifecycle(
            directory,
            keys=self._keys,
            notices=self._notices,
            environ=environ,
            clock=clock,
            # Entries written under a higher limit can still be read.
            max_value_bytes=MAX_ENTRY_BYTES,
            # Below this size no write, however large, evicts anything, so uses need not be recorded yet.
            notes_from_bytes=min(self._max_size_bytes // 2, self._max_size_bytes - self._max_value_bytes),
        )
        self._uses = self._lifecycle.uses
        self._verified = Verified()
        self.shared: Optional[SharedAnswers] = None
        url = url or environ.get("CLAUDE_CACHE_URL")
        if url:
            from .shared_answers import SharedAnswers

            self.shared = SharedAnswers(
                url,
                secret_is_given=self._keys.is_given,
                make_ring=lambda: self._keys.make_ring(self.directory),
                keep=lambda key, value, end: self._write([(key, value)], now=clock(), expires=end),
                max_value_bytes=MAX_ENTRY_BYTES,
                ttl_seconds=self._ttl_seconds,
                notices=self._notices,
                clock=clock,
            )
        self._hits = self._misses = self._expired = self._evictions = self._corrupt = self._foreign_key = 0

    @property
    def directory(self) -> Path:
        """Directory of the database, absolute; it need not exist yet."""
        return self._lifecycle.directory

    def record_keys(self) -> RecordKeys:
        """Return keys for records outside the cache, derived from the same secrets; raises SecretError if there are none."""
        return self._keys.make_record_keys()

    def close(self) -> None:
        """Record pending uses and close the database. Any later call opens it again."""
        self._lifecycle.close()
        if self.shared is not None:
            self.shared.close()

    def get(self, request: Union[ClaudeRequest, str], *, counted: bool = True) -> Optional[ClaudeResult]:
        """Return the verified answer for a request or fingerprint, or None; if not `counted`, leave the statistics alone.

        Raises
        ------
        OptionError
            If a fingerprint is not 64 lower-case hexadecimal digits.
        """
        return self._get(request if type(request) is str else fingerprint_of(request), None, counted)

    def read_ahead(self, requests: Sequence[ClaudeRequest]) -> List[Optional[ClaudeResult]]:
        """Return the answers to up to `READ_TOGETHER` requests, read in one statement.

        None does not mean that there is no entry: call `get` for that request.
        """
        keys = [request.fingerprint for request in requests]
        try:
            with self._lifecycle.read_lock:
                values = self._lifecycle.store.values_of(keys)  # type: ignore[union-attr]
        except Exception:  # the store is not open, or broken: `get` opens or repairs it
            values = {}
        return [self._get(key, values[key], True) if key in values else None for key in keys]

    def _get(self, fingerprint: str, value: Optional[bytes], counted: bool) -> Optional[ClaudeResult]:
        now = self._clock()
        lifecycle = self._lifecycle
        with lifecycle.read_lock:
            # The fast path of a hit, written out here for speed. Everything else is in _get_slowly.
            if lifecycle.checked_at <= now < lifecycle.check_again_at:
                store = lifecycle.store
                try:
                    if value is None:
                        rows = store.read(store.read_statement, (fingerprint,)).fetchall()  # type: ignore[union-attr]
                        if rows:
                            (value,) = rows[0]
                        elif store.row_of(fingerprint) is None and is_fingerprint(fingerprint):  # type: ignore[union-attr]
                            self._misses += counted
                            return None
                except Exception:
                    value = None  # _get_slowly tries again, and can repair the store
                if value is not None:
                    entry = self._verified.entry(self._keys.ring, fingerprint, value, self._ttl_seconds)
                    if type(entry) is Entry and entry.created <= now < entry.ends and len(self._uses.times) < MAX_NOTES:
                        self._hits += counted
                        self._uses.note(fingerprint, now)
                        return answer_of(entry, now)
        return self._get_slowly(fingerprint, now, counted)

    def discount_miss(self) -> None:
        """Take back one miss, because an equal call in flight, which has counted it, answered this call too."""
        with self._lifecycle.read_lock:
            self._misses -= 1

    def put(self, request: Union[ClaudeRequest, str], result: ClaudeResult) -> bool:
        """Store an answer; return whether it is on disk now.

        Results that are not ``ok``, refusals and cut-off answers are not stored. Answers larger than the cache or than
        64 MiB are not stored either; a `CacheWarning` reports them.

        Raises
        ------
        OptionError
            If a fingerprint is not 64 lower-case hexadecimal digits.
        """
        return self.put_many([(request, result)]) == 1

    def put_many(self, answers: Iterable[Tuple[Union[ClaudeRequest, str], ClaudeResult]]) -> int:
        """Store several answers in one transaction, like `put`; return how many are on disk now."""
        bodies = encoded(answers, max_value_bytes=self._max_value_bytes, notices=self._notices)
        if not bodies:
            self._notices.emit()
            return 0
        now = self._clock()
        created = max(0, int(now * 1000))
        ends = NEVER if self._ttl_seconds is None else min(NEVER, created + int(self._ttl_seconds * 1000))
        values: List[Tuple[str, bytes]] = []

        def sign(ring: KeyRing) -> None:
            for key, body in bodies:
                value = ring.sign(body, fingerprint=bytes.fromhex(key), created=created, expires=ends)
                values.append((key, value))

        is_written = self._write(values, now=now, expires=None if ends == NEVER else ends / 1000, sign=sign)
        if self.shared is not None:
            if not values and self._keys.ring is not None:
                sign(self._keys.ring)
            self.shared.put(values)
        self._notices.emit()
        return len(bodies) if is_written else 0

    def _write(
        self,
        values: List[Tuple[str, bytes]],
        *,
        now: float,
        expires: Optional[float],
        sign: Optional[Callable[[KeyRing], None]] = None,
    ) -> bool:
        """Write signed values to the disk and return whether they are there.

        If `sign` is given, it is called once the store is open, and fills the empty `values`.
        """

        def write(store: Store) -> Evicted:
            if sign is not None and not values:
                sign(self._keys.ring)  # type: ignore[arg-type]
            done = store.write(
                [NewValue(key, value, self._uses.next_moment(now)) for key, value in values],
                now=now,
                expires=expires,
                max_size_bytes=self._max_size_bytes,
                uses=self._uses,
            )
            # A damaged log can make a commit unreadable. Read now, while the answers can still be written again. The
            # checksum of each page in the log includes the pages before it, so reading the last entry checks all.
            with self._lifecycle.read_lock:
                store.read(store.read_statement, (values[-1][0],)).fetchall()
            return done

        done = self._lifecycle.work(write)
        if done is not None:
            self._expired += done.expired
            self._evictions += done.for_room
            self._keys.tell()
        return done is not None

    def delete(self, request: Union[ClaudeRequest, str]) -> bool:
        """Remove the entry of a request or fingerprint; return whether there was one."""
        fingerprint = fingerprint_of(request)
        with self._lifecycle.read_lock:
            self._verified.forget(fingerprint)
        done = self._lifecycle.work(lambda store: store.remove(fingerprint), keyed=False)
        self._notices.emit()
        return bool(done)

    def clear(self) -> int:
        """Remove every entry, whatever key signed it; return how many there were."""
        with self._lifecycle.read_lock:
            self._verified.forget_all()
            self._uses.times.clear()
        done = self._lifecycle.work(lambda store: store.empty(), insist=True, keyed=False)
        self._notices.emit()
        return done or 0

    def verify(self) -> VerifyReport:
        """Read and check every entry; evict the corrupt ones, leave expired ones and those signed with other keys.

        The size is counted anew, in case somebody changed the stored totals. If the whole database had to be created
        again, that counts as one corrupt entry.
        """
        before = self._lifecycle.databases_lost
        report = self._lifecycle.work(self._verified_store, insist=True, reading=True) or VerifyReport(available=False)
        if report.corrupt:
            self._notices.add_corrupt_entry(self.directory)
        databases = self._lifecycle.databases_lost - before
        self._corrupt += report.corrupt
        if databases:
            report = dataclasses.replace(report, corrupt=report.corrupt + databases)
        self._notices.emit()
        return report

    def stats(self) -> CacheStats:
        """Return the counters of this object and the totals of the directory; the totals are 0 if it cannot be read."""
        sums = self._lifecycle.work(lambda store: store.totals(), insist=True, reading=True, keyed=False)
        self._notices.emit()
        return CacheStats(
            hits=self._hits,
            misses=self._misses,
            expired=self._expired,
            evictions=self._evictions,
            integrity_failures=self._corrupt + self._lifecycle.databases_lost,
            foreign_key=self._foreign_key,
            entries=sums.entries if sums is not None else 0,
            size_bytes=sums.size_bytes if sums is not None else 0,
            max_size_bytes=self._max_size_bytes,
        )

    def __len__(self) -> int:
        return self.stats().entries

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> ResponseCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        hours = "None" if self._ttl_seconds is None else f"{self._ttl_seconds / 3600:g}"
        return f"ResponseCache({str(self.directory)!r}, ttl_hours={hours}, max_size_mb={self._max_size_bytes / 1e6:g})"

    # ------------------------------------------------------------------ reading

    def _get_slowly(self, fingerprint: str, now: float, counted: bool) -> Optional[ClaudeResult]:
        """Return the same as `_get`, and open, repair, evict, count and warn as needed, which most hits do not require."""
        fingerprint_of(fingerprint)
        row = self._lifecycle.work(lambda store: store.row_of(fingerprint), reading=True, new_key=False)
        found: Union[Entry, str] = "missing"
        with self._lifecycle.read_lock:
            if row is not None:
                found = self._check_row(fingerprint, row)
            if not isinstance(found, str):
                if now >= found.ends:
                    found = "expired"
                elif now < found.created - CLOCK_SKEW_SECONDS:
                    found = "future"
            if not isinstance(found, str):
                self._hits += counted
                self._uses.note(fingerprint, now)
                answer = answer_of(found, now)
            else:
                self._misses += counted
                self._verified.forget(fingerprint)
                answer = None
                if found == "corrupt":
                    self._corrupt += 1
                    self._notices.add_corrupt_entry(self.directory)
                elif found == "expired":
                    self._expired += 1
                elif found == "foreign":
                    self._foreign_key += 1
        if row is not None and found in ("corrupt", "expired"):
            judged = [Judged("key", fingerprint, row)]
            self._lifecycle.work(lambda store: store.evict(judged))
        elif self._uses.is_full:
            self._lifecycle.flush_uses(_FLUSHED_NOTES)
        self._notices.emit()
        return answer

    def _check_row(self, fingerprint: str, row: Row) -> Union[Entry, str]:
        try:
            value = entries.value_of(row)
        except ValueError:
            return "corrupt"
        return self._verified.entry(self._keys.ring, fingerprint, value, self._ttl_seconds)

    def _verified_store(self, store: Store) -> VerifyReport:
        assert self._keys.ring is not None
        return verify_store(store, self._keys.ring, ttl_seconds=self._ttl_seconds, clock=self._clock)
