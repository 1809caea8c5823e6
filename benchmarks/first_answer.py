"""The first paid answer of a fresh kernel, beside a bare call of the SDK in a process that has imported it.

    python benchmarks/first_answer.py [--kernels 5] [--pause 4]

Two people: one whose notebook runs from the top without a pause, and one who loads the extension and then types for some seconds. Whole
cells, as a front end sees them, against the simulator in another process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from figures import note
from notebook import BARE_CELL, BARE_CLIENT, environment
from support.live_kernel import LiveKernel

from claude_force_nb.simulator import SimulatorProcess

BOUND_SECONDS = 0.5


def bare(url: str, calls: int) -> float:
    """Return the seconds of a cell with a bare call, in a kernel that has imported the SDK."""
    with tempfile.TemporaryDirectory() as folder, LiveKernel(environment(url, folder), folder) as kernel:
        kernel.run(BARE_CLIENT)
        return median(kernel.run(BARE_CELL.format(number)).seconds for number in range(calls))


def first(url: str, pause_seconds: float) -> float:
    """Return the seconds of the first cell that asks, so long after the extension was loaded."""
    with tempfile.TemporaryDirectory() as folder, LiveKernel(environment(url, folder), folder) as kernel:
        kernel.run("%load_ext claude_force_nb")
        time.sleep(pause_seconds)
        cell = kernel.run("%%claude thinking=off\nhello")
        assert cell.error is None, cell.traceback
        return cell.seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=5)
    parser.add_argument("--pause", type=float, default=4.0, help="seconds of typing (default: %(default)s)")
    chosen = parser.parse_args()
    with SimulatorProcess() as simulator:
        first(simulator.url, 0.0)  # so that the files of the SDK are in memory
        call = bare(simulator.url, 9)
        taken: List[float] = []
        for pause in (0.0, chosen.pause):
            taken.append(median(first(simulator.url, pause) for _ in range(chosen.kernels)) - call)
    print(f"bare call, SDK imported             {call:6.3f} s")
    print(f"first answer on top, without pause  {taken[0]:6.3f} s")
    print(f"first answer on top, typed for {chosen.pause:g} s  {taken[1]:6.3f} s   (bound {BOUND_SECONDS} s)")
    note("the first paid answer on top of a bare call, run without a pause", taken[0], "s")
    note(f"the first paid answer on top of a bare call, typed for {chosen.pause:g} s", taken[1], "s", BOUND_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
