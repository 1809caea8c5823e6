"""The cost of the extension in a notebook: loading it, a ``%%claude`` cell above a bare SDK call, and showing a long answer.

    python benchmarks/notebook.py [--kernels 9] [--cells 60]

Kernels are real, and the simulator is in another process. Figures are medians; the last column is the ratio to the bound.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from figures import note
from support.live_kernel import LiveKernel

from claude_force_nb.simulator import SimulatorProcess

LOAD_BOUND_MS = 60.0
CELL_BOUND_MS = 15.0
RENDER_BOUND_MS = 150.0
# An answer of 200,000 characters with 50 blocks of code, rendered for the first time in a process that has imported the
# libraries for it, as a cell does while it waits: processor time until it is shown, and until all code is highlighted.
TIMED_RENDERING = """
import sys, time
import IPython
import IPython.display
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.markdown import warm_up
from claude_force_nb.notebook.display.screen import NotebookScreen
shown = []
class Sink:
    def __call__(self, bundle, **more):
        shown.append(time.process_time())
        return self
    def update(self, bundle, **more):
        shown.append(time.process_time())
IPython.display.display = Sink()
before = time.process_time()
warm_up()
imported = time.process_time()
line = "def half_{0}(number: float) -> float:\\n    'Return half of a number.'\\n    return number / {0}  # exact\\n"
words = "Some *words* of prose, with `code` in them, that say what the code below does and why it does it in this way. "
parts = []
for number in range(50):
    code = "".join(line.format(number * 12 + each) for each in range(1, 12))
    parts.append("## Part {}\\n\\n{}\\n\\n```python\\n{}```".format(number, words * 26, code))
text = "\\n\\n".join(parts)[:200_000] + "\\n```"
result = ClaudeResult(text=text, model="m")
began = time.process_time()
NotebookScreen().finish(result)
print((imported - before) * 1e3, (shown[0] - began) * 1e3, (shown[-1] - began) * 1e3)
"""
# Processor time for showing it while it arrives, at 20,000 characters per second, for a number of seconds.
TIMED_STREAM = """
import sys, time
import IPython.display
class Sink:
    def __call__(self, shown, **more):
        return self
    def update(self, shown, **more):
        pass
IPython.display.display = Sink()
from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.notebook.display.markdown import warm_up
from claude_force_nb.notebook.display.screen import NotebookScreen
warm_up()
screen, partial = NotebookScreen(), PartialAnswer()
part = "Some *words* with `code`. " * 40 + "\\n\\n```python\\nx = [number for number in range(10)]\\n```\\n\\n"
before, began = time.process_time(), time.monotonic()
while time.monotonic() - began < float(sys.argv[1]):
    while len(partial.text) < 20_000 * (time.monotonic() - began):
        partial.add_text(part)
    screen.show(partial)
    time.sleep(0.1)
