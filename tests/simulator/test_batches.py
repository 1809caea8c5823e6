"""The simulator's message batches, through the official SDK."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, Awaitable, Callable, Dict, List, Sequence

import aiohttp
import anthropic
import pytest

from claude_force_nb.simulator import Simulator

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}


def row(name: str, prompt: str = "hello", **more: Any) -> Dict[str, Any]:
    params = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": prompt}]}
    params.update(more)
    return {"custom_id": name, "params": params}


def run(simulator: Simulator, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run `work` with the SDK's batches API."""

    async def main() -> Any:
        async with anthropic.AsyncAnthropic(api_key="key", base_url=simulator.url, max_retries=0) as client:
            return await work(client.messages.batches)

    return asyncio.run(main())


async def ended(batches: Any, batch_id: str) -> Any:
    """Wait for the end of a batch."""
    while True:
        batch = await batches.retrieve(batch_id)
        if batch.processing_status == "ended":
            return batch
        assert batch.request_counts.succeeded == batch.request_counts.canceled == 0
        await asyncio.sleep(0.01)


async def results(batches: Any, batch_id: str) -> List[Any]:
    """Return the results in the order they come."""
    return [result async for result in await batches.results(batch_id)]


def test_a_batch_is_answered_at_half_price() -> None:
    """Counts other than processing stay 0 until the end; results come shuffled, with batch usage, and are billed so."""

    async def work(batches: Any) -> Any:
        created = await batches.create(requests=[row(f"row-{number}", str(number)) for number in range(30)])
        assert created.processing_status == "in_progress"
        assert created.request_counts.processing == 30
        assert created.results_url is None
        batch = await ended(batches, created.id)
        assert (batch.request_counts.processing, batch.request_counts.succeeded) == (0, 30)
        return await results(batches, created.id)

    with Simulator(batch_seconds=0.1) as simulator:
        answers = run(simulator, work)
        counters = simulator.counters
    names = [answer.custom_id for answer in answers]
    wanted = [f"row-{number}" for number in range(30)]
    assert names != wanted
    assert sorted(names) == sorted(wanted)
    assert {answer.result.message.usage.service_tier for answer in answers} == {"batch"}
    usages = [answer.result.message.usage for answer in answers]
    full_price = sum(usage.input_tokens + 5 * usage.output_tokens for usage in usages)
    assert counters.dollars == Decimal(full_price) / 1_000_000 / 2 > 0
    assert counters.completed == counters.completed_in_batches == 30


def test_rows_fail_alone() -> None:
    """Invalid rows and scripted faults end as errored or expired results and are not billed."""

    async def work(batches: Any) -> Dict[str, Any]:
        rows = [row("ok"), row("bad", max_tokens=0), row("model", model="claude-none"), row("old", "too old")]
        rows += [row("down", "down"), row("no", "refuse")]
        created = await batches.create(requests=rows)
        batch = await ended(batches, created.id)
        counts = batch.request_counts
        assert (counts.succeeded, counts.errored, counts.expired, counts.canceled) == (2, 3, 1, 0)
        return {answer.custom_id: answer.result for answer in await results(batches, created.id)}

    with Simulator(batch_seconds=0) as simulator:
        simulator.fail("expired", endpoint="batch_item", contains="too old")
        simulator.fail("server_error", endpoint="batch_item", contains="down")
        simulator.fail("refusal", endpoint="batch_item", contains="refuse")
        answers = run(simulator, work)
        assert simulator.counters.completed == 2
    assert {name: result.type for name, result in answers.items()} == {
        "ok": "succeeded",
        "bad": "errored",
        "model": "errored",
        "old": "expired",
        "down": "errored",
        "no": "succeeded",
    }
    assert answers["model"].error.error.type == "not_found_error"
    assert answers["down"].error.error.type == "api_error"
    assert answers["no"].message.stop_reason == "refusal"


def test_cancelling_keeps_what_was_done() -> None:
    """A cancelled batch is canceling, then ended; rows without a turn are canceled and cost nothing."""

    async def work(batches: Any) -> Any:
        created = await batches.create(requests=[row(str(number)) for number in range(20)])
        cancelled = await batches.cancel(created.id)
        assert cancelled.processing_status == "canceling"
        assert cancelled.cancel_initiated_at is not None
        batch = await ended(batches, created.id)
        assert batch.request_counts.canceled + batch.request_counts.succeeded == 20
        assert batch.request_counts.canceled > 0
        return await results(batches, created.id), (await batches.cancel(created.id)).processing_status

    with Simulator(batch_seconds=600) as simulator:
        answers, again = run(simulator, work)
        assert simulator.counters.completed == sum(answer.result.type == "succeeded" for answer in answers)
    assert again == "ended"


def test_list_delete_and_unknown_batches() -> None:
    """Lists are newest first and paged; a batch that has ended can be deleted; unknown ids are 404."""

    async def work(batches: Any) -> None:
        ids = [(await batches.create(requests=[row("a")])).id for _ in range(5)]
        listed = [batch.id async for batch in batches.list(limit=2)]
        assert listed == ids[::-1]
        await ended(batches, ids[0])
        await batches.delete(ids[0])
        for call in (batches.retrieve, batches.cancel, batches.delete):
            with pytest.raises(anthropic.NotFoundError):
                await call(ids[0])

    with Simulator(batch_seconds=0) as simulator:
        run(simulator, work)


