"""Sending many prompts: the orchestrator compared with the bare SDK and langchain-anthropic, as ratios within one run.

::

    python benchmarks/dispatch.py                 speed, latency, rate limits
    python benchmarks/dispatch.py --only speed    one of speed, latency, limits
    python benchmarks/dispatch.py --large         peak memory of 100,000 prompts

The API is the simulator in a process of its own. Peers and orchestrator take turns, so that a busy machine slows all of them
alike; a figure is the median over the rounds. A peer that is not installed is reported as such.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, List, Optional, Tuple

from figures import note

from claude_force_nb import AsyncAgentOrchestrator
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.simulator import SimulatorProcess

MODEL = "claude-haiku-4-5"
OTHER_FAMILY = "claude-sonnet-4-5"
SECRET = "benchmark-" + "0123456789abcdef" * 2
CONCURRENT = 50
_rounds = itertools.count()

# Wall and processor seconds of one round.
Times = Tuple[float, float]
Peer = Callable[[str, int], Awaitable[Times]]


class Stopwatch:
    """Wall and processor time of this process since the stopwatch was created."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Times:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def message(number: int) -> Dict[str, Any]:
    return {
        "model": MODEL,
        "max_tokens": 64,
        "messages": [{"role": "user", "content": f"Prompt number {number}"}],
    }


async def bare(url: str, calls: int, *, aiohttp: bool) -> Times:
    """``AsyncAnthropic`` with ``asyncio.gather`` and a semaphore."""
    import anthropic

    options = {"http_client": anthropic.DefaultAioHttpClient()} if aiohttp else {}
    async with anthropic.AsyncAnthropic(api_key="benchmark", base_url=url, **options) as client:
        slots = asyncio.Semaphore(CONCURRENT)

        async def one(number: int) -> str:
            async with slots:
                answer = await client.messages.create(**message(number))
                return str(answer.content[0].text)

        await one(-1)
        watch = Stopwatch()
        await asyncio.gather(*(one(number) for number in range(calls)))
        return watch.read()


async def raw_aiohttp(url: str, calls: int) -> Times:
    """aiohttp alone, decoding the body and nothing else: the most that connections can carry from Python."""
    import aiohttp

    headers = {"Authorization": "Bearer benchmark", "anthropic-version": "2023-06-01"}
    connector = aiohttp.TCPConnector(limit=CONCURRENT)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        slots = asyncio.Semaphore(CONCURRENT)

        async def one(number: int) -> str:
            async with slots, session.post(url + "/v1/messages", json=message(number)) as response:
                return str((await response.json())["content"][0]["text"])

        await one(-1)
        watch = Stopwatch()
        await asyncio.gather(*(one(number) for number in range(calls)))
        return watch.read()


async def langchain(url: str, calls: int) -> Times:
    """langchain-anthropic's ``abatch``."""
    from langchain_anthropic import ChatAnthropic

    # langchain shares a client among models of equal settings, whose connections would belong to an earlier loop.
    timeout = 600.0 + next(_rounds)
    model = ChatAnthropic(model=MODEL, max_tokens=64, api_key="benchmark", base_url=url, timeout=timeout)
    await model.ainvoke("warm")
    watch = Stopwatch()
    await model.abatch([f"Prompt number {number}" for number in range(calls)], config={"max_concurrency": CONCURRENT})
    return watch.read()


