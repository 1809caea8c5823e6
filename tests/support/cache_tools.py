"""Shared code of the tests of the response cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Iterator, List, Tuple

from claude_force_nb.cache import ResponseCache
from claude_force_nb.errors import CacheWarning
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage

SECRET = "the secret of these tests"


def fingerprint(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def answer(text: str = "hello", **fields: Any) -> ClaudeResult:
    fields = {
        "model": "claude-sonnet-5-5",
        "usage": Usage(input_tokens=3, output_tokens=5),
        "stop_reason": "end_turn",
        **fields,
    }
    return ClaudeResult(text=text, **fields)


def make_cache(directory: Path, **options: Any) -> ResponseCache:
    return ResponseCache(directory, **{"secret": SECRET, "environ": {}, **options})


class Clock:
    """A clock that moves only when told to."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@contextlib.contextmanager
def database_of(directory: Path) -> Iterator[sqlite3.Connection]:
    """Return the database, opened as another program would open it to change it."""
    connection = sqlite3.connect(str(directory / "cache.db"), isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def stored(directory: Path) -> Tuple[int, int]:
    """Return the number of entries and bytes, counted from the rows themselves."""
    with database_of(directory) as connection:
        count, size = connection.execute(
            "SELECT count(*), coalesce(sum(length(CAST(value AS BLOB))), 0) FROM Cache"
        ).fetchone()
    return count, size


@contextlib.contextmanager
def at_most_one_warning() -> Iterator[List[warnings.WarningMessage]]:
    """Assert that there are only the cache's own warnings, and at most one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    assert len(caught) <= 1, [str(one.message) for one in caught]
    assert all(issubclass(one.category, CacheWarning) for one in caught), [str(one.message) for one in caught]


# Writes, reads and deletes for so many seconds, and prints what came of it.
_WRITE = """
import random, sys, time
sys.path.insert(0, sys.argv[1])
from support.cache_tools import *
directory, seed, seconds, limit_mb = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
chance = random.Random(seed)
end = time.monotonic() + seconds
writes = refused = 0
with make_cache(directory, max_size_mb=limit_mb) as cache:
    print("ready", flush=True)
    while time.monotonic() < end:
        number = chance.randrange(200)
        if chance.random() < 0.5:
            found = cache.get(fingerprint(number))
            assert found is None or found.text.startswith("{}:".format(number)), repr(found)
        elif chance.random() < 0.1:
            cache.delete(fingerprint(number))
        else:
            writes += 1
            refused += not cache.put(fingerprint(number), answer("{}:".format(number) + "x" * chance.randrange(6000)))
        if chance.random() < 0.01:
            cache.close()
    stats = cache.stats()
print(writes, refused, stats.integrity_failures, stats.size_bytes <= stats.max_size_bytes)
"""


def writer(directory: Path, seed: int, seconds: float, limit_mb: float, warn: str = "error") -> subprocess.Popen[str]:
    """Start a process that uses a cache; with `warn` as the action of Python's warnings."""
    words = [os.path.dirname(os.path.dirname(__file__)), str(directory), str(seed), str(seconds), str(limit_mb)]
    return subprocess.Popen(
        [sys.executable, "-W", warn, "-c", _WRITE, *words], stdout=subprocess.PIPE, universal_newlines=True
    )
