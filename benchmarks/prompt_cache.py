"""Savings of a batch by the API's prompt cache: the simulator's invoice with and without it, and the minimum possible.

    python benchmarks/prompt_cache.py [--rows 1000] [--concurrent 50]

The rows share about 3,000 tokens of instructions. The minimum is one write, and a read for every other row.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from decimal import Decimal
from typing import Any, Dict, List

from figures import note

from claude_force_nb import AsyncAgentOrchestrator
from claude_force_nb.costs.days import today
from claude_force_nb.messages.usage import Usage
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.simulator import Simulator

MODEL = "claude-sonnet-5-5"
HANDBOOK = " ".join(f"Rule {number}: what every row has to know, said at some length." for number in range(190))
TEMPLATES = {
    "shared part first": "{{ handbook }}\nLabel: {{ text }}",
    "shared part last": "Label: {{ text }}\n{{ handbook }}",
}
IDEAL_BOUND = Decimal("1.01")


async def ask(url: str, template: str, rows: List[Dict[str, Any]], concurrent: int, mode: str) -> BatchResult:
    async with AsyncAgentOrchestrator(
        base_url=url, api_key="benchmark", max_concurrent=concurrent, enable_cache=False
    ) as orchestrator:
        return await orchestrator.run_many(
            rows,
            template=template,
            variables={"handbook": HANDBOOK},
            model=MODEL,
            max_tokens=64,
            thinking="off",
            prompt_cache=mode,
        )


def ideal(batch: BatchResult, orchestrator: AsyncAgentOrchestrator) -> Decimal:
    """Return the cost of one write and reads for all other rows, for the tokens that were billed."""
    shared = max(result.usage.cache_write_5m_tokens + result.usage.cache_read_tokens for result in batch)
    total = Decimal(0)
    for place, result in enumerate(batch):
        rest = result.usage.total_input_tokens - shared
        kind = {"cache_read_tokens": shared} if place else {"cache_write_5m_tokens": shared}
        usage = Usage(input_tokens=rest, output_tokens=result.usage.output_tokens, **kind)
        total += orchestrator.prices.cost(MODEL, usage, on=today()) or Decimal(0)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--concurrent", type=int, default=50)
    arguments = parser.parse_args()
    rows = [{"text": f"Review {number}"} for number in range(arguments.rows)]
    line = "{:<20}{:>10}{:>9}{:>9}{:>12}{:>12}{:>14}".format
    print(line("", "mode", "writes", "reads", "invoice", "our sum", "to the least"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CLAUDE_CACHE_DIR"] = folder + "/cache"
        os.environ["CLAUDE_FORCE_DATA_DIR"] = folder + "/data"
        os.environ["CLAUDE_CACHE_SECRET"] = "only for the benchmark's own cache"
        for name, template in TEMPLATES.items():
            for mode in ("auto", "off"):
                with Simulator(latency_seconds=0.05) as simulator:
                    batch = asyncio.run(ask(simulator.url, template, rows, arguments.concurrent, mode))
                    invoice = simulator.counters.dollars
                writes = sum(result.usage.cache_write_5m_tokens > 0 for result in batch)
                reads = sum(result.usage.cache_read_tokens > 0 for result in batch)
                ratio = ""
                if writes:
                    least = ideal(batch, AsyncAgentOrchestrator(base_url=simulator.url, api_key="benchmark"))
                    ratio = f"{invoice / least:.4f} (≤ {IDEAL_BOUND})"
                    note(
                        "the bill of 1,000 rows beside the least possible",
                        float(invoice / least),
                        "times",
                        1.01,
                        limit="one write, 999 reads",
                    )
                    note("writes to the prompt cache for 1,000 rows", writes, "calls", 1.0)
                print(line(name, mode, writes, reads, f"${invoice:.4f}", f"${batch.cost or 0:.4f}", ratio))


if __name__ == "__main__":
    main()
