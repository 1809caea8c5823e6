"""A lock has one holder, and ends with it, however it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from claude_force_nb.storage.file_lock import try_lock

HOLDER = """
import os, sys, time
from claude_force_nb.storage.file_lock import try_lock
handle = os.open(sys.argv[1], os.O_RDWR)
print(try_lock(handle, shared_by_process=sys.argv[2] == "True"), flush=True)
time.sleep(60)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "locked"
    path.write_bytes(b"content")
    return path


def tries(path: Path, shared_by_process: bool) -> bool:
    handle = os.open(str(path), os.O_RDWR)
    try:
        return try_lock(handle, shared_by_process=shared_by_process)
    finally:
        os.close(handle)


@pytest.mark.parametrize("shared_by_process", [True, False])
def test_it_keeps_out_other_processes_until_its_holder_dies(file: Path, shared_by_process: bool) -> None:
    command = [sys.executable, "-c", HOLDER, str(file), str(shared_by_process)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        output: IO[Any] = holder.stdout  # type: ignore[assignment]
        assert output.readline().strip() == b"True"
        assert not tries(file, shared_by_process)
        holder.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        holder.wait(10)
    assert tries(file, shared_by_process)


@pytest.mark.skipif(os.name != "posix", reason="Windows has locks of descriptors only")
def test_a_lock_of_the_process_lets_in_its_own_descriptors_and_the_other_kind_does_not(file: Path) -> None:
    for shared, let_in in ((True, True), (False, False)):
        first = os.open(str(file), os.O_RDWR)
        try:
            assert try_lock(first, shared_by_process=shared)
            assert tries(file, shared) is let_in
        finally:
            os.close(first)


def test_what_cannot_be_locked_is_an_error(file: Path) -> None:
    handle = os.open(str(file), os.O_RDWR)
    os.close(handle)
    with pytest.raises(OSError, match=r".*"):
        try_lock(handle, shared_by_process=False)


def test_a_lock_leaves_the_content_alone(file: Path) -> None:
    assert tries(file, True)
    assert file.read_bytes() == b"content"
