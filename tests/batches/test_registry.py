"""Jobs by their id: listed, attached, cancelled, forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.batches import JOB, ask, until_sent

from claude_force_nb.answers import AnswerFile
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.batches.owner import Owner
from claude_force_nb.errors import (
    JobError,
    UnknownJobError,
)
from claude_force_nb.simulator import Simulator


def test_cancelling_a_job_keeps_what_was_done(build: Any, run: Any, make: Any) -> None:
    """The API is asked to end it; answers so far are paid and collected, the rest is unpaid and can be sent again."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            jobs = orchestrator.message_batches
            task = asyncio.ensure_future(ask(orchestrator, [str(number) for number in range(100)]))
            await until_sent(jobs)
            await asyncio.sleep(0.2)
            (state,) = jobs.all()
            assert (await jobs.cancel(state.job.id)).state == "cancelling"
            batch = await task
            counts = batch.counts
            assert counts["ok"] + counts["stopped"] == 100
            assert {row.cost for row in batch.stopped} == {0}
            assert counts["ok"] == simulator.counters.completed
            assert batch.cost == simulator.counters.dollars == orchestrator.ledger.total().cost
            with pytest.raises(JobError, match="has ended already"):
                await jobs.cancel(state.job.id)
            (state,) = jobs.all()
            assert (state.state, state.answered, state.requests) == ("done", counts["ok"], 100)

    with Simulator(batch_seconds=2.0) as simulator:
        run(main(simulator))


def test_attach_collects_into_cache_and_ledger(build: Any, run: Any) -> None:
    """By job or batch id, from another orchestrator; the direct rerun is free, and a second attach says that it is over."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            task = asyncio.ensure_future(ask(orchestrator, ["a", "b", "a"]))
            await until_sent(orchestrator.message_batches)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with build(base_url=simulator.url) as orchestrator:
            jobs = orchestrator.message_batches
            (state,) = jobs.all()
            batch = await jobs.attach(state.batch_ids[0])
            assert batch.counts["ok"] == 2
            assert orchestrator.ledger.total().cost == simulator.counters.dollars == batch.cost
            assert jobs.all()[0].cost == batch.cost
            direct = await orchestrator.run_many(["a", "b"], model="haiku", max_tokens=50, thinking="off")
            assert direct.counts["cached"] == 2
            with pytest.raises(JobError, match="has ended"):
                await jobs.attach(state.job.id)
            slip = state.job.id[:-1] + ("0" if state.job.id[-1] != "0" else "1")
            for call in (jobs.attach, jobs.cancel):
                with pytest.raises(UnknownJobError, match=state.job.id):
                    await call(slip)
            jobs.forget(state.job.id)
            assert jobs.all() == []
            with pytest.raises(UnknownJobError, match="none are kept here"):
                jobs.forget("abc")

    with Simulator(batch_seconds=0.3) as simulator:
        run(main(simulator))


def test_attach_records_into_an_answer_file(build: Any, run: Any, tmp_path: Path) -> None:
    """Answers of a kernel that is gone come into the file with their fingerprint; asked for again, with what was asked."""
    path = tmp_path / "x.answers.jsonl"

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            task = asyncio.ensure_future(ask(orchestrator, ["a", "b"]))
            await until_sent(orchestrator.message_batches)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with build(base_url=simulator.url, answers=path, answers_mode="record") as orchestrator:
            (state,) = orchestrator.message_batches.all()
            await orchestrator.message_batches.attach(state.job.id)
            file = orchestrator.answers.file
            entries = [file.entry(fingerprint) for fingerprint in file.fingerprints()]
            assert [entry.request for entry in entries] == [None, None]
            batch = await ask(orchestrator, ["a", "b"])
            assert [result.recorded for result in batch] == [True, True]
            assert simulator.counters.completed == 2
        file = AnswerFile(path)
        entries = [file.entry(fingerprint) for fingerprint in file.fingerprints()]
        assert sorted(entry.request["body"]["messages"][0]["content"] for entry in entries) == ["a", "b"]

    with Simulator(batch_seconds=0.3) as simulator:
        run(main(simulator))


def test_a_job_at_another_server_is_not_waited_for(build: Any, run: Any) -> None:
    """A simulator on another port knows nothing of it, though both are called the same in requests."""

    async def main(gone: Simulator, here: Simulator) -> None:
        ways = [
            ApiTransport(api_key="k", base_url=server.url, known_as="http://localhost/simulator", environ={})
            for server in (gone, here)
        ]
        async with build(transport=ways[0]) as orchestrator:
            task = asyncio.ensure_future(ask(orchestrator, ["a", "b"]))
            await until_sent(orchestrator.message_batches)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with build(transport=ways[1]) as orchestrator:
            assert (await ask(orchestrator, ["a", "b"])).counts["ok"] == 2
            assert here.counters.completed == 2

    with Simulator(batch_seconds=60) as gone, Simulator(batch_seconds=0.3) as here:
        run(main(gone, here))


def test_a_job_that_was_only_planned_is_cancelled_at_once(simulator: Any, build: Any, run: Any) -> None:
    """Its kernel was stopped before anything left: nothing is asked of the API, and the rows are free for the next run."""
    simulator.fail(["hang"], endpoint="batch_list")

    async def main() -> None:
        async with build() as orchestrator:
            jobs = orchestrator.message_batches
            owner = Owner(jobs.store.owners)
            fingerprint = bytes.fromhex(
                orchestrator.request("a", model="haiku", max_tokens=50, thinking="off").fingerprint
            )
            jobs.store.plan(JOB, [fingerprint], owner.token, None)
            assert [state.state for state in jobs.all()] == ["sending"]
            with pytest.raises(JobError, match="a kernel is waiting for job"):
                jobs.forget(JOB.id)
            owner.release()
            assert [state.state for state in jobs.all()] == ["interrupted"]
            assert (await jobs.cancel(JOB.id)).state == "not sent"
            simulator.heal()
            assert (await ask(orchestrator, ["a"]))[0].status == "ok"

    run(main())
