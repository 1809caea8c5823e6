"""The sums: equal to a recount after any sequence, with several processes, and after a kill."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Dict, Optional, Tuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.cache_tools import Clock, answer, database_of, fingerprint, make_cache, stored, writer
from support.examples import examples

from claude_force_nb.cache import ResponseCache, database
from claude_force_nb.storage.database import mark

LIMIT_BYTES = 6000
TTL_SECONDS = 3600.0
keys = st.integers(0, 11)


@pytest.mark.filterwarnings("ignore::claude_force_nb.errors.CacheIntegrityWarning")
class CacheMachine(RuleBasedStateMachine):
    """A cache beside a model of it: a dict of what may be in it, in order of use."""

    @initialize()
    def start(self) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.directory = Path(self.place.name, "cache")
        self.clock = Clock()
        # Text and creation of each entry, least recently used first.
        self.model: Dict[int, Tuple[str, float]] = {}
        self.altered = False
        self.cache: Optional[ResponseCache] = None
        self.reopen()

    @rule()
    def reopen(self) -> None:
        if self.cache is not None:
            self.cache.close()
        self.cache = make_cache(
            self.directory, clock=self.clock, ttl_hours=TTL_SECONDS / 3600, max_size_mb=LIMIT_BYTES / 1e6
        )

    @rule(key=keys, size=st.sampled_from([0, 10, 300, 1500, 4000]))
    def put(self, key: int, size: int) -> None:
        text = f"{key}:{size}:{self.clock.now}" + "x" * size
        self.clock.sleep(1)
        assert self.cache.put(fingerprint(key), answer(text))
        # Expired ones go first, and then as many of the least recently used as are needed.
        for old in [old for old, (_, created) in self.model.items() if self.clock.now - created >= TTL_SECONDS]:
            del self.model[old]
        self.model.pop(key, None)
        self.model[key] = (text, self.clock.now)
        while sum(map(self.size, self.model)) > LIMIT_BYTES:
            del self.model[next(iter(self.model))]

    def size(self, key: int) -> int:
        return SIZE_OF_EMPTY + len(self.model[key][0])

    @rule(key=keys)
    def get(self, key: int) -> None:
        self.clock.sleep(1)
        found = self.cache.get(fingerprint(key))
        expected = self.model.get(key)
        if expected is not None and self.clock.now - expected[1] >= TTL_SECONDS:
            del self.model[key]
            expected = None
        if expected is None:
            assert found is None
        else:
            assert found.text == expected[0]
            assert found.age_seconds == pytest.approx(self.clock.now - expected[1], abs=0.002)
            self.model[key] = self.model.pop(key)

    @rule(key=keys)
    def delete(self, key: int) -> None:
        assert self.cache.delete(fingerprint(key)) == (self.model.pop(key, None) is not None)

    @rule(seconds=st.sampled_from([10, 1800, 3600]))
    def wait(self, seconds: int) -> None:
        self.clock.sleep(seconds)

    @rule(
        key=keys,
        change=st.sampled_from(["value = CAST(value || 'x' AS BLOB)", "value = x''", "mode = 4", "value = NULL"]),
    )
    def corrupt(self, key: int, change: str) -> None:
        failures = self.cache.stats().integrity_failures
        with database_of(self.directory) as connection:
            changed = connection.execute("UPDATE Cache SET " + change + " WHERE key = ?", (fingerprint(key),)).rowcount
        assert bool(changed) == (key in self.model)
        if changed:
            assert self.cache.get(fingerprint(key)) is None
            del self.model[key]
            assert self.cache.stats().integrity_failures == failures + 1

    @rule()
    def verify(self) -> None:
        report = self.cache.verify()
        assert report.ok
        assert report.entries == len(self.model)
        assert report.expired == sum(self.clock.now - created >= TTL_SECONDS for _, created in self.model.values())

    @rule()
    def forge_the_sums(self) -> None:
        with database_of(self.directory) as connection:
            connection.execute("UPDATE Settings SET value = value + 1000 WHERE key = 'size'")
        self.cache.verify()

    @precondition(lambda self: len(self.model) > 3)
    @rule()
    def clear(self) -> None:
        assert self.cache.clear() == len(self.model)
        self.model.clear()

    @invariant()
    def sums_are_exact(self) -> None:
        if self.cache is None:
            return
        stats = self.cache.stats()
        assert (stats.entries, stats.size_bytes) == stored(self.directory)
        assert stats.entries == len(self.cache) == len(self.model)
        assert stats.size_bytes == sum(map(self.size, self.model)) <= LIMIT_BYTES

    def teardown(self) -> None:
        if getattr(self, "cache", None) is not None:
            self.cache.close()
            self.place.cleanup()


def _size_of_empty() -> int:
    with tempfile.TemporaryDirectory() as place, make_cache(Path(place)) as cache:
        cache.put(fingerprint(0), answer("x"))
        return cache.stats().size_bytes - 1


SIZE_OF_EMPTY = _size_of_empty()
TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=examples(40), stateful_step_count=40, deadline=None)
TestCacheMachine.pytestmark = [pytest.mark.filterwarnings("ignore::claude_force_nb.errors.CacheIntegrityWarning")]


@pytest.mark.slow
def test_four_processes_write_at_once(tmp_path: Path) -> None:
    """Puts, gets, deletes and evictions from four processes: no refused write, no failure, exact sums under the limit."""
    running = [writer(tmp_path, seed, 2.5, 0.2) for seed in range(4)]
    total = 0
    for process in running:
        with process:
            out = process.communicate()[0].split()
        assert process.returncode == 0
        ready, writes, refused, failures, under = out
        assert (ready, refused, failures, under) == ("ready", "0", "0", "True")
        total += int(writes)
    # In all: on a busy machine a single one may get no more than a turn.
    assert total > 10
    with make_cache(tmp_path, max_size_mb=0.2) as cache:
        stats = cache.stats()
        assert (stats.entries, stats.size_bytes) == stored(tmp_path)
        assert 0 < stats.size_bytes <= 200_000
        assert cache.verify().intact == stats.entries


def test_who_opens_a_database_that_is_just_made_lets_its_maker_end(tmp_path: Path) -> None:
    """The rollback journal of a process that is switching a new database to WAL is not moved aside."""
    with make_cache(tmp_path) as cache:
        assert cache.put(fingerprint(1), answer())
    journal = tmp_path / "cache.db-journal"
    journal.write_bytes(b"the maker's")
    maker = threading.Timer(0.05, journal.unlink)
    maker.start()
    with make_cache(tmp_path) as cache:
        assert cache.get(fingerprint(1)) is not None
    maker.join()
    assert [path.name for path in tmp_path.iterdir()] == ["cache.db"]


def test_processes_that_make_a_cache_at_once_wait_for_each_other(tmp_path: Path) -> None:
    """No process gives up the cache while another one switches a new database to WAL."""
    with closing(sqlite3.connect(str(tmp_path / "cache.db"), isolation_level=None, check_same_thread=False)) as maker:
        mark(maker, database.APPLICATION_ID, database.USER_VERSION)
        maker.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.1, maker.execute, ["COMMIT"])
        end.start()
        with make_cache(tmp_path) as cache:
            assert cache.put(fingerprint(1), answer())
        end.join()


def kill_and_count(directory: Path, rounds: int) -> None:
    for number in range(rounds):
        with writer(directory, number, 60, 0.2) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(random.Random(number).uniform(0.02, 0.25))
            process.send_signal(signal.SIGKILL)
        with make_cache(directory, max_size_mb=0.2) as cache:
            stats = cache.stats()
            assert (stats.entries, stats.size_bytes) == stored(directory)
            report = cache.verify()
            assert (report.intact, report.ok) == (stats.entries, True)
            assert report.size_bytes == stats.size_bytes <= 200_000
            assert cache.put(fingerprint(1000), answer())
    assert {path.name for path in directory.iterdir()} <= {"cache.db", "cache.db-wal", "cache.db-shm"}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_kill_leaves_exact_sums(tmp_path: Path) -> None:
    """kill -9 in the middle of writing: all entries intact, sums exact, nothing left behind."""
    kill_and_count(tmp_path, 4)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_many_kills_leave_exact_sums(tmp_path: Path) -> None:
    """The same, sixty times over."""
    kill_and_count(tmp_path, 60)


@pytest.mark.slow
def test_gets_do_not_grow(tmp_path: Path) -> None:
    """Memory is flat over 300,000 gets of 3,000 entries."""
    import psutil

    with make_cache(tmp_path) as cache:
        for number in range(3000):
            cache.put(fingerprint(number), answer("x" * 2000))
        process = psutil.Process()
        marks = []
        for number in range(300_000):
            assert cache.get(fingerprint(number % 3000))
            if number % 100_000 == 99_999:
                marks.append(process.memory_info().rss)
        assert marks[-1] - marks[0] < 3_000_000


def test_the_sums_survive_a_reader_of_another_kind(tmp_path: Path) -> None:
    """diskcache itself, opened on the directory, agrees on count and size."""
    import diskcache

    with make_cache(tmp_path) as cache:
        for number in range(20):
            cache.put(fingerprint(number), answer("x" * number * 2000))
        stats = cache.stats()
    with diskcache.Cache(str(tmp_path)) as other:
        assert (len(other), other.reset("size")) == (stats.entries, stats.size_bytes)
        assert other.check() == []
