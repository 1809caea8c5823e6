"""The part of the response cache that keeps its store open, mends it, or does without it."""

from __future__ import annotations

import os
import threading
import time
import weakref
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, TypeVar, Union

from claude_force_nb.errors import CacheIntegrityWarning, CacheSecretWarning, CacheWarning, SecretError
from claude_force_nb.warn import warn

from .secret import KEY_FILE_NAME, find_secrets, read_or_make_key
from .signing import KeyRing

if TYPE_CHECKING:
    from .disk import Store

__all__ = ["LOCK_WAIT_SECONDS", "StoreLifecycle"]

T = TypeVar("T")

APPLICATION = "claude_force_nb"

LOCK_WAIT_SECONDS = 1.0
"""Longest wait for another process's lock; after one such wait the cache stops waiting until a write has succeeded."""

_IMPATIENT_SECONDS = 0.02
_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 300.0
_POLL_SECONDS = 1.0
_CLOSED = float("-inf")

_live: weakref.WeakSet[StoreLifecycle] = weakref.WeakSet()
_abandoned: List[Any] = []


class StoreLifecycle:
    """Secrets, directory, locks and warnings of a cache, and the one way to its store: `_work`.

    Nothing is opened before the first use. No error of the store passes `_work`; what a user should know is said once.
    """

    def __init__(
        self,
        directory: Union[str, os.PathLike[str], None],
        *,
        secret: Union[str, bytes, None],
        environ: Mapping[str, str],
        clock: Callable[[], float],
        config_directory: Union[str, os.PathLike[str], None],
        max_size_bytes: int,
        max_value_bytes: int,
    ) -> None:
        self._current, self._previous, complaints = find_secrets(secret, environ)
        self._given_directory = directory or environ.get("CLAUDE_CACHE_DIR") or None
        self._config_directory = config_directory
        self._max_size_bytes = max_size_bytes
        self._max_value_bytes = max_value_bytes
        # Up to this the next write, however large, evicts nothing: uses need not be written down yet.
        self._notes_from_bytes = min(max_size_bytes // 2, max_size_bytes - max_value_bytes)
        self._clock = clock
        self._directory: Optional[Path] = None
        self._ring: Optional[KeyRing] = None
        self._store: Optional[Store] = None
        self._finalizer: Any = None
        # The store was found to be the one on disk within this time (of `clock`); it need not be looked at again.
        self._looked_at = self._look_at = _CLOSED

        self._uses: Dict[str, float] = {}
        self._last_use = 0.0
        self._integrity_failures = 0

        self._closed_until = self._unwritable_until = _CLOSED
        self._pause = _PAUSE_SECONDS
        self._patience = LOCK_WAIT_SECONDS
        self._said: Dict[str, None] = {}
        self._pending: List[Tuple[str, Type[Warning]]] = []
        self._fresh_locks()
        _live.add(self)
        for complaint in complaints:
            message = (
                "{}: whoever guesses it can forge cached answers; make a random one, as with: openssl rand -hex 32"
            )
            warn(message.format(complaint), CacheSecretWarning)

    def _fresh_locks(self) -> None:
        # Taken in this order. A read needs only the second, so that it does not wait for the write of another thread.
        self._write_lock = threading.RLock()
        self._read_lock = threading.RLock()

    @property
    def directory(self) -> Path:
        """Directory of the database, absolute; it need not exist yet."""
        if self._directory is None:
            chosen = self._given_directory
            if chosen is None:
                import platformdirs

                chosen = platformdirs.user_cache_dir(APPLICATION, appauthor=False)
            self._directory = Path(os.path.abspath(os.path.expanduser(os.fspath(chosen))))
        return self._directory

    def close(self) -> None:
        """Write down what was used and close the database. Whatever is called later opens it again."""
        with self._write_lock:
            self._flush_uses()
            self._drop_store()

    # ------------------------------------------------------------------ one way to the store

    def _work(
        self,
        operation: Callable[[Store], T],
        *,
        reading: bool = False,
        insist: bool = False,
        keyed: bool = True,
    ) -> Optional[T]:
        """Do `operation` on the open store and return what it returns; None where that is not possible.

        A store that fails is opened again, which looks at it anew; one that fails twice for damage is cleared away and made
        anew. A place that cannot be used is left alone for a while, unless `insist`. What is not `keyed` needs no secret.
        """
        with self._write_lock:
            now = time.monotonic()
            paused = now < self._closed_until or (now < self._unwritable_until and not reading)
            if paused and not insist:
                return None
            from . import faults

            remedies = iter((self._reopen, self._drop_log, self._clear_away))
            while True:
                opened = False
                try:
                    store = self._open(keyed)
                    opened = True
                    if reading:
                        with self._read_lock:
                            return operation(store)
                    done = operation(store)
                    self._wrote()
                    return done
                except SecretError as error:
                    self._closed_until = now + _LONGEST_PAUSE_SECONDS
                    self._say("secret", f"{error}; answers go on without cache", CacheSecretWarning)
                    return None
                except faults.ERRORS as error:
                    problem: BaseException = error
                self._drop_store()
                writing_only = opened and not reading
                try:
                    if any(remedy(problem, writing_only) for remedy in remedies):
                        continue
                except OSError as refused:
                    problem, writing_only = refused, False
                if not paused:
                    self._give_up(faults.reason_of(problem), writing_only=writing_only)
                return None

    # What may help, in this order, each once: each says whether it was done, and the operation is tried again.

    def _reopen(self, problem: BaseException, _writing_only: bool) -> bool:
        from . import faults

        return faults.kind_of(problem) in ("damaged", "broken")

    def _drop_log(self, problem: BaseException, writing_only: bool) -> bool:
        """Remove the log where it cannot be read: its removal by somebody else leaves an index that points into nothing."""
        from . import database, faults

        path = self._path()
        if faults.kind_of(problem) != "broken" or not database.is_ours(path):
            return False
        if writing_only and not database.has_empty_log(path):
            return False  # a disk that takes no more; what is in the log is whole
        database.check_writable(path)
        database.discard_log(path)
        return True

    def _clear_away(self, problem: BaseException, _writing_only: bool) -> bool:
        from . import database, faults

        if not faults.is_damage(problem, self._path()):
            return False
        database.check_writable(self._path())
        moved = database.discard(self._path())
        self._integrity_failures += 1
        message = "the database of the response cache in {} was damaged or not ours; it was {} and made anew"
        self._say(
            "integrity", message.format(self.directory, "moved aside" if moved else "removed"), CacheIntegrityWarning
        )
        return True

    def _path(self) -> str:
        from .database import DATABASE_NAME

        return os.path.join(str(self.directory), DATABASE_NAME)

    def _open(self, keyed: bool) -> Store:
        """Return the store, open, and looked at to be the one that is on disk now."""
        if keyed and self._ring is None:
            self._ring = KeyRing([self._current or self._key_from_file(), *self._previous])
        store = self._store
        if store is not None and not store.is_current():
            self._drop_store()
            store = None
        if store is None:
            from .disk import Store

            store = Store(str(self.directory), timeout_seconds=self._patience, max_value_bytes=self._max_value_bytes)
            with self._read_lock:
                self._store = store
            self._finalizer = weakref.finalize(self, _finish, store, self._uses, self._notes_from_bytes)
            self._closed_until = _CLOSED
        if self._ring is not None:
            self._looked_at = self._clock()
            self._look_at = self._looked_at + _POLL_SECONDS
        return store

    def _drop_store(self) -> None:
        with self._read_lock:
            self._looked_at = self._look_at = _CLOSED
            store, self._store = self._store, None
            if self._finalizer is not None:
                self._finalizer.detach()
                self._finalizer = None
            if store is not None:
                store.close()

    def _key_from_file(self) -> bytes:
        if self._config_directory is None:
            import platformdirs

            place = platformdirs.user_config_dir(APPLICATION, appauthor=False)
        else:
            place = os.path.abspath(os.path.expanduser(os.fspath(self._config_directory)))
        path = Path(place, KEY_FILE_NAME)
        if Path(os.path.realpath(str(self.directory))) in Path(os.path.realpath(str(path))).parents:
            raise SecretError(
                "the cache directory would hold its own key: set CLAUDE_CACHE_SECRET, or another directory"
            )
        try:
            key, message = read_or_make_key(path)
        except OSError as error:
            why = "CLAUDE_CACHE_SECRET is not set, and no key can be kept in {} ({})"
            raise SecretError(why.format(path, error.strerror or error))
        if message:
            self._say("key", message, CacheSecretWarning)
        return key

    def _give_up(self, reason: str, *, writing_only: bool) -> None:
        until = time.monotonic() + self._pause
        if writing_only:
            self._unwritable_until = until
        else:
            self._closed_until = until
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        self._patience = _IMPATIENT_SECONDS
        message = "the response cache in {} cannot be {} now ({}); answers go on without it"
        self._say("unavailable", message.format(self.directory, "written" if writing_only else "used", reason))

    def _wrote(self) -> None:
        if self._patience != LOCK_WAIT_SECONDS:
            self._pause = _PAUSE_SECONDS
            self._patience = LOCK_WAIT_SECONDS
            self._unwritable_until = _CLOSED
            if self._store is not None:
                self._store.set_patience(LOCK_WAIT_SECONDS)

    def _flush_uses(self, limit: Optional[int] = None) -> None:
        """Write down up to `limit` notes of use, the oldest first, without waiting: they are worth no wait, and no warning."""
        with self._write_lock:
            with self._read_lock:
                batch = list(islice(self._uses.items(), limit))
            if self._store is not None and not _note_uses(self._store, batch, self._patience, self._notes_from_bytes):
                # What is wrong, the next write finds out. A transaction left open would be in its way.
                self._drop_store()
            with self._read_lock:
                for key, _ in batch:
                    self._uses.pop(key, None)

    def _leave_to_parent(self) -> None:
        # SQLite: a connection must neither be used nor closed on the other side of a fork. So it stays open, out of reach.
        self._fresh_locks()
        self._looked_at = self._look_at = _CLOSED
        self._uses.clear()
        if self._store is not None:
            _abandoned.append(self._store)
            self._store = None
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None

    # ------------------------------------------------------------------ warnings

    def _say(self, topic: str, message: str, category: Type[Warning] = CacheWarning) -> None:
        """Note a warning if it is the first of its topic; `_emit` gives it out when no state is half-changed."""
        if topic not in self._said:
            self._said[topic] = None
            self._pending.append((message, category))

    def _emit(self) -> None:
        while self._pending:
            try:
                message, category = self._pending.pop(0)
            except IndexError:
                break  # another thread gave it out
            warn(message, category)


def _note_uses(store: Store, uses: List[Tuple[str, float]], patience_seconds: float, from_bytes: int) -> bool:
    """Write down uses where they may decide an eviction; say whether nothing went wrong."""
    try:
        # Each note rewrites a page: not worth it while the next write, however large, evicts nothing.
        if uses and store.totals()[1] > from_bytes:
            store.set_patience(0.0)
            store.note_uses(uses)
            store.set_patience(patience_seconds)
    except Exception:
        return False
    return True


def _finish(store: Store, uses: Dict[str, float], from_bytes: int) -> None:
    """Close what its owner has left open; not in a forked child, whose parent it belongs to."""
    if store.pid == os.getpid():
        _note_uses(store, list(uses.items()), 0.0, from_bytes)
        store.close()


def _after_fork() -> None:
    for cache in list(_live):
        cache._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
