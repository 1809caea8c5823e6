"""Whether a call goes through our own client or the SDK, and what it needs of the SDK."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Callable, Dict, List

import anthropic
import pytest
from aiohttp import web
from support.transports import KEY, Handler, request, result, transport

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.errors import ConfigurationError, InvalidRequestError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.simulator import Simulator

# Headers in which an HTTP library describes itself, and the SDK its machine and its own retries.
_OF_THE_LIBRARY = ("user-agent", "accept-encoding", "connection", "host", "content-length", "x-stainless")
# A key may be sent in either ("Authentication").
_CREDENTIALS = ("x-api-key", "authorization")


def meant(headers: Dict[str, str]) -> Dict[str, str]:
    """What of a call's headers the API reads."""
    kept = {name: value for name, value in headers.items() if not name.startswith(_OF_THE_LIBRARY)}
    credential = [kept.pop(name).replace("Bearer ", "") for name in _CREDENTIALS if name in kept]
    return {**kept, "credential": " ".join(credential)}


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
def test_a_call_is_sent_as_the_sdk_sends_it(run: Any, simulator: Simulator, streaming: bool) -> None:
    """The installed SDK is the witness: the same path, body, and headers that mean something."""
    asked = ClaudeRequest(body=request("What is a monad?", system="Be brief.").body, betas=("a-2026-01-01", "b"))

    async def main() -> None:
        way = transport(simulator.url)
        await way.send(asked, timeout_seconds=20, partial=PartialAnswer() if streaming else None)
        await way.close()
        async with anthropic.AsyncAnthropic(api_key=KEY, base_url=simulator.url, max_retries=0) as sdk:
            versions = {"anthropic-version": asked.api_version, "anthropic-beta": ",".join(asked.betas)}
            answer = await sdk.messages.create(**asked.body, stream=streaming, extra_headers=versions)  # type: ignore[call-overload]
            if streaming:
                async for _ in answer:
                    pass

    run(main())
    ours, theirs = simulator.requests
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert ours.body == {name: value for name, value in theirs.body.items() if (name, value) != ("stream", False)}
    assert meant(ours.headers) == meant(theirs.headers)


WITHOUT_SDK = """
import asyncio, json, sys
from claude_force_nb import AsyncAgentOrchestrator

async def main():
    async with AsyncAgentOrchestrator(base_url=sys.argv[1], api_key="k", enable_cache=False) as orchestrator:
        results = [await orchestrator.run("one"), *await orchestrator.run_many(["two", "three"])]
        print(json.dumps([[each.status for each in results], sorted({"anthropic", "httpx", "httpx2", "pydantic"} & set(sys.modules))]))

asyncio.run(main())
"""


def test_a_call_needs_no_sdk(simulator: Simulator) -> None:
    """In a new process, a call imports the HTTP library but not the SDK."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SDK, simulator.url], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["ok"] * 3, []]


WAITING_TRACER = """
import asyncio, importlib.abc, sys, types

# A tracer that waits for the import of the SDK, and then looks at its calls.
class Loader(importlib.abc.Loader):
    def __init__(self, real):
        self._real = real
    def create_module(self, spec):
        return self._real.create_module(spec)
    def exec_module(self, module):
        self._real.exec_module(module)
        create = module.AsyncMessages.create
        async def traced(self, **arguments):
            seen.append(arguments["messages"][-1]["content"])
            return await create(self, **arguments)
        module.AsyncMessages.create = traced

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "anthropic.resources.messages":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            spec.loader = Loader(spec.loader)
            return spec

import importlib.util
seen = []
sys.meta_path.insert(0, Finder())
sys.modules["ddtrace"] = types.ModuleType("ddtrace")

from claude_force_nb import AsyncAgentOrchestrator

async def main():
    async with AsyncAgentOrchestrator(base_url=sys.argv[1], api_key="k", enable_cache=False) as orchestrator:
        for prompt in ("one", "two", "three"):
            await orchestrator.run(prompt)

asyncio.run(main())
print(*seen)
"""


@pytest.mark.slow
def test_a_tracer_that_waits_for_the_sdk_sees_every_call(simulator: Simulator) -> None:
    """The SDK is imported before the first call if a tracer waits for it."""
    done = subprocess.run(
        [sys.executable, "-c", WAITING_TRACER, simulator.url], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "one two three\n", done.stderr


def test_headers_of_the_environment(run: Any, simulator: Simulator) -> None:
    """They are read as the SDK reads them. An invalid line is reported without showing its content."""
    environ = {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_CUSTOM_HEADERS": "X-Team: research\n\nnothing\nX-Empty:\n user-agent : me \nAccept-Encoding: br",
    }

    async def main(environ: Dict[str, str]) -> List[str]:
        way = ApiTransport(base_url=simulator.url, environ=environ)
        try:
            return [result(await way.send(request(), timeout_seconds=20)).text for _ in range(2)]
        finally:
            await way.close()

    run(main(environ))
    for each in simulator.requests:
        assert (each.headers["x-team"], each.headers["user-agent"], each.headers["x-empty"]) == ("research", "me", "")
        assert each.headers["accept-encoding"] == "gzip"  # nothing else can be read
    for line in ("bad name: hidden", ": hidden", "x-bad: hid\x07den", "x-ü: hidden"):
        with pytest.raises(
            ConfigurationError, match=r"line 2 of ANTHROPIC_CUSTOM_HEADERS is not a header.*nothing was sent"
        ) as caught:
            run(main({**environ, "ANTHROPIC_CUSTOM_HEADERS": f"x-good: 1\n{line}"}))
        assert "hid" not in str(caught.value)
    assert len(simulator.requests) == 2


def test_credentials_among_the_headers_of_the_environment_are_not_shown(
    run: Any, serve: Callable[[Handler], str]
) -> None:
    """A gateway that repeats them; a word of a header that is no credential stays in what it says."""

    async def handler(incoming: web.Request) -> web.StreamResponse:
        said = " ".join(incoming.headers[name] for name in ("proxy-token", "authorization", "x-author"))
        return web.json_response({"error": {"type": "invalid_request_error", "message": said}}, status=400)

    async def main() -> None:
        headers = "Proxy-Token: hidden-one\nAuthorization: Custom hidden-two\nX-Author: somebody"
        way = ApiTransport(
            base_url=serve(handler), environ={"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_CUSTOM_HEADERS": headers}
        )
        try:
            with pytest.raises(InvalidRequestError, match="somebody") as caught:
                await way.send(request(), timeout_seconds=20)
        finally:
            await way.close()
        assert "hidden" not in str(caught.value)

    run(main())
