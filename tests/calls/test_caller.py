"""What a call teaches later calls: rate-limit headers, its size, and whether it may have been billed."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict

import pytest
from aiohttp import web
from support.http_server import serve

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.api.pacing import FamilyPacer, FamilyPacers
from claude_force_nb.api.retry import RetryBudget
from claude_force_nb.calls.status import CallStatus
from claude_force_nb.costs.bounds import paced_bytes
from claude_force_nb.errors import BrokenConnectionError, ClaudeForceError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

__all__ = ["serve"]

Make = Callable[..., AsyncAgentOrchestrator]
PLAIN: Dict[str, Any] = {"model": "haiku", "thinking": "off"}


def pacer_of(orchestrator: AsyncAgentOrchestrator) -> FamilyPacer:
    """The pacer that the orchestrator's calls share with all of the same key."""
    return FamilyPacers(orchestrator.transport.credential_id).of("claude-haiku-4-5")  # type: ignore[attr-defined]


def failing(status: int, **headers: str) -> web.Response:
    """An answer that is an error; with status 200 one inside a stream."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}
    if status == 200:
        text = f"event: error\ndata: {json.dumps(error)}\n\n"
        return web.Response(text=text, content_type="text/event-stream", headers=headers)
    return web.json_response(error, status=status, headers=headers)


def test_the_limits_that_a_failure_names_are_learned(run: Any, make: Make, serve: Callable[..., str]) -> None:
    """An error response tells as much about the rate limits as any other."""
    statuses = [400, 404, 429, 500, 529]
    said = "anthropic-ratelimit-requests-"

    async def handler(_: web.Request) -> web.Response:
        return failing(now[0], **{f"{said}limit": str(now[0]), f"{said}remaining": "7", "retry-after": "0.001"})

    now = [0]

    async def main() -> None:
        async with make(base_url=serve(handler), max_retries=0) as orchestrator:
            pacer = pacer_of(orchestrator)
            for now[0] in statuses:
                with pytest.raises(ClaudeForceError):
                    await orchestrator.run("p", **PLAIN)
                bucket = pacer.limits.buckets["requests"]
                assert (bucket.limit, bucket.reported_remaining) == (now[0], 7.0)

    run(main())


def test_sizes_are_learned_from_answers(run: Any, make: Make) -> None:
    """What a call took in tokens is what the next one is taken to need, of a prompt and of an answer."""

    async def main() -> None:
        with Simulator(input_tokens_per_minute=1_000_000, output_tokens_per_minute=1_000_000) as limited:
            async with make(base_url=limited.url) as orchestrator:
                pacer = pacer_of(orchestrator)
                request = orchestrator.request("What is a monad?", **PLAIN)

                def need() -> Any:
                    return pacer.limits.need(
                        request.model, input_bytes=lambda: paced_bytes(request), max_tokens=request.max_tokens
                    )

                result = await orchestrator.run("What is a monad?", **PLAIN)
                assert need().input_tokens == pytest.approx(result.usage.total_input_tokens)
                # Of one answer one knows little of the next.
                assert 1.5 < need().output_tokens / result.usage.output_tokens < 2.0
                for _ in range(3):
                    await orchestrator.run("What is a monad?", cache="off", **PLAIN)
                assert 1.0 < need().output_tokens / result.usage.output_tokens < 1.5

    run(main())


def test_every_call_pays_for_a_fifth_of_a_retry(run: Any, make: Make, simulator: Simulator) -> None:
    """Once the reserve is used up, this many calls have to be made before another retry."""

    async def main() -> None:
        async with make(ledger=None, enable_cache=False) as orchestrator:
            retries = RetryBudget(1.0, clock=lambda: 0.0)
            orchestrator._answerer._caller._retries = retries
            while retries.allows():
                pass
            simulator.fail(["drop"])
            with pytest.raises(BrokenConnectionError):
                await orchestrator.run("p", **PLAIN)
            for _ in range(4):
                assert (await orchestrator.run("p", **PLAIN)).attempts == 1
            simulator.fail(["drop"])
            assert (await orchestrator.run("p", **PLAIN)).attempts == 2

    run(main())


def test_what_may_have_been_billed_stays_counted(run: Any, make: Make, serve: Callable[..., str]) -> None:
    """The head of an answer that broke off, and a proxy that lost patience: the API may have answered all the same."""
    billed = [200, 502, 504, 520, 522, 524]
    now = [0]

    async def handler(_: web.Request) -> web.Response:
        return failing(now[0])

    async def main() -> None:
        async with make(base_url=serve(handler), max_retries=0, budget=10) as orchestrator:
            for now[0] in (*billed, 400, 404, 500, 503, 521, 529):
                before, status = orchestrator.budget.spent, CallStatus()
                with pytest.raises(ClaudeForceError):
                    await orchestrator.run("p", partial=PartialAnswer(), status=status, **PLAIN)
                assert (orchestrator.budget.spent > before) is (now[0] in billed), now
                assert status.billing_unknown is (now[0] in billed), now
                assert orchestrator.budget.reserved == 0

    run(main())
