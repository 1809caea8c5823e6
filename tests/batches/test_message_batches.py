"""Rows through message batches: half price, each distinct request once, found again whatever comes back."""

from __future__ import annotations

import asyncio
import json
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest

from claude_force_nb.batches.message_batches import Limits, MessageBatches, Pace
from claude_force_nb.batches.owner import Owner
from claude_force_nb.batches.store import Job
from claude_force_nb.errors import (
    BudgetExceededError,
    InvalidRequestError,
    JobError,
    MissingApiKeyError,
    NotAnsweredError,
    OptionError,
    UnknownJobError,
)
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator, SimulatorProcess

JOB = Job("abc123", 1.0, "notebook", None, None, "claude-haiku-5-5", "https://api.anthropic.com", True)
QUICK = Pace(first_seconds=0.02, longest_seconds=0.1, lookup_seconds=0.3)


@pytest.fixture
def simulator() -> Any:
    with Simulator(batch_seconds=0.05) as running:
        yield running


@pytest.fixture
def build(make: Callable[..., AsyncAgentOrchestrator]) -> Callable[..., AsyncAgentOrchestrator]:
    """An orchestrator whose batches are asked about often."""

    def build(pace: Pace = QUICK, limits: Optional[Limits] = None, **options: Any) -> AsyncAgentOrchestrator:
        orchestrator = make(**options)
        orchestrator.message_batches.pace = pace
        orchestrator.message_batches.limits = limits or Limits()
        return orchestrator

    return build


def ask(orchestrator: AsyncAgentOrchestrator, prompts: Any, **options: Any) -> Any:
    options.setdefault("model", "haiku")
    options.setdefault("max_tokens", 50)
    return orchestrator.run_many(prompts, via="batches", **options)


def test_rows_are_answered_at_half_price_and_a_direct_rerun_hits(simulator: Any, build: Any, run: Any) -> None:
    """Results, ledger and the simulator's bill agree to the last digit; the fingerprint is that of the direct request."""

    async def main() -> None:
        async with build() as orchestrator:
            batch = await ask(orchestrator, ["one", "two", "three"])
            assert [result.status for result in batch] == ["ok"] * 3
            assert {result.usage.service_tier for result in batch} == {"batch"}
            assert batch.cost == simulator.counters.dollars > 0
            assert orchestrator.ledger.total().cost == simulator.counters.dollars
            direct = await orchestrator.run_many(["three", "two", "one"], model="haiku", max_tokens=50)
            assert [result.status for result in direct] == ["cached"] * 3
            assert [result.text for result in direct] == batch.texts[::-1]
            again = await ask(orchestrator, ["one", "two", "three"])
            assert again.cost == 0
            assert again.texts == batch.texts
        counters = simulator.counters
        assert counters.completed == counters.completed_in_batches == 3
        assert "messages" not in counters.by_endpoint
        assert [state.state for state in orchestrator.message_batches.all()] == ["done"]

    run(main())


def test_cached_rows_are_not_sent_and_duplicates_are_sent_once(simulator: Any, build: Any, run: Any) -> None:
    """Of six rows, one cached and three distinct, two are paid for in the batch; the events say so."""
    events: List[Any] = []

    async def main() -> None:
        async with build(on_event=events.append) as orchestrator:
            await orchestrator.run("cached", model="haiku", max_tokens=50)
            events.clear()
            batch = await ask(orchestrator, ["a", "cached", "b", "a", "b", "a"])
            assert [result.status for result in batch].count("ok") == 2
            assert batch.counts["cached"] == 4
            assert batch[0].text == batch[3].text == batch[5].text != batch[2].text
            assert orchestrator.ledger.total().cost == simulator.counters.dollars
        assert simulator.counters.completed_in_batches == 2
        kinds = [event.kind for event in events]
        assert (kinds.count("queued"), kinds.count("done"), kinds.count("hit")) == (2, 2, 4)

    run(main())


