"""Open the store of a response cache, repair it, or continue without it."""

from __future__ import annotations

import os
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, Optional, Tuple, TypeVar, Union

from claude_force_nb.errors import CacheIntegrityWarning, CacheSecretWarning, SecretError
from claude_force_nb.storage.user_folders import user_folder

from .keys import KeySource
from .notices import Notices
from .uses import UseLog

if TYPE_CHECKING:
    from .store import Store

__all__ = ["LOCK_WAIT_SECONDS", "StoreLifecycle"]

T = TypeVar("T")

LOCK_WAIT_SECONDS = 1.0
"""Longest wait for another process's lock while nobody writes. After one such wait the cache no longer waits until a write has
succeeded."""

_IMPATIENT_SECONDS = 0.02
_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 300.0
_POLL_SECONDS = 1.0
_CLOSED = float("-inf")

_live: weakref.WeakSet[StoreLifecycle] = weakref.WeakSet()
_abandoned: List[Any] = []


class StoreLifecycle:
    """The directory, locks and back-off pauses of a cache. `work` is the only way to its store.

    Nothing is opened before the first use. `work` handles every error of the store, and warns the user once per
    problem.

    Parameters
    ----------
    directory : str or path, optional
        Default: ``CLAUDE_CACHE_DIR``, else the user's cache directory. A relative path is resolved now.
    keys : KeySource
    notices : Notices
    environ : mapping
    clock : callable
        Seconds since 1970 UTC.
    max_value_bytes : int
        Longer values are read as missing.
    notes_from_bytes : int
        Uses are recorded only while the store holds more bytes than this.

    Attributes
    ----------
    write_lock, read_lock : threading.RLock
        Acquired in this order. A read needs only `read_lock`, so it does not wait for another thread's write.
    store : Store or None
        Open between `work` and `close`; use it only while holding the locks.
    checked_at, check_again_at : float
        When the store was last checked to be the one on disk, and when it must be checked again, both by `clock`.
    uses : UseLog
        Guarded by `read_lock`.
    databases_lost : int
        How often the database had to be created again.
    """

    def __init__(
        self,
        directory: Union[str, os.PathLike[str], None],
        *,
        keys: KeySource,
        notices: Notices,
        environ: Mapping[str, str],
        clock: Callable[[], float],
        max_value_bytes: int,
        notes_from_bytes: int,
    ) -> None:
        chosen = directory or environ.get("CLAUDE_CACHE_DIR") or None
        self._environ = environ
        # Resolved now, so that a relative path stays the same when the working directory changes.
        self._directory = None if chosen is None else user_folder("cache", environ, given=chosen)
        self._keys = keys
        self._notices = notices
        self._clock = clock
        self._max_value_bytes = max_value_bytes
        self._notes_from_bytes = notes_from_bytes
        self.store: Optional[Store] = None
        self.uses = UseLog()
        self.databases_lost = 0
        self.checked_at = self.check_again_at = _CLOSED
        self._finalizer: Any = None
        self._closed_until = self._unwritable_until = _CLOSED
        self._pause = _PAUSE_SECONDS
        self._patience = LOCK_WAIT_SECONDS
        self._renew_locks()
        _live.add(self)

    def _renew_locks(self) -> None:
        self.write_lock = threading.RLock()
        self.read_lock = threading.RLock()

    @property
    def directory(self) -> Path:
        """Directory of the database, absolute; it need not exist yet."""
        if self._directory is None:
            self._directory = user_folder("cache", self._environ)
        return self._directory

    def close(self) -> None:
        """Record pending uses and close the database. Any later call opens it again."""
        with self.write_lock:
            self.flush_uses()
            self._drop_store()

    # ------------------------------------------------------------------ access to the store

    def work(
        self,
        operation: Callable[[Store], T],
        *,
        reading: bool = False,
        insist: bool = False,
        keyed: bool = True,
        new_key: bool = True,
    ) -> Optional[T]:
        """Run `operation` on the open store and return its result; None if that is not possible.

        A store that fails is opened and checked again. Our own database is removed and created again if it is still
        damaged then. A directory that cannot be used is left alone for a while.

        Parameters
        ----------
        operation : callable
            Called with the store; may be called again after a repair.
        reading : bool
            Whether `operation` only reads.
        insist : bool
            Whether to try even during a pause after a failure.
        keyed : bool
            Whether `operation` needs the keys.
        new_key : bool
            Whether to create a key if there is none yet.
        """
        with self.write_lock:
            now = time.monotonic()
            paused = now < self._closed_until or (now < self._unwritable_until and not reading)
            if paused and not insist:
                return None
            from . import faults

            remedies = iter((self._reopen, self._drop_log, self._clear_away))
            while True:
                opened = False
                try:
                    store = self._open(keyed, new_key=new_key)
                    opened = True
                    return self._do(operation, store, reading=reading)
                except SecretError as error:
                    self._closed_until = now + _LONGEST_PAUSE_SECONDS
                    self._notices.add("secret", f"{error}; continuing without a cache", CacheSecretWarning)
                    return None
                except faults.ERRORS as error:
                    problem: BaseException = error
                self._drop_store()
                writing_only = opened and not reading
                try:
                    if any(remedy(problem, writing_only) for remedy in remedies):
                        continue
                except faults.ERRORS as refused:
                    problem, writing_only = refused, False
                if not paused:
                    self._give_up(faults.reason_of(problem), writing_only=writing_only)
                return None

    def _do(self, operation: Callable[[Store], T], store: Store, *, reading: bool) -> T:
        if reading:
            with self.read_lock:
                return operation(store)
        done = operation(store)
        if self._patience != LOCK_WAIT_SECONDS:
            self._pause = _PAUSE_SECONDS
            self._patience = LOCK_WAIT_SECONDS
            self._unwritable_until = _CLOSED
            store.set_patience(LOCK_WAIT_SECONDS)
        return done

    # The remedies, tried once each, in this order. Each returns whether it was applied; if so, the operation is tried
    # again.

    def _reopen(self, problem: BaseException, _writing_only: bool) -> bool:
        from . import faults

        return faults.kind_of(problem) in ("damaged", "broken")

    def _drop_log(self, problem: BaseException, writing_only: bool) -> bool:
        """Remove the companion files if the log cannot be read: if somebody removed the log alone, its index points nowhere."""
        from . import database, faults

        path = self._path()
        if faults.kind_of(problem) != "broken":
            return False
        database.check_ours(path)
        if writing_only and not database.has_empty_log(path):
            return False  # the disk is full; the log is intact
        database.check_writable(path)
        database.discard_log(path)
        return True

    def _clear_away(self, problem: BaseException, _writing_only: bool) -> bool:
        from . import database, faults

        if not faults.is_damage(problem, self._path()):
            return False
        database.check_writable(self._path())
        database.discard(self._path())
        self.databases_lost += 1
        self._notices.add(
            "integrity",
            f"the database of the response cache in {self.directory} was damaged; it was removed and created again",
            CacheIntegrityWarning,
        )
        return True

    def _path(self) -> str:
        from .database import DATABASE_NAME

        return os.path.join(str(self.directory), DATABASE_NAME)

    def _open(self, keyed: bool, *, new_key: bool) -> Store:
        """Return the open store, after checking that it is still the one on disk."""
        if keyed:
            self._keys.make_ring(self.directory, new_key=new_key)
        store = self.store
        if store is not None and not store.is_current():
            self._drop_store()
            store = None
        if store is None:
            from .store import Store

            store = Store(str(self.directory), timeout_seconds=self._patience, max_value_bytes=self._max_value_bytes)
            with self.read_lock:
                self.store = store
            self._finalizer = weakref.finalize(self, _finish, store, self.uses, self._notes_from_bytes)
            self._closed_until = _CLOSED
        if self._keys.ring is not None:
            self.checked_at = self._clock()
            self.check_again_at = self.checked_at + _POLL_SECONDS
        return store

    def _drop_store(self) -> None:
        with self.read_lock:
            self.checked_at = self.check_again_at = _CLOSED
            store, self.store = self.store, None
            if self._finalizer is not None:
                self._finalizer.detach()
                self._finalizer = None
            if store is not None:
                _close(store)

    def _give_up(self, reason: str, *, writing_only: bool) -> None:
        until = time.monotonic() + self._pause
        if writing_only:
            self._unwritable_until = until
        else:
            self._closed_until = until
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        self._patience = _IMPATIENT_SECONDS
        done = "written" if writing_only else "used"
        self._notices.add(
            "unavailable",
            f"the response cache in {self.directory} cannot be {done} now ({reason}); continuing without it",
        )

    def flush_uses(self, limit: Optional[int] = None) -> None:
        """Record up to `limit` uses, the oldest first. Uses are not important enough to wait for a lock or to warn."""
        with self.write_lock:
            with self.read_lock:
                notes = self.uses.oldest(limit)
            if self.store is not None and not _note_uses(self.store, notes, self._patience, self._notes_from_bytes):
                # The next write will find the cause. Close the store, since an open transaction would block that write.
                self._drop_store()
            with self.read_lock:
                self.uses.forget(notes)

    def _abandon_in_child(self) -> None:
        # SQLite forbids using or closing a connection after a fork. So the child keeps it open and never touches it.
        self._renew_locks()
        self.checked_at = self.check_again_at = _CLOSED
        self.uses.times.clear()
        if self.store is not None:
            _abandoned.append(self.store)
            self.store = None
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None


def _close(store: Store) -> None:
    if store.was_replaced():
        # When its last connection closes, SQLite removes the log by name. By now that name belongs to another database.
        _abandoned.append(store)
    else:
        store.close()


def _note_uses(store: Store, uses: List[Tuple[str, float]], patience_seconds: float, from_bytes: int) -> bool:
    """Record uses if they may affect an eviction; return False on failure."""
    try:
        # Recording a use rewrites a page, which is wasted as long as no write, however large, would evict anything.
        if uses and store.totals().size_bytes > from_bytes:
            store.set_patience(0.0)
            store.note_uses(uses)
            store.set_patience(patience_seconds)
    except Exception:
        return False
    return True


def _finish(store: Store, uses: UseLog, from_bytes: int) -> None:
    """Close the store that its owner left open, except in a forked child: there it belongs to the parent."""
    if store.pid == os.getpid():
        _note_uses(store, uses.oldest(None), 0.0, from_bytes)
        _close(store)


def _after_fork() -> None:
    for lifecycle in list(_live):
        lifecycle._abandon_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
