"""ResponseCache: answers kept on disk, believed only when their signature is right."""

from __future__ import annotations

import json
import os
import re
import threading
import time
import warnings
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, TypeVar, Union

from claude_force_nb.cache.report import CacheStats, VerifyReport
from claude_force_nb.cache.secret import KEY_FILE_NAME, find_secrets, read_or_make_key
from claude_force_nb.cache.signing import HEADER_BYTES, NEVER, BadSignatureError, KeyRing, UnknownKeyError
from claude_force_nb.errors import CacheIntegrityWarning, CacheSecretWarning, CacheWarning, OptionError, SecretError
from claude_force_nb.request import ClaudeRequest
from claude_force_nb.result import ClaudeResult

if TYPE_CHECKING:
    from claude_force_nb.cache.disk import Store

__all__ = ["ResponseCache"]

T = TypeVar("T")

APPLICATION = "claude_force_nb"

# An answer that stopped for one of these is not the answer the next run wants to see again.
NOT_KEPT = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn", "refusal"})

# Far over any answer of the API (128,000 tokens are about 1 MB); keeps a row grown by hand out of memory.
MAX_ENTRY_BYTES = 64 * 2**20

CLOCK_SKEW_SECONDS = 300.0
"""An entry dated further in the future than this is a miss: its age cannot be known."""

LOCK_WAIT_SECONDS = 1.0
"""Longest wait for another process's lock; after one such wait the cache stops waiting until a write has succeeded."""

_IMPATIENT_SECONDS = 0.02
_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 300.0
_LOOK_SECONDS = 1.0
_NOTES = 512
_VERIFIED_BYTES = 16 * 2**20
_VERIFIED_OVERHEAD_BYTES = 2048

_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder().raw_decode
_new_result = ClaudeResult.__new__

_live: weakref.WeakSet[ResponseCache] = weakref.WeakSet()
_abandoned: List[Any] = []