def test_batches_are_split_by_number_and_by_bytes(simulator: Any, build: Any, run: Any) -> None:
    """No batch has more requests or bytes than its bounds, counted on what the server received; every row is answered."""

    async def main() -> None:
        async with build(limits=Limits(most_requests=3)) as orchestrator:
            batch = await ask(orchestrator, [str(number) for number in range(8)])
            assert batch.counts["ok"] == 8
        bodies = sent(simulator)
        assert [len(body["requests"]) for body in bodies] == [3, 3, 2]
        simulator.reset()
        async with build(limits=Limits(most_bytes=1000)) as orchestrator:
            batch = await ask(orchestrator, ["ä" * 100 + str(number) for number in range(6)] + ["x" * 2000])
            assert batch.counts == {"ok": 6, "cached": 0, "failed": 0, "not_sent": 1}
            assert isinstance(batch[6].error, OptionError)
        sizes = [len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()) for body in sent(simulator)]
        assert len(sizes) > 1
        assert max(sizes) <= 1000 < sizes[0] + sizes[1]

    run(main())


async def until_sent(jobs: MessageBatches) -> None:
    """Wait until a batch is under way."""
    while True:
        if any(state.state == "in progress" for state in jobs.all()):
            return
        await asyncio.sleep(0.01)


def sent(simulator: Any) -> List[Dict[str, Any]]:
    path = "/v1/messages/batches"
    return [request.body for request in simulator.requests if (request.method, request.path) == ("POST", path)]


def test_rows_are_found_again_whatever_comes_back(simulator: Any, build: Any, run: Any) -> None:
    """Errored, expired, missing, repeated and unknown rows, in any order: each row has its true outcome, and only answers cost."""
    simulator.fail("invalid_request", endpoint="batch_item", contains="wrong")
    simulator.fail("expired", endpoint="batch_item", contains="late")
    simulator.fail("missing", endpoint="batch_item", contains="gone")
    simulator.fail("duplicate", endpoint="batch_item", contains="twice")
    simulator.fail("unknown", endpoint="batch_item", contains="strange")
    prompts = ["fine", "wrong", "late", "gone", "twice", "strange"] + [f"row {number}" for number in range(30)]

    async def main() -> None:
        async with build() as orchestrator:
            batch = await ask(orchestrator, prompts)
            by_name = dict(zip(prompts, batch))
            assert isinstance(by_name["wrong"].error, InvalidRequestError)
            assert by_name["wrong"].error.status == 400
            assert by_name["wrong"].status == "failed"
            assert by_name["late"].status == "not_sent"
            assert isinstance(by_name["late"].error, NotAnsweredError)
            assert by_name["gone"].status == "failed"
            assert "no line" in str(by_name["gone"].error)
            assert by_name["twice"].status == by_name["fine"].status == "ok"
            assert batch.counts == {"ok": 33, "cached": 0, "failed": 2, "not_sent": 1}
            direct = await orchestrator.run_many(prompts[6:9], model="haiku", max_tokens=50)
            assert direct.texts == batch.texts[6:9]
            simulator.heal()
            again = await ask(orchestrator, prompts)
            assert again.counts == {"ok": 3, "cached": 33, "failed": 0, "not_sent": 0}

    run(main())


def test_a_budget_holds_the_worst_case_at_batch_price(simulator: Any, build: Any, run: Any) -> None:
    """A job that does not fit is refused whole, in one line, with nothing sent, also where it takes several batches."""

    async def main() -> None:
        async with build(budget="0.0002", limits=Limits(most_requests=2)) as orchestrator:
            with pytest.raises(BudgetExceededError) as caught:
                await ask(orchestrator, [str(number) for number in range(8)])
            assert "\n" not in str(caught.value)
            assert sent(simulator) == []
            assert orchestrator.budget.reserved == orchestrator.budget.spent == 0
            batch = await ask(orchestrator, ["1"])
            assert batch.counts["ok"] == 1
            assert orchestrator.budget.spent == simulator.counters.dollars
            assert orchestrator.budget.reserved == 0
            direct = orchestrator.prices.bound("claude-haiku-4-5", input_tokens=10, max_tokens=50)
            assert (
                orchestrator.prices.bound("claude-haiku-4-5", input_tokens=10, max_tokens=50, batch=True) == direct / 2
            )
        states = [state.state for state in orchestrator.message_batches.all()]
        assert states == ["done", "not sent"]

    run(main())


