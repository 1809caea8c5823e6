"""The response cache as its users see it."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import subprocess
import sys
import threading
import weakref
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cache_tools import SECRET, Clock, answer, at_most_one_warning, database_of, fingerprint, make_cache, stored

from claude_force_nb.cache import CacheStats, ResponseCache, VerifyReport, cli, entries, lifecycle
from claude_force_nb.cache.entries import CLOCK_SKEW_SECONDS
from claude_force_nb.cache.response_cache import MAX_ENTRY_BYTES
from claude_force_nb.cache.signing import OVERHEAD_BYTES
from claude_force_nb.errors import CacheWarning, OptionError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage

REQUEST = ClaudeRequest(
    {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
)
A, B, C, D = (fingerprint(number) for number in range(4))


def test_an_answer_comes_back_as_cached(tmp_path: Path) -> None:
    """A hit is the answer as it was, marked cached, free, and dated by its signed creation."""
    clock = Clock()
    fresh = answer(
        "hello", cost=Decimal("0.5"), request_id="req_1", call_seconds=1.5, thinking="hm", agent="reviewer", attempts=2
    )
    with make_cache(tmp_path, clock=clock) as cache:
        assert cache.get(REQUEST) is None
        assert cache.put(REQUEST, fresh) is True
        clock.sleep(90)
        expected = ClaudeResult.from_record(fresh.to_record(), fingerprint=REQUEST.fingerprint, age_seconds=90.0)
        for found in (cache.get(REQUEST), cache.get(REQUEST.fingerprint), cache.get(REQUEST)):
            assert found == expected
            assert repr(found) == repr(expected)
            assert vars(found) == vars(expected)
            assert (found.cached, found.status, found.cost, found.saved) == (True, "cached", 0, None)
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.entries, len(cache)) == (3, 1, 1, 1)
        assert stats.hit_rate == 0.75


def test_hits_and_misses_are_counted(tmp_path: Path) -> None:
    """Each lookup is counted once, the first one like all others; a lookup without a call is not counted."""
    with make_cache(tmp_path) as cache:
        for misses in (1, 2, 3):
            assert cache.get(A, counted=False) is None
            assert cache.get(A) is None
            assert (cache.stats().hits, cache.stats().misses) == (0, misses)
        cache.put(A, answer())
        for hits in (1, 2, 3):
            assert cache.get(A, counted=False)
            assert cache.get(A)
            assert (cache.stats().hits, cache.stats().misses) == (hits, 3)


def _asking(text: str) -> ClaudeRequest:
    return ClaudeRequest({**REQUEST.body, "messages": [{"role": "user", "content": text}]})


def test_answers_read_ahead_are_those_that_get_gives(tmp_path: Path) -> None:
    """One statement reads them. Missing, damaged, foreign or expired answers are not reported or counted."""
    clock = Clock()
    known, missing, damaged, foreign, expired, twice = map(_asking, ("a", "b", "c", "d", "e", "f"))
    with make_cache(tmp_path, ttl_hours=1, clock=clock) as cache:
        cache.put(expired, answer("long ago"))
        clock.sleep(3601)
        cache.put_many((each, answer(each.body["messages"][0]["content"])) for each in (known, damaged, twice))
        with make_cache(tmp_path, secret=SECRET[::-1], clock=clock) as other:
            other.put(foreign, answer("foreign"))
        with database_of(tmp_path) as connection:
            connection.execute("UPDATE Cache SET value = zeroblob(200) WHERE key = ?", (damaged.fingerprint,))
    with make_cache(tmp_path, ttl_hours=1, clock=clock) as cache:
        asked = [known, missing, twice, expired, twice]
        assert cache.read_ahead(asked) == [None] * 5  # the file is not open yet
        assert cache.get(known)
        found = cache.read_ahead(asked)
        assert [None if each is None else each.text for each in found] == ["a", None, "f", None, "f"]
        assert [each and vars(each) for each in found] == [each and vars(each) for each in map(cache.get, asked)]
        with at_most_one_warning() as caught:
            assert cache.read_ahead([damaged, foreign]) == [None, None]
        assert len(caught) == 1
        assert cache.read_ahead([_asking(str(number)) for number in range(16)]) == [None] * 16


def test_the_file_is_looked_at_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is still the same file is checked once a second; in between, a lookup only reads its row."""
    looks = []
    real = lifecycle.StoreLifecycle._open

    def open_it(self: lifecycle.StoreLifecycle, *arguments: Any, **options: Any) -> Any:
        looks.append(arguments)
        return real(self, *arguments, **options)

    monkeypatch.setattr(lifecycle.StoreLifecycle, "_open", open_it)
    clock = Clock()
    with make_cache(tmp_path, clock=clock) as cache:
        cache.put(A, answer())
        for seconds, expected in ((0.0, 1), (0.9, 1), (0.2, 2), (0.9, 2), (-5.0, 3)):
            clock.sleep(seconds)
            for _ in range(3):
                assert seconds < 0 or cache.get(A)
                assert cache.get(B) is None
            assert len(looks) == expected