print(time.process_time() - before)
"""

TIMED_LOAD = """
import sys, time
_before = time.perf_counter()
get_ipython().extension_manager.load_extension("claude_force_nb")
print((time.perf_counter() - _before) * 1e3)
"""
HEAVY = "sorted(set(sys.modules) & {'anthropic', 'aiohttp', 'ipywidgets'})"
BARE_CLIENT = """
import anthropic
client = anthropic.AsyncAnthropic(max_retries=0, http_client=anthropic.DefaultAioHttpClient())
"""
BARE_CELL = """
message = await client.messages.create(
    model="claude-sonnet-5-5", max_tokens=4096, thinking={{"type": "between_tools"}}, messages=[{{"role": "user", "content": "hello {}"}}]
)
message.content[-1].text
"""


def environment(url: str, folder: str) -> Dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLAUDE_", "ANTHROPIC_"))}
    return {
        **kept,
        "HOME": folder,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "simulated",
        "CLAUDE_CACHE_DIR": folder + "/cache",
        "CLAUDE_CACHE_SECRET": "only for the benchmark's own cache",
        "CLAUDE_FORCE_DATA_DIR": folder + "/data",
    }


def check_loaded(kernel: LiveKernel) -> None:
    """Fail if the extension was not loaded, since IPython only prints a line then, and the cells would take no time."""
    assert kernel.value("get_ipython().find_cell_magic('claude') is not None") == "True", "the extension was not loaded"


def load_times(url: str, kernels: int) -> List[float]:
    times = []
    for _ in range(kernels):
        with tempfile.TemporaryDirectory() as folder, LiveKernel(environment(url, folder), folder) as kernel:
            times.append(float(kernel.run(TIMED_LOAD).stdout))
            check_loaded(kernel)
            imported = kernel.value(HEAVY)
            assert imported == "[]", "loading imported " + imported
    return times


def cell_times(url: str, cells: int) -> Dict[str, List[float]]:
    """Time whole cells, as a front end sees them, from request to idle: a bare call, a %%claude cell, and a cached one."""
    times: Dict[str, List[float]] = {"bare": [], "claude": [], "cached": []}
    with tempfile.TemporaryDirectory() as folder, LiveKernel(environment(url, folder), folder) as kernel:
        assert kernel.run(BARE_CLIENT).error is None
        kernel.run("%load_ext claude_force_nb")
        check_loaded(kernel)
        kernel.run("%%claude thinking=off\nwarm up")
        kernel.run(BARE_CELL.format("warm up"))
        for number in range(cells):
            for name, code in (
                ("bare", BARE_CELL.format(number)),
                ("claude", f"%%claude thinking=off\nhello {number}"),
                ("cached", f"%%claude thinking=off\nhello {number}"),
            ):
                cell = kernel.run(code)
                assert cell.error is None, cell.traceback
                times[name].append(cell.seconds * 1e3)
    return times


def in_new_process(code: str, *arguments: str) -> List[float]:
    printed = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return [float(number) for number in printed.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", type=int, default=9, help="fresh kernels for loading (default: %(default)s)")
    parser.add_argument("--cells", type=int, default=60, help="cells of each kind (default: %(default)s)")
    arguments = parser.parse_args()
    with SimulatorProcess() as simulator:
        loads = load_times(simulator.url, arguments.kernels)
        cells = cell_times(simulator.url, arguments.cells)
    rendered = [in_new_process(TIMED_RENDERING) for _ in range(arguments.kernels)]
    streamed = {seconds: in_new_process(TIMED_STREAM, str(seconds))[0] for seconds in (5, 10)}
    own = median(cells["claude"]) - median(cells["bare"])
    note("%load_ext in a fresh kernel", median(loads), "ms", LOAD_BOUND_MS)
    note(
        "a paid %%claude cell on top of a bare SDK call",
        own,
        "ms",
        CELL_BOUND_MS,
        limit=f"the bare call: {median(cells['bare']):.1f} ms",
    )
    note("a cached %%claude cell, seen from the front end", median(cells["cached"]), "ms")
    rows = [
        ("%load_ext in a fresh kernel", median(loads), LOAD_BOUND_MS),
        ("bare SDK call, whole cell", median(cells["bare"]), None),
        ("%%claude cell, streamed, paid", median(cells["claude"]), None),
        ("  on top of the bare call", own, CELL_BOUND_MS),
        ("%%claude cell, cached", median(cells["cached"]), None),
        ("imports for rendering, CPU, while waiting", median(each[0] for each in rendered), None),
        ("200 kB with 50 blocks of code, CPU", median(each[1] for each in rendered), RENDER_BOUND_MS),
        ("  until all 55 kB of code have colours", median(each[2] for each in rendered), None),
    ]
    print("{:<42}{:>12}{:>12}{:>8}".format("", "median ms", "bound ms", "ratio"))
    for name, value, bound in rows:
        tail = f"{bound:>12.0f}{value / bound:>8.2f}" if bound else ""
        print(f"{name:<42}{value:>12.2f}{tail}")
    for seconds, used in streamed.items():
        print(
            f"{20 * seconds} kB arriving in {seconds} s: {used:.2f} s of the processor, {used / seconds:.0%} of the time"
        )


if __name__ == "__main__":
    main()