def test_polling_survives_every_failure_and_honours_retry_after(simulator: Any, build: Any, run: Any) -> None:
    """Errors, broken connections, pages of HTML and a cut download cost time, never rows or money."""
    simulator.fail([500, "overloaded", "drop", "html", "truncated_json", "authentication"], endpoint="batch_poll")
    simulator.fail(["rate_limit"], endpoint="batch_poll", retry_after_seconds=0.5)
    simulator.fail(["cut", "server_error", "drop"], endpoint="batch_results")
    simulator.fail(["overloaded"], endpoint="batch_create")
    simulator.fail(["server_error"], endpoint="batch_list")

    async def main() -> None:
        async with build() as orchestrator:
            started = asyncio.get_running_loop().time()
            batch = await ask(orchestrator, [str(number) for number in range(300)])
            assert asyncio.get_running_loop().time() - started >= 0.5
            assert batch.counts["ok"] == 300
            assert batch.cost == orchestrator.ledger.total().cost == simulator.counters.dollars
            assert orchestrator.ledger.total().calls == 300
        assert simulator.counters.completed == 300

    run(main())


@pytest.mark.filterwarnings("ignore:job .* nothing is sent again before it ends")
def test_a_lost_create_is_found_in_the_list_and_not_sent_again(build: Any, run: Any) -> None:
    """Also among other batches of the same size, made before and after, which are none of ours."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            api = orchestrator.message_batches._api
            body = json.dumps({"requests": [foreign("f")]}).encode()
            await api.create(body, api_version="2023-06-01", betas=())
            simulator.fail(["lost"], endpoint="batch_create")

            async def others() -> None:
                await asyncio.sleep(0.1)
                for _ in range(25):
                    await api.create(body, api_version="2023-06-01", betas=())

            batch, _ = await asyncio.gather(ask(orchestrator, ["once"]), others())
            assert batch[0].status == "ok"
            assert orchestrator.ledger.total().cost == batch.cost > 0
        assert len(sent(simulator)) == 27
        assert sum(body["requests"][0]["custom_id"] != "f" for body in sent(simulator)) == 1

    with Simulator(batch_seconds=0.6) as simulator:
        run(main(simulator))


def test_what_may_be_the_lost_batch_is_waited_for(build: Any, run: Any) -> None:
    """However long it takes, nothing is sent again before its results can be seen; one warning says so."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            simulator.fail(["lost"], endpoint="batch_create")
            api = orchestrator.message_batches._api
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                task = asyncio.ensure_future(ask(orchestrator, ["once"]))
                await asyncio.sleep(4 * QUICK.lookup_seconds)
                while True:
                    if caught or task.done():
                        break
                    await asyncio.sleep(0.05)
                (found,) = (await api.recent(limit=10)).batches
                await api.cancel(found.id)
                batch = await task
            assert found.id in str(caught[0].message)
            assert batch.counts["not_sent"] == 1
        assert len(sent(simulator)) == 1
        assert simulator.counters.completed == 0

    with Simulator(batch_seconds=600) as simulator:
        run(main(simulator))


def foreign(name: str) -> Dict[str, Any]:
    message = {"role": "user", "content": "once"}
    return {"custom_id": name, "params": {"model": "claude-haiku-5-5", "max_tokens": 50, "messages": [message]}}


@pytest.mark.parametrize("fault", ["drop", "server_error", "html"])
def test_a_create_that_was_never_made_is_sent_again_after_the_look(
    simulator: Any, build: Any, run: Any, fault: str
) -> None:
    """Whether it was made cannot be known from the failure; the list knows."""
    simulator.fail([fault], endpoint="batch_create")

    async def main() -> None:
        async with build() as orchestrator:
            batch = await ask(orchestrator, ["a", "b"])
            assert batch.counts["ok"] == 2
        assert simulator.counters.completed == 2

    run(main())


