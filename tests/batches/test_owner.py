"""Ownership of jobs by workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict

import psutil
import pytest
from support.batches import JOB

from claude_force_nb.batches.owner import Owner, is_alive
from claude_force_nb.batches.store import JobStore
from claude_force_nb.errors import JobError


@pytest.mark.skipif(os.name != "posix", reason="file descriptors")
def test_looking_leaves_no_file_open(tmp_path: Path) -> None:
    """The file of a dead worker is removed at the first check."""
    folder = tmp_path / "owners"
    Owner(folder).release()
    process = psutil.Process()
    before = process.num_fds()
    for number in range(5):
        dead = folder / f"{number:032}.lock"
        dead.touch()
        assert not is_alive(folder, f"{number:032}")
        assert not dead.exists()
        owner = Owner(folder)
        owner.release()
        owner.release()
    assert process.num_fds() == before


def test_an_owner_lives_as_long_as_its_process(tmp_path: Path) -> None:
    """Seen from inside and from outside, also when its process is killed."""
    owner = Owner(tmp_path / "owners")
    assert is_alive(tmp_path / "owners", owner.token)
    assert not is_alive(tmp_path / "owners", "0" * 32)
    code = (
        "import sys, time; from pathlib import Path; from claude_force_nb.batches.owner import Owner, is_alive\n"
        "folder = Path(sys.argv[1]); mine = Owner(folder)\n"
        "print(mine.token, is_alive(folder, sys.argv[2]), flush=True); time.sleep(60)"
    )
    root = str(Path(__file__).parent.parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "owners"), owner.token],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])),
    )
    assert child.stdout is not None
    token, seen = child.stdout.readline().split()
    assert seen == "True"
    assert is_alive(tmp_path / "owners", token)
    child.kill()
    child.wait()
    child.stdout.close()
    assert not is_alive(tmp_path / "owners", token)
    owner.release()
    assert not is_alive(tmp_path / "owners", owner.token)
    assert list((tmp_path / "owners").iterdir()) == []


PLANTED: Dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to a file": lambda path: (path.with_name("precious").write_text("keep"), path.symlink_to("precious")),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
@pytest.mark.parametrize("planted", sorted(PLANTED))
def test_what_is_not_the_file_of_a_worker(tmp_path: Path, planted: str) -> None:
    """Whatever lies in place of a worker's file: one line, no job is taken over, and nothing is removed."""
    store = JobStore(tmp_path / "jobs.db")
    token = "a" * 32
    store.plan(JOB, [b"x" * 32], token, None)
    store.owners.mkdir()
    path = store.owners / f"{token}.lock"
    PLANTED[planted](path)
    part = store.part(1)
    assert part is not None
    for look in (lambda: store.has_live_owner(part), lambda: store.claim(1, "b" * 32)):
        with pytest.raises(JobError, match=r"cannot tell which process is working on the batch jobs in ") as caught:
            look()
        assert "\n" not in str(caught.value)
    assert os.path.lexists(str(path))
    precious = path.with_name("precious")
    assert not precious.exists() or precious.read_text() == "keep"
    store.close()


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_pipe_in_place_of_a_worker_does_not_block(tmp_path: Path) -> None:
    """A pipe is opened without waiting for its other end."""
    store = JobStore(tmp_path / "jobs.db")
    store.plan(JOB, [b"x" * 32], "a" * 32, None)
    store.owners.mkdir()
    os.mkfifo(str(store.owners / ("a" * 32 + ".lock")))
    part = store.part(1)
    assert part is not None
    assert not store.has_live_owner(part)
    store.close()
