"""In a cache directory that others have written to, a lookup is a miss or the intact answer, never anything else."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from support.cache_tools import (
    SECRET,
    answer,
    at_most_one_warning,
    database_of,
    fingerprint,
    make_cache,
    stored,
    writer,
)
from support.changed_bytes import SWEEPS, offsets

from claude_force_nb.cache import ResponseCache

A, B, C = fingerprint(1), fingerprint(2), fingerprint(3)
TEXTS = {A: "the answer to A", B: "the answer to B, " + "b" * 50_000}

Attack = Callable[[Path], None]
ATTACKS: Dict[str, Attack] = {}


def attack(name: str) -> Callable[[Attack], Attack]:
    def register(function: Attack) -> Attack:
        assert name not in ATTACKS
        ATTACKS[name] = function
        return function

    return register


class Payload:
    """Creates a file next to the cache when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def payload(directory: Path) -> bytes:
    return pickle.dumps(Payload(directory.parent / "code-was-run"))


def canary(directory: Path) -> Path:
    return directory.parent / "outside.val"


def _sql(statement: str, *arguments: Any) -> Attack:
    def run(directory: Path) -> None:
        with database_of(directory) as connection:
            connection.execute(statement, arguments)

    return run


# ------------------------------------------------------------------ rows


@attack("mode set to pickle with a live payload")
def _(directory: Path) -> None:
    _sql("UPDATE Cache SET mode = 4, value = ?", payload(directory))(directory)


@attack("mode set to pickle, value as it was")
def _(directory: Path) -> None:
    _sql("UPDATE Cache SET mode = 4")(directory)


@attack("a live payload as value")
def _(directory: Path) -> None:
    _sql("UPDATE Cache SET value = ?", payload(directory))(directory)


@attack("a pickled key")
def _(directory: Path) -> None:
    _sql("UPDATE Cache SET raw = 0, key = ? || key", payload(directory))(directory)
    _sql(
        "INSERT INTO Cache (key, raw, mode, value, access_time, size) VALUES (?, 0, 1, 'x', 0, 1)", payload(directory)
    )(directory)


@attack("a pickle in a file")
def _(directory: Path) -> None:
    (directory / "ab" / "cd").mkdir(parents=True)
    (directory / "ab" / "cd" / ("0" * 28 + ".val")).write_bytes(payload(directory))
    _sql("UPDATE Cache SET mode = 4, value = NULL, filename = 'ab/cd/{}.val'".format("0" * 28))(directory)


for _mode in (1, 2, 3, 4):
    for _name, _make in {
        "absolute": lambda directory: str(canary(directory)),
        "with ..": lambda directory: "../outside.val",
        "with .. behind a pattern": lambda directory: "ab/cd/../../../outside.val",
        "that is a symlink": lambda directory: "ab/cd/{}.val".format("1" * 28),
        "that is the database": lambda directory: "cache.db",
    }.items():

        @attack(f"mode {_mode} and a filename {_name}")
        def _(directory: Path, mode: int = _mode, make: Callable[[Path], str] = _make) -> None:
            (directory / "ab" / "cd").mkdir(parents=True)
            (directory / "ab" / "cd" / ("1" * 28 + ".val")).symlink_to(canary(directory))
            _sql("UPDATE Cache SET mode = ?, filename = ?, expire_time = 1", mode, make(directory))(directory)


@attack("value of A under key B")
def _(directory: Path) -> None:
    with database_of(directory) as connection:
        (value,) = connection.execute("SELECT value FROM Cache WHERE key = ?", (A,)).fetchone()
        connection.execute("UPDATE Cache SET value = ? WHERE key = ?", (value, B))


@attack("keys of A and B exchanged")
def _(directory: Path) -> None:
    with database_of(directory) as connection:
        connection.execute("UPDATE Cache SET key = 'x' WHERE key = ?", (A,))
        connection.execute("UPDATE Cache SET key = ? WHERE key = ?", (A, B))
        connection.execute("UPDATE Cache SET key = ? WHERE key = 'x'", (B,))


for _column in ("store_time", "expire_time", "access_time", "access_count", "tag", "size"):
    for _value in (0, -1, 10**15, 4e300, "text", b"\xff\xfe", None):
        ATTACKS[f"{_column} set to {_value!r}"] = _sql(f"UPDATE Cache SET {_column} = ?", _value)

for _name, _value in {
    "emptied": b"",
    "nothing": None,
    "a number": 7,
    "a real": 1.5,
    "text": "hello",
    "noise": bytes(range(256)) * 4,
}.items():
    ATTACKS["value " + _name] = _sql("UPDATE Cache SET value = ?", _value)