def test_results_of_two_hits_are_independent(tmp_path: Path) -> None:
    """A result that somebody changes by force does not change the next one."""
    with make_cache(tmp_path) as cache:
        cache.put(A, answer())
        first = cache.get(A)
        assert first is not None
        vars(first)["text"] = "changed"
        assert cache.get(A).text == "hello"  # type: ignore[union-attr]


texts = st.text(st.characters(blacklist_categories=()))
RECORDS = st.builds(
    ClaudeResult,
    text=texts.filter(str.strip),
    model=texts,
    usage=st.builds(
        Usage,
        *[st.integers(0, 2**53)] * 6,
        service_tier=texts,
        speed=texts,
        other_models=st.sampled_from([(), (("m", Usage(1, 2)), ("n", Usage(3)))]),
    ),
    stop_reason=st.none() | st.sampled_from(["end_turn", "stop_sequence", "tool_use"]),
    request_id=st.none() | texts,
    call_seconds=st.floats(0, 1e6),
    thinking=texts,
)


def test_every_answer_comes_back(tmp_path: Path) -> None:
    """Whatever is in an answer, lone surrogates included, comes back as from_record reads it."""
    with make_cache(tmp_path) as cache:

        @given(RECORDS)
        def check(result: ClaudeResult) -> None:
            assert cache.put(A, result)
            found = cache.get(A)
            assert found is not None
            expected = ClaudeResult.from_record(
                json.loads(json.dumps(result.to_record())), fingerprint=A, age_seconds=found.age_seconds
            )
            assert vars(found) == vars(expected)

        check()


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "failed", "error": ValueError("no")},
        {"status": "not_sent"},
        {"status": "cached", "cached": True},
        {"error": ValueError("no")},
        {"stop_reason": "max_tokens"},
        {"text": ""},
        {"text": " \n", "stop_reason": "tool_use"},
        {"stop_reason": "refusal"},
        {"stop_reason": "model_context_window_exceeded"},
        {"stop_reason": "pause_turn"},
    ],
)
def test_what_is_not_an_answer_is_not_kept(fields: Dict[str, Any], tmp_path: Path) -> None:
    """Errors, refusals and truncated answers are refused without a word, and leave an older answer alone."""
    with make_cache(tmp_path) as cache:
        assert cache.put(A, answer(**fields)) is False
        assert cache.get(A) is None
        assert cache.put(A, answer("good"))
        assert cache.put(A, answer(**fields)) is False
        assert cache.get(A).text == "good"  # type: ignore[union-attr]


@pytest.mark.parametrize("bad", ["", "abc", "A" * 64, "g" * 64, "0" * 65, "0" * 64 + "\n", 7, None, b"0" * 64])
def test_only_requests_and_fingerprints_are_keys(bad: Any, tmp_path: Path) -> None:
    """Anything else is an error of the caller, in every method."""
    with make_cache(tmp_path) as cache:
        for call in (cache.get, cache.delete, lambda key: cache.put(key, answer())):
            with pytest.raises(OptionError):
                call(bad)