async def run_many(url: str, prompts: Any, *, warm: str = MODEL, **options: Any) -> Tuple[BatchResult, Times]:
    """The orchestrator with a new cache and a new ledger."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncAgentOrchestrator(
            base_url=url,
            api_key="benchmark",
            cache_dir=Path(folder, "cache"),
            cache_secret=SECRET,
            ledger=Ledger(Path(folder, "ledger.db")),
            max_concurrent=CONCURRENT,
            timeout_seconds=600,
        ) as orchestrator:
            # Do not measure the import of the SDK.
            await orchestrator.run("warm", model=warm, max_tokens=64)
            watch = Stopwatch()
            batch = await orchestrator.run_many(prompts, model=MODEL, max_tokens=options.pop("max_tokens", 64))
            times = watch.read()
    return batch, times


async def ours(url: str, calls: int) -> Times:
    batch, times = await run_many(url, (f"Prompt number {number}" for number in range(calls)))
    assert batch.counts["ok"] == calls, batch
    return times


PEERS: List[Tuple[str, Peer]] = [
    ("claude_force_nb, cache and ledger on", ours),
    ("AsyncAnthropic, default backend", lambda url, calls: bare(url, calls, aiohttp=False)),
    ("AsyncAnthropic, DefaultAioHttpClient", lambda url, calls: bare(url, calls, aiohttp=True)),
    ("raw aiohttp", raw_aiohttp),
    ("langchain-anthropic abatch", langchain),
]


def measure(url: str, calls: int, rounds: int) -> Dict[str, Optional[List[Times]]]:
    times: Dict[str, Optional[List[Times]]] = {name: [] for name, _ in PEERS}
    for turn in range(rounds):
        # Each round starts with a different peer, since the first one after a pause finds a cooler machine.
        for name, peer in PEERS[turn % len(PEERS) :] + PEERS[: turn % len(PEERS)]:
            taken = times[name]
            if taken is None:
                continue
            try:
                taken.append(asyncio.run(peer(url, calls)))  # type: ignore[arg-type]
            except ImportError:
                times[name] = None
    return times


def speed(calls: int, rounds: int) -> None:
    print(f"\n{calls:,} different prompts, {CONCURRENT} at a time, no latency; median of {rounds} rounds")
    with SimulatorProcess() as simulator:
        times = measure(simulator.url, calls, rounds)
    print("{:<40}{:>10}{:>14}{:>14}{:>14}".format("", "calls/s", "CPU ms/call", "ours: speed", "ours: CPU"))
    own = times[PEERS[0][0]] or []
    for name, taken in times.items():
        if not taken:
            print("{:<40}{:>10}".format(name, "not installed"))
            continue
        # Ratios within each round, so that a temporary slowdown of the machine does not count.
        faster = statistics.median(theirs[0] / mine[0] for theirs, mine in zip(taken, own))
        cpu = statistics.median(mine[1] / theirs[1] for theirs, mine in zip(taken, own))
        if name == "AsyncAnthropic, default backend":
            note("calls/s without latency beside the SDK", faster, "times", 2.0, at_most=False)
        elif name == "AsyncAnthropic, DefaultAioHttpClient":
            note("processor time a call beside the SDK's aiohttp backend", cpu, "times", 0.85)
        elif name == "langchain-anthropic abatch":
            note("calls/s without latency beside langchain-anthropic", faster, "times")
        print(
            f"{name:<40}{calls / statistics.median(wall for wall, _ in taken):>10.0f}{1000 * statistics.median(used for _, used in taken) / calls:>14.3f}{faster:>13.2f}x{cpu:>13.2f}x"
        )


def latency(rounds: int) -> None:
    calls, seconds = 1000, 0.1
    ideal = calls / CONCURRENT * seconds
    walls: Dict[str, List[float]] = {"raw aiohttp": [], "claude_force_nb": []}
    with SimulatorProcess(latency_seconds=seconds) as simulator:
        # The first round does not count, since the import of the SDK leaves work for the garbage collector.
        for turn in range(rounds + 1):
            pairs = [("raw aiohttp", raw_aiohttp), ("claude_force_nb", ours)]
            for name, peer in pairs if turn % 2 else reversed(pairs):
                wall, _ = asyncio.run(peer(simulator.url, calls))
                if turn:
                    walls[name].append(wall)
    print(f"\n{calls:,} prompts, {CONCURRENT} at a time, {seconds * 1e3:g} ms latency; median of {rounds} rounds")
    for name, taken in walls.items():
        wall = statistics.median(taken)
        print(f"{name:<40}{wall:>8.2f} s{ideal / wall:>9.1%} of the ideal {ideal:.1f} s")
    share = statistics.median(raw / own for raw, own in zip(walls["raw aiohttp"], walls["claude_force_nb"]))
    print(f"ours reaches {share:.1%} of raw aiohttp (bound 97 %)")
    ideal_share = ideal / statistics.median(walls["raw aiohttp"])
    note(
        "calls/s at 100 ms latency, 50 at a time, beside raw aiohttp",
        100 * share,
        "%",
        97.0,
        at_most=False,
        limit=f"raw aiohttp: {ideal_share:.1%} of the ideal",
    )


# Each with a bucket of five seconds, so that pacing matters and not the burst.
LIMITS: List[Tuple[str, Dict[str, Any], int]] = [
    ("600 requests a minute", {"requests_per_minute": 600}, 64),
    ("60,000 input tokens a minute", {"input_tokens_per_minute": 60_000, "requests_per_minute": 6000}, 64),
    ("60,000 output tokens a minute", {"output_tokens_per_minute": 60_000, "requests_per_minute": 6000}, 512),
]


def limits() -> None:
    calls, burst = 300, 5.0
    print(f"\n{calls} prompts under a limit, buckets of {burst:g} s")
    print("{:<34}{:>9}{:>15}{:>13}{:>22}".format("", "seconds", "share of allowed", "429", "inside retry-after"))
    for name, options, max_tokens in LIMITS:
        # Answers shorter than their limit, since one that is cut off does not count as answered.
        options = {**options, "answer_bytes": 400 if "output_tokens_per_minute" in options else 200}
        # About 100 input tokens each, of varying length.
        prompts = ["Prompt {} {}".format(number, "word " * (60 + number * 37 % 40)) for number in range(calls)]
        with SimulatorProcess(burst_seconds=burst, **options) as simulator:
            batch, (wall, _) = asyncio.run(run_many(simulator.url, prompts, warm=OTHER_FAMILY, max_tokens=max_tokens))
            counters = simulator.counters
        assert batch.counts["ok"] == calls, (batch, batch.errors)
        note(f"sent inside retry-after, {name}", counters.sent_inside_retry_after, "calls", 0.0)
        per_minute, used = {
            0: (600, float(calls)),
            1: (60_000, float(counters.input_tokens)),
            2: (60_000, float(counters.output_tokens)),
        }[[item[0] for item in LIMITS].index(name)]
        # The amount that the bucket allows during the run: its capacity at the start, and what was refilled.
        allowed = per_minute / 60 * (wall + burst)
        print(
            "{:<34}{:>9.1f}{:>15.1%}{:>13.1%}{:>22}".format(
                name,
                wall,
                used / allowed,
                counters.rate_limited / counters.by_endpoint["messages"],
                counters.sent_inside_retry_after,
            )
        )


def large(calls: int) -> None:
    import resource

    with SimulatorProcess(answer_bytes=200) as simulator:
        asyncio.run(ours(simulator.url, 500))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        wall, _ = asyncio.run(ours(simulator.url, calls))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{calls:,} prompts, answers of 200 bytes: {wall:.0f} s, peak memory {peak - before:.0f} MB above start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("speed", "latency", "limits"))
    parser.add_argument("--large", nargs="?", type=int, const=100_000, metavar="PROMPTS")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.large:
        large(arguments.large)
        return
    if arguments.only in (None, "speed"):
        speed(arguments.calls, arguments.rounds)
    if arguments.only in (None, "latency"):
        latency(arguments.rounds)
    if arguments.only in (None, "limits"):
        limits()


if __name__ == "__main__":
    main()
