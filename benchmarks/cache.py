"""The response cache compared with a bare diskcache and DSPy's disk cache, as ratios within one run.

::

    python benchmarks/cache.py                     get and put, 1,500 entries of 2.3 kB
    python benchmarks/cache.py --open              opening a cache of 100,000 entries
    python benchmarks/cache.py --gets 1000000      memory over a million gets

The peers and the cache take turns in rounds much shorter than a time slice of the scheduler, so that a busy machine slows
all of them alike, or only rounds that the median ignores. A peer that is not installed is reported as such.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import hmac
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from figures import note

from claude_force_nb.cache import ResponseCache
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage

SECRET = "benchmark-" + "0123456789abcdef" * 2

Operation = Callable[[int], Any]


def fingerprint(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def answer(number: int, size_bytes: int) -> ClaudeResult:
    words = random.Random(number)
    text = " ".join(f"{words.getrandbits(24):x}" for _ in range(size_bytes // 7))
    return ClaudeResult(
        text=text[: size_bytes - 180],
        model="claude-sonnet-5-5",
        usage=Usage(input_tokens=512, output_tokens=230),
        stop_reason="end_turn",
        request_id="req_011CSHoEeqs5C35K2UUqR7Fy",
        call_seconds=1.92,
    )


def dspy_get(directory: str, entries: int, size_bytes: int) -> Optional[Operation]:
    """Return a get of DSPy's disk cache, without its memory cache, on the same records; None without DSPy."""
    try:
        from dspy.clients.cache import Cache
    except ImportError:
        return None
    cache = Cache(
        enable_disk_cache=True, enable_memory_cache=False, disk_cache_dir=directory, disk_size_limit_bytes=2**30
    )
    requests = [{"model": "claude-sonnet-5-5", "prompt": fingerprint(n)} for n in range(entries)]
    for number, request in enumerate(requests):
        cache.put(request, answer(number, size_bytes).to_record())
    return lambda number: cache.get(requests[number])


def physical(database: str, keys: List[str]) -> Operation:
    """Return the least that a verified cache on SQLite must do: a SELECT, an HMAC-SHA256, and decoding a JSON text."""
    connection = sqlite3.connect(database)
    key = SECRET.encode()
    blobs = [
        json.dumps({"text": value.decode("latin-1")}).encode()
        for (value,) in connection.execute("SELECT value FROM Cache LIMIT 1500")
    ]

    def operation(number: int) -> Any:
        (value,) = connection.execute("SELECT value FROM Cache WHERE key = ? AND raw = 1", (keys[number],)).fetchone()
        hmac.new(key, value, "sha256").digest()
        return json.loads(blobs[number % len(blobs)])

    return operation


def race(
    operations: Dict[str, Optional[Operation]], entries: int, rounds: int, batch: int
) -> Dict[str, Optional[float]]:
    """Return the median microseconds of each operation, over `rounds` of `batch` calls taken in turn.

    Processor time is measured, so that other load on the machine matters as little as possible.
    """
    order = list(range(entries))
    random.Random(7).shuffle(order)
    times: Dict[str, List[float]] = {name: [] for name, operation in operations.items() if operation}
    position = 0
    for _ in range(rounds):
        chosen = [order[(position + step) % entries] for step in range(batch)]
        position += batch
        for name, operation in operations.items():
            if operation is None:
                continue
            started = time.thread_time()
            for number in chosen:
                operation(number)
            times[name].append((time.thread_time() - started) / batch * 1e6)
    return {name: statistics.median(times[name]) if name in times else None for name in operations}