@pytest.mark.parametrize(
    "options",
    [{"ttl_hours": 0}, {"ttl_hours": -1}, {"ttl_hours": "1"}, {"ttl_hours": float("nan")}]
    + [{"max_size_mb": value} for value in (0, -1, None, float("inf"), True)],
)
def test_bounds_of_the_options(options: Dict[str, Any], tmp_path: Path) -> None:
    """Lives and limits are over 0."""
    with pytest.raises(OptionError):
        make_cache(tmp_path, **options)


# ------------------------------------------------------------------ time


def test_an_entry_ends_with_its_ttl(tmp_path: Path) -> None:
    """A hit up to the last millisecond, then a miss that is counted and evicted."""
    clock = Clock()
    with make_cache(tmp_path, clock=clock, ttl_hours=1) as cache:
        cache.put(A, answer())
        clock.sleep(3599.9)
        assert cache.get(A) is not None
        clock.sleep(0.1)
        assert cache.get(A) is None
        stats = cache.stats()
        assert (stats.expired, stats.misses, stats.entries, stats.size_bytes) == (1, 1, 0, 0)


def test_a_shorter_ttl_ends_old_entries_and_a_longer_one_does_not_revive(tmp_path: Path) -> None:
    """The signed end and the current TTL both hold, whichever is earlier."""
    clock = Clock()
    with make_cache(tmp_path, clock=clock, ttl_hours=2) as cache:
        cache.put(A, answer())
        cache.put(B, answer())
    clock.sleep(3600)
    with make_cache(tmp_path, clock=clock, ttl_hours=1) as cache:
        assert cache.get(A) is None
    with make_cache(tmp_path, clock=clock, ttl_hours=2) as cache:
        assert cache.get(B) is not None
    clock.sleep(3600)
    with make_cache(tmp_path, clock=clock, ttl_hours=None) as cache:
        assert cache.get(B) is None


def test_no_ttl_means_no_expiry(tmp_path: Path) -> None:
    """ttl_hours=None keeps an entry for ever; a later TTL applies to it all the same."""
    clock = Clock()
    with make_cache(tmp_path, clock=clock, ttl_hours=None) as cache:
        cache.put(A, answer())
        clock.sleep(10**9)
        assert cache.get(A).age_seconds == 10**9  # type: ignore[union-attr]
        assert "None" in repr(cache)
    with make_cache(tmp_path, clock=clock) as cache:
        assert cache.get(A) is None


def test_clocks_that_differ(tmp_path: Path) -> None:
    """An entry from slightly in the future is a hit of age 0; from further on it is a miss, but stays for its time."""
    clock = Clock()
    with make_cache(tmp_path, clock=clock) as cache:
        cache.put(A, answer())
        clock.sleep(-CLOCK_SKEW_SECONDS)
        assert cache.get(A).age_seconds == 0.0  # type: ignore[union-attr]
        clock.sleep(-1)
        assert cache.get(A) is None
        assert cache.verify().expired == 1
        clock.sleep(CLOCK_SKEW_SECONDS + 1)
        assert cache.get(A) is not None


# ------------------------------------------------------------------ size


def size_of(result: ClaudeResult) -> int:
    return len(json.dumps(result.to_record(), separators=(",", ":"), ensure_ascii=False).encode()) + OVERHEAD_BYTES


def test_size_is_the_sum_of_what_is_stored(tmp_path: Path) -> None:
    """Put, overwrite with more and with less, delete, clear: always the sum."""
    with make_cache(tmp_path) as cache:
        for key, text in ((A, "a"), (B, "b" * 100_000), (A, "a" * 500), (B, "b")):
            cache.put(key, answer(text))
            assert (len(cache), cache.stats().size_bytes) == stored(tmp_path)
        assert cache.stats().size_bytes == size_of(answer("a" * 500)) + size_of(answer("b"))
        assert cache.delete(A) is True
        assert cache.delete(A) is False
        assert cache.stats().size_bytes == size_of(answer("b"))
        assert cache.clear() == 1
        assert cache.stats().size_bytes == 0
        assert cache.get(B) is None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    """Over the limit, what was neither written nor read for longest goes, exactly as much as is needed."""
    one = size_of(answer("x" * 1000))
    for clock in (Clock(), None):  # a clock that stands still, too
        directory = tmp_path / str(bool(clock))
        options = {"clock": clock} if clock else {}
        with make_cache(directory, max_size_mb=one * 3 / 1e6, **options) as cache:
            for key in (A, B, C):
                assert cache.put(key, answer("x" * 1000))
            assert cache.get(A)
            assert cache.put(D, answer("x" * 1000))
            assert [bool(cache.get(key)) for key in (A, B, C, D)] == [True, False, True, True]
            stats = cache.stats()
            assert (stats.evictions, stats.entries, stats.size_bytes) == (1, 3, one * 3)
            assert stats.size_bytes <= stats.max_size_bytes


