"""A batch: the time of rows answered from the cache, of a row before it is sent, and of the live line.

    python benchmarks/batch.py [--rows 10000] [--calls 3000]
    python benchmarks/batch.py --stream           1,000,000 rows of a generator into a .jsonl file, twice

The live line is measured by the processor time of its updates, in a real kernel against the simulator in another process.
Figures are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Dict, Iterator, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from figures import note
from notebook import environment
from support.live_kernel import LiveKernel

from claude_force_nb import AsyncAgentOrchestrator
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.run import ResultCollector, Rows
from claude_force_nb.simulator import SimulatorProcess
from claude_force_nb.testing import FakeTransport

ROWS_BOUND_SECONDS = 1.0
ROW_BOUND_US = 150.0
# 80 µs on a machine on which a bare get takes 13 µs.
CACHED_ROW_BOUND = 80.0 / 13.0
LINE_BOUND_SHARE = 0.02
TEMPLATE = "Label the sentiment of this review, of {{ stars }} stars, as positive, neutral or negative: {{ text }}"

WATCH = """
import time
from claude_force_nb.notebook.display.progress import LiveLine
spent = updates = 0
_update = LiveLine.update
def update(self):
    global spent, updates
    began = time.thread_time()
    _update(self)
    spent += time.thread_time() - began
    updates += 1
LiveLine.update = update
"""
TIMED = """
spent = updates = 0
_began, _wall = time.process_time(), time.perf_counter()
%claude_batch ['{} %d' % n for n in range({})] model=haiku max_tokens=64 max_concurrent=50
"""
READ = "print(spent, time.process_time() - _began, time.perf_counter() - _wall, updates)"


def reviews(number: int) -> List[Dict[str, Any]]:
    return [{"text": f"Review {row}: it works, mostly. " * 5, "stars": row % 6} for row in range(number)]


async def cached_seconds(rows: List[Dict[str, Any]]) -> Tuple[float, float, float]:
    """Return medians for all rows from the cache: seconds, processor seconds, and the latter's ratio to as many bare gets.

    Each round is like a rerun of a notebook, with an orchestrator that has not seen any of the answers. Between two rounds the
    same number of bare gets is measured, so that a busy machine slows both.
    """

    def orchestrator() -> AsyncAgentOrchestrator:
        return AsyncAgentOrchestrator(transport=FakeTransport(lambda request: "positive"))

    async with orchestrator() as first:
        await first.run_many(rows, template=TEMPLATE, model="haiku")
    del first
    seconds, busy, ratios = [], [], []
    for _ in range(5):
        bare = bare_get_us() * len(rows) / 1e6
        async with orchestrator() as another:
            began, worked = time.perf_counter(), time.process_time()
            batch = await another.run_many(rows, template=TEMPLATE, model="haiku")
            busy.append(time.process_time() - worked)
            seconds.append(time.perf_counter() - began)
        assert batch.counts["cached"] == len(rows)
        del another, batch
        ratios.append(busy[-1] / bare)
    return median(seconds), median(busy), median(ratios)


def bare_get_us(entries: int = 1500) -> float:
    """Return the processor time of diskcache's own get in µs, for entries of 2.3 kB in a cache that was just opened."""
    import diskcache

    with tempfile.TemporaryDirectory() as folder:
        with diskcache.Cache(folder) as cache:
            for number in range(entries):
                cache.set(f"{number:064x}", b"x" * 2300)
        taken = []
        for _ in range(5):
            with diskcache.Cache(folder) as cache:
                cache.get("0" * 64)
                began = time.process_time()
                for number in range(entries):
                    cache.get(f"{number:064x}")
                taken.append((time.process_time() - began) / entries * 1e6)
        return median(taken)


async def row_seconds(rows: List[Dict[str, Any]]) -> float:
    """Return the seconds of everything but the calls: reading rows, making requests and fingerprints, collecting results."""
    async with AsyncAgentOrchestrator(transport=FakeTransport(lambda request: "x"), enable_cache=False) as orchestrator:
        seconds = []
        for _ in range(3):
            source = open_source(rows)
            source.check(TEMPLATE)
            collected = ResultCollector(source)
            composer = orchestrator._composer
            call = composer.resolve(CallOptions(model="haiku"))
            run = Rows(source.feed(), call, composer.maker, template=TEMPLATE, on_result=collected)
            began = time.perf_counter()
            async for row, item in run:
                request = run.request(row, item)
                run.end(row, ClaudeResult(text="x", fingerprint=request.fingerprint))
            assert len(collected.batch()) == len(rows)
            seconds.append((time.perf_counter() - began) / len(rows))
        return median(seconds)


