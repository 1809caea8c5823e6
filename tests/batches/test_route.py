"""Message batches are created when they are first used."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, List

import pytest
from support.batches import ask, sent, until_sent

from claude_force_nb.errors import OptionError
from claude_force_nb.simulator import Simulator
from claude_force_nb.testing import FakeTransport


def test_nothing_is_made_before_it_is_asked_for(make: Any, run: Any) -> None:
    """Neither the job store nor its collaborators are created before their first use, and only once."""

    paths: List[Path] = []

    async def main() -> None:
        async with make() as orchestrator:
            assert orchestrator.batches_left == ""
            jobs = orchestrator.message_batches
            assert orchestrator.message_batches is jobs
            assert orchestrator.batches_left == ""
            paths.append(jobs.store.path)

    run(main())
    assert not paths[0].exists()


def test_a_transport_without_batches_says_so(make: Any, run: Any) -> None:
    """In one line, before anything is read or sent; ending a run still works."""

    async def main() -> None:
        async with make(transport=FakeTransport("yes")) as orchestrator:
            with pytest.raises(OptionError, match="batches"):
                await ask(orchestrator, ["a"])
            task = asyncio.ensure_future(asyncio.sleep(60))
            orchestrator.cancel_run(task)
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_a_run_is_ended_at_the_api_where_it_has_batches_there(build: Any, run: Any) -> None:
    """What was answered is kept and the rest is told apart; a run that has none is cancelled itself."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            task = asyncio.ensure_future(ask(orchestrator, ["a", "b"]))
            await until_sent(orchestrator.message_batches)
            plain = asyncio.ensure_future(asyncio.sleep(60))
            orchestrator.cancel_run(plain)
            orchestrator.cancel_run(task)
            await asyncio.wait([plain], timeout=5)
            assert plain.cancelled()
            batch = await asyncio.wait_for(task, 20)
            assert batch.counts["stopped"] == 2
            assert [state.state for state in orchestrator.message_batches.all()] == ["done"]

    with Simulator(batch_seconds=600) as simulator:
        run(main(simulator))


def test_stop_all_ends_the_waiting_and_not_the_batch(build: Any, run: Any) -> None:
    """Rows that the API has are stopped, at a cost that nobody knows yet, and the next run waits for the same batch."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            task = asyncio.ensure_future(ask(orchestrator, ["a", "b", "a"]))
            await until_sent(orchestrator.message_batches)
            orchestrator.stop_all()
            batch = await asyncio.wait_for(task, 20)
            assert [row.status for row in batch] == ["stopped"] * 3
            assert [row.cost for row in batch] == [None] * 3
            (state,) = orchestrator.message_batches.all()
            assert state.state == "in progress"
            again = asyncio.ensure_future(ask(orchestrator, ["a", "b", "a"]))
            await orchestrator.message_batches.cancel(state.job.id)
            assert (await asyncio.wait_for(again, 20)).counts["stopped"] == 3
        assert len(sent(simulator)) == 1

    with Simulator(batch_seconds=600) as simulator:
        run(main(simulator))