def test_an_old_use_does_not_age_an_entry_written_since(tmp_path: Path) -> None:
    """Read, then written again: what counts is the later of the two, though uses are written down afterwards."""
    clock = Clock()
    with make_cache(tmp_path, clock=clock, max_size_mb=0.006) as cache:
        for number, size in ((0, 1), (1, 1), (0, 1800), (2, 4000)):
            clock.sleep(1)
            cache.put(fingerprint(number), answer("x" * size))
            clock.sleep(1)
            if (number, size) == (0, 1):
                assert cache.get(fingerprint(0)) is not None
        # Both had to go: the older one first, and that was not enough.
        assert cache.get(fingerprint(1)) is None
        assert cache.get(fingerprint(0)) is None
        assert cache.get(fingerprint(2)) is not None


def test_several_answers_are_kept_as_one_after_the_other(tmp_path: Path) -> None:
    """One transaction for many: what is not an answer is left out, the limit holds, and the last of equal keys counts."""
    with make_cache(tmp_path, max_size_mb=0.006) as cache:
        cut_off = dataclasses.replace(answer("cut"), stop_reason="max_tokens")
        kept = cache.put_many([(fingerprint(0), answer("a")), (fingerprint(1), cut_off), (fingerprint(0), answer("b"))])
        assert kept == 2
        assert len(cache) == 1
        assert cache.get(fingerprint(0)).text == "b"
        assert cache.put_many([]) == 0
        assert cache.put_many((fingerprint(number), answer("x" * 1500)) for number in range(10)) == 10
        stats = cache.stats()
        assert stats.size_bytes <= 6000 < stats.size_bytes + 1800
        assert [cache.get(fingerprint(number)) is not None for number in range(10)] == [False] * 7 + [True] * 3
        assert cache.verify().ok


def test_uses_are_remembered_over_a_restart(tmp_path: Path) -> None:
    """What was read before close() counts as used for the next kernel."""
    one = size_of(answer("x" * 1000))
    with make_cache(tmp_path, max_size_mb=one * 3 / 1e6) as cache:
        for key in (A, B, C):
            cache.put(key, answer("x" * 1000))
        cache.get(A)
    with make_cache(tmp_path, max_size_mb=one * 3 / 1e6) as cache:
        cache.put(D, answer("x" * 1000))
        assert [bool(cache.get(key)) for key in (A, B, C, D)] == [True, False, True, True]


def test_reads_write_nothing(tmp_path: Path) -> None:
    """Gets change neither database nor log until they are written down in bulk."""
    with make_cache(tmp_path) as cache:
        cache.put(A, answer())
        cache.get(A)
        before = {
            path.name: path.stat().st_mtime_ns for path in tmp_path.glob("cache.db*") if not path.name.endswith("shm")
        }
        for _ in range(1000):
            assert cache.get(A)
            cache.get(B)
        after = {
            path.name: path.stat().st_mtime_ns for path in tmp_path.glob("cache.db*") if not path.name.endswith("shm")
        }
        assert after == before


def test_a_lower_limit_shrinks_an_old_cache(tmp_path: Path) -> None:
    """The limit of the writing kernel holds, also for what others have stored; a single large entry goes for one put."""
    with make_cache(tmp_path) as cache:
        for number in range(300):
            cache.put(fingerprint(number), answer("x" * 1000))
    with make_cache(tmp_path, max_size_mb=0.01) as cache:
        assert len(cache) == 300
        assert cache.put(A, answer("new"))
        stats = cache.stats()
        assert stats.size_bytes <= 10_000
        assert stats.size_bytes > 10_000 - size_of(answer("x" * 1000))
        assert stats.evictions == 301 - stats.entries - 1
        assert (stats.entries, stats.size_bytes) == stored(tmp_path)
        assert cache.get(A) is not None