def test_a_refused_create_fails_its_rows_and_nothing_is_left(simulator: Any, build: Any, run: Any) -> None:
    """The rows carry the API's reason; run again, they are sent."""
    simulator.fail(["invalid_request"], endpoint="batch_create")

    async def main() -> None:
        async with build(budget="1") as orchestrator:
            batch = await ask(orchestrator, ["a", "b"])
            assert batch.counts["failed"] == 2
            assert isinstance(batch[0].error, InvalidRequestError)
            assert orchestrator.budget.reserved == 0
            again = await ask(orchestrator, ["a", "b"])
            assert again.counts["ok"] == 2
        assert simulator.counters.completed == 2

    run(main())


def test_without_a_key_or_a_server_nothing_is_claimed(simulator: Any, build: Any, run: Any, make: Any) -> None:
    """The rows say why, and a later run sends them."""

    async def main() -> None:
        async with make(api_key="", environ={}, ledger=None, enable_cache=False) as orchestrator:
            batch = await ask(orchestrator, ["a"])
            assert isinstance(batch[0].error, MissingApiKeyError)
            assert batch[0].status == "not_sent"
        async with build(base_url="http://127.0.0.1:9", max_retries=1) as orchestrator:
            batch = await ask(orchestrator, ["a"])
            assert batch[0].status == "not_sent"
            assert "cannot reach" in str(batch[0].error)
        async with build() as orchestrator:
            assert (await ask(orchestrator, ["a"]))[0].status == "ok"

    run(main())


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
            assert counts["ok"] + counts["not_sent"] == 100
            assert counts["not_sent"] > 0
            assert counts["ok"] == simulator.counters.completed
            assert batch.cost == simulator.counters.dollars == orchestrator.ledger.total().cost
            with pytest.raises(JobError, match="has ended already"):
                await jobs.cancel(state.job.id)
            (state,) = jobs.all()
            assert (state.state, state.answered, state.requests) == ("done", counts["ok"], 100)

    with Simulator(batch_seconds=2.0) as simulator:
        run(main(simulator))


def test_a_stopped_run_goes_on_at_the_api_and_the_rerun_pays_nothing_more(build: Any, run: Any) -> None:
    """With rows added, removed and shuffled; the line that a stopped cell shows names the job and the batch."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url, budget="1") as orchestrator:
            jobs = orchestrator.message_batches
            task = asyncio.ensure_future(ask(orchestrator, [str(number) for number in range(10)]))
            await until_sent(jobs)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (state,) = jobs.all()
            assert f"job {state.job.id} ({state.batch_ids[0]})" in jobs.left_running
            assert f"%claude_jobs attach {state.job.id}" in jobs.left_running
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


def test_two_runs_at_once_send_each_request_once(simulator: Any, build: Any, run: Any) -> None:
    """The second waits for the first one's batch, with the cache and without it."""

    async def main() -> None:
        async with build() as one, build() as other:
            for cache in ("on", "off"):
                before = simulator.counters.completed
                prompts = [f"{cache} {number}" for number in range(20)]
                first, second = await asyncio.gather(
                    ask(one, prompts, cache=cache), ask(other, [*prompts[::-1], "more " + cache], cache=cache)
                )
                assert simulator.counters.completed - before == 21
                assert first.texts == second.texts[-2::-1]
                assert first.counts["ok"] + second.counts["ok"] == 21
            assert one.ledger.total().cost == simulator.counters.dollars

    run(main())


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
            direct = await orchestrator.run_many(["a", "b"], model="haiku", max_tokens=50)
            assert direct.counts["cached"] == 2
            with pytest.raises(JobError, match="is over"):
                await jobs.attach(state.job.id)
            slip = state.job.id[:-1] + ("0" if state.job.id[-1] != "0" else "1")
            for call in (jobs.attach, jobs.cancel):
                with pytest.raises(UnknownJobError, match=state.job.id):
                    await call(slip)
            jobs.forget(state.job.id)
            assert jobs.all() == []
            with pytest.raises(UnknownJobError, match="there are none"):
                jobs.forget("abc")

    with Simulator(batch_seconds=0.3) as simulator:
        run(main(simulator))


