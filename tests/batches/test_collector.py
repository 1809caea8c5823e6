"""Results are taken in once, whatever comes back."""

from __future__ import annotations

import asyncio
from typing import Any

from support.batches import ask

from claude_force_nb.errors import (
    InvalidRequestError,
    JobError,
    NotAnsweredError,
)


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
