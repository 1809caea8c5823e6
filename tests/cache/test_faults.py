"""A cache that cannot be used costs one warning, and work continues without it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Callable, Iterator

import pytest
from support.cache_tools import answer, at_most_one_warning, database_of, fingerprint, make_cache, stored

from claude_force_nb.cache import ResponseCache, lifecycle
from claude_force_nb.errors import CacheWarning

A, B = fingerprint(1), fingerprint(2)


def check_without(cache: ResponseCache) -> None:
    """Everything can be called, nothing is found, and it is said once."""
    with at_most_one_warning() as caught:
        for _ in range(20):
            assert cache.get(A) is None
            assert cache.put(A, answer()) is False
        assert cache.delete(A) is False
        assert cache.clear() == 0
        assert not cache.verify().available
        assert len(cache) == 0
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.size_bytes) == (0, 20, 0)
        cache.close()
    assert len(caught) == 1
    assert issubclass(caught[0].category, CacheWarning)
    assert "continuing without" in str(caught[0].message)


def _file(tmp_path: Path) -> Path:
    (tmp_path / "cache").write_text("precious")
    return tmp_path / "cache"


def _below_a_file(tmp_path: Path) -> Path:
    return _file(tmp_path) / "cache"


def _dangling(tmp_path: Path) -> Path:
    (tmp_path / "cache").symlink_to(tmp_path / "file" / "nowhere")
    (tmp_path / "file").write_text("")
    return tmp_path / "cache"


PLACES = {
    "a file": _file,
    "below a file": _below_a_file,
    "a symlink to nowhere": _dangling,
    "a place in /proc": lambda _: Path("/proc/cache"),
    "a place in /dev/null": lambda _: Path("/dev/null/cache"),
    "a name that is too long": lambda tmp_path: tmp_path / ("x" * 300),
}


@pytest.mark.skipif(os.name != "posix", reason="POSIX paths")
@pytest.mark.parametrize("name", sorted(PLACES))
def test_places_that_are_not_directories(name: str, tmp_path: Path) -> None:
    """The cache directory cannot be created."""
    check_without(make_cache(PLACES[name](tmp_path)))
    if name in ("a file", "below a file"):
        assert (tmp_path / "cache").read_text() == "precious"


def in_a_child(work: Callable[[], None], *, user: int = 0) -> int:
    """Run `work` in a forked child, as another user if one is given, and return its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if user:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            work()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o555, 0o500, 0o000])
@pytest.mark.parametrize("filled", [True, False])
def test_directories_without_permission(mode: int, filled: bool) -> None:
    """A read-only directory, and one that may not even be looked at, with a cache inside or empty."""
    import shutil
    import tempfile

    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    directory = place / "cache"
    if filled:
        with make_cache(directory) as cache:
            cache.put(A, answer())
        os.chmod(str(directory / "cache.db"), 0o444)
    else:
        directory.mkdir()
    directory.chmod(mode)
    # Import everything first: the other user may not read the packages.
    with make_cache(place / "other") as cache:
        cache.put(A, answer())
    try:
        assert in_a_child(lambda: check_without(make_cache(directory)), user=65534) == 0
    finally:
        directory.chmod(0o755)
    if filled:
        with make_cache(directory) as cache:
            assert cache.get(A) is not None
    shutil.rmtree(str(place))


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with make_cache(tmp_path) as cache:
        cache.put(A, answer())
    with database_of(tmp_path) as connection:
        yield connection


