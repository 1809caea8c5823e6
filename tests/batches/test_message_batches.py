"""A run that is stopped keeps running at the API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.batches import ask, until_sent

from claude_force_nb.simulator import Simulator


def test_a_stopped_run_continues_at_the_api_and_the_rerun_pays_nothing_more(build: Any, run: Any) -> None:
    """With rows added, removed and shuffled; the line that a stopped cell shows names the job and the batch."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url, budget="1") as orchestrator:
            assert orchestrator.batches_left == ""
            jobs = orchestrator.message_batches
            task = asyncio.ensure_future(ask(orchestrator, [str(number) for number in range(10)]))
            await until_sent(jobs)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (state,) = jobs.all()
            assert f"job {state.job.id} ({state.batch_ids[0]})" in jobs.left_running
            assert f"%claude_jobs attach {state.job.id}" in jobs.left_running
            assert orchestrator.batches_left == jobs.left_running
            assert orchestrator.budget.reserved > 0
            batch = await ask(orchestrator, [str(number) for number in (11, 9, 8, 7, 0, 10)])
            assert batch.counts["ok"] == 6
            assert simulator.counters.completed == 12
            assert orchestrator.budget.spent == simulator.counters.dollars == orchestrator.ledger.total().cost
            assert orchestrator.budget.reserved == 0
            rest = await ask(orchestrator, [str(number) for number in range(12)])
            assert rest.counts["cached"] == 12

    with Simulator(batch_seconds=0.5) as simulator:
        run(main(simulator))
