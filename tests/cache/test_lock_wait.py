"""Writes that wait for other processes: as long as those get on, and not for one that holds the database."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.answers import answer, question

from claude_force_nb.cache.response_cache import ResponseCache
from claude_force_nb.errors import CacheWarning

SECRET = "a secret of the tests, long enough"


def hold(path: Path, seconds: float, times: int, begun: threading.Event) -> None:
    """Hold the database's lock, a transaction after the other without a pause, each of which writes."""
    other = sqlite3.connect(str(path), isolation_level=None)
    for number in range(times):
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE Settings SET value = ? WHERE key = 'hits'", (number,))
        begun.set()
        time.sleep(seconds)
        other.execute("COMMIT")
    other.close()


def waiting_for(path: Path, seconds: float, times: int) -> threading.Thread:
    begun = threading.Event()
    thread = threading.Thread(target=hold, args=(path, seconds, times, begun))
    thread.start()
    assert begun.wait(30)
    return thread


@pytest.mark.slow
def test_others_that_write_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their transactions together take longer than one that does not end would be waited for; the answer is kept, without a warning."""
    # Four times as long as by default, so that a busy machine does not look like somebody who holds the database.
    monkeypatch.setattr("claude_force_nb.cache.lifecycle.LOCK_WAIT_SECONDS", 4.0)
    cache = ResponseCache(tmp_path, secret=SECRET)
    assert cache.put(question("first"), answer("one"))
    others = waiting_for(tmp_path / "cache.db", 1.0, 6)
    assert cache.put(question("second"), answer("two"))
    others.join()
    found: Any = ResponseCache(tmp_path, secret=SECRET).get(question("second"))
    assert found.text == "two"
    cache.close()


@pytest.mark.slow
def test_one_that_holds_it_is_not(tmp_path: Path) -> None:
    """After a second the answer is given without the cache, and said to be."""
    cache = ResponseCache(tmp_path, secret=SECRET)
    assert cache.put(question("first"), answer("one"))
    other = waiting_for(tmp_path / "cache.db", 4, 1)
    began = time.monotonic()
    with pytest.warns(CacheWarning, match="database is locked"):
        assert not cache.put(question("second"), answer("two"))
    assert time.monotonic() - began < 3.5
    other.join()
    cache.close()