def rerun(ours: str, bare: str, keys: List[str], rounds: int) -> Tuple[float, float, float]:
    """Return medians of a bare get, of a verified get (microseconds) and of their ratio, each entry read once by a new object.

    This is the case of a notebook rerun in a new kernel: nothing is in memory, neither here nor in SQLite's page cache.
    """
    import diskcache

    # A notebook would not hold the answers that this benchmark keeps, so hide them from the garbage collector.
    gc.collect()
    gc.freeze()
    pairs = []
    for _ in range(rounds):
        with diskcache.Cache(bare) as theirs, ResponseCache(ours, secret=SECRET) as cache:
            assert theirs.get(keys[0])
            assert cache.get(keys[0])
            seconds = [0.0, 0.0]
            for start in range(1, len(keys), 50):
                for place, get in enumerate((theirs.get, cache.get)):
                    started = time.thread_time()
                    for key in keys[start : start + 50]:
                        get(key)
                    seconds[place] += time.thread_time() - started
        pairs.append((seconds[0] / len(keys) * 1e6, seconds[1] / len(keys) * 1e6, seconds[1] / seconds[0]))
    theirs_us, ours_us, ratio = (statistics.median(column) for column in zip(*pairs))
    return theirs_us, ours_us, ratio


def speed(entries: int, size_bytes: int, rounds: int) -> List[Tuple[str, Optional[float], Optional[float], str]]:
    """Return rows of (name, microseconds, ratio to the bare operation, target)."""
    import diskcache

    with tempfile.TemporaryDirectory() as place:
        cache = ResponseCache(Path(place, "ours"), secret=SECRET)
        keys = [fingerprint(number) for number in range(entries)]
        answers = [answer(number, size_bytes) for number in range(entries)]
        for key, result in zip(keys, answers):
            assert cache.put(key, result)
        with diskcache.Cache(str(cache.directory)) as reader:
            stored = [reader.get(key) for key in keys]
        bare = diskcache.Cache(os.path.join(place, "bare"))
        for key, value in zip(keys, stored):
            bare.set(key, value)
        cold_bare, cold_ours, cold_ratio = rerun(str(cache.directory), os.path.join(place, "bare"), keys, 15)

        reading: Dict[str, Optional[Operation]] = {
            "bare diskcache.Cache.get": lambda number: bare.get(keys[number]),
            "ResponseCache.get, repeated": lambda number: cache.get(keys[number]),
            "SQLite SELECT, HMAC, JSON": physical(os.path.join(place, "bare", "cache.db"), keys),
            "DSPy disk cache get": dspy_get(os.path.join(place, "dspy"), entries, size_bytes),
        }
        for key in keys:
            assert cache.get(key) is not None
        got = race(reading, entries, rounds, 10)
        put = race(
            {
                "bare diskcache.Cache.set": lambda number: bare.set(keys[number], stored[number]),
                "ResponseCache.put": lambda number: cache.put(keys[number], answers[number]),
            },
            entries,
            rounds,
            1,
        )
        cache.close()
        bare.close()

    get, peer, repeated = (
        got["bare diskcache.Cache.get"],
        got["DSPy disk cache get"],
        got["ResponseCache.get, repeated"],
    )
    floor = got["SQLite SELECT, HMAC, JSON"] or 0.0
    bare_set, put_time = put["bare diskcache.Cache.set"], put["ResponseCache.put"]
    assert get is not None
    assert repeated is not None
    assert bare_set is not None
    assert put_time is not None
    limit = f"SELECT, HMAC and JSON: {floor:.1f} µs, {floor / get:.1f} times"
    note("a verified get, read once, beside bare diskcache", cold_ratio, "times", 2.5, limit=limit)
    note("a verified get, repeated, beside bare diskcache", repeated / get, "times", 1.5, limit=limit)
    note("a put beside bare diskcache's set", put_time / bare_set, "times", 2.5, limit=f"bare set: {bare_set:.0f} µs")
    return [
        ("bare diskcache.Cache.get, each once", cold_bare, 1.0, ""),
        ("ResponseCache.get, verified, each once", cold_ours, cold_ratio, "at most 2.5"),
        ("bare diskcache.Cache.get, repeated", get, 1.0, ""),
        ("ResponseCache.get, repeated, unchanged on disk", repeated, repeated / get, "at most 1.5"),
        ("SQLite SELECT, HMAC-SHA256 and JSON: the physical limit", floor, floor / get, ""),
        ("DSPy disk cache get, repeated", peer, peer / get if peer else None, ""),
        ("bare diskcache.Cache.set", bare_set, 1.0, ""),
        ("ResponseCache.put", put_time, put_time / bare_set, "at most 2.5"),
    ]


