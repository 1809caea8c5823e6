"""Whoever looks at the SDK's calls sees each of ours: a wrapper, OpenTelemetry's spans of the SDK, an instrumentation package."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap
from typing import Any, List

import anthropic
import pytest
from support.transports import request, result, transport

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.errors import ClaudeForceError, InvalidRequestError, StreamCutError
from claude_force_nb.simulator import Simulator

MESSAGES = anthropic.resources.messages.AsyncMessages


async def send(way: ApiTransport, *texts: str, partial: bool = False) -> List[Any]:
    return [
        result(await way.send(request(each), timeout_seconds=20, partial=PartialAnswer() if partial else None))
        for each in texts
    ]


def test_a_wrapper_around_the_method_sees_every_call(
    run: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put on after the first calls, and taken off again: whole and streamed answers are what they were, and so is what is sent."""
    seen: List[Any] = []
    real = MESSAGES.create

    @functools.wraps(real)
    async def create(self: Any, **arguments: Any) -> Any:
        answer = await real(self, **arguments)
        seen.append((arguments["messages"][-1]["content"], type(answer).__name__))
        return answer

    async def main() -> None:
        way = transport(simulator.url)
        try:
            plain = await send(way, "a", "b")
            assert seen == []
            monkeypatch.setattr(MESSAGES, "create", create)
            watched = await send(way, "a", "b") + await send(way, "c", "d", partial=True)
            assert seen == [("a", "Message"), ("b", "Message"), ("c", "AsyncStream"), ("d", "AsyncStream")]
            for before, after in zip(plain, watched):
                assert (after.text, after.usage, after.stop_reason) == (before.text, before.usage, before.stop_reason)
                assert after.request_id != before.request_id
            monkeypatch.setattr(MESSAGES, "create", real)
            await send(way, "e")
            assert len(seen) == 4
        finally:
            await way.close()

    run(main())
    bodies = [each.body for each in simulator.requests]
    assert bodies[0] == bodies[2]
    assert bodies[1] == bodies[3]


@pytest.mark.parametrize("name", ["post", "request"])
def test_a_wrapper_around_the_client_sees_every_call(
    run: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Also one that does not say what it wraps."""
    seen: List[str] = []
    real = getattr(anthropic.AsyncAnthropic, name)

    def around(self: Any, *arguments: Any, **more: Any) -> Any:
        seen.append(name)
        return real(self, *arguments, **more)

    monkeypatch.setattr(anthropic.AsyncAnthropic, name, around)

    async def main() -> None:
        way = transport(simulator.url)
        try:
            await send(way, "a", "b", "c")
            assert await way.count_tokens(request("d"), timeout_seconds=20) > 0
        finally:
            await way.close()

    run(main())
    assert seen == [name] * 4


def test_a_class_in_place_of_the_client_sees_every_call(
    run: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it overrides, and though clients were made before."""
    seen: List[str] = []

    class Client(anthropic.AsyncAnthropic):
        async def _request(self, *arguments: Any, **more: Any) -> Any:
            seen.append("request")
            return await super()._request(*arguments, **more)

        @property
        def messages(self) -> Any:
            seen.append("messages")
            return super().messages

    async def main() -> None:
        way = transport(simulator.url)
        try:
            await send(way, "a")
            monkeypatch.setattr(anthropic, "AsyncAnthropic", Client)
            await send(way, "b", "c")
        finally:
            await way.close()

    run(main())
    assert seen.count("messages") == 2


def test_failures_and_limits_are_the_same_for_those_who_look(
    run: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals, broken streams, invalid messages, rate-limit headers and unknown fields have the same effect."""
    real = MESSAGES.create
    monkeypatch.setattr(MESSAGES, "create", functools.wraps(real)(lambda self, **more: real(self, **more)))

    async def main() -> None:
        way = transport(simulator.url)
        try:
            simulator.fail([400, "cut", "html"])
            with pytest.raises(InvalidRequestError):
                await send(way, "a")
            with pytest.raises(StreamCutError):
                await send(way, "b", partial=True)
            with pytest.raises(ClaudeForceError, match="base_url"):
                await send(way, "c")
            simulator.fail(["new_fields", "new_block", "new_stop_reason"])
            answers = await send(way, "d", "e", "f")
            assert all(answer.text for answer in answers)
            answer = await way.send(
                request(
                    "g", model="claude-sonnet-5-5", output_config={"effort": "low"}, cache_control={"type": "ephemeral"}
                ),
                timeout_seconds=20,
            )
            assert "request-id" in answer.headers
            assert simulator.requests[-1].body["output_config"] == {"effort": "low"}
            assert simulator.requests[-1].body["cache_control"] == {"type": "ephemeral"}
        finally:
            await way.close()

    run(main())


def test_an_instrumentation_package_sees_every_call(run: Any, simulator: Simulator) -> None:
    """One span for each, with its tokens; a stream's ends when the stream does."""
    pytest.importorskip("opentelemetry.instrumentation.anthropic")
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = AnthropicInstrumentor()
    instrumentor.instrument(tracer_provider=provider)

    async def main() -> List[Any]:
        way = transport(simulator.url)
        try:
            return await send(way, "a", "b") + await send(way, "c", "d", partial=True)
        finally:
            await way.close()

    try:
        answers = run(main())
    finally:
        instrumentor.uninstrument()
    told = [span.attributes["gen_ai.usage.input_tokens"] for span in spans.get_finished_spans()]
    assert told == [answer.usage.input_tokens for answer in answers]


SPANS = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from claude_force_nb import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator
spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
async def main(url):
    async with AsyncAgentOrchestrator(base_url=url, api_key="k", enable_cache=False) as orchestrator:
        await orchestrator.run("before anybody looks")
        trace.set_tracer_provider(provider)
        batch = await orchestrator.run_many([f"p {row}" for row in range(8)], max_tokens=2000)
        tokens = sorted(span.attributes["gen_ai.usage.output_tokens"] for span in spans.get_finished_spans())
        assert tokens == sorted(answer.usage.output_tokens for answer in batch), tokens
        print(len(tokens))
with Simulator() as simulator:
    asyncio.run(main(simulator.url))
"""


@pytest.mark.slow
def test_the_spans_of_the_sdk_itself_are_all_there() -> None:
    """In a process of its own: a tracer provider is set once. The SDK's client is made before there is one."""
    pytest.importorskip("opentelemetry.sdk")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SPANS)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "8\n", done.stderr
