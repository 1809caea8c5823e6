"""The database files of the cache."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from claude_force_nb.cache.database import discard_log, has_empty_log, identity, is_truncated, set_aside_companions


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cache.db"
    with closing(sqlite3.connect(str(path), isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (zeroblob(20000))")
    return path


@pytest.mark.parametrize("page_bytes", [512, 4096, 65536])
def test_a_file_is_truncated_where_it_is_shorter_than_it_says(tmp_path: Path, page_bytes: int) -> None:
    """By a byte, whatever the size of its pages; not where its log may have the rest."""
    path = tmp_path / "cache.db"
    with closing(sqlite3.connect(str(path), isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {page_bytes}")
        connection.execute("CREATE TABLE t (x)")
    content = path.read_bytes()
    assert len(content) == 2 * page_bytes
    assert not is_truncated(str(path))
    path.write_bytes(content + b"\0")
    assert not is_truncated(str(path))
    path.write_bytes(content[:-1])
    assert is_truncated(str(path))
    log = tmp_path / "cache.db-wal"
    log.touch()
    assert is_truncated(str(path))
    log.write_bytes(b"\0")
    assert not is_truncated(str(path))
    path.unlink()
    assert not is_truncated(str(path))


def test_a_database_is_known_by_its_files(path: Path) -> None:
    """Another file of the same name, a log or a journal that was not there: each is noticed."""
    before = identity(str(path))
    assert before == identity(str(path))
    assert (before.main is None, before.log, before.journal) == (False, None, None)
    assert has_empty_log(str(path))
    for ending in ("-wal", "-journal"):
        (path.parent / (path.name + ending)).write_bytes(b"x")
        assert identity(str(path)) != before
    assert not has_empty_log(str(path))
    discard_log(str(path))
    discard_log(str(path))
    assert identity(str(path)) == before
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)
    assert identity(str(path)) != before


def test_what_is_in_the_way_of_the_log_is_moved_and_not_removed(path: Path) -> None:
    """Each obstacle gets a number of its own, and links stay links; a log of ours stays."""
    log = path.with_name("cache.db-wal")
    log.write_bytes(b"a log")
    set_aside_companions(str(path))
    assert log.read_bytes() == b"a log"
    log.unlink()
    for number in (1, 2):
        log.mkdir()
        (log / "precious").touch()
        set_aside_companions(str(path))
        assert not log.exists()
        assert (path.parent / f"cache.db-wal.unusable-{number}" / "precious").exists()
    journal = path.with_name("cache.db-journal")
    journal.symlink_to(path)
    set_aside_companions(str(path))
    assert (path.parent / "cache.db-journal.unusable-1").is_symlink()
    assert path.exists()
