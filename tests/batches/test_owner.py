"""Who works on a job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from claude_force_nb.batches.owner import Owner, is_alive


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