def test_an_entry_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    """It is said once, nothing is evicted for it, and one of exactly the limit is kept."""
    exact = answer("x" * 1000)
    with make_cache(tmp_path, max_size_mb=size_of(exact) / 1e6) as cache:
        assert cache.put(A, exact)
        with pytest.warns(CacheWarning, match="max_size_mb") as caught:
            assert [cache.put(B, answer("x" * size)) for size in (1001, 1002)] == [False, False]
        assert len(caught) == 1
        assert cache.get(A) is not None


def test_the_longest_entry(tmp_path: Path) -> None:
    """No entry is longer than MAX_ENTRY_BYTES, whatever the limit of the cache."""
    with make_cache(tmp_path, max_size_mb=10_000) as cache, pytest.warns(CacheWarning, match="67,108,864"):
        assert cache.put(A, answer("x" * MAX_ENTRY_BYTES)) is False


def test_expired_entries_make_room(tmp_path: Path) -> None:
    """A put evicts what is expired, before anything that is not."""
    clock = Clock()
    with make_cache(tmp_path, clock=clock, ttl_hours=1) as cache:
        for number in range(5):
            cache.put(fingerprint(number), answer())
        clock.sleep(3601)
        cache.put(fingerprint(9), answer())
        stats = cache.stats()
        assert (stats.entries, stats.expired, stats.evictions) == (1, 5, 0)


# ------------------------------------------------------------------ keys, verify, directory


def test_another_secret_is_a_miss_and_no_damage(tmp_path: Path) -> None:
    """Entries of another key are left alone, are not an integrity failure, and are read again with the old secret listed."""
    with make_cache(tmp_path, secret="the first secret of two") as cache:
        cache.put(A, answer())
    with make_cache(tmp_path, secret="the second secret of two") as cache:
        assert cache.get(A) is None
        report = cache.verify()
        assert (report.foreign_key, report.corrupt, report.intact, report.ok) == (1, 0, 0, True)
        stats = cache.stats()
        assert (stats.foreign_key, stats.integrity_failures, stats.misses, stats.entries) == (1, 0, 1, 1)
    environ = {
        "CLAUDE_CACHE_SECRET": "the second secret of two",
        "CLAUDE_CACHE_SECRET_PREVIOUS": "the first secret of two",
    }
    with ResponseCache(tmp_path, environ=environ) as cache:
        assert cache.get(A) is not None


def test_verify_counts_every_kind(tmp_path: Path) -> None:
    """Intact and expired entries are told apart, and left."""
    clock = Clock()
    with make_cache(tmp_path, clock=clock, ttl_hours=1) as cache:
        cache.put(A, answer())
        clock.sleep(1800)
        with database_of(tmp_path) as connection:
            connection.execute("UPDATE Cache SET expire_time = NULL")
        cache.put(B, answer())
        clock.sleep(1800)
        report = cache.verify()
        assert report == VerifyReport(intact=1, expired=1, size_bytes=stored(tmp_path)[1])
        assert str(report).startswith("2 entries: 1 intact, 1 expired, 0 corrupt")
        assert len(cache) == 2


def test_the_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, then CLAUDE_CACHE_DIR, then the user's cache directory; nothing is made before it is used."""
    environ = {"CLAUDE_CACHE_DIR": str(tmp_path / "from environment")}
    assert make_cache(tmp_path / "given", environ=environ).directory == tmp_path / "given"
    assert ResponseCache(secret="0123456789abcdef", environ=environ).directory == tmp_path / "from environment"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert ResponseCache("~/there", secret="0123456789abcdef", environ={}).directory == tmp_path / "there"
    assert ResponseCache(secret="0123456789abcdef", environ={}).directory.name == "claude_force_nb"
    assert list(tmp_path.iterdir()) == []