ATTACKS["value text that is no UTF-8"] = _sql("UPDATE Cache SET value = CAST(x'ff00fe80' AS TEXT)")
ATTACKS["value cast to text"] = _sql("UPDATE Cache SET value = CAST(value AS TEXT)")
ATTACKS["value far too long"] = _sql(f"UPDATE Cache SET value = zeroblob(67108865) WHERE key = '{A}'")
ATTACKS["value longer by a byte"] = _sql("UPDATE Cache SET value = CAST(value || 'x' AS BLOB)")
ATTACKS["key as a blob"] = _sql("UPDATE Cache SET key = CAST(key AS BLOB)")
ATTACKS["raw as text"] = _sql("UPDATE Cache SET raw = 'true'")
ATTACKS["key that is not a fingerprint"] = _sql("UPDATE Cache SET key = 'x' || key")
ATTACKS["negative row numbers"] = _sql("UPDATE Cache SET rowid = -rowid - 9223372036854775000")
ATTACKS["mode as text"] = _sql("UPDATE Cache SET mode = 'x'")


def _header_field(offset: int, change: int) -> Attack:
    def run(directory: Path) -> None:
        with database_of(directory) as connection:
            (value,) = connection.execute("SELECT value FROM Cache WHERE key = ?", (A,)).fetchone()
            (number,) = struct.unpack_from(">Q", value, offset)
            value = value[:offset] + struct.pack(">Q", number + change) + value[offset + 8 :]
            connection.execute("UPDATE Cache SET value = ? WHERE key = ?", (value, A))

    return run


ATTACKS["signed creation time changed"] = _header_field(12, -1)
ATTACKS["signed end put off"] = _header_field(20, 10**12)
ATTACKS["key id changed"] = _header_field(4, 1)

# ------------------------------------------------------------------ Settings

for _key, _value in {
    "size_limit": 1,
    "cull_limit": 10**9,
    "eviction_policy": "no-such-policy",
    "statistics": 1,
    "tag_index": "x",
    "disk_min_file_size": 0,
    "disk_pickle_protocol": "boom",
    "sqlite_mmap_size": 2**40,
    "sqlite_journal_mode": "off",
    "sqlite_synchronous": "x; DROP TABLE Cache",
    "sqlite_cache_size": b"\xff",
    "count": -5,
    "size": "text",
    "hits": None,
}.items():
    ATTACKS[f"setting {_key} changed"] = _sql("UPDATE Settings SET value = ? WHERE key = ?", _value, _key)
for _key, _value in {
    "sqlite_writable_schema": 1,
    "sqlite_no_such_pragma(1); DROP TABLE Cache; --": 1,
    "disk_no_such_argument": 1,
    "_disk": "text",
    "directory": "/",
    "timeout": 3600,
}.items():
    ATTACKS[f"setting {_key} added"] = _sql("INSERT INTO Settings VALUES (?, ?)", _key, _value)
ATTACKS["settings emptied"] = _sql("DELETE FROM Settings")
ATTACKS["settings of bytes that are not text"] = _sql("UPDATE Settings SET key = CAST(x'ff' || key AS TEXT)")
ATTACKS["size forged high"] = _sql("UPDATE Settings SET value = 1000000000000 WHERE key = 'size'")
ATTACKS["size forged low"] = _sql("UPDATE Settings SET value = 0 WHERE key = 'size'")
ATTACKS["count forged"] = _sql("UPDATE Settings SET value = 0 WHERE key = 'count'")
ATTACKS["size a fraction"] = _sql("UPDATE Settings SET value = 1.5 WHERE key = 'size'")

# ------------------------------------------------------------------ tables, triggers, views

