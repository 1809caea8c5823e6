"""The first paid answer in a new kernel, compared with a bare call in a process that has already imported the SDK.

    python benchmarks/first_answer.py [--kernels 5]

The cell that asks follows immediately after the one that loads the extension. Whole cells are measured, as a front end sees
them, against the simulator in another process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from figures import note
from notebook import BARE_CELL, BARE_CLIENT, check_loaded, environment
from support.live_kernel import LiveKernel

from claude_force_nb.simulator import SimulatorProcess

BOUND_SECONDS = 0.5


def bare(url: str, calls: int) -> float:
    """Return the seconds of a cell with a bare call, in a kernel that has imported the SDK."""
    with tempfile.TemporaryDirectory() as folder, LiveKernel(environment(url, folder), folder) as kernel:
        kernel.run(BARE_CLIENT)
        return median(kernel.run(BARE_CELL.format(number)).seconds for number in range(calls))


def first(url: str) -> float:
    """Return the seconds of the first cell that asks."""
    with tempfile.TemporaryDirectory() as folder, LiveKernel(environment(url, folder), folder) as kernel:
        kernel.run("%load_ext claude_force_nb")
        cell = kernel.run("%%claude thinking=off\nhello")
        assert cell.error is None, cell.traceback
        check_loaded(kernel)
        return cell.seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=5)
    chosen = parser.parse_args()
    with SimulatorProcess() as simulator:
        first(simulator.url)  # warm-up, so that the libraries' files are in the page cache
        call = bare(simulator.url, 9)
        taken = median(first(simulator.url) for _ in range(chosen.kernels)) - call
    print(f"bare call, SDK imported  {call:6.3f} s")
    print(f"first answer on top      {taken:6.3f} s   (bound {BOUND_SECONDS} s)")
    note("the first paid answer of a kernel on top of a bare call", taken, "s", BOUND_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