def test_names_that_diskcache_would_expand(tmp_path: Path) -> None:
    """A directory with $ or ~ in its name is that directory."""
    directory = tmp_path / "$HOME ~" / "~"
    with make_cache(directory) as cache:
        assert cache.put(A, answer())
        assert (directory / "cache.db").exists()


def test_importing_and_making_is_cheap() -> None:
    """Neither import nor constructor loads diskcache, SQLite or network code, or accesses the disk."""
    code = """
import sys
from claude_force_nb.cache import ResponseCache
cache = ResponseCache("/nonexistent/place", secret="0123456789abcdef")
repr(cache)
found = {"diskcache", "sqlite3", "_sqlite3", "platformdirs", "asyncio", "ssl", "anthropic", "IPython"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# ------------------------------------------------------------------ threads, forks, ends


def test_threads_share_a_cache(tmp_path: Path) -> None:
    """Gets, puts, deletes and closes from eight threads: right answers, exact sums, no error."""
    problems: List[BaseException] = []

    def run(thread: int) -> None:
        try:
            for step in range(150):
                number = (thread * 7 + step) % 20
                cache.put(fingerprint(number), answer(str(number) * 50))
                found = cache.get(fingerprint((number + 3) % 20))
                assert found is None or found.text == str((number + 3) % 20) * 50
                if step % 40 == 13:
                    cache.delete(fingerprint(number))
                if step % 50 == 17:
                    cache.close()
                if step % 50 == 31:
                    cache.stats()
        except BaseException as error:
            problems.append(error)

    with make_cache(tmp_path) as cache:
        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert cache.verify().ok
        stats = cache.stats()
        assert (stats.entries, stats.size_bytes) == stored(tmp_path)
        assert stats.hits + stats.misses == 8 * 150


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_uses_its_own_connection(tmp_path: Path) -> None:
    """Parent and child go on with the same object, also when a lock was held while forking, and both see both's answers."""
    with make_cache(tmp_path) as cache:
        cache.put(A, answer("from the parent"))
        assert cache.get(A)
        inherited = weakref.ref(cache._lifecycle.store)
        with cache._lifecycle.write_lock, cache._lifecycle.read_lock:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    gc.collect()  # what was inherited must not even be closed: SQLite would take the log for its own
                    if inherited() is None:
                        status = 2
                    elif cache.get(A) and cache.put(B, answer("from the child")) and cache.get(B):
                        cache.close()
                        status = 0
                finally:
                    os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert cache.get(B).text == "from the child"  # type: ignore[union-attr]
        assert cache.put(C, answer())
        assert (len(cache), cache.stats().size_bytes) == stored(tmp_path)
        assert cache.verify().intact == 3


def test_used_after_close_it_opens_again(tmp_path: Path) -> None:
    """close() is not an end; it may be called twice, and before anything was opened."""
    cache = make_cache(tmp_path)
    cache.close()
    assert cache.put(A, answer())
    cache.close()
    cache.close()
    assert cache.get(A)
    cache.close()


def test_a_forgotten_cache_is_closed(tmp_path: Path) -> None:
    """A cache that nobody closed closes its connections itself when it goes, and writes down what was used."""
    cache = make_cache(tmp_path, max_size_mb=0.0004)
    cache.put(A, answer())
    with database_of(tmp_path) as connection:
        connection.execute("UPDATE Cache SET access_time = 0")
    cache.get(A)
    store = cache._lifecycle.store
    del cache
    gc.collect()
    assert store._reader is None
    assert store._writer is None
    with database_of(tmp_path) as connection:
        assert connection.execute("SELECT access_time FROM Cache").fetchone()[0] > 0


def test_a_process_that_just_ends(tmp_path: Path) -> None:
    """No warning at interpreter exit about connections left open."""
    code = """
import sys
sys.path.insert(0, sys.argv[2])
from support.cache_tools import *
cache = make_cache(Path(sys.argv[1]))
cache.put(fingerprint(1), answer())
assert cache.get(fingerprint(1))
"""
    arguments = [
        sys.executable,
        "-X",
        "dev",
        "-W",
        "error",
        "-c",
        code,
        str(tmp_path),
        os.path.dirname(os.path.dirname(__file__)),
    ]
    done = subprocess.run(arguments, capture_output=True, check=True)
    assert done.stderr == b""