for _name, _statements in {
    "settings table dropped": ["DROP TABLE Settings"],
    "cache table dropped": ["DROP TABLE Cache"],
    "index dropped": ["DROP INDEX Cache_key_raw"],
    "twice the same key": [
        "DROP INDEX Cache_key_raw",
        "INSERT INTO Cache (key, raw, mode, value) SELECT key, 1, 1, 'x' FROM Cache",
    ],
    "a trigger dropped": ["DROP TRIGGER Settings_size_insert"],
    "a trigger that empties": ["CREATE TRIGGER t AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END"],
    "a trigger that refuses": ["CREATE TRIGGER t BEFORE INSERT ON Cache BEGIN SELECT raise(ABORT, 'no'); END"],
    "a trigger that goes on for ever": [
        "CREATE TABLE t (n)",
        "CREATE TRIGGER e AFTER INSERT ON Cache BEGIN INSERT INTO t"
        " WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n FROM n) SELECT n FROM n; END",
    ],
    "cache a view": ["ALTER TABLE Cache RENAME TO Other", "CREATE VIEW Cache AS SELECT * FROM Other"],
    "cache a view without end": [
        "DROP TABLE Cache",
        "CREATE VIEW Cache AS WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n FROM n)"
        " SELECT n AS rowid, n AS key, 1 AS raw, 1 AS mode, NULL AS filename, n AS value FROM n",
    ],
    "another table": ["CREATE TABLE other (x)"],
    "a column more": ["ALTER TABLE Cache ADD COLUMN extra"],
    "a schema that cannot be read": [
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_master SET sql = 'CREATE TABLE Cache (' WHERE name = 'Cache'",
    ],
}.items():

    @attack(_name)
    def _(directory: Path, statements: Any = tuple(_statements)) -> None:
        with database_of(directory) as connection:
            for statement in statements:
                connection.execute(statement)


# ------------------------------------------------------------------ files


def _path(directory: Path, ending: str = "") -> Path:
    return directory / ("cache.db" + ending)


def _overwrite(directory: Path, content: bytes, ending: str = "") -> None:
    with open(str(_path(directory, ending)), "r+b") as file:
        file.truncate(0)
        file.write(content)


@attack("database emptied")
def _(directory: Path) -> None:
    _overwrite(directory, b"")


@attack("database overwritten with text")
def _(directory: Path) -> None:
    _overwrite(directory, b"this is not a database\n" * 500)


@attack("database overwritten with noise behind its header")
def _(directory: Path) -> None:
    header = _path(directory).read_bytes()[:100]
    _overwrite(directory, header + random.Random(5).getrandbits(8 * 40_000).to_bytes(40_000, "big"))


@attack("noise in the middle of the database")
def _(directory: Path) -> None:
    content = bytearray(_path(directory).read_bytes())
    for position in range(4096, len(content), 97):
        content[position] ^= 0x55
    _overwrite(directory, bytes(content))


@attack("database overwritten with text behind its header")
def _(directory: Path) -> None:
    header = _path(directory).read_bytes()[:100]
    _overwrite(directory, header + b"this is not a database\n" * 500)


@attack("database replaced by text")
def _(directory: Path) -> None:
    _path(directory).unlink()
    _path(directory).write_text("this is not a database\n" * 500)


@attack("database replaced by a directory")
def _(directory: Path) -> None:
    _path(directory).unlink()
    _path(directory).mkdir()
    (_path(directory) / "file").write_text("precious")


@attack("database replaced by a dangling symlink")
def _(directory: Path) -> None:
    _path(directory).unlink()
    _path(directory).symlink_to(directory.parent / "code-was-run")


@attack("database replaced by a symlink to a file outside")
def _(directory: Path) -> None:
    _path(directory).unlink()
    _path(directory).symlink_to(canary(directory))


@attack("database replaced by a pipe")
def _(directory: Path) -> None:
    _path(directory).unlink()
    os.mkfifo(str(_path(directory)))