class ResponseCache:
    """Answers of the API on disk, signed, bounded and exactly accounted. For every thread, and any number of processes.

    Nothing is opened before the first use, and nothing about the disk ever raises: a cache that cannot be used costs one
    `CacheWarning`, then gives misses. An entry that fails its check is a miss, is counted, is evicted, and costs one
    `CacheIntegrityWarning`.

    Parameters
    ----------
    directory : str or path, optional
        Default: ``CLAUDE_CACHE_DIR``, else ``claude_force_nb`` in the user's cache directory. ``~`` is expanded.
    ttl_hours : float or None
        Life of an entry in hours, over 0; None for no end. The end is signed into an entry, and a shorter `ttl_hours`
        later ends it earlier.
    max_size_mb : float
        Limit of the bytes stored, in units of 1,000,000 bytes, over 0. The database around them takes up to about twice that.
    secret : str or bytes, optional
        Default: ``CLAUDE_CACHE_SECRET``, else a random key made once in the user's config directory. Secrets in
        ``CLAUDE_CACHE_SECRET_PREVIOUS`` are accepted for reading.
    environ : mapping
        Environment.
    clock : callable
        Seconds since 1970 UTC.
    config_directory : str or path, optional
        Where the key file is kept.

    Raises
    ------
    OptionError
        If `ttl_hours` or `max_size_mb` is out of bounds.
    SecretError
        If `secret` is empty, or ``CLAUDE_FORCE_REQUIRE_SECRET`` is set and the secret is missing or weak.

    Warns
    -----
    CacheSecretWarning
        If a secret is a placeholder or short, and when a key file is made.
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
        if ttl_hours is not None and not _positive(ttl_hours):
            raise OptionError("ttl_hours must be over 0, or None for no end, not {!r}".format(ttl_hours))
        if not _positive(max_size_mb):
            raise OptionError("max_size_mb must be over 0, not {!r}".format(max_size_mb))
        self._ttl_seconds = None if ttl_hours is None else float(ttl_hours) * 3600.0
        self._max_size_bytes = int(max_size_mb * 1_000_000)
        self._current, self._previous, complaints = find_secrets(secret, environ)
        self._environ_directory = environ.get("CLAUDE_CACHE_DIR") or None
        self._given_directory = directory
        self._config_directory = config_directory
        self._clock = clock
        self._directory: Optional[Path] = None
        self._ring: Optional[KeyRing] = None
        self._store: Optional[Store] = None
        self._finalizer: Any = None
        self._fresh_locks()

        self._verified: OrderedDict[str, Tuple[Any, ...]] = OrderedDict()
        self._verified_bytes = 0
        self._uses: Dict[str, float] = {}
        self._hits = self._misses = self._expired = self._evictions = self._failures = self._foreign = 0

        self._look_at = 0.0
        self._closed_until = self._unwritable_until = 0.0
        self._pause = _PAUSE_SECONDS
        self._patience = LOCK_WAIT_SECONDS
        self._said: set[str] = set()
        self._pending: List[Tuple[str, Type[Warning]]] = []
        _live.add(self)
        for complaint in complaints:
            message = "{}: anyone who guesses it can forge cached answers; make one with: openssl rand -hex 32"
            warnings.warn(message.format(complaint), CacheSecretWarning, stacklevel=2)

    def _fresh_locks(self) -> None:
        # Taken in this order. Reads need only the second, so that they do not wait for a write of another thread.
        self._write_lock = threading.RLock()
        self._read_lock = threading.RLock()

    # ------------------------------------------------------------------ public

    @property
    def directory(self) -> Path:
        """Directory of the database, absolute; it need not exist yet."""
        if self._directory is None:
            chosen = self._given_directory or self._environ_directory
            if not chosen:
                import platformdirs

                chosen = platformdirs.user_cache_dir(APPLICATION, appauthor=False)
            self._directory = Path(os.path.abspath(os.path.expanduser(os.fspath(chosen))))
        return self._directory

    def get(self, request: Union[ClaudeRequest, str]) -> Optional[ClaudeResult]:
        """Return the answer kept for a request or fingerprint, checked; None where there is none to be trusted.

        Raises
        ------
        OptionError
            If a fingerprint is not 64 lower-case hexadecimal digits.
        """
        fingerprint = request if type(request) is str else _fingerprint_of(request)
        rows = None
        with self._read_lock:
            store = self._store
            if store is not None and time.monotonic() < self._look_at:
                try:
                    rows = store.read(store.read_statement, (fingerprint,)).fetchall()
                except Exception:
                    pass  # read once more below, where there is a way to mend what is broken
                if rows:
                    found = self._judge(fingerprint, rows[0])
                    if type(found) is ClaudeResult and len(self._uses) < _NOTES:
                        self._hits += 1
                        return found
        return self._get_slowly(fingerprint, rows)

    def put(self, request: Union[ClaudeRequest, str], result: ClaudeResult) -> bool:
        """Keep an answer; return whether it is on disk now.

        Refused are results that are not ``ok``, refusals, answers that were cut short, and answers larger than the limit
        (with a `CacheWarning`).
        """
        fingerprint = _checked(_fingerprint_of(request))
        if result.status != "ok" or result.error is not None or result.stop_reason in NOT_KEPT:
            return False
        try:
            body = _encode(result.to_record()).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError):
            self._say("record", "an answer cannot be written as JSON and was not cached")
            self._emit()
            return False
        limit = min(self._max_size_bytes, MAX_ENTRY_BYTES)
        if len(body) + HEADER_BYTES > limit:
            message = "an answer of {:,} bytes was not cached: the limit is {:,} bytes (max_size_mb)"
            self._say("large", message.format(len(body) + HEADER_BYTES, limit))
            self._emit()
            return False
        now = self._clock()
        created = int(now * 1000)
        ends = NEVER if self._ttl_seconds is None else min(NEVER, created + int(self._ttl_seconds * 1000))

        def write(store: Store) -> Tuple[int, int]:
            assert self._ring is not None
            value = self._ring.sign(body, fingerprint=bytes.fromhex(fingerprint), created=created, expires=ends)
            return store.write(
                fingerprint,
                value,
                now=now,
                expires=None if ends == NEVER else ends / 1000,
                max_size_bytes=self._max_size_bytes,
                uses=self._uses,
            )

        done = self._work(write)
        if done is not None:
            self._expired += done[0]
            self._evictions += done[1]
        self._emit()
        return done is not None

    def delete(self, request: Union[ClaudeRequest, str]) -> bool:
        """Remove the entry of a request or fingerprint; return whether there was one."""
        fingerprint = _checked(_fingerprint_of(request))
        with self._read_lock:
            self._forget(fingerprint)
        done = self._work(lambda store: store.remove(fingerprint))
        self._emit()
        return bool(done)

    def clear(self) -> int:
        """Remove every entry, of every key; return how many there were."""
        with self._read_lock:
            self._verified.clear()
            self._verified_bytes = 0
            self._uses.clear()
        done = self._work(lambda store: store.empty(), insist=True)
        self._emit()
        return done or 0

    def verify(self) -> VerifyReport:
        """Read and check every entry; corrupt ones are evicted, expired ones and those of other keys are left.

        Also counts the size anew, should somebody have changed the sums.
        """
        report = self._work(self._verify, insist=True, reading=True)
        if report is None:
            report = VerifyReport(available=False)
        elif report.corrupt:
            self._failures += report.corrupt
            self._say_corrupt()
        self._emit()
        return report

    def stats(self) -> CacheStats:
        """Return the counters of this object and the sums of the directory; sums are 0 where it cannot be read."""
        entries, size_bytes = self._work(lambda store: store.totals(), insist=True, reading=True) or (0, 0)
        self._emit()
        return CacheStats(
            hits=self._hits,
            misses=self._misses,
            expired=self._expired,
            evictions=self._evictions,
            integrity_failures=self._failures,
            foreign_key=self._foreign,
            entries=entries,
            size_bytes=size_bytes,
            max_size_bytes=self._max_size_bytes,
        )

    def close(self) -> None:
        """Write down uses and close the database. A later call of another method opens it again."""
        with self._write_lock:
            if self._store is not None:
                self._flush_uses()
                self._drop_store()
        self._pending.clear()

    def __len__(self) -> int:
        return self.stats().entries

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> ResponseCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        hours = None if self._ttl_seconds is None else self._ttl_seconds / 3600
        return "ResponseCache({!r}, ttl_hours={}, max_size_mb={})".format(
            str(self.directory), hours, self._max_size_bytes / 1_000_000
        )

    # ------------------------------------------------------------------ reading

    def _get_slowly(self, fingerprint: str, rows: Any) -> Optional[ClaudeResult]:
        """Everything that a hit does not need: opening, mending, evicting, warning."""
        _checked(fingerprint)
        if rows is None:
            rows = self._work(lambda store: store.read(store.read_statement, (fingerprint,)).fetchall(), reading=True)
        found: Union[ClaudeResult, str] = "missing"
        with self._read_lock:
            if rows and self._ring is not None:
                found = self._judge(fingerprint, rows[0])
            if not isinstance(found, str):
                self._hits += 1
            else:
                self._misses += 1
                self._forget(fingerprint)
        if not isinstance(found, str):
            if len(self._uses) >= _NOTES:
                self._flush_uses()
        elif found == "foreign":
            self._foreign += 1
        elif found in ("corrupt", "expired"):
            if found == "corrupt":
                self._failures += 1
                self._say_corrupt()
            else:
                self._expired += 1
            self._work(lambda store: store.evict([("key", fingerprint, rows[0])]))
        self._emit()
        return None if isinstance(found, str) else found

    def _judge(self, fingerprint: str, row: Any) -> Union[ClaudeResult, str]:
        """Return the answer in a row, or why there is none; called with the read lock held."""
        entry = self._verified.get(fingerprint)
        # Verified before, and every byte on disk is still the same: nothing can have become false but its age.
        if entry is None or entry[0] != row:
            checked = self._check(fingerprint, row)
            if isinstance(checked, str):
                return checked
            entry = checked
        else:
            self._verified.move_to_end(fingerprint)
        _, fields, created, ends = entry
        now = self._clock()
        if now >= ends:
            return "expired"
        if now < created - CLOCK_SKEW_SECONDS:
            return "future"
        self._uses[fingerprint] = time.time()
        result = _new_result(ClaudeResult)
        values = result.__dict__
        values.update(fields)
        values["age_seconds"] = now - created if now > created else 0.0
        return result

    def _check(self, fingerprint: str, row: Any) -> Union[Tuple[Any, Dict[str, Any], float, float], str]:
        """Verify a row and decode it: (row, fields, created, ends), or why not."""
        assert self._ring is not None
        try:
            value = _bytes_of(row)
            body, created_ms, ends_ms = self._ring.unsign(value, fingerprint=bytes.fromhex(fingerprint))
            text = body.decode("utf-8", "surrogatepass")
            record, _ = _decode(text)
            fields = ClaudeResult.from_record(record, fingerprint=fingerprint, age_seconds=0.0).__dict__
        except UnknownKeyError:
            return "foreign"
        except Exception:
            # Signed by us, yet no record of this version; or not signed by us at all.
            return "corrupt"
        created, ends = self._lifetime(created_ms, ends_ms)
        entry = (row, fields, created, ends)
        weight = 2 * len(value) + _VERIFIED_OVERHEAD_BYTES
        if weight * 16 <= _VERIFIED_BYTES:
            self._forget(fingerprint)
            self._verified[fingerprint] = entry
            self._verified_bytes += weight
            while self._verified_bytes > _VERIFIED_BYTES:
                self._forget(next(iter(self._verified)))
        return entry

    def _lifetime(self, created_ms: int, ends_ms: int) -> Tuple[float, float]:
        created = created_ms / 1000
        ends = float("inf") if ends_ms == NEVER else ends_ms / 1000
        return created, ends if self._ttl_seconds is None else min(ends, created + self._ttl_seconds)

    def _forget(self, fingerprint: str) -> None:
        entry = self._verified.pop(fingerprint, None)
        if entry is not None:
            self._verified_bytes -= 2 * len(entry[0][2]) + _VERIFIED_OVERHEAD_BYTES

    def _verify(self, store: Store) -> VerifyReport:
        counts = {"intact": 0, "expired": 0, "corrupt": 0, "foreign": 0}
        corrupt = []
        assert self._ring is not None
        found = store.scan()
        while found is not None:
            rowid, key, raw, _, row = found
            try:
                if raw != 1 or type(key) is not bytes:
                    raise ValueError("no key of ours")
                value = _bytes_of(row)
                _, *times = self._ring.unsign(value, fingerprint=bytes.fromhex(_checked(key.decode("ascii"))))
                created, ends = self._lifetime(*times)
                now = self._clock()
                verdict = "intact" if created - CLOCK_SKEW_SECONDS <= now < ends else "expired"
            except UnknownKeyError:
                verdict = "foreign"
            except Exception:
                verdict = "corrupt"
                corrupt.append(("rowid", rowid, row))
            counts[verdict] += 1
            found = store.scan(rowid + 1)
        if corrupt:
            store.evict(corrupt)
        _, size_bytes = store.totals(count_anew=True)
        return VerifyReport(
            intact=counts["intact"],
            expired=counts["expired"],
            corrupt=counts["corrupt"],
            foreign_key=counts["foreign"],
            size_bytes=size_bytes,
        )

    # ------------------------------------------------------------------ the store, and what may go wrong with it

    def _work(self, operation: Callable[[Store], T], *, reading: bool = False, insist: bool = False) -> Optional[T]:
        """Do `operation` on the open store and return what it returns; None where that is not possible.

        A store that fails is opened again, which checks it; one that fails twice for damage is cleared away and made new. A
        place that cannot be used is left alone for a while, unless `insist`.
        """
        with self._write_lock:
            now = time.monotonic()
            if not insist and now < (
                self._closed_until if reading else max(self._closed_until, self._unwritable_until)
            ):
                return None
            from claude_force_nb.cache import disk

            for attempt in (1, 2, 3):
                try:
                    store = self._open()
                    if reading:
                        with self._read_lock:
                            done = operation(store)
                    else:
                        done = operation(store)
                        self._pause = _PAUSE_SECONDS
                        self._be_patient(LOCK_WAIT_SECONDS)
                    return done
                except SecretError as error:
                    self._closed_until = float("inf")
                    self._say("secret", "{}; answers go on without cache".format(error), CacheSecretWarning)
                    return None
                except disk.ERRORS as error:
                    kind = disk.kind_of(error)
                    opened = self._store is not None
                    self._drop_store()
                    if kind in ("damaged", "broken") and attempt < 3:
                        if attempt == 1:
                            continue
                        if kind == "damaged" or reading:
                            problem = self._replace_damaged()
                            if problem is None:
                                continue
                            error = problem
                    self._give_up(error, writing_only=opened and not reading)
                    return None
            return None

    def _open(self) -> Store:
        """Return the store, opened, checked to be the one that is on disk now."""
        store = self._store
        if store is not None:
            if store.is_current():
                self._look_at = time.monotonic() + _LOOK_SECONDS
                return store
            self._drop_store()
        from claude_force_nb.cache.disk import Store

        directory = self.directory
        if self._ring is None:
            self._ring = KeyRing([self._current or self._key_from_file(directory), *self._previous])
        store = Store(
            str(directory),
            timeout_seconds=self._patience,
            max_value_bytes=min(self._max_size_bytes, MAX_ENTRY_BYTES),
        )
        with self._read_lock:
            self._store = store
        self._finalizer = weakref.finalize(self, _finish, store, self._uses)
        self._look_at = time.monotonic() + _LOOK_SECONDS
        self._closed_until = 0.0
        return store

    def _key_from_file(self, directory: Path) -> bytes:
        if self._config_directory is None:
            import platformdirs

            place = Path(platformdirs.user_config_dir(APPLICATION, appauthor=False))
        else:
            place = Path(os.path.abspath(os.path.expanduser(os.fspath(self._config_directory))))
        path = place / KEY_FILE_NAME
        if Path(os.path.realpath(str(directory))) in Path(os.path.realpath(str(path))).parents:
            raise SecretError(
                "the cache directory would hold its own key; set CLAUDE_CACHE_SECRET or another directory"
            )
        try:
            key, message = read_or_make_key(path)
        except OSError as error:
            raise SecretError(
                "there is no CLAUDE_CACHE_SECRET, and no key can be kept in {}: {}".format(path, error.strerror)
            )
        if message:
            self._say("key", message, CacheSecretWarning)
        return key

    def _drop_store(self) -> None:
        with self._read_lock:
            store, self._store = self._store, None
            if self._finalizer is not None:
                self._finalizer.detach()
                self._finalizer = None
            if store is not None:
                store.close()

    def _replace_damaged(self) -> Optional[OSError]:
        from claude_force_nb.cache import disk

        try:
            moved = disk.discard(str(self.directory))
        except OSError as error:
            return error
        with self._read_lock:
            self._failures += 1
        self._say(
            "integrity",
            "the database of the response cache in {} was damaged or not ours; it was {} and made anew".format(
                self.directory, "moved aside" if moved else "removed"
            ),
            CacheIntegrityWarning,
        )
        return None

    def _give_up(self, error: BaseException, *, writing_only: bool) -> None:
        until = time.monotonic() + self._pause
        if writing_only:
            self._unwritable_until = until
        else:
            self._closed_until = until
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        self._patience = _IMPATIENT_SECONDS
        reason = str(error.__context__ or error) if type(error).__name__ == "Timeout" else str(error)
        message = "the response cache in {} cannot be {} ({}); answers go on without it"
        self._say(
            "unavailable", message.format(self.directory, "written" if writing_only else "used", reason or "locked")
        )

    def _be_patient(self, seconds: float) -> None:
        if self._patience != seconds and self._store is not None:
            self._patience = seconds
            self._store.set_patience(seconds)

    def _flush_uses(self) -> None:
        """Write down uses without waiting: they are worth nothing that is worth a wait."""
        with self._write_lock:
            store = self._store
            if store is None or not self._uses:
                return
            try:
                store.set_patience(0.0)
                store.note_uses(self._uses)
            except Exception:
                pass  # the next write finds out what is wrong
            finally:
                self._uses.clear()
                try:
                    store.set_patience(self._patience)
                except Exception:
                    pass

    def _leave_to_parent(self) -> None:
        # SQLite: a connection must not be used, nor closed, across a fork. So it is kept open and out of reach.
        self._fresh_locks()
        self._uses.clear()
        if self._store is not None:
            _abandoned.append(self._store)
            self._store = None
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None

    # ------------------------------------------------------------------ warnings

    def _say(self, topic: str, message: str, category: Type[Warning] = CacheWarning) -> None:
        """Note a warning, the first of its topic; `_emit` gives it out when no lock is held and no state is half-changed."""
        if topic not in self._said:
            self._said.add(topic)
            self._pending.append((message, category))

    def _say_corrupt(self) -> None:
        message = "an entry of the response cache in {} failed its check and was evicted; further ones are only counted"
        self._say("integrity", message.format(self.directory), CacheIntegrityWarning)

    def _emit(self) -> None:
        while self._pending:
            message, category = self._pending.pop(0)
            warnings.warn(message, category, stacklevel=3)


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _fingerprint_of(request: Union[ClaudeRequest, str]) -> str:
    if isinstance(request, ClaudeRequest):
        return request.fingerprint
    return _checked(request)


def _checked(fingerprint: Any) -> str:
    if isinstance(fingerprint, str) and _FINGERPRINT.match(fingerprint):
        return str(fingerprint)
    raise OptionError("a fingerprint is 64 lower-case hexadecimal digits, not {!r}".format(fingerprint))


def _bytes_of(row: Any) -> bytes:
    mode, filename, value = row
    if mode != 1 or filename is not None or type(value) is not bytes:
        raise BadSignatureError("no row of ours")
    return value


def _finish(store: Store, uses: Dict[str, float]) -> None:
    """Close what its owner has left open. Not in a forked child: the connection is its parent's."""
    if store.pid != os.getpid():
        return
    try:
        if uses:
            store.set_patience(0.0)
            store.note_uses(uses)
    except Exception:
        pass
    store.close()


def _after_fork() -> None:
    for cache in list(_live):
        cache._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
