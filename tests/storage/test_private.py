"""Files are created readable by their user only, and checking a file does not release locks of others."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Iterator

import pytest

from claude_force_nb.storage import private

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and locks of POSIX")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(params=[0, 0o022, 0o077, 0o277], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
def test_folders_and_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    os.chmod(str(there), 0o755)
    private.make_private_folder(there / "one" / "two" / "three")
    private.make_private_file(there / "one" / "two" / "file")
    assert [mode(path) for path in (there / "one", there / "one" / "two", there / "one" / "two" / "three")] == [
        0o700
    ] * 3
    assert mode(there / "one" / "two" / "file") == 0o600
    assert mode(there) == 0o755, "what was there before stays as it was"


def test_making_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    os.chmod(str(file), 0o644)
    private.make_private_file(file)
    private.make_private_folder(tmp_path)
    assert (file.read_text(), mode(file)) == ("content", 0o644)


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        private.make_private_folder(tmp_path / "file")
    with pytest.raises(OSError, match=r".*"):
        private.make_private_folder(tmp_path / "file" / "below")


LOCKED = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
else:
    print("free")
"""


def test_reading_the_start_keeps_the_locks_of_this_process(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(str(path), isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            assert private.read_start(path, 15) == b"SQLite format 3"
        other = subprocess.run([sys.executable, "-c", LOCKED, str(path)], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == "database is locked"
        connection.execute("ROLLBACK")


def test_the_start_is_that_of_the_file_that_has_the_name_now(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"one", b"two", b"three"):
        if path.exists():
            path.unlink()
        path.write_bytes(content)
        assert private.read_start(path, 100) == content
    path.write_bytes(b"four")
    assert private.read_start(path, 2) == b"fo"


def test_descriptors_of_removed_files_are_closed(tmp_path: Path) -> None:
    def open_descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    before = open_descriptors()
    for number in range(20):
        path = tmp_path / str(number)
        path.write_bytes(b"x")
        private.read_start(path, 1)
        path.unlink()
    assert open_descriptors() <= before + 1


def test_what_is_not_a_regular_file_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(str(tmp_path / "pipe"))
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing"):
        with pytest.raises(OSError, match=r".*"):
            private.read_start(path, 10)