def test_results_before_the_end_and_deletion_are_refused() -> None:
    """Both are refused while a batch is in progress."""

    async def work(batches: Any) -> str:
        created = await batches.create(requests=[row("a")])
        with pytest.raises(anthropic.BadRequestError):
            await batches.delete(created.id)
        return str(created.id)

    with Simulator(batch_seconds=600) as simulator:
        batch_id = run(simulator, work)

        async def fetch() -> int:
            url = f"{simulator.url}/v1/messages/batches/{batch_id}/results"
            async with aiohttp.ClientSession(headers=HEADERS) as session, session.get(url) as answer:
                return answer.status

        assert asyncio.run(fetch()) == 404


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "requests: Field required"),
        ([], "at least 1 item"),
        ([row("a"), row("a")], "not unique"),
        ([row("")], "custom_id"),
        ([row("x" * 65)], "custom_id"),
        ([row("a b")], "custom_id"),
        ([row("a\n")], "custom_id"),
        ([{"custom_id": "a"}], "requests.0.params"),
        ([{}] * 100_001, "at most 100000"),
    ],
)
def test_invalid_batches_are_refused_whole(rows: Any, message: str) -> None:
    """No batch is created from an invalid body."""

    async def create(simulator: Simulator) -> Any:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            sent = {} if rows is None else {"requests": rows}
            async with session.post(simulator.url + "/v1/messages/batches", json=sent) as answer:
                assert answer.status == 400
                refused = (await answer.json())["error"]["message"]
            async with session.get(simulator.url + "/v1/messages/batches") as answer:
                assert (await answer.json())["data"] == []
            return refused

    with Simulator() as simulator:
        assert message in asyncio.run(create(simulator))


@pytest.mark.parametrize("name", ["a", "x" * 64, "A-z_9"])
def test_valid_custom_ids(name: str) -> None:
    """1 to 64 letters, digits, hyphens and underscores."""

    async def work(batches: Any) -> int:
        return (await batches.create(requests=[row(name)])).request_counts.processing

    with Simulator() as simulator:
        assert run(simulator, work) == 1


def test_a_lost_create_made_a_batch_and_a_cut_download_is_noticed() -> None:
    """Faults of these endpoints: the answer of a create is lost but the batch is in the list; results end in the middle."""

    async def work(batches: Any) -> None:
        with pytest.raises(anthropic.APIConnectionError):
            await batches.create(requests=[row(str(number)) for number in range(10)])
        (found,) = [batch async for batch in batches.list()]
        await ended(batches, found.id)
        with pytest.raises((anthropic.APIError, aiohttp.ClientError, ValueError, *broken_streams())):
            await results(batches, found.id)
        assert len(await results(batches, found.id)) == 10

    with Simulator(batch_seconds=0) as simulator:
        simulator.fail(["lost"], endpoint="batches")
        simulator.fail(["cut"], endpoint="batch_results")
        run(simulator, work)


def broken_streams() -> Sequence[type]:
    """The errors of the SDK's own HTTP client, whose package differs by version."""
    found = []
    for name in ("httpx", "httpx2"):
        try:
            found.append(__import__(name).TransportError)
        except ImportError:
            pass
    return found


def test_lines_that_are_missing_repeated_and_unknown() -> None:
    """Faults of a row's line leave the row answered and billed, and the counts right."""

    async def work(batches: Any) -> List[str]:
        created = await batches.create(requests=[row(name, name) for name in ("gone", "twice", "strange", "fine")])
        batch = await ended(batches, created.id)
        assert batch.request_counts.succeeded == 4
        return sorted([answer.custom_id async for answer in await batches.results(created.id)])

    with Simulator(batch_seconds=0) as simulator:
        simulator.fail("missing", endpoint="batch_item", contains="gone")
        simulator.fail("duplicate", endpoint="batch_item", contains="twice")
        simulator.fail("unknown", endpoint="batch_item", contains="strange")
        assert run(simulator, work) == sorted(["twice", "twice", "strange", "strange"[::-1], "fine"])
        assert simulator.counters.completed == 4


@pytest.mark.parametrize("endpoint", ["batch_create", "batch_list", "batch_poll", "batch_cancel", "batches"])
def test_each_call_of_a_batch_can_fail_alone(endpoint: str) -> None:
    """A fault of one endpoint leaves the others as they are; ``batches`` is any of them."""

    async def work(batches: Any) -> List[str]:
        failed: List[str] = []

        async def insist(name: str, call: Callable[[], Awaitable[Any]]) -> Any:
            try:
                return await call()
            except anthropic.InternalServerError:
                failed.append(name)
                return await call()

        created = await insist("batch_create", lambda: batches.create(requests=[row("a")]))
        await insist("batch_list", lambda: batches.list())
        await insist("batch_poll", lambda: batches.retrieve(created.id))
        await insist("batch_cancel", lambda: batches.cancel(created.id))
        return failed

    with Simulator(batch_seconds=600) as simulator:
        simulator.fail(["server_error"], endpoint=endpoint)
        assert run(simulator, work) == ["batch_create" if endpoint == "batches" else endpoint]
