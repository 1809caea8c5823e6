"""Rows through message batches: rows per second, and memory.

::

    python benchmarks/batches.py                  100,000 rows, one batch
    python benchmarks/batches.py --rows 300000    three batches

The API is the simulator in a process of its own, whose batches take no time, so that only this package is measured. Memory
is the peak of this process, including Python and the SDK.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, Dict

from claude_force_nb import AsyncAgentOrchestrator
from claude_force_nb.batches.polling import PollSchedule
from claude_force_nb.simulator import SimulatorProcess

TEMPLATE = "Label the sentiment of this review as positive, neutral or negative: {{ text }}"
REVIEW = "The parcel came on day {}, " + 3 * "well packed, and works as it should. "


def peak_mb() -> float:
    """Return the peak memory of this process in MB (on Linux, where the system's figure is in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


async def answered(orchestrator: AsyncAgentOrchestrator, rows: int) -> Dict[str, int]:
    source = ({"text": REVIEW.format(number)} for number in range(rows))
    summary = await orchestrator.run_stream(
        source,
        template=TEMPLATE,
        via="batches",
        model="haiku",
        max_tokens=2000,
        thinking="off",
        on_result=lambda row, result: None,
    )
    return dict(summary.counts)


async def measure(url: str, folder: Path, rows: int) -> Dict[str, Any]:
    os.environ.update(CLAUDE_FORCE_DATA_DIR=str(folder / "data"), CLAUDE_CACHE_SECRET="benchmark-" + "0123456789" * 3)
    async with AsyncAgentOrchestrator(
        base_url=url, api_key="benchmark", cache_dir=folder / "cache", cache_max_size_mb=4000
    ) as orchestrator:
        orchestrator.message_batches.schedule = PollSchedule(first_seconds=0.2, longest_seconds=1.0)
        before = peak_mb()
        started, cpu = time.perf_counter(), time.process_time()
        counts = await answered(orchestrator, rows)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        peak = peak_mb()
        started = time.perf_counter()
        again = await answered(orchestrator, rows)
        replay = time.perf_counter() - started
    return {
        "counts": counts,
        "again": again,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "replay_seconds": replay,
        "before_mb": before,
        "peak_mb": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    rows = arguments.rows
    options = {"batch_seconds": 0.0, "answer_bytes": 200, "log_size": 10}
    with tempfile.TemporaryDirectory() as folder, SimulatorProcess(**options) as simulator:
        found = asyncio.run(measure(simulator.url, Path(folder), rows))
        counters = simulator.counters
    assert found["counts"]["ok"] == counters.completed_in_batches == rows, found
    assert found["again"]["cached"] == rows, found
    print(f"{rows:,} rows, each sent and collected once:")
    print("  {:6.1f} s, {:,.0f} rows/s".format(found["wall_seconds"], rows / found["wall_seconds"]))
    print("  {:6.1f} s of processor, {:.0f} µs a row".format(found["cpu_seconds"], 1e6 * found["cpu_seconds"] / rows))
    print("  {:6.0f} MB at the most, {:.0f} MB of them before".format(found["peak_mb"], found["before_mb"]))
    print("the same rows from the cache: {:.1f} s".format(found["replay_seconds"]))


if __name__ == "__main__":
    main()
