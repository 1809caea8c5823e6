"""A message batch is created once, whatever becomes of the answer."""

from __future__ import annotations

import asyncio
import json
import warnings
from pathlib import Path
from typing import Any, Callable, List

import pytest
from aiohttp import web
from support.batch_server import BatchServer, answered
from support.batches import JOB, OWNER, QUICK, ask, foreign, request, sent
from support.transports import transport

from claude_force_nb.api.batches import ApiBatches
from claude_force_nb.batches.body import BatchBody, row_bytes
from claude_force_nb.batches.polling import PollSchedule
from claude_force_nb.batches.sender import Sender
from claude_force_nb.batches.store import JobStore
from claude_force_nb.errors import (
    InvalidRequestError,
    MalformedAnswerError,
    MissingApiKeyError,
    OverloadedError,
)
from claude_force_nb.simulator import Simulator


@pytest.mark.filterwarnings("ignore:job .* nothing is sent again until that has ended")
def test_a_lost_create_is_found_in_the_list_and_not_sent_again(build: Any, run: Any) -> None:
    """The batch is found even among batches of the same size that are not ours."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            api = ApiBatches(orchestrator.transport)
            body = json.dumps({"requests": [foreign("f")]}).encode()
            await api.create(body, api_version="2023-06-01", betas=())
            simulator.fail(["lost"], endpoint="batch_create")

            async def others() -> None:
                while not simulator.counters.faults.get("lost"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                for _ in range(25):
                    await api.create(body, api_version="2023-06-01", betas=())

            batch, _ = await asyncio.gather(ask(orchestrator, ["once"]), others())
            assert batch[0].status == "ok"
            assert orchestrator.ledger.total().cost == batch.cost > 0
        assert len(sent(simulator)) == 27
        assert sum(body["requests"][0]["custom_id"] != "f" for body in sent(simulator)) == 1

    with Simulator(batch_seconds=0.6) as simulator:
        run(main(simulator))


def test_a_lost_create_that_cannot_be_looked_for_may_be_billed(simulator: Any, build: Any, run: Any) -> None:
    """Nobody knows whether it was made: its rows have no known cost, here and for another run that waits; run again, it is found."""

    async def main() -> None:
        async with build() as orchestrator:
            simulator.fail(["lost"], endpoint="batch_create")
            # The list is read once before the create, and then to find what it made.
            simulator.fail([None, *[403] * 20], endpoint="batch_list")
            batch = await ask(orchestrator, ["once"])
            for each in (batch, await ask(orchestrator, ["once"])):
                assert (each[0].status, each[0].cost) == ("failed", None)
                assert "looking through the list of batches" in str(each[0].error)
            simulator.heal()
            # While it is in progress, a warning says that it is waited for.
            while not (await ApiBatches(orchestrator.transport).recent(limit=1)).batches[0].ended:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert (await ask(orchestrator, ["once"]))[0].status == "ok"
        assert simulator.counters.completed == 1

    run(main())


def test_what_may_be_the_lost_batch_is_waited_for(build: Any, run: Any) -> None:
    """Nothing is sent again before the candidate's results can be read; one warning says so."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            simulator.fail(["lost"], endpoint="batch_create")
            api = ApiBatches(orchestrator.transport)
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
            assert len(caught) == 1
            assert batch.counts["stopped"] == 1
        assert len(sent(simulator)) == 1
        assert simulator.counters.completed == 0

    with Simulator(batch_seconds=600) as simulator:
        run(main(simulator))


@pytest.mark.parametrize("fault", ["drop", "server_error", "html"])
def test_a_create_that_was_never_made_is_sent_again_after_the_look(
    simulator: Any, build: Any, run: Any, fault: str
) -> None:
    """Whether it succeeded is not known from the failure, but from the list."""
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


@pytest.fixture
def sender(tmp_path: Path, serve: Any) -> Callable[..., Any]:
    """``sender(server, **options)`` gives a store with one planned part, its body, and the coroutine function that sends it."""

    def make(server: BatchServer, schedule: PollSchedule = QUICK, max_retries: int = 4, rows: int = 1) -> Any:
        url = serve(server.handle)
        store = JobStore(tmp_path / "jobs.db")
        body = BatchBody("2023-06-01", ())
        for number in range(rows):
            each = request(str(number))
            body.add(bytes.fromhex(each.fingerprint), row_bytes(each), None)
        part, _ = store.plan(JOB, body.fingerprints, OWNER, None)
        assert part is not None

        async def send() -> str:
            way = transport(url)
            try:
                return await Sender(ApiBatches(way), store, schedule, max_retries=max_retries).send(part, body)
            finally:
                await way.close()
                store.close()

        return send

    return make


@pytest.mark.slow
def test_creates_are_apart(run: Any, sender: Any) -> None:
    """Between two tries there is a wait that grows, and one that the API asked for is obeyed."""
    server = BatchServer()
    refusals = [{}, {}, {"retry-after": "1"}]

    def refuse(requests: List[Any]) -> Any:
        return web.Response(status=529, headers=refusals.pop(0)) if refusals else server.make(requests)

    server.on_create = refuse
    schedule = PollSchedule(first_seconds=2.0, longest_seconds=4.0, lookup_seconds=0.3)
    assert run(sender(server, schedule)()) == "msgbatch_0"
    waits = [later - earlier for earlier, later in zip(server.created, server.created[1:])]
    assert len(waits) == 3
    assert waits[0] >= 0.2
    assert waits[1] >= 0.4
    assert waits[2] >= 1.0


