"""A whole answer from the cache (template, fingerprint, verified get, receipt data, ledger) compared with litellm's.

    python benchmarks/replay.py [--rounds 2000] [--rows 10000] [--latency 1.0] [--answers 10000]

The same is measured from an answer file. The live call goes to the simulator in another process, which takes `--latency`
seconds, less than a model takes. Figures are medians; hits are measured in processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from statistics import median
from typing import Any, Awaitable, Callable, Dict, List, Optional

import answers
from batch import bare_get_us
from figures import note

from claude_force_nb import AsyncAgentOrchestrator
from claude_force_nb.simulator import SimulatorProcess

# As a multiple of a bare get of diskcache.
RUN_BOUND = 6.0
LITELLM_BOUND = 10.0
ROWS_BOUND_SECONDS = 1.0
PROMPT = "Review this:\n\n{{ source }}"
SOURCE = "def f(x):\n" + "    x = x + 1\n" * 40


def litellm_hit(url: str) -> Optional[Callable[[], Any]]:
    """Return a completion that litellm answers from its default in-memory cache; None if litellm is not installed."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise importing it accesses the network
    try:
        import litellm
        from litellm.caching.caching import Cache
    except ImportError:
        return None
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.cache = Cache()
    messages = [{"role": "user", "content": PROMPT.replace("{{ source }}", SOURCE)}]

    def complete() -> Any:
        return litellm.completion(
            model="anthropic/claude-sonnet-5-5", messages=messages, api_base=url, api_key="simulated", caching=True
        )

    try:
        complete()
    except ImportError as error:  # its first call imports parts of its proxy, whose libraries it does not depend on
        print(f"litellm cannot ask: {error}")
        return None
    return complete


async def microseconds(rounds: int, work: Callable[[], Awaitable[Any]]) -> float:
    times: List[float] = []
    for _ in range(rounds):
        began = time.process_time()
        await work()
        times.append(time.process_time() - began)
    return median(times) * 1e6


async def measure(url: str, arguments: argparse.Namespace) -> Dict[str, Optional[float]]:
    figures: Dict[str, Optional[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        options = {"agent": "reviewer", "variables": {"source": SOURCE}}
        async with AsyncAgentOrchestrator(
            base_url=url, api_key="simulated", cache_dir=folder + "/cache", max_concurrent=200
        ) as orchestrator:
            await orchestrator.run("warm up")
            live = await orchestrator.run(PROMPT, **options)
            figures["live"] = live.duration_seconds * 1e6
            figures["run"] = await microseconds(arguments.rounds, lambda: orchestrator.run(PROMPT, **options))
            figures["run, no template"] = await microseconds(arguments.rounds, lambda: orchestrator.run("warm up"))
            prompts = [f"question {number}" for number in range(arguments.rows)]
            await orchestrator.run_many(prompts)
            seconds = []
            for _ in range(3):
                began = time.perf_counter()
                batch = await orchestrator.run_many(prompts)
                seconds.append(time.perf_counter() - began)
                assert batch.counts["cached"] == len(prompts)
            figures["rows"] = median(seconds) * 1e6
        complete = litellm_hit(url)
        if complete is None:
            figures["litellm"] = None
        else:
            times = []
            for _ in range(max(50, arguments.rounds // 10)):
                began = time.process_time()
                complete()
                times.append(time.process_time() - began)
            figures["litellm"] = median(times) * 1e6
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds a live call takes (default: %(default)s)")
    parser.add_argument("--answers", type=int, default=10_000, help="of the answer file (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        os.environ["CLAUDE_FORCE_DATA_DIR"] = data
        os.environ["CLAUDE_CACHE_SECRET"] = "only for the benchmark's own cache"
        with SimulatorProcess(latency_seconds=arguments.latency) as simulator:
            figures = asyncio.run(measure(simulator.url, arguments))
    hit, live, rows = figures["run"] or 0.0, figures["live"] or 0.0, figures["rows"] or 0.0
    bare = bare_get_us()
    plain = figures["run, no template"] or 0.0
    limit = f"bare diskcache get: {bare:.1f} µs"
    note("run() from the cache beside a bare get", plain / bare, "times", RUN_BOUND, limit=limit)
    note(
        "run() from the cache, agent and template of 500 characters, beside a bare get",
        hit / bare,
        "times",
        RUN_BOUND,
        limit=f"{limit}; the run: {hit:.1f} µs",
    )
    if figures["litellm"] is not None:
        note(
            "litellm's completion() from its cache beside run()",
            figures["litellm"] / hit,
            "times",
            LITELLM_BOUND,
            at_most=False,
        )
    print("{:<52}{:>14}  {}".format("", "median", "ratio"))
    line = "{:<52}{:>14}  {}".format
    print(
        line(
            "run() from the cache, everything included",
            f"{hit:.1f} µs",
            f"{hit / bare:.1f} times a bare get (bound 6)",
        )
    )
    print(
        line(
            "  the same without agent and template", f"{plain:.1f} µs", f"{plain / bare:.1f} times a bare get (bound 6)"
        )
    )
    peer = figures["litellm"]
    if peer is None:
        print(line("litellm.completion from its default cache", "not installed", ""))
    else:
        print(
            line(
                "litellm.completion from its default cache",
                f"{peer:.1f} µs",
                f"{peer / hit:.1f} times run() (bound 10)",
            )
        )
    seconds = rows / 1e6
    print(
        line(
            f"run_many, {arguments.rows:,} cached prompts",
            f"{seconds:.2f} s",
            f"{seconds / ROWS_BOUND_SECONDS:.2f} of 1 s; {rows / arguments.rows:.0f} µs a row",
        )
    )
    label = f"live call, simulator at {arguments.latency:g} s"
    print(line(label, f"{live / 1e6:.2f} s", f"{live / hit:,.0f} times a hit"))
    print()
    answers.report(arguments.answers, answers.measure(arguments.answers, 2300, arguments.rounds))


if __name__ == "__main__":
    main()
