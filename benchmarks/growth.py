"""How the cost of a hit and of a row grows with the size of cache and batch: 1,000 to 1,000,000.

    python benchmarks/growth.py [--largest 1000000]

For each size the cache is filled with that many answers; 1,500 of them are read once each, by a new cache object; then a generator of as
many rows is answered from it. Processor time, and the memory above what the process had before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

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
# A row of the largest batch may cost so much more than one of the smallest: "falling or level", and what a busy machine adds.
LEVEL = 1.15


def rows(number: int) -> Iterator[Dict[str, Any]]:
    return ({"text": f"Review {row}: it works, mostly. " * 5, "stars": row % 6} for row in range(number))


def peak_mb() -> float:
    """Most memory of this process so far, in MB (on Linux, where the figure is in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def answer(request: ClaudeRequest) -> ClaudeResult:
    return ClaudeResult(
        text="positive",
        model=request.model,
        usage=Usage(input_tokens=60, output_tokens=2),
        stop_reason="end_turn",
        request_id="req_011CSHoEeqs5C35K2UUqR7Fy",
    )


async def fill(orchestrator: AsyncAgentOrchestrator, cache: ResponseCache, number: int) -> List[str]:
    """Put the answers of so many rows into the cache, and return the fingerprints of some of them."""
    waiting: List[Tuple[ClaudeRequest, ClaudeResult]] = []
    some: List[str] = []
    chosen = frozenset(random.Random(7).sample(range(number), min(number, 1500)))
    async for row, request in orchestrator.requests(rows(number), **OPTIONS):
        assert isinstance(request, ClaudeRequest)
        waiting.append((request, answer(request)))
        if row in chosen:
            some.append(request.fingerprint)
        if len(waiting) == 1000:
            cache.put_many(waiting)
            waiting.clear()
    cache.put_many(waiting)
    return some


async def measure(folder: Path, number: int) -> Tuple[float, float, float]:
    """Return µs of processor time of a hit in a cache of so many entries, and of a row; and MB above the start."""
    options: Dict[str, Any] = {"secret": SECRET, "max_size_mb": 20_000}
    with ResponseCache(folder / "cache", **options) as cache:
        async with AsyncAgentOrchestrator(transport=FakeTransport(lambda request: "x"), cache=cache) as orchestrator:
            some = await fill(orchestrator, cache, number)
    with ResponseCache(folder / "cache", **options) as cache:
        assert cache.get(some[0])
        began = time.process_time()
        for each in some:
            assert cache.get(each)
        hit = (time.process_time() - began) / len(some) * 1e6
    # Another cache object, which has verified nothing yet: else half of the smallest batch would be cheaper.
    with ResponseCache(folder / "cache", **options) as cache:
        assert cache.get(some[0])
        async with AsyncAgentOrchestrator(transport=FakeTransport(lambda request: "x"), cache=cache) as orchestrator:
            before, began = peak_mb(), time.process_time()
            summary = await orchestrator.run_stream(rows(number), on_result=lambda row, result: None, **OPTIONS)
            row_us = (time.process_time() - began) / number * 1e6
        assert summary.counts["cached"] == number, summary
    return hit, row_us, peak_mb() - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=1_000_000)
    arguments = parser.parse_args()
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= arguments.largest]
    found = []
    with tempfile.TemporaryDirectory() as folder:  # so that the first size does not pay for what is imported
        os.environ.update(CLAUDE_FORCE_DATA_DIR=folder + "/data", CLAUDE_CACHE_SECRET=SECRET)
        asyncio.run(measure(Path(folder), 500))
    print("{:>20}{:>12}{:>12}{:>16}".format("entries and rows", "hit, µs", "row, µs", "MB above start"))
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            os.environ.update(CLAUDE_FORCE_DATA_DIR=folder + "/data", CLAUDE_CACHE_SECRET=SECRET)
            found.append(asyncio.run(measure(Path(folder), size)))
        hit, row, memory = found[-1]
        print(f"{size:>20,}{hit:>12.1f}{row:>12.1f}{memory:>16.0f}")
        note(f"a cached row of {size:,}", row, "µs", limit=f"a hit among {size:,} entries: {hit:.1f} µs")
    note(f"a row of {sizes[-1]:,} beside one of {sizes[0]:,}", found[-1][1] / found[0][1], "times", LEVEL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
