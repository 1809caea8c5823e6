"""An answer file of 10,000 answers: the time to open it, and to get an answer from it compared with the cache.

    python benchmarks/answers.py [--answers 10000] [--size-bytes 2300] [--rounds 2000]

Opening is measured in new processes, until the first answer. A hit is a whole `run`: template, fingerprint, answer, receipt
data and ledger. File and cache take turns, so that a busy machine slows both. Figures are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Dict, List, Tuple

from figures import note

from claude_force_nb import AsyncAgentOrchestrator
from claude_force_nb.answers import AnswerFile
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage
from claude_force_nb.testing import FakeTransport

OPEN_BOUND_SECONDS = 0.3
HIT_BOUND = 1.5
SECRET = "only for the benchmark's own files"
OPENS = 7

_OPEN = """
import sys, time
from claude_force_nb.answers import AnswerFile
from claude_force_nb.testing import FakeTransport
from claude_force_nb import AsyncAgentOrchestrator
asked = AsyncAgentOrchestrator(transport=FakeTransport(str), enable_cache=False, ledger=None).request("question 17")
began = time.perf_counter()
file = AnswerFile(sys.argv[1])
assert file.get(asked) is not None
print(time.perf_counter() - began)
"""


def write_file(path: Path, count: int, size_bytes: int) -> None:
    """Write a file with signed answers to ``question 0`` and so on."""
    asking = AsyncAgentOrchestrator(transport=FakeTransport(str), enable_cache=False, ledger=None)
    words = random.Random(7)
    path.touch()
    file = AnswerFile(path, secret=SECRET)
    file.load()
    for number in range(count):
        text = " ".join(f"{words.getrandbits(24):x}" for _ in range(size_bytes // 7))
        result = ClaudeResult(
            text=text, model="claude-sonnet-5-5", usage=Usage(512, 230), stop_reason="end_turn", request_id="req_1"
        )
        file.put(asking.request(f"question {number}"), result)
    file.save()
    asking.close_blocking()


def opening(path: Path) -> float:
    """Return the seconds from opening the file to the first answer."""
    command = [sys.executable, "-c", _OPEN, str(path)]
    environment = dict(os.environ, CLAUDE_CACHE_SECRET=SECRET)
    return median(
        float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
        for _ in range(OPENS)
    )


async def hits(path: Path, folder: str, rounds: int) -> Tuple[float, float]:
    """Return the microseconds of a run answered from the file, and of one answered from the cache."""
    transport = FakeTransport(lambda request: "x" * 2000)
    of_file = AsyncAgentOrchestrator(transport=transport, answers=path, answers_mode="use", cache_dir=folder + "/one")
    of_cache = AsyncAgentOrchestrator(transport=transport, cache_dir=folder + "/two")
    times: Tuple[List[float], List[float]] = ([], [])
    async with of_file, of_cache:
        for number in range(200):
            await of_cache.run(f"question {number}")
            await of_file.run(f"question {number}")
        for step in range(rounds):
            for place, orchestrator in enumerate((of_file, of_cache)):
                began = time.perf_counter()
                result = await orchestrator.run(f"question {step % 200}")
                times[place].append(time.perf_counter() - began)
                assert result.cached
    return median(times[0]) * 1e6, median(times[1]) * 1e6


def measure(count: int, size_bytes: int, rounds: int) -> Dict[str, float]:
    """Return the file's size in megabytes, the seconds to open it, and the microseconds of a hit from file and cache."""
    with tempfile.TemporaryDirectory() as folder:
        # Do not use the key of the person who measures.
        os.environ.update(CLAUDE_FORCE_HOME=folder, CLAUDE_CACHE_SECRET=SECRET)
        path = Path(folder, "x.answers.jsonl")
        write_file(path, count, size_bytes)
        opened = opening(path)
        file, cache = asyncio.run(hits(path, folder, rounds))
        megabytes = path.stat().st_size / 1e6
    return {"megabytes": megabytes, "open_seconds": opened, "file_hit_us": file, "cache_hit_us": cache}


def report(count: int, figures: Dict[str, float]) -> None:
    """Print the figures with their bounds."""
    opened, file, cache = (figures[name] for name in ("open_seconds", "file_hit_us", "cache_hit_us"))
    note("open an answer file of 10,000, and its first answer", opened, "s", OPEN_BOUND_SECONDS)
    note("run() from an answer file beside one from the cache", file / cache, "times", HIT_BOUND)
    print(f"{count:,} answers, {figures['megabytes']:.1f} MB")
    print(f"open and first answer, fresh process   {opened:6.3f} s   {opened / OPEN_BOUND_SECONDS:.2f} of 0.3 s")
    print(f"run() from the cache                   {cache:6.1f} µs")
    print(f"run() from the file                    {file:6.1f} µs  {file / cache:.2f} times that (bound {HIT_BOUND})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--size-bytes", type=int, default=2300, help="of an answer's text (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.answers, arguments.size_bytes, arguments.rounds)
    if arguments.json:
        print(json.dumps(figures))
    else:
        report(arguments.answers, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