_OPEN_ONCE = """
import json, sys, time
from claude_force_nb.cache import ResponseCache
started = time.perf_counter()
import diskcache
imported = time.perf_counter() - started
started = time.perf_counter()
cache = ResponseCache(sys.argv[1], secret=sys.argv[2])
found = cache.get(sys.argv[3])
seconds = time.perf_counter() - started
assert found is not None
started = time.perf_counter()
entries = len(cache)
print(json.dumps([imported * 1000, seconds * 1000, (time.perf_counter() - started) * 1000, entries]))
cache.close()
"""


def opening(entries: int, rounds: int) -> Dict[str, float]:
    """Return the median milliseconds, in new processes, to open a cache of `entries` and get one answer."""
    with tempfile.TemporaryDirectory() as place, ResponseCache(place, secret=SECRET, max_size_mb=10_000) as cache:
        for number in range(entries):
            cache.put(fingerprint(number), answer(number, 700))
        cache.close()
        runs = []
        for number in range(rounds):
            arguments = [sys.executable, "-c", _OPEN_ONCE, place, SECRET, fingerprint(number)]
            runs.append(json.loads(subprocess.run(arguments, check=True, capture_output=True).stdout))
    medians = [statistics.median(column) for column in zip(*runs)]
    return {"import diskcache": medians[0], "open and first get": medians[1], "len": medians[2], "entries": medians[3]}


def memory(gets: int, entries: int) -> List[Tuple[int, float]]:
    """Return (gets done, resident megabytes), at eleven points of a run over `entries` entries."""
    import psutil

    process = psutil.Process()
    points = []
    with tempfile.TemporaryDirectory() as place, ResponseCache(place, secret=SECRET) as cache:
        keys = [fingerprint(number) for number in range(entries)]
        for number, key in enumerate(keys):
            cache.put(key, answer(number, 2048))
        step = max(gets // 10, 1)
        for done in range(gets + 1):
            cache.get(keys[done % entries])
            if done % step == 0:
                points.append((done, process.memory_info().rss / 1e6))
    return points


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1500)
    parser.add_argument("--size-bytes", type=int, default=2300)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--open", action="store_true", help="time opening a cache of 100,000 entries")
    parser.add_argument("--open-entries", type=int, default=100_000)
    parser.add_argument("--gets", type=int, help="do so many gets and show the memory on the way")
    chosen = parser.parse_args()
    if chosen.open:
        found = opening(chosen.open_entries, 15)
        print("cache of {:,.0f} entries, fresh process, median of 15".format(found.pop("entries")))
        note("open a cache of 100,000 and read one answer", found["open and first get"], "ms", 20.0)
        for name, milliseconds in found.items():
            print(
                "  {:<22} {:8.2f} ms{}".format(name, milliseconds, "   (at most 20)" if name.startswith("open") else "")
            )
        return 0
    if chosen.gets:
        for done, megabytes in memory(chosen.gets, chosen.entries):
            print(f"{done:>12,} gets {megabytes:8.1f} MB")
        return 0
    print(f"{chosen.entries:,} entries of about {chosen.size_bytes:,} bytes, medians of {chosen.rounds} rounds")
    print("{:<50} {:>10} {:>8}  {}".format("", "µs", "ratio", "target"))
    for name, microseconds, ratio, target in speed(chosen.entries, chosen.size_bytes, chosen.rounds):
        if microseconds is None and ratio is None:
            print("{:<50} {:>10}".format(name, "not installed"))
        else:
            shown = "" if microseconds is None else f"{microseconds:.2f}"
            print(f"{name:<50} {shown:>10} {ratio:>8.2f}  {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