def test_what_was_verified_is_forgotten_in_time(tmp_path: Path) -> None:
    """The memory of verified entries and of uses is bounded."""
    from claude_force_nb.cache import entries

    with make_cache(tmp_path) as cache:
        for number in range(60):
            cache.put(fingerprint(number), answer("x" * 400_000))
        for number in range(60):
            assert cache.get(fingerprint(number))
        assert len(cache._verified) == 0, "what is read once is not kept"
        for number in range(60):
            assert cache.get(fingerprint(number))
        kept = sum(2 * len(entry.value) for entry in cache._verified.values())
        assert 0 < kept <= entries.VERIFIED_BYTES
        assert cache._verified.size_bytes == kept + len(cache._verified) * entries._OVERHEAD_BYTES
        assert cache.put(A, answer("x" * 10_000_000))
        assert cache.get(A)
        assert cache.get(A)
        assert len(cache._verified) == 1
        cache.clear()
        assert cache._verified.size_bytes == 0


@pytest.mark.parametrize(("limit_mb", "written"), [(0.01, True), (60, True), (200, False)])
def test_uses_are_written_when_there_are_many(
    limit_mb: float, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notes of uses do not grow without end; they are written where the largest next entry could evict, else let go.

    Of a cache of 60 MB one entry may take all, of one of 200 MB a third.
    """
    monkeypatch.setattr("claude_force_nb.cache.uses.MAX_NOTES", 10)
    monkeypatch.setattr("claude_force_nb.cache.response_cache.MAX_NOTES", 10)
    monkeypatch.setattr("claude_force_nb.cache.response_cache._FLUSHED_NOTES", 4)
    with make_cache(tmp_path, max_size_mb=limit_mb) as cache:
        for number in range(25):
            assert cache.put(fingerprint(number), answer())
        with database_of(tmp_path) as connection:
            connection.execute("UPDATE Cache SET access_time = 0")
            for number in range(25):
                assert cache.get(fingerprint(number))
                assert len(cache._uses.times) <= 10
            ((changed,),) = connection.execute("SELECT count(*) FROM Cache WHERE access_time > 0").fetchall()
        assert changed == (16 if written else 0)
        assert cache.stats().hits == 25


# ------------------------------------------------------------------ command line


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return cli.run(parser.parse_args(words))


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """stats, verify, path and clear say what they found and did; looking makes nothing."""
    monkeypatch.setenv("CLAUDE_CACHE_SECRET", "the secret of these tests")
    place = tmp_path / "cache"
    for action in ("stats", "verify", "clear", "path"):
        assert command(action, "--dir", str(place)) == 0
    assert capsys.readouterr().out.splitlines() == [f"there is no cache in {place}"] * 3 + [str(place)]
    assert not place.exists()
    with make_cache(place) as cache:
        cache.put(A, answer())
        cache.put(B, answer())
    assert command("stats", "--dir", str(place)) == 0
    out = capsys.readouterr().out
    assert "entries    2" in out
    assert "of 500,000,000 bytes" in out
    assert command("verify", "--dir", str(place)) == 0
    assert capsys.readouterr().out.startswith("2 entries: 2 intact")
    with database_of(place) as connection:
        connection.execute("UPDATE Cache SET mode = 4 WHERE key = ?", (A,))
    with at_most_one_warning():
        assert command("verify", "--dir", str(place)) == 1
    assert "1 corrupt" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert command("clear", "--dir", str(place)) == 1
    assert capsys.readouterr().out == "nothing was removed\n"
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert command("clear", "--dir", str(place)) == 0
    assert capsys.readouterr().out == "removed 1 entry\n"
    assert command("clear", "--dir", str(place), "--yes") == 0


def test_the_command_line_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """clear without --yes and without anybody to ask removes nothing; a wrong secret is exit status 2."""
    monkeypatch.setenv("CLAUDE_CACHE_SECRET", "the secret of these tests")
    with make_cache(tmp_path) as cache:
        cache.put(A, answer())

    def nobody(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    assert command("clear", "--dir", str(tmp_path)) == 1
    with make_cache(tmp_path) as cache:
        assert len(cache) == 1
    monkeypatch.setenv("CLAUDE_CACHE_SECRET", "short")
    monkeypatch.setenv("CLAUDE_FORCE_REQUIRE_SECRET", "1")
    assert command("stats", "--dir", str(tmp_path)) == 2


def test_reports_are_values() -> None:
    """Stats and reports compare, and an empty one is all zeros."""
    assert CacheStats() == CacheStats(hits=0)
    assert CacheStats().hit_rate == 0.0
    assert str(VerifyReport(available=False)) == "the cache cannot be read"
    assert not VerifyReport(available=False).ok


# ------------------------------------------------------------------ places and clocks


def test_a_relative_folder_stays_where_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the working directory in which the cache was made, whatever the notebook changes to before or after the first use."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    with make_cache(Path("cache")) as cache, ResponseCache(
        environ={"CLAUDE_CACHE_DIR": "other"}, secret=SECRET
    ) as other:
        monkeypatch.chdir(there)
        assert cache.put(A, answer("kept"))
        assert other.put(A, answer("kept"))
        assert cache.directory == here / "cache"
        assert other.directory == here / "other"
    assert (here / "cache" / "cache.db").exists()
    assert list(there.iterdir()) == []


def test_the_least_recently_used_is_evicted_even_if_the_clock_stands_still(tmp_path: Path) -> None:
    """Uses are told apart though they are all of one moment: by reading, by writing again, and in later processes."""
    clock = Clock()
    one = len(entries.encode(answer("x" * 1000))) + 96
    with make_cache(tmp_path, max_size_mb=(3 * one + 10) / 1e6, clock=clock) as cache:
        for key in (A, B, C):
            assert cache.put(key, answer("x" * 1000))
        assert cache.get(A) is not None
        assert cache.put(fingerprint(4), answer("x" * 1000))
        assert (cache.get(B), cache.stats().evictions) == (None, 1)
        assert cache.get(C) is not None
        assert cache.put(fingerprint(5), answer("x" * 1000))
        assert cache.get(A) is None
        assert cache.get(C) is not None


@pytest.mark.parametrize("back", [1.0, 3600.0, 40 * 86400.0, 1_699_999_000.0])
def test_a_clock_that_was_ahead_spoils_no_eviction(tmp_path: Path, back: float) -> None:
    """What was used while the clock was ahead does not stay for ever at the cost of what is used now."""
    clock = Clock()
    one = len(entries.encode(answer("x" * 1000))) + 96
    with make_cache(tmp_path, max_size_mb=(3 * one + 10) / 1e6, clock=clock) as cache:
        for key in (A, B, C):
            assert cache.put(key, answer("x" * 1000))
    clock.now -= back
    with make_cache(tmp_path, max_size_mb=(3 * one + 10) / 1e6, clock=clock) as cache:
        for number in range(10, 20):
            assert cache.put(fingerprint(number), answer("x" * 1000))
            assert cache.get(fingerprint(number)) is not None
        kept = [number for number in range(10, 20) if cache.get(fingerprint(number)) is not None]
        assert kept == [17, 18, 19]


def test_an_entry_of_the_future_is_a_miss_until_then_and_ends_when_signed(tmp_path: Path) -> None:
    """A clock that is put back and set right: no entry is believed before its time, and none lives beyond its end."""
    clock = Clock()
    with make_cache(tmp_path, clock=clock, ttl_hours=24) as cache:
        made = clock.now
        assert cache.put(A, answer("kept"))
        for moment, is_hit in [
            (-3600.0, False), (-40 * 86400.0, False), (-299.0, True), (0.0, True), (86399.0, True), (86400.0, False),
        ]:  # fmt: skip
            clock.now = made + moment
            found = cache.get(A)
            assert (found is not None) is is_hit, moment
            assert found is None or found.age_seconds == max(0.0, moment)
