"""How cost grows with the entries of a cache (1,000 to 1,000,000) and with the rows of a run (1,000 to 100,000).

    python benchmarks/growth.py [--largest 1000000] [--rows 100000]

One cache is filled more and more with signed answers, 1,000 per transaction, in memory (/dev/shm) if there is room, since
processor time is measured. At each size it is opened, asked for 1,500 entries that no object has verified yet, written to,
asked for its size, and written to at its size limit, where each new entry evicts another. Then generators of rows are answered
from a cache that has all answers: the figures are processor time per row, including its line in the ledger, and additional
memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from statistics import fmean, median
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from figures import note

from claude_force_nb import AsyncAgentOrchestrator
from claude_force_nb.cache import ResponseCache
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage
from claude_force_nb.testing import FakeTransport

SECRET = "benchmark-" + "0123456789abcdef" * 2
TEMPLATE = "Label the sentiment of this review, of {{ stars }} stars, as positive, neutral or negative: {{ text }}"
OPTIONS: Dict[str, Any] = {"template": TEMPLATE, "model": "haiku"}
SIZES = (1_000, 10_000, 100_000, 1_000_000)
TOGETHER = 1000
READ, WRITTEN = 1500, 300
# A row of the largest batch may cost this much more than one of the smallest: "falling or level", with a margin for a busy
# machine.
LEVEL = 1.15
TURNS = 5


class CacheCosts(NamedTuple):
    """Costs at one cache size: milliseconds to open it and to get its size, microseconds of single operations."""

    open_ms: float
    get_us: float
    put_us: float
    evicting_put_us: float
    stats_ms: float


def rows(number: int) -> Iterator[Dict[str, Any]]:
    return ({"text": f"Review {row}: it works, mostly. " * 5, "stars": row % 6} for row in range(number))


def peak_mb() -> float:
    """Return the peak memory of this process in MB (on Linux, where the system's figure is in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def answer(model: str) -> ClaudeResult:
    return ClaudeResult(
        text="positive",
        model=model,
        usage=Usage(input_tokens=60, output_tokens=2),
        stop_reason="end_turn",
        request_id="req_011CSHoEeqs5C35K2UUqR7Fy",
    )


ANSWER = answer("claude-haiku-5-5")


def open_cache(folder: Path, max_size_mb: float = 20_000) -> ResponseCache:
    return ResponseCache(folder, secret=SECRET, max_size_mb=max_size_mb)


def memory_folder(entries: int) -> Optional[str]:
    """Return a folder in memory if it has room for this many entries: filling a cache on disk takes three times as long."""
    folder = "/dev/shm"
    is_usable = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > entries * 3000
    return folder if is_usable else None


def key(number: int) -> str:
    return sha256(b"%d" % number).hexdigest()


def fill(folder: Path, numbers: range) -> float:
    """Put entries with these numbers into the cache, and return the seconds it takes."""
    began = time.perf_counter()
    with open_cache(folder) as cache:
        for start in range(numbers.start, numbers.stop, TOGETHER):
            some = range(start, min(start + TOGETHER, numbers.stop))
            assert cache.put_many([(key(number), ANSWER) for number in some]) == len(some)
    return time.perf_counter() - began


def bring_back(folder: Path, entries: int) -> None:
    """Restore the entries that a measurement has evicted."""
    with open_cache(folder) as cache:
        gone = [each for each in map(key, range(entries)) if cache.get(each) is None]
        cache.put_many([(each, ANSWER) for each in gone])


def put_us(cache: ResponseCache, keys: Sequence[str]) -> float:
    """Return the median processor time in microseconds of putting one of these entries."""
    taken: List[float] = []
    for each in keys:
        began = time.process_time()
        assert cache.put(each, ANSWER)
        taken.append(time.process_time() - began)
    return median(taken) * 1e6


def cache_costs(folder: Path, entries: int) -> CacheCosts:
    """Measure a cache that holds the entries with numbers below `entries`; others are added, which evict as many."""
    chosen = [key(number) for number in random.Random(7).sample(range(entries), min(entries, READ))]
    opened = []
    for each in chosen[:15]:
        began = time.perf_counter()
        with open_cache(folder) as cache:
            assert cache.get(each)
            opened.append((time.perf_counter() - began) * 1000)
    with open_cache(folder) as cache:
        began = time.process_time()
        found = [cache.get(each) for each in chosen]
        get_us = (time.process_time() - began) / len(chosen) * 1e6
        assert None not in found
        # Above every number that `fill` uses.
        new = [key(10**9 + entries * 10 + number) for number in range(2 * WRITTEN)]
        alone = put_us(cache, new[:WRITTEN])
        sums = []
        for _ in range(15):
            began = time.perf_counter()
            stats = cache.stats()
            sums.append((time.perf_counter() - began) * 1000)
        for each in new[:WRITTEN]:
            assert cache.delete(each)
    with open_cache(
        folder, max_size_mb=(stats.size_bytes - (WRITTEN - 1) * stats.size_bytes // stats.entries) / 1e6
    ) as cache:
        evicting = put_us(cache, new[WRITTEN:])
        evicted = cache.stats().evictions
        assert evicted >= WRITTEN - 2, evicted
    return CacheCosts(median(opened), get_us, alone, evicting, median(sums))


def caches(largest: int) -> None:
    """Print the costs of a cache at each size, and record the largest compared with the smallest."""
    head = "{:>12}{:>12}{:>12}{:>12}{:>22}{:>12}{:>16}".format
    print(head("entries", "open, ms", "get, µs", "put, µs", "put that evicts, µs", "size, ms", "filled in, s"))
    found: List[CacheCosts] = []
    sizes = [size for size in SIZES if size <= largest] or [largest]
    filled = 0
    with tempfile.TemporaryDirectory(dir=memory_folder(largest)) as place:
        folder = Path(place, "cache")
        for size in sizes:
            seconds = fill(folder, range(filled, size))
            filled = size
            costs = cache_costs(folder, size)
            found.append(costs)
            figures = [f"{costs.open_ms:.2f}", *(f"{each:.1f}" for each in costs[1:4]), f"{costs.stats_ms:.2f}"]
            print(head(f"{size:,}", *figures, f"{seconds:.1f}"), flush=True)
            if size != sizes[-1]:
                bring_back(folder, size)
    first, last = found[0], found[-1]
    words = f"of {sizes[-1]:,} entries"
    for name, few, many in (
        ("a verified get, read once, from a cache", first.get_us, last.get_us),
        ("a put into a cache", first.put_us, last.put_us),
        ("a put that evicts, into a cache", first.evicting_put_us, last.evicting_put_us),
    ):
        note(f"{name} {words}", many, "µs", limit=f"{few:.1f} µs with {sizes[0]:,}: {many / few:.1f} times")
    note(f"open a cache {words} and read one", last.open_ms, "ms", limit=f"{first.open_ms:.1f} ms with {sizes[0]:,}")


async def fill_rows(folder: Path, number: int) -> None:
    """Put the answers of this many rows into the cache."""
    with open_cache(folder) as cache:
        async with AsyncAgentOrchestrator(transport=FakeTransport(lambda request: "x"), cache=cache) as orchestrator:
            waiting: List[ClaudeRequest] = []
            async for _, request in orchestrator.requests(rows(number), **OPTIONS):
                assert isinstance(request, ClaudeRequest)
                waiting.append(request)
                if len(waiting) == TOGETHER:
                    cache.put_many([(each, answer(each.model)) for each in waiting])
                    waiting.clear()
            cache.put_many([(each, answer(each.model)) for each in waiting])


async def run_of(folder: Path, number: int) -> Tuple[float, float]:
    """Return the processor time of a row answered from the cache in µs, and the additional memory in MB."""
    # A new cache object, which has not verified anything yet; otherwise half of the smallest batch would be cheaper.
    with open_cache(folder) as cache:
        cache.get(key(0))
        async with AsyncAgentOrchestrator(transport=FakeTransport(lambda request: "x"), cache=cache) as orchestrator:
            before, began = peak_mb(), time.process_time()
            summary = await orchestrator.run_stream(rows(number), on_result=lambda row, result: None, **OPTIONS)
            # The ledger writes 512 lines at a time. Without a flush, the smallest runs would only pay for half of theirs.
            assert orchestrator.ledger is not None
            orchestrator.ledger.flush()
            row_us = (time.process_time() - began) / number * 1e6
        assert summary.counts["cached"] == number, summary
    return row_us, peak_mb() - before


def runs(largest: int) -> None:
    """Print the cost of a row in runs of each size, and record the largest compared with the smallest.

    The sizes take turns, so that other load on the machine slows all of them alike. In each turn, each size runs often enough
    for a tenth of the largest size's rows, and the largest size runs once.
    """
    sizes = [size for size in SIZES if size <= largest] or [largest]
    costs: Dict[int, List[float]] = {size: [] for size in sizes}
    memory = dict.fromkeys(sizes, 0.0)
    ratios = []
    with tempfile.TemporaryDirectory() as place:
        os.environ.update(CLAUDE_FORCE_DATA_DIR=place + "/data")
        for size in sizes:
            asyncio.run(fill_rows(Path(place, str(size)), size))
        asyncio.run(run_of(Path(place, str(sizes[0])), sizes[0]))  # warm-up, which pays for imports
        for _ in range(TURNS):
            turn = {}
            for size in sizes:
                several = max(1, sizes[-1] // 10 // size)
                done = [asyncio.run(run_of(Path(place, str(size)), size)) for _ in range(several)]
                turn[size] = fmean(each[0] for each in done)
                costs[size].append(turn[size])
                memory[size] = max(memory[size], *(each[1] for each in done))
            ratios.append(turn[sizes[-1]] / turn[sizes[0]])
    print("{:>12}{:>12}{:>16}".format("rows", "row, µs", "MB above start"))
    for size in sizes:
        row_us = median(costs[size])
        print(f"{size:>12,}{row_us:>12.1f}{memory[size]:>16.0f}", flush=True)
        note(f"a cached row of {size:,}", row_us, "µs", limit=f"{memory[size]:.0f} MB above the start")
    note(f"a row of {sizes[-1]:,} beside one of {sizes[0]:,}", median(ratios), "times", LEVEL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=1_000_000, help="entries (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=100_000, help="rows (default: %(default)s)")
    arguments = parser.parse_args()
    os.environ["CLAUDE_CACHE_SECRET"] = SECRET
    # Runs come first, since the peak memory of a process never decreases.
    runs(arguments.rows)
    print()
    caches(arguments.largest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
