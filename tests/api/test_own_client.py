"""A client of the user's own makes every call: its headers, its HTTP client and what is put around its methods see each of them."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Any, List, Tuple

import anthropic
import pytest

from claude_force_nb.agents import AgentLibrary
from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.api.batches import ApiBatches
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.errors import InvalidRequestError, NotFoundError, OptionError, RateLimitError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

Seen = List[Tuple[str, str]]


def http_client(backend: Any, seen: Seen) -> Any:
    """An HTTP client of the SDK's that writes down where each request goes, and one of its headers."""

    class Seeing(backend):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> Any:
            seen.append((request.url.path, request.headers.get("x-team", "")))
            return await super().send(request, **options)

    return Seeing()


def client_of(simulator: Simulator, seen: Seen, **options: Any) -> Any:
    backend = options.pop("backend", anthropic.DefaultAioHttpClient)
    return anthropic.AsyncAnthropic(
        api_key="sk-ant-mine",
        base_url=simulator.url,
        default_headers={"X-Team": "blue"},
        http_client=http_client(backend, seen),
        **{"max_retries": 0, **options},
    )


def orchestrator_with(client: Any, folder: Path, **options: Any) -> AsyncAgentOrchestrator:
    return AsyncAgentOrchestrator(client=client, agents=AgentLibrary(folder, home=folder), **options)


@pytest.mark.parametrize(
    "backend", [anthropic.DefaultAioHttpClient, anthropic.DefaultAsyncHttpxClient], ids=["aiohttp", "default"]
)
def test_every_call_goes_through_the_users_client(run: Any, simulator: Simulator, tmp_path: Path, backend: Any) -> None:
    """The first as the others: single, streamed, of a batch, counted, and of the message batches; the client stays open."""
    seen: Seen = []

    async def main() -> None:
        client = client_of(simulator, seen, backend=backend)
        async with orchestrator_with(client, tmp_path) as orchestrator:
            first = await orchestrator.run("first")
            assert first.status == "ok"
            assert first.request_id
            assert first.cost
            partial = PartialAnswer()
            streamed = await orchestrator.run("second", partial=partial)
            assert partial.text == streamed.text
            assert streamed.request_id
            batch = await orchestrator.run_many([f"row {number}" for number in range(5)])
            assert batch.counts["ok"] == 5
            assert seen == [("/v1/messages", "blue")] * 7
            together = await orchestrator.run_many(["a", "b"], via="batches")
            assert together.counts["ok"] == 2
        assert simulator.counters.by_endpoint["messages"] == 7
        assert {team for _, team in seen} == {"blue"}
        assert any(path.startswith("/v1/messages/batches") for path, _ in seen)
        # Another orchestrator, or the user, goes on with it.
        assert (
            await client.messages.create(
                model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "x"}]
            )
        ).id
        await client.close()

    run(main())


def test_a_wrapper_around_the_clients_own_method_sees_every_call(
    run: Any, simulator: Simulator, tmp_path: Path
) -> None:
    """As tracing packages put it on one client, and not on the class."""
    asked: List[Any] = []

    async def main() -> None:
        async with client_of(simulator, []) as client:
            real = client.messages.create

            @functools.wraps(real)
            async def create(**arguments: Any) -> Any:
                asked.append(arguments["messages"][-1]["content"])
                return await real(**arguments)

            client.messages.create = create
            async with orchestrator_with(client, tmp_path) as orchestrator:
                await orchestrator.run_many(["a", "b"], max_concurrent=1)
                await orchestrator.run("c", partial=PartialAnswer())

    run(main())
    assert asked == ["a", "b", "c"]


@pytest.mark.slow
def test_failures_of_the_users_client_are_ours(run: Any, simulator: Simulator, tmp_path: Path) -> None:
    """A refusal is one line and not sent again; a rate limit is waited for here, since the client does not retry."""

    async def main() -> None:
        async with client_of(simulator, []) as client, orchestrator_with(
            client, tmp_path, max_retries=1
        ) as orchestrator:
            simulator.fail("invalid_request", contains="bad")
            with pytest.raises(InvalidRequestError):
                await orchestrator.run("bad")
            simulator.heal()
            simulator.fail("rate_limit", times=1)
            result = await orchestrator.run("good")
            assert (result.status, result.attempts) == ("ok", 2)
            simulator.fail("rate_limit")
            with pytest.raises(RateLimitError):
                await orchestrator.run("never", timeout_seconds=20)

    run(main())


def test_an_unknown_batch_is_named_as_the_cause(run: Any, simulator: Simulator) -> None:
    """As without a client of the user's own."""

    async def main() -> None:
        async with client_of(simulator, []) as client:
            batches = ApiBatches(ApiTransport(client=client, environ={}))
            with pytest.raises(NotFoundError, match=r"does not show this batch.*Batch not found: msgbatch_0"):
                await batches.retrieve("msgbatch_0")

    run(main())


def test_a_client_that_cannot_be_used_is_refused(simulator: Simulator, tmp_path: Path) -> None:
    """In one line, before anything is sent: another kind of client, one that retries by itself, or two keys for one call."""
    with pytest.raises(OptionError, match="must be an AsyncAnthropic, not Anthropic"):
        orchestrator_with(anthropic.Anthropic(api_key="x", base_url=simulator.url), tmp_path)
    retrying = client_of(simulator, [], max_retries=2)
    with pytest.raises(OptionError, match="max_retries=0"):
        orchestrator_with(retrying, tmp_path)
    client = client_of(simulator, [])
    with pytest.raises(OptionError, match="leave out api_key and base_url"):
        orchestrator_with(client, tmp_path, api_key="sk-other")
    elsewhere = anthropic.AsyncAnthropic(api_key="x", base_url="http://example.com", max_retries=0)
    with pytest.raises(OptionError, match="unencrypted"):
        orchestrator_with(elsewhere, tmp_path)
    for each in (retrying, client, elsewhere):
        asyncio.run(each.close())
