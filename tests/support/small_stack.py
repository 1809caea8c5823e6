"""Code that goes down into deep data, in a thread that has a small stack while Python's own limit is out of reach."""

from __future__ import annotations

import subprocess
import sys

_THREAD = """
import sys, threading
sys.setrecursionlimit(1_000_000)
threading.stack_size({size_bytes})
thread = threading.Thread(target=main)
thread.start()
thread.join()
"""


def output_with_small_stack(code: str, *, size_bytes: int = 512 * 1024) -> str:
    """Return what ``main()`` of `code` prints in a process of its own; fail if the process dies or prints an error."""
    script = code + _THREAD.format(size_bytes=size_bytes)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr[-500:]) == (0, "")
    return done.stdout