def test_a_create_that_was_refused_is_not_sent_again_at_once(run: Any, sender: Any) -> None:
    """Between two tries there is as long as the API asked for."""
    server = BatchServer()
    refusals = [{"retry-after": "0.1"}]
    server.on_create = lambda requests: (
        web.Response(status=529, headers=refusals.pop()) if refusals else server.make(requests)
    )
    assert run(sender(server)()) == "msgbatch_0"
    assert server.created[1] - server.created[0] >= 0.1
    # It was refused for sure: the newest batch is asked for before each create, and nothing is looked for between them.
    assert len(server.paths) == 4


def test_tries_come_to_an_end(run: Any, sender: Any) -> None:
    """The create request is retried as often as allowed, then the failure is raised."""
    server = BatchServer()
    server.on_create = lambda requests: web.Response(status=529)
    with pytest.raises(OverloadedError):
        run(sender(server, max_retries=2)())
    assert len(server.created) == 3


def test_a_batch_that_the_list_shows_late_is_not_paid_twice(run: Any, sender: Any) -> None:
    """The list is looked through for as long as was said before the create counts as never made."""
    server = BatchServer()

    def lose(requests: List[Any]) -> Any:
        server.make(requests, visible_after_seconds=0.6)

    server.on_create = lose
    schedule = PollSchedule(first_seconds=0.02, longest_seconds=0.1, lookup_seconds=20.0)
    assert run(sender(server, schedule)()) == "msgbatch_0"
    assert len(server.created) == 1


def test_a_create_that_was_lost_is_sent_again_after_the_look_and_not_before(run: Any, sender: Any) -> None:
    """This is the case where the list never shows it."""
    server = BatchServer()
    lost = [True]

    def lose(requests: List[Any]) -> Any:
        return None if lost and lost.pop() else server.make(requests)

    server.on_create = lose
    schedule = PollSchedule(first_seconds=0.02, longest_seconds=0.1, lookup_seconds=0.7)
    assert run(sender(server, schedule)()) == "msgbatch_0"
    assert len(server.created) == 2
    assert server.created[1] - server.created[0] >= 0.7


@pytest.mark.parametrize("ended", [True, False])
def test_batches_of_another_size_are_not_ours(run: Any, sender: Any, ended: bool) -> None:
    """They are neither adopted, even if their results contain our request, nor waited for."""
    server = BatchServer()
    lost = [True]

    def lose(requests: List[Any]) -> Any:
        if lost and lost.pop():
            server.add("msgbatch_foreign", 2, ended=ended)
            server.results["msgbatch_foreign"] = lambda: [answered(requests[0]["custom_id"])]
            return None
        return server.make(requests)

    server.on_create = lose
    assert run(sender(server)()) == "msgbatch_1"
    assert "msgbatch_foreign" not in server.downloads


def test_a_batch_of_the_same_size_is_ours_only_by_its_results(run: Any, sender: Any) -> None:
    """Older ones, those before the anchor and those of others are passed over; the list has several pages."""
    server = BatchServer()
    server.add("msgbatch_before", 1)
    lost = [True]

    def lose(requests: List[Any]) -> Any:
        if not (lost and lost.pop()):
            raise AssertionError("sent twice")
        server.results["msgbatch_before"] = lambda: [answered(requests[0]["custom_id"])]
        server.add("msgbatch_ours", 1)
        server.results["msgbatch_ours"] = lambda: [answered(requests[0]["custom_id"])]
        for number in range(150):
            if number == 51:  # the last one of the first page is seen once
                server.add("msgbatch_stranger", 1)
            server.add(f"msgbatch_other{number}", 2)
        server.results["msgbatch_stranger"] = lambda: [answered("ab" * 32)]
        return None

    server.on_create = lose
    assert run(sender(server)()) == "msgbatch_ours"
    assert server.downloads == ["msgbatch_stranger", "msgbatch_ours"]


def test_a_batch_without_results_is_not_ours(run: Any, sender: Any) -> None:
    """One of the same size whose rows were all somebody else's, or that has none to look at: ours is sent again."""
    server = BatchServer()
    lost = [True]

    def lose(requests: List[Any]) -> Any:
        if lost and lost.pop():
            for number in range(2):
                server.add(f"msgbatch_empty{number}", 1)
            server.results["msgbatch_empty0"] = lambda: []
            server.results["msgbatch_empty1"] = lambda: ["no line of ours"]
            return None
        return server.make(requests)

    server.on_create = lose
    assert run(sender(server)()) == "msgbatch_2"
    assert sorted(server.downloads) == ["msgbatch_empty0", "msgbatch_empty1"]


def test_an_id_that_would_lead_elsewhere_is_never_a_path(run: Any, sender: Any) -> None:
    """Only the list and the creates are requested."""
    server = BatchServer()
    counts = {"processing": 1}
    server.on_create = lambda requests: web.json_response({"id": "../../v1/files", "request_counts": counts})
    with pytest.raises(MalformedAnswerError):
        run(sender(server, max_retries=0)())
    assert set(server.paths) == {"/v1/messages/batches"}
