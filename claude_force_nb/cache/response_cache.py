"""ResponseCache: answers kept on disk, believed only when their signature is right."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Mapping, Optional, Tuple, Union

from claude_force_nb.errors import CacheIntegrityWarning, OptionError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult

from . import entries
from .entries import CLOCK_SKEW_SECONDS, Entry, answer_of
from .lifecycle import StoreLifecycle
from .report import CacheStats, VerifyReport
from .signing import NEVER, OVERHEAD_BYTES, UnknownKeyError

if TYPE_CHECKING:
    from .disk import Store

__all__ = ["MAX_ENTRY_BYTES", "ResponseCache"]

# An answer that stopped for one of these is not the answer that the next run wants to see again.
_NOT_KEPT = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn", "refusal"})

MAX_ENTRY_BYTES = 64 * 2**20
"""Longest entry, whatever the limit of the cache: far over any answer of the API (128,000 tokens are about 1 MB)."""

# Uses noted in memory before some are written down, and how many then: a note takes about 200 bytes here, and some 20 µs to
# write.
_NOTES = 4096
_NOTES_AT_ONCE = 256

_EVICTED_AT_ONCE = 64
_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")


class ResponseCache(StoreLifecycle):
    """Answers of the API on disk: signed, bounded and exactly accounted. For every thread and any number of processes.

    Nothing is opened before the first use, and nothing about the disk ever raises: a cache that cannot be used costs one
    `CacheWarning` and then gives misses. An entry that fails its check is a miss, is counted, is evicted, and costs one
    `CacheIntegrityWarning`.

    Parameters
    ----------
    directory : str or path, optional
        Default: ``CLAUDE_CACHE_DIR``, else ``claude_force_nb`` in the user's cache directory. ``~`` is expanded.
    ttl_hours : float or None
        Life of an entry in hours, over 0; None for no end. The end is signed into each entry; a shorter `ttl_hours` later
        ends old ones earlier too, a longer one does not revive them.
    max_size_mb : float
        Limit of the bytes stored, in millions of bytes, over 0. The database around them takes up to about twice that.
    secret : str or bytes, optional
        Default: ``CLAUDE_CACHE_SECRET``, else a random key made once in the user's config directory. Entries signed with a
        secret in ``CLAUDE_CACHE_SECRET_PREVIOUS`` are read as well.
    environ : mapping
        Environment.
    clock : callable
        Seconds since 1970 UTC.
    config_directory : str or path, optional
        Where the random key is kept.

    Raises
    ------
    OptionError
        If `ttl_hours` or `max_size_mb` is out of bounds.
    SecretError
        If `secret` is empty, or ``CLAUDE_FORCE_REQUIRE_SECRET`` is set and the secret is missing or weak.

    Warns
    -----
    CacheSecretWarning
        If a secret is a placeholder or short; later, when a random key is made.
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
    ) -> None:
        if ttl_hours is not None and not _is_positive(ttl_hours):
            raise OptionError(f"ttl_hours must be over 0, or None for no end, not {ttl_hours!r}")
        if not _is_positive(max_size_mb):
            raise OptionError(f"max_size_mb must be over 0, not {max_size_mb!r}")
        self._ttl_seconds = None if ttl_hours is None else float(ttl_hours) * 3600.0
        max_size_bytes = int(max_size_mb * 1_000_000)
        super().__init__(
            directory,
            secret=secret,
            environ=environ,
            clock=clock,
            config_directory=config_directory,
            max_size_bytes=max_size_bytes,
            max_value_bytes=min(max_size_bytes, MAX_ENTRY_BYTES),
        )
        self._verified = entries.Verified()
        self._hits = self._misses = self._expired = self._evictions = self._foreign_key = 0

    def get(self, request: Union[ClaudeRequest, str]) -> Optional[ClaudeResult]:
        """Return the answer kept for a request or fingerprint, checked; None where there is none that can be trusted.

        Raises
        ------
        OptionError
            If a fingerprint is not 64 lower-case hexadecimal digits.
        """
        fingerprint = request if type(request) is str else _fingerprint_of(request)
        now = self._clock()
        with self._read_lock:
            # The path of a hit; it is why this method is longer than it looks nice. All else is in _get_slowly.
            if self._looked_at <= now < self._look_at:
                store = self._store
                try:
                    rows = store.read(store.read_statement, (fingerprint,)).fetchall()  # type: ignore[union-attr]
                    absent = not rows and store.row_of(fingerprint) is None  # type: ignore[union-attr]
                except Exception:
                    rows = absent = None  # tried again below, where there is a way to mend what is broken
                if absent and _FINGERPRINT.match(fingerprint):
                    self._misses += 1
                    return None
                if rows:
                    entry = self._verified.get(fingerprint)
                    # Verified before, and on disk every byte is still the same: only its age can have changed.
                    if entry is None or entry[0] != rows[0]:
                        entry = self._check(fingerprint, rows[0])
                    if type(entry) is tuple and entry[2] <= now < entry[3] and len(self._uses) < _NOTES:
                        self._hits += 1
                        return self._answer(fingerprint, entry, now)
        return self._get_slowly(fingerprint, now)

    def put(self, request: Union[ClaudeRequest, str], result: ClaudeResult) -> bool:
        """Keep an answer; return whether it is on disk now.

        Refused are results that are not ``ok``, refusals, answers that were cut short, and, with a `CacheWarning`, answers
        larger than the cache or than 64 MiB.

        Raises
        ------
        OptionError
            If a fingerprint is not 64 lower-case hexadecimal digits.
        """
        return self.put_many([(request, result)]) == 1

    def put_many(self, answers: Iterable[Tuple[Union[ClaudeRequest, str], ClaudeResult]]) -> int:
        """Keep several answers in one transaction, as `put` would one after the other; return how many are on disk now."""
        bodies = [kept for kept in (self._body(request, result) for request, result in answers) if kept[1]]
        if not bodies:
            self._emit()
            return 0
        now = self._clock()
        created = max(0, int(now * 1000))
        ends = NEVER if self._ttl_seconds is None else min(NEVER, created + int(self._ttl_seconds * 1000))

        def write(store: Store) -> Tuple[int, int]:
            sign = self._ring.sign  # type: ignore[union-attr]
            new = [
                (key, sign(body, fingerprint=bytes.fromhex(key), created=created, expires=ends), self._next_use(now))
                for key, body in bodies
            ]
            done = store.write(
                new,
                now=now,
                expires=None if ends == NEVER else ends / 1000,
                max_size_bytes=self._max_size_bytes,
                uses=self._uses,
            )
            # Committed is not yet readable, where somebody has damaged the log: found now, the answers can be written again.
            # Each page of the log is checked with those before it, so the last entry stands for all.
            with self._read_lock:
                store.read(store.read_statement, (new[-1][0],)).fetchall()
            return done

        done = self._work(write)
        if done is not None:
            self._expired += done[0]
            self._evictions += done[1]
        self._emit()
        return len(bodies) if done is not None else 0

    def _body(self, request: Union[ClaudeRequest, str], result: ClaudeResult) -> Tuple[str, bytes]:
        """Return fingerprint and encoded answer; the latter empty where it is not to be kept."""
        fingerprint = _fingerprint_of(request)
        if result.status != "ok" or result.error is not None or result.stop_reason in _NOT_KEPT:
            return fingerprint, b""
        try:
            body = entries.encode(result)
        except (TypeError, ValueError):
            self._say("record", "an answer cannot be written as JSON and was not cached")
            return fingerprint, b""
        if len(body) + OVERHEAD_BYTES > self._max_value_bytes:
            message = "an answer of {:,} bytes was not cached: the limit is {:,} bytes (max_size_mb)"
            self._say("large", message.format(len(body) + OVERHEAD_BYTES, self._max_value_bytes))
            return fingerprint, b""
        return fingerprint, body

    def delete(self, request: Union[ClaudeRequest, str]) -> bool:
        """Remove the entry of a request or fingerprint; return whether there was one."""
        fingerprint = _fingerprint_of(request)
        with self._read_lock:
            self._verified.forget(fingerprint)
        done = self._work(lambda store: store.remove(fingerprint), keyed=False)
        self._emit()
        return bool(done)

    def clear(self) -> int:
        """Remove every entry, of every key; return how many there were."""
        with self._read_lock:
            self._verified.forget_all()
            self._uses.clear()
        done = self._work(lambda store: store.empty(), insist=True, keyed=False)
        self._emit()
        return done or 0

    def verify(self) -> VerifyReport:
        """Read and check every entry: corrupt ones are evicted, expired ones and those of other keys are left.

        Counts the size anew as well, should somebody have changed the sums. A whole database that had to be made anew counts as
        one corrupt entry.
        """
        before = self._integrity_failures
        report = self._work(self._verify, insist=True, reading=True) or VerifyReport(available=False)
        if report.corrupt:
            self._say_corrupt()
        databases = self._integrity_failures - before
        self._integrity_failures += report.corrupt
        if databases:
            report = dataclasses.replace(report, corrupt=report.corrupt + databases)
        self._emit()
        return report

    def stats(self) -> CacheStats:
        """Return the counters of this object and the sums of the directory; the sums are 0 where it cannot be read."""
        sums = self._work(lambda store: store.totals(), insist=True, reading=True, keyed=False)
        entries, size_bytes = sums or (0, 0)
        self._emit()
        return CacheStats(
            hits=self._hits,
            misses=self._misses,
            expired=self._expired,
            evictions=self._evictions,
            integrity_failures=self._integrity_failures,
            foreign_key=self._foreign_key,
            entries=entries,
            size_bytes=size_bytes,
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
        size_mb = self._max_size_bytes / 1_000_000
        return f"ResponseCache({str(self.directory)!r}, ttl_hours={hours}, max_size_mb={size_mb:g})"

    # ------------------------------------------------------------------ reading

    def _get_slowly(self, fingerprint: str, now: float) -> Optional[ClaudeResult]:
        """All that most hits do not need: opening, mending, evicting, counting, warning."""
        _fingerprint_of(fingerprint)
        row = self._work(lambda store: store.row_of(fingerprint), reading=True)
        found: Union[Entry, str] = "missing"
        with self._read_lock:
            if row is not None:
                found = self._check(fingerprint, row)
            if not isinstance(found, str):
                if now >= found[3]:
                    found = "expired"
                elif now < found[2] - CLOCK_SKEW_SECONDS:
                    found = "future"
            if not isinstance(found, str):
                self._hits += 1
                answer = self._answer(fingerprint, found, now)
            else:
                self._misses += 1
                self._verified.forget(fingerprint)
                answer = None
                if found == "corrupt":
                    self._integrity_failures += 1
                    self._say_corrupt()
                elif found == "expired":
                    self._expired += 1
                elif found == "foreign":
                    self._foreign_key += 1
        if found in ("corrupt", "expired"):
            self._work(lambda store: store.evict([("key", fingerprint, row)]))
        elif len(self._uses) >= _NOTES:
            self._flush_uses(_NOTES_AT_ONCE)
        self._emit()
        return answer

    def _answer(self, fingerprint: str, entry: Entry, now: float) -> ClaudeResult:
        self._verified.move_to_end(fingerprint)
        self._uses.pop(fingerprint, None)
        self._uses[fingerprint] = self._next_use(now)
        return answer_of(entry, now)

    def _next_use(self, now: float) -> float:
        """Return `now`, made later than every use before: clocks are coarse, and go back."""
        last = self._last_use
        self._last_use = now = now if now > last else last + 1e-6
        return now

    def _check(self, fingerprint: str, row: Tuple[Any, ...]) -> Union[Entry, str]:
        """Verify, decode and remember a row as read: the entry, or why there is none."""
        assert self._ring is not None
        try:
            entry = entries.read(self._ring, fingerprint, row, self._ttl_seconds)
        except UnknownKeyError:
            return "foreign"
        except Exception:
            return "corrupt"
        self._verified.remember(fingerprint, entry)
        return entry

    def _verify(self, store: Store) -> VerifyReport:
        assert self._ring is not None
        counts = {"intact": 0, "expired": 0, "corrupt": 0, "foreign_key": 0}
        corrupt: List[Tuple[str, Any, Any]] = []
        found = store.scan()
        while found is not None:
            rowid, key, raw, row = found
            try:
                if raw != 1:
                    raise ValueError("no key of ours")
                fingerprint = bytes.fromhex(_fingerprint_of(key.decode("ascii")))
                _, created_ms, ends_ms = self._ring.unsign(entries.value_of(row), fingerprint=fingerprint)
                created, ends = entries.lifetime(created_ms, ends_ms, self._ttl_seconds)
                verdict = "intact" if created - CLOCK_SKEW_SECONDS <= self._clock() < ends else "expired"
            except UnknownKeyError:
                verdict = "foreign_key"
            except Exception:
                verdict = "corrupt"
                corrupt.append(("rowid", rowid, row))
            counts[verdict] += 1
            found = store.scan(rowid + 1)
            if len(corrupt) == _EVICTED_AT_ONCE or (corrupt and found is None):
                store.evict(corrupt)
                corrupt.clear()
        _, size_bytes = store.totals(count_anew=True)
        return VerifyReport(
            intact=counts["intact"],
            expired=counts["expired"],
            corrupt=counts["corrupt"],
            foreign_key=counts["foreign_key"],
            size_bytes=size_bytes,
        )

    def _say_corrupt(self) -> None:
        message = "an entry of the response cache in {} failed its check and was evicted; further ones are only counted"
        self._say("integrity", message.format(self.directory), CacheIntegrityWarning)


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _fingerprint_of(request: Union[ClaudeRequest, str]) -> str:
    if isinstance(request, ClaudeRequest):
        return request.fingerprint
    if isinstance(request, str) and _FINGERPRINT.match(request):
        return str(request)
    raise OptionError(f"a ClaudeRequest or its fingerprint (64 hexadecimal digits) is needed, not {request!r}")