def test_a_job_that_was_only_planned_is_cancelled_at_once(simulator: Any, build: Any, run: Any) -> None:
    """Its kernel was stopped before anything left: nothing is asked of the API, and the rows are free for the next run."""
    simulator.fail(["hang"], endpoint="batch_list")

    async def main() -> None:
        async with build() as orchestrator:
            jobs = orchestrator.message_batches
            owner = Owner(jobs.store.owners)
            fingerprint = bytes.fromhex(orchestrator.request("a", model="haiku", max_tokens=50).fingerprint)
            jobs.store.plan(JOB, [fingerprint], owner.token, None)
            assert [state.state for state in jobs.all()] == ["sending"]
            with pytest.raises(JobError, match="is waited for by a kernel"):
                jobs.forget(JOB.id)
            owner.release()
            assert [state.state for state in jobs.all()] == ["interrupted"]
            assert (await jobs.cancel(JOB.id)).state == "not sent"
            simulator.heal()
            assert (await ask(orchestrator, ["a"]))[0].status == "ok"

    run(main())


def test_a_batch_that_the_key_cannot_see_ends_its_rows_and_keeps_the_job(simulator: Any, build: Any, run: Any) -> None:
    """Nothing is sent again behind the user's back: the job waits for the right key, or to be forgotten."""

    async def main() -> None:
        async with build() as orchestrator:
            simulator.fail(404, endpoint="batch_poll")
            batch = await ask(orchestrator, ["a"])
            assert batch[0].status == "not_sent"
            assert isinstance(batch[0].error, JobError)
            simulator.heal()
            again = await ask(orchestrator, ["a"])
            assert again[0].status == "ok"
            assert simulator.counters.completed == 1

    run(main())


def test_refresh_and_only(simulator: Any, build: Any, run: Any) -> None:
    """``refresh`` sends what is cached, ``only`` sends nothing."""

    async def main() -> None:
        async with build() as orchestrator:
            await ask(orchestrator, ["a"])
            assert (await ask(orchestrator, ["a"], cache="refresh"))[0].status == "ok"
            assert simulator.counters.completed == 2
            only = await ask(orchestrator, ["a", "b"], cache="only")
            assert only.counts == {"ok": 0, "cached": 1, "failed": 0, "not_sent": 1}
            assert simulator.counters.completed == 2

    run(main())


def test_templates_and_streams_of_rows(simulator: Any, build: Any, run: Any) -> None:
    """Rows whose prompt cannot be made fail alone; a stream keeps nothing and reports every row."""
    seen: Dict[int, Any] = {}

    async def main() -> None:
        async with build(limits=Limits(most_requests=7)) as orchestrator:
            rows = ({"text": str(number)} if number != 3 else {"txt": "3"} for number in range(20))
            summary = await orchestrator.run_stream(
                rows,
                template="Label {{ text }}",
                via="batches",
                model="haiku",
                max_tokens=50,
                on_result=lambda row, result: seen.setdefault(row, result),
            )
            assert summary.counts == {"ok": 19, "cached": 0, "failed": 1, "not_sent": 0}
            assert sorted(seen) == list(range(20))
            assert "row 3" in str(seen[3].error)
            assert summary.cost == simulator.counters.dollars

    run(main())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_rows(run: Any, tmp_path: Path) -> None:
    """In one process, from a generator, in the memory of a notebook; all paid once, and free the second time."""
    resource = pytest.importorskip("resource")
    rows = 100_000

    async def main(simulator: SimulatorProcess) -> None:
        async with AsyncAgentOrchestrator(base_url=simulator.url, api_key="k", cache_max_size_mb=4000) as orchestrator:
            orchestrator.message_batches.pace = QUICK
            for status in ("ok", "cached"):
                seen = bytearray(rows)

                def count(row: int, result: Any, seen: bytearray = seen) -> None:
                    seen[row] += 1

                source = ("Label number {}: {}".format(number, "words " * 20) for number in range(rows))
                summary = await orchestrator.run_stream(
                    source, via="batches", model="haiku", max_tokens=200, on_result=count
                )
                assert summary.counts[status] == rows
                assert seen == b"\x01" * rows
            assert orchestrator.ledger.total().cost == simulator.counters.dollars
        assert simulator.counters.completed_in_batches == rows

    with SimulatorProcess(batch_seconds=0.0, answer_bytes=200, log_size=1) as simulator:
        run(main(simulator))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < 10**9
