"""A message batch is created once, whatever becomes of the answer."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import Any

import pytest
from support.batches import QUICK, ask, foreign, sent

from claude_force_nb.api.batches import SdkBatches
from claude_force_nb.errors import (
    InvalidRequestError,
    MissingApiKeyError,
)
from claude_force_nb.simulator import Simulator


@pytest.mark.filterwarnings("ignore:job .* nothing is sent again before it ends")
def test_a_lost_create_is_found_in_the_list_and_not_sent_again(build: Any, run: Any) -> None:
    """Also among other batches of the same size, made before and after, which are none of ours."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            api = SdkBatches(orchestrator.transport)
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


def test_what_may_be_the_lost_batch_is_waited_for(build: Any, run: Any) -> None:
    """However long it takes, nothing is sent again before its results can be seen; one warning says so."""

    async def main(simulator: Simulator) -> None:
        async with build(base_url=simulator.url) as orchestrator:
            simulator.fail(["lost"], endpoint="batch_create")
            api = SdkBatches(orchestrator.transport)
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
