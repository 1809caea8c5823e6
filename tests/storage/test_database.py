"""The owner of a database, determined before SQLite opens it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from claude_force_nb.storage.database import belongs_to_other_program

APPLICATION_ID, USER_VERSION = 0x436C5431, 0x43614331


def make(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(str(path), isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.mark.parametrize("made", ["PRAGMA journal_mode = wal", "PRAGMA auto_vacuum = 1", "PRAGMA user_version = 7"])
def test_a_database_that_never_had_a_table_has_no_owner(path: Path, made: str) -> None:
    """A process that is killed while it makes a database leaves one page, without our mark."""
    make(path, made, "VACUUM")
    assert path.stat().st_size > 0
    assert not belongs_to_other_program(str(path), APPLICATION_ID)
    assert not belongs_to_other_program(str(path), APPLICATION_ID, USER_VERSION)
    Path(str(path) + "-wal").touch()
    assert not belongs_to_other_program(str(path), APPLICATION_ID)


def test_a_table_of_somebody_else_is_theirs_in_the_database_or_in_its_log(path: Path) -> None:
    """One page is nobody's only where no log has the rest."""
    assert belongs_to_other_program(str(make(path, "CREATE TABLE t (x)")), APPLICATION_ID)
    path.unlink()
    with closing(sqlite3.connect(str(path), isolation_level=None)) as theirs:
        theirs.execute("PRAGMA journal_mode = wal").fetchall()
        theirs.execute("CREATE TABLE t (x)")
        assert path.read_bytes()[28:32] == b"\0\0\0\1"
        assert belongs_to_other_program(str(path), APPLICATION_ID)


def test_a_file_that_is_not_a_database_is_not_taken_for_one_of_one_page(path: Path) -> None:
    """The number of pages counts only behind the name of the format."""
    path.write_bytes(b"a letter to my mother".ljust(28) + b"\0\0\0\1" + bytes(100))
    assert belongs_to_other_program(str(path), APPLICATION_ID)


def test_one_of_two_marks_is_enough_where_there_are_two(path: Path) -> None:
    """No single changed byte makes a stranger of our own; without a second mark the first one decides."""
    for marked in (f"application_id = {APPLICATION_ID}", f"user_version = {USER_VERSION}"):
        make(path, f"PRAGMA {marked}", "CREATE TABLE t (x)")
        assert not belongs_to_other_program(str(path), APPLICATION_ID, USER_VERSION)
        assert belongs_to_other_program(str(path), APPLICATION_ID) is marked.startswith("user")
        path.unlink()
    make(path, "PRAGMA user_version = 1", "CREATE TABLE t (x)")
    assert belongs_to_other_program(str(path), APPLICATION_ID, USER_VERSION)