def line_share(calls: int) -> Dict[str, float]:
    """Run a batch in a kernel, and return the live line's share of its processor time."""
    with SimulatorProcess(latency_seconds=0.02) as simulator, tempfile.TemporaryDirectory() as folder:
        kernel_environment = environment(simulator.url, folder)
        with LiveKernel(kernel_environment, folder) as kernel:
            kernel.run("%load_ext claude_force_nb")
            kernel.run(WATCH)
            kernel.run("%claude_batch ['warm up'] model=haiku max_tokens=64")
            found = []
            for number in range(3):
                cell = kernel.run(TIMED.strip().format(f"run {number}", calls))
                assert cell.error is None, cell.traceback
                found.append([float(word) for word in kernel.run(READ).stdout.split()])
    best = sorted(found, key=lambda each: each[0] / each[1])[1]
    return {"share": best[0] / best[1], "seconds": best[2], "updates": best[3]}


def peak_mb() -> float:
    """Return the peak memory of this process in MB (on Linux, where the system's figure is in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


async def stream(url: str, folder: Path, rows: int) -> None:
    """Send the rows of a generator and write each to a file as it ends; then run again, when the file has all answers."""

    def source(number: int) -> Iterator[Dict[str, Any]]:
        return ({"text": f"Review {row}: it works, mostly. " * 5, "stars": row % 6} for row in range(number))

    async with AsyncAgentOrchestrator(base_url=url, api_key="benchmark", max_concurrent=50) as orchestrator:

        async def run(number: int, into: str) -> Tuple[Dict[str, int], float, float]:
            began = time.perf_counter()
            summary = await orchestrator.run_stream(
                source(number), template=TEMPLATE, model="haiku", max_tokens=64, into=folder / into
            )
            return summary.counts, time.perf_counter() - began, peak_mb()

        _, _, before = await run(500, "warm.jsonl")
        print("{:<12}{:>12}{:>12}{:>24}".format("", "rows/s", "seconds", "peak MB above 500 rows"))
        for name in ("first run", "run again"):
            counts, seconds, peak = await run(rows, "answers.jsonl")
            print(f"{name:<12}{rows / seconds:>12.0f}{seconds:>12.0f}{peak - before:>24.0f}   {counts}")
    with (folder / "answers.jsonl").open("rb") as lines:
        written = sum(1 for _ in lines)
    size_mb = (folder / "answers.jsonl").stat().st_size / 1e6
    print(f"{written:,} lines, {size_mb:,.0f} MB written; the source was a generator of {rows:,} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="cached rows (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=3000, help="paid rows under the live line (default: %(default)s)")
    parser.add_argument("--stream", nargs="?", type=int, const=1_000_000, metavar="ROWS")
    arguments = parser.parse_args()
    rows = reviews(arguments.rows)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CLAUDE_CACHE_DIR"] = folder + "/cache"
        os.environ["CLAUDE_FORCE_DATA_DIR"] = folder + "/data"
        os.environ["CLAUDE_CACHE_SECRET"] = "only for the benchmark's own cache"
        if arguments.stream:
            with SimulatorProcess() as simulator:
                asyncio.run(stream(simulator.url, Path(folder), arguments.stream))
            return
        cached, busy, ratio = asyncio.run(cached_seconds(rows))
        row = asyncio.run(row_seconds(rows)) * 1e6
    line = line_share(arguments.calls)
    busy_us = busy / arguments.rows * 1e6
    note(
        "a cached row of a template, of 10,000, beside a bare get",
        ratio,
        "times",
        CACHED_ROW_BOUND,
        limit=f"bare diskcache get: {busy_us / ratio:.1f} µs; the row: {busy_us:.1f} µs",
    )
    note("the live line's share of a run's processor time", 100 * line["share"], "%", 2.0)
    print("{:<52}{:>14}{:>14}{:>8}".format("", "median", "bound", "ratio"))
    form = "{:<52}{:>14}{:>14}{:>8.2f}".format
    name = f"{arguments.rows:,} cached rows of a template"
    print(form(name, f"{cached:.2f} s", "1 s", cached / ROWS_BOUND_SECONDS))
    print(form("  the same in processor time", f"{busy:.2f} s", "1 s", busy / ROWS_BOUND_SECONDS))
    print(form("  beside as many bare gets of diskcache", f"{ratio:.2f} times", "6.15 times", ratio / CACHED_ROW_BOUND))
    print(form("a row: template, fingerprint, bookkeeping", f"{row:.1f} µs", "150 µs", row / ROW_BOUND_US))
    name = "live line, share of the processor time of the run"
    print(form(name, "{:.2f} %".format(100 * line["share"]), "2 %", line["share"] / LINE_BOUND_SHARE))
    per_second = line["updates"] / line["seconds"]
    print(form("live line, updates a second", f"{per_second:.1f}", "10", per_second / 10))


if __name__ == "__main__":
    main()
