"""An SQLite file of our own: one made by another program is not touched, and what others added to ours is not run."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Dict, List

import pytest
from support.changed_bytes import SWEEPS, offsets

from claude_force_nb.storage.shared_file import SharedFile

TABLES = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY AUTOINCREMENT, x TEXT); CREATE INDEX IF NOT EXISTS t_x ON t (x);"
APPLICATION_ID = 0x436C5431


def shared(path: Path, **options: Any) -> SharedFile:
    options = {"tables": TABLES, "application_id": APPLICATION_ID, "version": 1, "busy_timeout_seconds": 2.0, **options}
    return SharedFile(path, **options)


def files_of(folder: Path) -> Dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "shared.db"


def test_what_is_written_is_there_for_others(path: Path) -> None:
    one, other = shared(path), shared(path)
    assert not one.exists()
    with one.transaction() as connection:
        connection.execute("INSERT INTO t (x) VALUES ('a')")
    with pytest.raises(sqlite3.IntegrityError), one.transaction() as connection:
        connection.executemany("INSERT INTO t (id, x) VALUES (?, 'b')", [(5,), (5,)])
    with other.connection() as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [("a",)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    one.close()
    other.close()


@pytest.mark.parametrize("after", ["begin_in_turn", "begin_immediate", "_check_unchanged"])
def test_an_interrupt_leaves_no_transaction_open(path: Path, after: str) -> None:
    """Others can write at once, and so can the file that was interrupted."""

    def interrupt(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code.co_name == after:
            sys.setprofile(None)
            raise KeyboardInterrupt

    one = shared(path)
    with one.transaction() as connection:
        connection.execute("INSERT INTO t (x) VALUES ('a')")
    sys.setprofile(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), one.transaction():
            pass
    finally:
        sys.setprofile(None)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        other.execute("INSERT INTO t (x) VALUES ('b')")
    with one.transaction() as connection:
        connection.execute("INSERT INTO t (x) VALUES ('c')")
        assert connection.execute("SELECT x FROM t").fetchall() == [("a",), ("b",), ("c",)]
    one.close()


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_it_is_private_with_its_log_and_its_folders(path: Path) -> None:
    before = os.umask(0)
    try:
        file = shared(path)
        with file.transaction() as connection:
            connection.execute("INSERT INTO t (x) VALUES ('a')")
        modes = {found.name: found.stat().st_mode & 0o777 for found in path.parent.iterdir()}
        assert modes == dict.fromkeys(["shared.db", "shared.db-wal", "shared.db-shm"], 0o600)
        assert path.parent.stat().st_mode & 0o777 == 0o700
        file.close()
    finally:
        os.umask(before)


def test_another_programs_database_keeps_every_byte_of_it_and_of_its_log(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(str(path), isolation_level=None)) as theirs:
        theirs.execute("PRAGMA journal_mode = wal").fetchall()
        theirs.execute("CREATE TABLE t (x)")
        theirs.execute("INSERT INTO t VALUES (1)")
        before = files_of(path.parent)
        assert before["shared.db-wal"]
        file = shared(path)
        with pytest.raises(sqlite3.DatabaseError, match="not a file of claude_force_nb"), file.transaction():
            pass
        file.close()
        assert files_of(path.parent) == before


@pytest.mark.parametrize("content", [b"a letter to my mother", bytes(4096)])
def test_what_is_not_a_database_keeps_every_byte(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(sqlite3.DatabaseError, match="not a file of claude_force_nb"), shared(path).connection():
        pass
    assert files_of(path.parent) == {"shared.db": content}


CHANGES = [
    "CREATE TRIGGER more AFTER INSERT ON t BEGIN UPDATE t SET x = 'changed'; END",
    "CREATE VIEW v AS SELECT * FROM t",
    "ALTER TABLE t RENAME TO u",
    "ALTER TABLE t ADD COLUMN y",
    "DROP INDEX t_x",
    "DROP TABLE t; CREATE VIEW t AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x, x AS id FROM n",
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("when", ["before it is opened", "while it is open"])
def test_a_changed_schema_is_refused_and_nothing_of_it_runs(path: Path, change: str, when: str) -> None:
    file = shared(path)
    with file.transaction() as connection:
        connection.execute("INSERT INTO t (x) VALUES ('a')")
    if when == "before it is opened":
        file.close()
    with closing(sqlite3.connect(str(path), isolation_level=None)) as theirs:
        theirs.executescript(change)
    for use in (file.connection, file.transaction, file.transaction):
        with pytest.raises(sqlite3.DatabaseError, match="tables were changed"), use() as connection:
            connection.execute("INSERT INTO t (x) VALUES ('b')")
    file.close()


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    newer = shared(path, version=2)
    with newer.transaction():
        pass
    newer.close()
    with pytest.raises(sqlite3.DatabaseError, match="a newer version"), shared(path).connection():
        pass


def test_many_that_start_at_once_make_one_file(path: Path) -> None:
    problems: List[BaseException] = []

    def work() -> None:
        file = shared(path, busy_timeout_seconds=20.0)
        try:
            for _ in range(5):
                with file.transaction() as connection:
                    connection.execute("INSERT INTO t (x) VALUES ('a')")
        except BaseException as error:
            problems.append(error)
        finally:
            file.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    file = shared(path)
    with file.connection() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (40,)
    file.close()


@pytest.mark.parametrize(("every", "unused"), SWEEPS)
def test_each_changed_byte_is_an_error_of_sqlite_or_none(memory_folder: Path, every: int, unused: int) -> None:
    path = memory_folder / "file.db"
    file = shared(path, busy_timeout_seconds=0.05)
    with file.transaction() as connection:
        connection.executemany("INSERT INTO t (x) VALUES (?)", [(f"row {number}",) for number in range(50)])
    file.close()
    content = path.read_bytes()
    for offset in offsets(content, every, unused):
        for new in (content[offset] ^ 0xFF, content[offset] ^ 0x80):
            path.write_bytes(content[:offset] + bytes([new]) + content[offset + 1 :])
            try:
                with file.connection() as connection:
                    connection.execute("SELECT id, x FROM t ORDER BY id").fetchall()
                with file.transaction() as connection:
                    connection.execute("INSERT INTO t (x) VALUES ('new')")
            except sqlite3.Error:
                pass
            file.close()
            for ending in ("-wal", "-shm", "-journal"):
                leftover = Path(str(path) + ending)
                if leftover.exists():
                    leftover.unlink()


def looping(content: bytes, root: int) -> bytes:
    """Return a database whose table at page `root` has branches without end: every page of six floors leads to the next one only."""
    size = int.from_bytes(content[16:18], "big")
    pages = [content[start : start + size] for start in range(0, len(content), size)]
    leaves = [number for number, page in enumerate(pages, 1) if page[0] == 13 and number != root]
    floors = [root, *leaves[:6]]
    cells = 300
    for floor, below in zip(floors, [*leaves[:6], leaves[6]]):
        page = bytearray(size)
        start = size - 5 * cells
        page[:12] = b"\x05\0\0" + cells.to_bytes(2, "big") + start.to_bytes(2, "big") + b"\0" + below.to_bytes(4, "big")
        for cell in range(cells):
            at = start + 5 * cell
            page[12 + 2 * cell : 14 + 2 * cell] = at.to_bytes(2, "big")
            page[at : at + 5] = below.to_bytes(4, "big") + b"\x7f"
        pages[floor - 1] = bytes(page)
    return b"".join(pages)


def test_a_query_without_end_ends(path: Path) -> None:
    """A file of 200 KB whose pages make more rows than anybody lives to see: one error, soon."""
    file = shared(path)
    with file.transaction() as connection:
        connection.executemany("INSERT INTO t (x) VALUES (?)", [("x" * 400,) for _ in range(300)])
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 't'").fetchone()
    file.close()
    path.write_bytes(looping(path.read_bytes(), root))
    with closing(sqlite3.connect(str(path))) as plain:
        rows = plain.execute("SELECT id FROM t").fetchmany(100_000)
        assert len(rows) == 100_000  # of 300
    for use in (file.connection, file.transaction):
        began = time.process_time()
        with pytest.raises(
            sqlite3.DatabaseError, match="more work than a file of its size can need"
        ), use() as connection:
            connection.execute("SELECT sum(id) FROM t").fetchall()
        assert time.process_time() - began < 60
    file.close()


def test_honest_work_is_not_ended(path: Path) -> None:
    """A transaction may write much more than the file has, and a query may read the whole of it, again and again."""
    file = shared(path)
    with file.transaction() as connection:
        connection.executemany("INSERT INTO t (x) VALUES (?)", ((f"row {number}",) for number in range(50_000)))
    for _ in range(3):
        with file.connection() as connection:
            query = "SELECT count(*) FROM (SELECT x, sum(id) FROM t GROUP BY x ORDER BY 2 DESC)"
            assert connection.execute(query).fetchone() == (50_000,)
    file.close()


def test_an_interrupt_during_a_query_is_not_damage(path: Path) -> None:
    """Ctrl-C arrives in the function that SQLite calls during a long query, and SQLite drops what that raises."""

    def interrupt(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name == "_step":
            sys.setprofile(None)
            raise KeyboardInterrupt

    file = shared(path)
    with file.transaction() as connection:
        connection.executemany("INSERT INTO t (x) VALUES (?)", ((f"row {number}",) for number in range(50_000)))
    for use in (file.connection, file.transaction):
        sys.setprofile(interrupt)
        try:
            with pytest.raises(KeyboardInterrupt), use() as connection:
                connection.execute("SELECT count(*), max(x) FROM t WHERE x > 'a'").fetchall()
        finally:
            sys.setprofile(None)
        with file.connection() as connection:
            assert connection.execute("SELECT count(*), max(x) > '' FROM t").fetchone() == (50_000, 1)
    file.close()
