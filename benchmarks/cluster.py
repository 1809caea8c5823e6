"""Rows on a Dask cluster of 1, 2 and 4 workers: rows per second, use of a rate limit, and dollars paid.

::

    python benchmarks/cluster.py                  speed, limits and budget with a few rows
    python benchmarks/cluster.py --rows 20000     the same with many
    python benchmarks/cluster.py --only speed     one of speed, limits, budget
    python benchmarks/cluster.py --most 2         no more than two workers

The API is the simulator in a process of its own, and workers are processes on this machine. Each worker adds ``--slots`` calls
in flight, so that slots and latency limit the rows per second, as with the real API, unless the processors do. The rate that
the slots allow is printed next to the rate reached.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from contextlib import contextmanager
from decimal import Decimal
from importlib.util import find_spec
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from figures import note

from claude_force_nb.rows.results import BatchResult
from claude_force_nb.simulator import SimulatorProcess

SECRET = "benchmark-" + "0123456789abcdef" * 2
LATENCY_SECONDS = 0.5
WORKERS = (1, 2, 4)
# Every twentieth prompt repeats an earlier one.
DISTINCT = 0.95


@contextmanager
def cluster_of(workers: int) -> Iterator[Any]:
    """Start worker processes that share neither cache nor ledger with earlier ones."""
    from distributed import Client, LocalCluster

    with tempfile.TemporaryDirectory() as home:
        os.environ.update(CLAUDE_FORCE_HOME=home, CLAUDE_CACHE_SECRET=SECRET)
        cluster = LocalCluster(n_workers=workers, threads_per_worker=2, dashboard_address=None, local_directory=home)
        with cluster, Client(cluster) as client:
            # Do not measure what each process imports and opens.
            warm = [f"warm {number}" for number in range(workers * 16)]
            with SimulatorProcess(latency_seconds=0.2) as simulator:
                answer(client, warm, simulator.url, slots=workers * 4)
            yield client


def answer(client: Any, prompts: List[str], url: str, *, slots: int, **options: Any) -> Tuple[BatchResult, float]:
    """Return the batch and its duration in seconds."""
    from claude_force_nb.distributed import ClusterSettings, answer_list

    settings = ClusterSettings(max_concurrent=slots, base_url=url, api_key="benchmark", timeout_seconds=600)
    started = time.perf_counter()
    batch = asyncio.run(
        answer_list(prompts, client=client, settings=settings, model="haiku", max_tokens=400, thinking="off", **options)
    )
    return batch, time.perf_counter() - started


def prompts_of(rows: int) -> List[str]:
    distinct = max(1, int(rows * DISTINCT))
    return [f"Prompt number {number % distinct}" for number in range(rows)]


def speed(rows: int, slots: int, numbers: Sequence[int]) -> None:
    """Print rows per second by number of workers, each with this many slots."""
    prompts = prompts_of(rows)
    rates: Dict[int, float] = {}
    for workers in numbers:
        with cluster_of(workers) as client, SimulatorProcess(latency_seconds=LATENCY_SECONDS) as simulator:
            batch, seconds = answer(client, prompts, simulator.url, slots=slots * workers)
            counters = simulator.counters
        assert batch.counts.complete == rows, batch.counts
        assert counters.calls == counters.completed == len(set(prompts)), "a distinct prompt was not paid once"
        assert counters.most_in_flight <= slots * workers
        rates[workers] = counters.completed / seconds
        bound = slots * workers / LATENCY_SECONDS
        print(
            f"speed   {workers} workers: {rows:,} rows in {seconds:.1f} s, {rates[workers]:.0f} calls/s of {bound:.0f} that the slots"
            f" allow, {counters.completed:,} calls for {len(set(prompts)):,} distinct prompts"
        )
    for few, many in zip(numbers, numbers[1:]):
        print(f"speed   from {few} to {many} workers: {rates[many] / rates[few]:.2f} times")
    if 2 in rates:
        allowed = f"the slots allow {2 * slots / LATENCY_SECONDS:.0f} calls/s with 2; reached: {rates[2]:.0f}"
        note(
            "rows a second on a cluster, 2 workers beside 1",
            rates[2] / rates[1],
            "times",
            1.7,
            at_most=False,
            limit=allowed,
        )


def limits(rows: int, slots: int, numbers: Sequence[int]) -> None:
    """Print how much of a rate limit is used, and the share of calls that are refused."""
    seconds_wanted = max(20.0, rows / 200)
    a_minute = int(rows * DISTINCT / seconds_wanted * 60)
    for workers in numbers:
        options = {"requests_per_minute": a_minute, "burst_seconds": 1.0, "latency_seconds": LATENCY_SECONDS}
        with cluster_of(workers) as client, SimulatorProcess(**options) as simulator:
            batch, seconds = answer(client, prompts_of(rows), simulator.url, slots=slots * workers)
            counters = simulator.counters
        assert batch.counts.complete == rows, batch.counts
        allowed = a_minute / 60 * (seconds - LATENCY_SECONDS)
        refused = counters.rate_limited / counters.calls
        print(
            f"limits  {workers} workers: {counters.completed / allowed:.1%} of {a_minute:,} requests a minute used,"
            f" {refused:.2%} refused with 429, {seconds:.1f} s"
        )


def budget(rows: int, slots: int, numbers: Sequence[int]) -> None:
    """Print how much is spent of a budget for only a part of the rows."""
    limit = Decimal(rows) * Decimal("0.000012")
    for workers in numbers:
        with cluster_of(workers) as client, SimulatorProcess(latency_seconds=0.05) as simulator:
            batch, _ = answer(client, prompts_of(rows), simulator.url, slots=slots * workers, budget=limit)
            paid = simulator.counters.dollars
        assert paid == batch.cost
        assert paid <= limit, f"{paid} of {limit}"
        print(
            f"budget  {workers} workers: ${paid} of ${limit} paid, {paid / limit:.1%}; {batch.counts['not_sent']:,} rows not sent"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    scenes = {"speed": speed, "limits": limits, "budget": budget}
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument(
        "--slots", type=int, default=20, help="calls in flight that each worker brings (default: %(default)s)"
    )
    parser.add_argument("--only", choices=scenes)
    parser.add_argument("--most", type=int, choices=WORKERS, default=WORKERS[-1], help="workers (default: %(default)s)")
    given = parser.parse_args()
    if find_spec("distributed") is None:
        print("left out: Dask is not installed; pip install 'claude-force-nb[dask]'")
        return
    for name, scene in scenes.items():
        if given.only in (None, name):
            scene(given.rows, given.slots, [number for number in WORKERS if number <= given.most])


if __name__ == "__main__":
    main()
