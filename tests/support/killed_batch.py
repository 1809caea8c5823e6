"""Run as a process by tests: sends rows through batches, and may kill itself at a transaction of the jobs' file."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from typing import Any, Iterator, List

from claude_force_nb.batches.context import BatchLimits
from claude_force_nb.batches.polling import PollSchedule
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.storage.shared_file import SharedFile

QUICK = PollSchedule(first_seconds=0.02, longest_seconds=0.1, lookup_seconds=0.3)


def prompts_of(rows: int, step: int = -1) -> List[str]:
    """Return rows that belong to one step alone."""
    return [f"{number} of step {step}" for number in range(rows)]


def die_at(step: int) -> None:
    """Kill this process, as the operating system would, before (even) or after (odd) the ``step // 2``-th commit."""
    transaction = SharedFile.transaction
    count = 0

    @contextmanager
    def counted(self: SharedFile) -> Iterator[Any]:
        nonlocal count
        if self.path.name != "jobs.db":
            with transaction(self) as connection:
                yield connection
            return
        with transaction(self) as connection:
            yield connection
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    SharedFile.transaction = counted  # type: ignore[method-assign]


async def main(url: str, rows: int, step: int, most_requests: int) -> None:
    if step >= 0:
        die_at(step)
    async with AsyncAgentOrchestrator(base_url=url, api_key="sk-ant-test-key") as orchestrator:
        orchestrator.message_batches.schedule = QUICK
        orchestrator.message_batches.limits = BatchLimits(most_requests=most_requests)
        prompts = prompts_of(rows, step)
        print("running", flush=True)
        batch = await orchestrator.run_many(prompts, via="batches", model="haiku", max_tokens=400)
        print(batch.counts["ok"] + batch.counts["cached"], flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