@attack("database replaced by one of another program")
def _(directory: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        if _path(directory, ending).exists():
            _path(directory, ending).unlink()
    with database_of(directory) as connection:
        connection.execute("CREATE TABLE precious (x)")


@attack("database removed")
def _(directory: Path) -> None:
    _path(directory).unlink()


@attack("directory removed")
def _(directory: Path) -> None:
    shutil.rmtree(str(directory))


@attack("directory replaced by a new one")
def _(directory: Path) -> None:
    shutil.rmtree(str(directory))
    directory.mkdir()


@attack("log removed")
def _(directory: Path) -> None:
    if _path(directory, "-wal").exists():
        _path(directory, "-wal").unlink()


@attack("log and its index removed")
def _(directory: Path) -> None:
    for ending in ("-wal", "-shm"):
        if _path(directory, ending).exists():
            _path(directory, ending).unlink()


@attack("log overwritten with noise")
def _(directory: Path) -> None:
    if _path(directory, "-wal").exists():
        _overwrite(directory, bytes(range(256)) * 400, "-wal")
    else:
        _path(directory, "-wal").write_bytes(bytes(range(256)) * 400)


@attack("log truncated")
def _(directory: Path) -> None:
    if _path(directory, "-wal").exists():
        os.truncate(str(_path(directory, "-wal")), 4096 + 32)


@attack("log a symlink to a file outside")
def _(directory: Path) -> None:
    if _path(directory, "-wal").exists():
        _path(directory, "-wal").unlink()
    _path(directory, "-wal").symlink_to(canary(directory))


@attack("a rollback journal that is a symlink to a file outside")
def _(directory: Path) -> None:
    _path(directory, "-journal").symlink_to(canary(directory))


@attack("a rollback journal of noise")
def _(directory: Path) -> None:
    _path(directory, "-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(range(256)) * 40)


# What is then in the place of the database does not have our mark, so that it may be another program's.
FOREIGN = {
    "database overwritten with text",
    "database replaced by text",
    "database replaced by a directory",
    "database replaced by a dangling symlink",
    "database replaced by a symlink to a file outside",
    "database replaced by a pipe",
    "database replaced by one of another program",
}


def content_of(path: Path) -> Any:
    """What is at a path: kind, and bytes or target or names."""
    if path.is_symlink():
        return "link", os.readlink(str(path))
    if path.is_dir():
        return "folder", sorted(found.name for found in path.iterdir())
    return ("file", path.read_bytes()) if path.is_file() else ("other", path.exists())


# ------------------------------------------------------------------ what holds after each


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "cache"
    canary(directory).write_text("precious")
    with make_cache(directory) as cache:
        for key, text in TEXTS.items():
            assert cache.put(key, answer(text))
    return directory


def check(cache: ResponseCache, directory: Path, *, counted: bool = True) -> None:
    """Check for a miss or the intact answer, at most one warning, no code run, no change outside, a working cache."""
    with at_most_one_warning() as caught:
        for key, text in TEXTS.items():
            found = cache.get(key)
            assert found is None or (found.text, found.status, found.cost) == (text, "cached", 0)
        missed = cache.stats().misses
        cache.delete(fingerprint(9))
        for key, text in [(C, "the answer to C"), *TEXTS.items()]:
            assert cache.put(key, answer(text))
            found = cache.get(key)
            assert found is not None
            assert found.text == text
        stats = cache.stats()
        assert stats.misses == missed
        cache.verify()
        assert cache.verify().ok
        stats = cache.stats()
        if counted:
            assert (stats.entries, stats.size_bytes) == stored(directory)
        for warning in caught:
            assert stats.integrity_failures or "was damaged" in str(warning.message)
    assert not (directory.parent / "code-was-run").exists()
    assert canary(directory).read_text() == "precious"


def check_foreign(cache: ResponseCache, directory: Path) -> None:
    """Check that nothing of another program is changed: the cache is off, with one line that names the place."""
    found = content_of(_path(directory))
    with at_most_one_warning() as caught:
        for key, text in [*TEXTS.items(), *TEXTS.items()]:
            hit = cache.get(key)
            assert hit is None or hit.text == text
            assert cache.put(C, answer("not kept")) is False
        assert cache.delete(A) is False
        assert cache.clear() == 0
        assert not cache.verify().ok
        assert (cache.stats().entries, cache.stats().integrity_failures) == (0, 0)
        (warning,) = caught
        assert "belongs to another program" in str(warning.message)
        assert str(directory) in str(warning.message)
        cache.close()
    assert content_of(_path(directory)) == found
    assert not (directory.parent / "code-was-run").exists()
    assert canary(directory).read_text() == "precious"


@pytest.mark.parametrize("name", sorted(FOREIGN))
@pytest.mark.parametrize("when", ["closed", "open"])
def test_what_another_program_put_there_is_left_alone(name: str, when: str, directory: Path) -> None:
    """Not moved, not opened, not written; and when it is gone, the cache works again."""
    with make_cache(directory) as cache:
        if when == "open":
            for key, text in TEXTS.items():
                assert cache.get(key).text == text  # type: ignore[union-attr]
        ATTACKS[name](directory)
        check_foreign(cache, directory)
    place = _path(directory)
    shutil.rmtree(str(place)) if place.is_dir() and not place.is_symlink() else place.unlink()
    with make_cache(directory) as cache:
        check(cache, directory)


_FOREIGN_PROGRAM = """
import sys, diskcache
with diskcache.Cache(sys.argv[1], eviction_policy="none") as cache:
    for number in range(20):
        cache[number] = "theirs " * number
    print("ready", flush=True)
    sys.stdin.readline()
    print(all(cache[number] == "theirs " * number for number in range(20)), len(cache), flush=True)
"""


@pytest.mark.parametrize("held_open", [True, False])
def test_a_cache_of_another_program_keeps_every_byte(held_open: bool, tmp_path: Path) -> None:
    """A diskcache of another process, with what is only in its log yet, open or closed: the cache is off, and nothing changes."""
    theirs = tmp_path / "cache"
    with subprocess.Popen(
        [sys.executable, "-c", _FOREIGN_PROGRAM, str(theirs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        if not held_open:
            assert program.communicate("\n")[0] == "True 20\n"
        before = {path.name: path.read_bytes() for path in theirs.iterdir() if not path.name.endswith("-shm")}
        assert held_open == bool(before.get("cache.db-wal"))
        with make_cache(theirs) as cache, at_most_one_warning() as caught:
            assert cache.get(A) is None
            assert cache.put(A, answer("ours")) is False
            assert cache.clear() == 0
            assert cache.verify().available is False
            assert len(cache) == 0
        assert ["belongs to another program" in str(one.message) for one in caught] == [True]
        after = {path.name: path.read_bytes() for path in theirs.iterdir() if not path.name.endswith("-shm")}
        assert after == before
        if held_open:
            assert program.communicate("\n")[0] == "True 20\n"


@pytest.mark.skipif(os.name != "posix", reason="modes")
@pytest.mark.parametrize("umask", [0, 0o022, 0o277], ids=oct)
def test_files_and_folders_are_the_users_alone(umask: int, tmp_path: Path) -> None:
    """The database with its log, the folder, its missing parents, and the key: whatever the umask."""
    before = os.umask(umask)
    try:
        place = tmp_path / "parent" / "folder" / "cache"
        cache = ResponseCache(place, environ={}, config_directory=tmp_path / "config" / "ours")
        with pytest.warns(UserWarning, match="made a random key"):
            assert cache.put(A, answer("one"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in place.iterdir()}
        assert modes == dict.fromkeys(("cache.db", "cache.db-wal", "cache.db-shm"), 0o600)
        for folder in (place, place.parent, place.parent.parent, tmp_path / "config", tmp_path / "config" / "ours"):
            assert folder.stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "config" / "ours" / "cache.key").stat().st_mode & 0o777 == 0o600
        cache.close()
    finally:
        os.umask(before)


def use_everything(directory: Path) -> None:
    """Use every method: each gives an intact answer or a miss, never an exception or more than one line."""
    with make_cache(directory) as cache, at_most_one_warning():
        for key, text in TEXTS.items():
            found = cache.get(key)
            assert found is None or found.text in (text, text[:100])
        cache.put(C, answer("the answer to C"))
        cache.delete(B)
        cache.verify()
        cache.stats()


def changed(directory: Path, content: bytes, offset: int, new: bytes) -> None:
    for path in list(directory.iterdir()):
        path.unlink()
    _path(directory).write_bytes(content[:offset] + new + content[offset + len(new) :])


@pytest.mark.parametrize(("every", "unused"), SWEEPS)
def test_every_byte_of_the_file(every: int, unused: int, memory_folder: Path) -> None:
    """Changed one at a time: never an exception, and the header's marks do not both go with one byte."""
    place = memory_folder / "cache"
    with make_cache(place) as cache:
        for key in TEXTS:
            assert cache.put(key, answer(TEXTS[key][:100]))
    content = _path(place).read_bytes()
    for offset in offsets(content, every, unused):
        changed(place, content, offset, bytes([content[offset] ^ 0xFF]))
        use_everything(place)


@pytest.mark.parametrize("edits", [50, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_random_edits_of_the_file(edits: int, directory: Path, memory_folder: Path) -> None:
    """Runs of random bytes anywhere, also invalid UTF-8 in names that SQLite quotes in its errors."""
    content = _path(directory).read_bytes()
    directory = memory_folder / "cache"
    directory.mkdir()
    chance = random.Random(20261102)
    for _ in range(edits):
        offset = chance.randrange(len(content) if chance.random() < 0.6 else 8192)
        new = bytes(chance.choice((0xFF, 0x80, chance.randrange(256))) for _ in range(chance.choice((1, 2, 8, 64))))
        changed(directory, content, offset, new)
        use_everything(directory)


def test_errors_of_sqlite_that_are_not_text(directory: Path) -> None:
    """A name in the schema that is not UTF-8, which SQLite quotes when it complains: made anew with one line, not an exception."""
    content = _path(directory).read_bytes()
    for name in (b"expire_time", b"access_time", b"store_time", b"Settings", b"Cache_key_raw", b"INTEGER PRIMARY KEY"):
        spoiled = content
        while name in spoiled:
            spoiled = spoiled.replace(name, b"\xff\xfe(" + name[3:])
        changed(directory, spoiled, 0, b"")
        use_everything(directory)
        with make_cache(directory) as cache:
            assert cache.put(A, answer(TEXTS[A]))
            assert cache.get(A).text == TEXTS[A]  # type: ignore[union-attr]


def test_a_lowered_limit_is_not_corruption(directory: Path) -> None:
    """Entries over the new limit are answers until a write makes room: nothing is called corrupt."""
    with make_cache(directory, max_size_mb=0.01) as cache, at_most_one_warning() as caught:
        assert cache.get(B).text == TEXTS[B]  # type: ignore[union-attr]
        assert cache.verify().ok
        assert cache.put(C, answer("short"))
        assert cache.get(B) is None
        stats = cache.stats()
        assert (stats.integrity_failures, stats.evictions >= 1, stats.size_bytes <= 10_000) == (0, True, True)
        assert caught == []


def _alike(name: str) -> bool:
    """Whether an attack differs from another one by nothing but a value or a number."""
    return bool(re.search(r"_(time|count) set to (?!b)|^(tag|size) set to (?!None)|^mode [23] and", name))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if _alike(name) else []) for name in sorted(set(ATTACKS) - FOREIGN)],
)
def test_attacked_while_closed(name: str, directory: Path) -> None:
    """The directory is changed between two kernels."""
    ATTACKS[name](directory)
    with make_cache(directory) as cache:
        check(cache, directory)
    with make_cache(directory) as cache:
        assert {key: cache.get(key).text for key in TEXTS} == TEXTS  # type: ignore[union-attr]


# SQLite does not look again at pages it has in memory, nor at a schema whose version is the same: what is changed behind its
# back in the open file is found by the next process at the latest, which then starts anew.
FOUND_LATER = {"a schema that cannot be read", "log truncated", "noise in the middle of the database"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(ATTACKS) - FOREIGN))
def test_attacked_while_open(name: str, directory: Path) -> None:
    """The directory is changed under a running kernel that has already verified the entries."""
    with make_cache(directory) as cache:
        for key, text in TEXTS.items():
            assert cache.get(key).text == text  # type: ignore[union-attr]
        ATTACKS[name](directory)
        check(cache, directory, counted=name not in FOUND_LATER)
    with make_cache(directory) as cache:
        if name in FOUND_LATER:
            check(cache, directory)
        assert {key: cache.get(key).text for key in TEXTS} == TEXTS  # type: ignore[union-attr]


def test_a_corrupt_entry_is_counted_evicted_and_warned_of_once(directory: Path) -> None:
    """Ten bad entries give ten misses and ten failures, are all removed, and cause one warning."""
    with make_cache(directory) as cache:
        for number in range(10, 20):
            cache.put(fingerprint(number), answer(str(number)))
        cache.clear()
        for number in range(10, 20):
            cache.put(fingerprint(number), answer(str(number)))
        _sql("UPDATE Cache SET value = CAST(value || 'x' AS BLOB)")(directory)
        with at_most_one_warning() as caught:
            assert [cache.get(fingerprint(number)) for number in range(10, 20)] == [None] * 10
        assert len(caught) == 1
        stats = cache.stats()
        assert (stats.misses, stats.integrity_failures, stats.entries, stats.size_bytes) == (10, 10, 0, 0)


def test_verify_finds_and_evicts_what_is_corrupt(directory: Path) -> None:
    """verify counts each kind, evicts the corrupt, leaves the foreign, and finds nothing the second time."""
    with make_cache(directory, secret="another secret, 0123456789") as other:
        other.put(C, answer("foreign"))
    _sql("UPDATE Cache SET mode = 4 WHERE key = ?", B)(directory)
    with make_cache(directory) as cache:
        with pytest.warns(UserWarning, match="failed its check"):
            report = cache.verify()
        assert (report.intact, report.corrupt, report.foreign_key, report.expired, report.entries) == (1, 1, 1, 0, 3)
        assert not report.ok
        assert report.size_bytes == stored(directory)[1]
        again = cache.verify()
        assert (again.intact, again.corrupt, again.foreign_key, again.ok) == (1, 0, 1, True)


def test_verify_says_that_a_database_was_lost(directory: Path) -> None:
    """An unreadable database is not reported as intact: it counts as corrupt, once."""
    ATTACKS["database overwritten with text behind its header"](directory)
    with make_cache(directory) as cache:
        with pytest.warns(UserWarning, match="created again"):
            report = cache.verify()
        assert (report.corrupt, report.intact, report.ok) == (1, 0, False)
        assert cache.stats().integrity_failures == 1
        assert cache.verify().ok


def test_bits_of_a_stored_value(directory: Path) -> None:
    """A flipped bit of the value on disk is a miss, also for an entry this process has verified before."""
    with make_cache(directory) as cache, database_of(directory) as connection:
        (value,) = connection.execute("SELECT value FROM Cache WHERE key = ?", (A,)).fetchone()
        number = int.from_bytes(value, "big")
        with at_most_one_warning():
            for bit in range(0, len(value) * 8, 37):
                assert cache.put(A, answer(TEXTS[A]))
                if bit % 2:
                    assert cache.get(A)
                flipped = (number ^ (1 << bit)).to_bytes(len(value), "big")
                connection.execute("UPDATE Cache SET value = ? WHERE key = ?", (flipped, A))
                assert cache.get(A) is None
                assert cache.delete(A) is False


def test_lengths_of_a_stored_value(directory: Path) -> None:
    """A value cut anywhere is a miss."""
    with make_cache(directory) as cache, database_of(directory) as connection:
        (value,) = connection.execute("SELECT value FROM Cache WHERE key = ?", (A,)).fetchone()
        with at_most_one_warning():
            for length in range(0, len(value), 5):
                assert cache.put(A, answer(TEXTS[A]))
                connection.execute("UPDATE Cache SET value = ? WHERE key = ?", (value[:length], A))
                assert cache.get(A) is None


def test_no_end_can_be_put_off(directory: Path) -> None:
    """If row and value are given a later expiry, the signed one holds, or the signature does not match."""
    from support.cache_tools import Clock

    clock = Clock()
    with make_cache(directory, clock=clock, ttl_hours=1) as cache:
        cache.put(A, answer("soon gone"))
        _sql("UPDATE Cache SET expire_time = 9e15, store_time = 9e15, access_time = 9e15")(directory)
        clock.sleep(3599)
        assert cache.get(A) is not None
        clock.sleep(1)
        assert cache.get(A) is None
        assert cache.stats().expired == 1


@pytest.mark.parametrize("pages", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("when", ["closed", "open"])
def test_the_database_cut_at_every_page(when: str, pages: int, tmp_path: Path) -> None:
    """Truncated at every 4 KB or multiple of it, and a little beside: intact answers or misses, and it works again."""
    source = tmp_path / "source"
    with make_cache(source) as cache:
        for number in range(12):
            cache.put(fingerprint(number), answer(str(number) * 3000))
    content = (source / "cache.db").read_bytes()
    cuts = [cut + shift for cut in range(0, len(content), 4096 * pages) for shift in (0, 777)]
    for cut in cuts:
        directory = tmp_path / f"cut-{cut}"
        directory.mkdir()
        (directory / "cache.db").write_bytes(content)
        with make_cache(directory) as cache, at_most_one_warning():
            if when == "open":
                assert cache.get(fingerprint(0)) is not None
            os.truncate(str(directory / "cache.db"), cut)
            for number in range(12):
                found = cache.get(fingerprint(number))
                assert found is None or found.text == str(number) * 3000
            for number in range(12):
                assert cache.put(fingerprint(number), answer(str(number) * 3000))
                assert cache.get(fingerprint(number)).text == str(number) * 3000  # type: ignore[union-attr]
            assert cache.verify().ok
            assert (len(cache), cache.stats().size_bytes) == stored(directory)
        shutil.rmtree(str(directory))


def test_large_values_are_not_kept_in_files(directory: Path) -> None:
    """diskcache keeps values over 32 KB in files beside the database, which could be exchanged; here there are none."""
    with make_cache(directory) as cache:
        assert cache.put(C, answer("c" * 3_000_000))
        assert cache.get(C).text == "c" * 3_000_000  # type: ignore[union-attr]
        names = {path.name for path in directory.iterdir()}
    assert names <= {"cache.db", "cache.db-wal", "cache.db-shm"}


def test_diskcache_itself_cannot_be_made_to_unpickle(directory: Path) -> None:
    """The Disk refuses rows that are not ours also where diskcache's own methods are called on the store."""
    with make_cache(directory) as cache:
        assert cache.get(A) is not None
        store = cache._lifecycle.store
        _sql("UPDATE Cache SET mode = 4, value = ?", payload(directory))(directory)
        _sql("INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 1, 'x')", payload(directory))(directory)
        from claude_force_nb.cache.database import DamagedError

        for call in (
            lambda: store.get(A),
            lambda: store[A],
            lambda: store.pop(A),
            lambda: list(store),
            lambda: store.peekitem(),
        ):
            with pytest.raises(DamagedError):
                call()
        for call in (lambda: store.set(A, {"a": 1}), lambda: store.set((1, 2), b"x"), lambda: store.set(A, "text")):
            with pytest.raises(TypeError):
                call()
    assert not (directory.parent / "code-was-run").exists()


def test_an_old_entry_put_back_lives_no_longer_than_signed(directory: Path) -> None:
    """A signed entry put back after clear() is accepted, but only until its own expiry: a documented limit."""
    from support.cache_tools import Clock

    clock = Clock()
    with make_cache(directory, clock=clock, ttl_hours=1) as cache:
        cache.put(A, answer("old"))
        with database_of(directory) as connection:
            (value,) = connection.execute("SELECT value FROM Cache WHERE key = ?", (A,)).fetchone()
            assert cache.clear() >= 1
            assert cache.get(A) is None
            connection.execute(
                "INSERT INTO Cache (key, raw, mode, value, size) VALUES (?, 1, 1, ?, ?)", (A, value, len(value))
            )
        assert cache.get(A).text == "old"  # type: ignore[union-attr]
        clock.sleep(3600)
        assert cache.get(A) is None


_HOLD = """
import sys
from claude_force_nb.cache import ResponseCache
cache = ResponseCache(sys.argv[1], secret=sys.argv[2], environ={})
for line in sys.stdin:
    found = cache.get(line.strip())
    print(None if found is None else len(found.text), cache.put(line.strip(), __import__("support.cache_tools", fromlist=["answer"]).answer(found.text if found else "new")), flush=True)
"""


@pytest.mark.parametrize(
    "name",
    ["database removed", "database overwritten with text behind its header", "log removed", "a trigger that empties"],
)
def test_two_kernels_get_over_the_same_attack(name: str, directory: Path) -> None:
    """Two processes that both have the directory open each come to work again, and then share it."""
    arguments = [sys.executable, "-W", "ignore", "-c", _HOLD, str(directory), SECRET]
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
    other = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True, env=environment
    )
    assert other.stdin is not None
    assert other.stdout is not None

    def ask(key: str) -> str:
        other.stdin.write(key + "\n")  # type: ignore[union-attr]
        other.stdin.flush()  # type: ignore[union-attr]
        return other.stdout.readline()  # type: ignore[union-attr]

    with other, make_cache(directory) as cache, at_most_one_warning():
        assert cache.get(A) is not None
        assert ask(A) == f"{len(TEXTS[A])} True\n"
        ATTACKS[name](directory)
        for number in range(100, 104):
            assert cache.put(fingerprint(number), answer("from here"))
            assert ask(fingerprint(number + 100)).endswith("True\n")
        found = [cache.get(fingerprint(number)) for number in (*range(102, 104), *range(202, 204))]
        assert all(found)
        assert ask(fingerprint(103)) == "9 True\n"
        assert (len(cache), cache.stats().size_bytes) == stored(directory)
        other.communicate()
    assert other.returncode == 0


STORM = [
    "database removed",
    "database overwritten with text behind its header",
    "database overwritten with noise behind its header",
    "database emptied",
    "log removed",
    "log and its index removed",
    "log overwritten with noise",
    "log truncated",
    "a trigger that empties",
    "cache table dropped",
    "directory removed",
    "mode set to pickle with a live payload",
    "size forged high",
]


@pytest.mark.slow
def test_a_storm_of_attacks_on_three_kernels(directory: Path) -> None:
    """Three processes write and read while the directory is attacked over and over: no error, no wrong answer, and it works after."""
    with make_cache(directory) as cache:
        cache.clear()
    running = [writer(directory, seed, 15, 0.5, warn="ignore") for seed in range(3)]
    chance = random.Random(11)
    while all(process.poll() is None for process in running):
        time.sleep(0.05)
        with contextlib.suppress(OSError, sqlite3.Error):
            ATTACKS[chance.choice(STORM)](directory)
    for process in running:
        with process:
            out = process.communicate()[0]
        assert process.returncode == 0
        assert out.startswith("ready\n")
    assert not (directory.parent / "code-was-run").exists()
    assert canary(directory).read_text() == "precious"
    with make_cache(directory) as cache, at_most_one_warning():
        cache.clear()
        check(cache, directory)