@pytest.mark.timeout(25)
def test_a_locked_database(tmp_path: Path, locked: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the write lock, hits go on, writes are refused after one short wait, and later they work."""
    waits = []
    real = lifecycle.StoreLifecycle._give_up
    monkeypatch.setattr(
        lifecycle.StoreLifecycle, "_give_up", lambda self, *a, **k: (waits.append(self._patience), real(self, *a, **k))
    )
    with make_cache(tmp_path) as cache, at_most_one_warning() as caught:
        assert cache.get(A) is not None
        locked.execute("BEGIN IMMEDIATE")
        for number in range(200):
            assert cache.put(fingerprint(number + 10), answer()) is False
            assert cache.get(A) is not None
            assert cache.delete(A) is False
        assert len(caught) == 1
        assert "cannot be written now" in str(caught[0].message)
        # The only full wait is the first; after it the cache is left alone for a while, and then does not wait.
        assert len(waits) < 20
        assert waits[0] == lifecycle.LOCK_WAIT_SECONDS
        assert all(wait < lifecycle.LOCK_WAIT_SECONDS for wait in waits[1:])
        locked.execute("COMMIT")
        cache._lifecycle._unwritable_until = 0.0
        assert cache.put(B, answer())
        assert cache._lifecycle._patience == lifecycle.LOCK_WAIT_SECONDS
        assert cache.get(B) is not None


@pytest.mark.timeout(25)
def test_a_database_locked_for_readers_too(tmp_path: Path) -> None:
    """A process that has the whole database for itself: misses after one short wait, and hits when it has gone."""
    with make_cache(tmp_path) as cache:
        cache.put(A, answer())
    with database_of(tmp_path) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        cache = make_cache(tmp_path)
        with at_most_one_warning() as caught:
            for _ in range(100):
                assert cache.get(A) is None
                assert cache.put(A, answer()) is False
        assert len(caught) == 1
        connection.execute("COMMIT")
    cache._lifecycle._closed_until = 0.0
    assert cache.get(A) is not None
    assert cache.put(B, answer())
    cache.close()


@pytest.mark.timeout(25)
def test_closing_does_not_wait_for_a_lock(tmp_path: Path, locked: sqlite3.Connection) -> None:
    """Recorded uses are not worth waiting for."""
    cache = make_cache(tmp_path)
    assert cache.get(A) is not None
    locked.execute("BEGIN IMMEDIATE")
    cache.close()
    assert cache._lifecycle.store is None
    locked.execute("COMMIT")


def test_uses_that_cannot_be_written_down_are_let_go(tmp_path: Path) -> None:
    """Uses that cannot be written are dropped without a wait or a warning, and the database is reopened."""
    with make_cache(tmp_path, max_size_mb=0.01) as cache:
        cache.put(A, answer())
        assert cache.get(A)
        with database_of(tmp_path) as other, warnings.catch_warnings():
            warnings.simplefilter("error")
            other.execute("BEGIN IMMEDIATE")
            cache._lifecycle.flush_uses()
            assert cache._lifecycle.store is None
            assert not cache._uses.times
            assert cache.get(A)
            other.execute("COMMIT")
            cache._lifecycle.flush_uses()
            assert cache._lifecycle.store is not None
            assert cache.put(B, answer())


_FULL = """
import resource, sys, warnings
sys.path.insert(0, sys.argv[1])
from support.cache_tools import *
warnings.simplefilter("always")
directory = Path(sys.argv[2])
with make_cache(directory) as cache:
    for number in range(20):
        assert cache.put(fingerprint(number), answer("x" * 2000))
    kept = cache.stats()
    assert cache.get(fingerprint(3))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
    with at_most_one_warning() as caught:
        done = [cache.put(fingerprint(number), answer("x" * 60_000)) for number in range(20, 60)]
        for number in range(20):
            found = cache.get(fingerprint(number))
            assert found is None or found.text == "x" * 2000
        print(sum(done), len(caught), [str(one.message) for one in caught], cache.stats(), file=sys.stderr)
        assert not all(done)
        assert len(caught) == 1
"""


@pytest.mark.skipif(os.name != "posix", reason="RLIMIT_FSIZE")
@pytest.mark.parametrize("limit", [0, 20_000, 300_000])
def test_a_full_disk(limit: int, tmp_path: Path) -> None:
    """When nothing more can be written: one warning, answers go on, and what was there is intact when there is room again."""
    words = [os.path.dirname(os.path.dirname(__file__)), str(tmp_path), str(limit)]
    done = subprocess.run([sys.executable, "-c", _FULL, *words], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    with make_cache(tmp_path) as cache, at_most_one_warning():
        for number in range(20):
            assert cache.get(fingerprint(number)).text == "x" * 2000  # type: ignore[union-attr]
        assert cache.put(A, answer())
        assert cache.get(A)
        assert cache.verify().ok
        stats = cache.stats()
        assert (stats.entries, stats.size_bytes) == stored(tmp_path)


def test_the_cache_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that was unusable is tried again after a while, longer each time, and used as soon as it is usable."""
    now = [1000.0]
    monkeypatch.setattr(lifecycle.time, "monotonic", lambda: now[0])
    tries = []
    real = lifecycle.StoreLifecycle._open
    monkeypatch.setattr(
        lifecycle.StoreLifecycle,
        "_open",
        lambda self, keyed, **more: (tries.append(now[0]), real(self, keyed, **more))[1],
    )
    (tmp_path / "cache").write_text("in the way")
    cache = make_cache(tmp_path / "cache")
    with at_most_one_warning():
        for _ in range(120):
            assert cache.get(A) is None
            now[0] += 1
        assert [when - 1000 for when in tries] == [0, 5, 15, 35, 75]
        (tmp_path / "cache").unlink()
        now[0] += 300
        assert cache.put(A, answer())
        assert cache.get(A)
    cache.close()


def test_a_place_that_cannot_be_opened_to_write_is_not_opened_to_read_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One failure is enough for both, and the warning does not speak of writing alone."""
    tries = []
    real = lifecycle.StoreLifecycle._open
    monkeypatch.setattr(
        lifecycle.StoreLifecycle,
        "_open",
        lambda self, keyed, **more: (tries.append(keyed), real(self, keyed, **more))[1],
    )
    cache = make_cache(_file(tmp_path))
    with at_most_one_warning() as caught:
        assert not cache.put(A, answer())
        assert cache.get(A) is None
        assert not cache.put(A, answer())
    assert "cannot be used now" in str(caught[0].message)
    assert len(tries) == 1
    cache.close()


def test_warnings_as_errors_leave_it_usable(tmp_path: Path) -> None:
    """Where a user turns warnings into errors, the error comes once, and nothing is left half-done."""
    with make_cache(tmp_path) as cache:
        cache.put(A, answer())
        cache.put(B, answer())
        with database_of(tmp_path) as connection:
            connection.execute("UPDATE Cache SET mode = 4")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(CacheWarning):
                cache.get(A)
            assert cache.get(A) is None
            assert cache.get(B) is None
            assert cache.put(A, answer())
            assert cache.get(A)
        assert (len(cache), cache.stats().size_bytes) == stored(tmp_path)


def test_a_half_created_database_is_created_again(tmp_path: Path) -> None:
    """A process that is killed before the mark is written leaves one page of nobody's: it is used, not avoided."""
    with database_of(tmp_path) as connection:
        connection.execute("PRAGMA journal_mode = wal").fetchall()
    assert (tmp_path / "cache.db").stat().st_size > 0
    with make_cache(tmp_path) as cache, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.put(A, answer())
        assert cache.get(A) is not None
        assert cache.verify().ok
