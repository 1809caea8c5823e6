"""What is sent is taken, and what is refused here would have been refused there.

The simulator has the API's rules from data of its own; so has the description of the API in llm-comply, where it is installed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from functools import lru_cache
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from claude_force_nb.agents import Agent, AgentLibrary
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.calls.compose import RequestMaker
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.errors import OptionError
from claude_force_nb.messages.models import CURRENT_MODELS
from claude_force_nb.messages.request import DEFAULT_BASE_URL, ClaudeRequest
from claude_force_nb.messages.thinking import thinking_body
from claude_force_nb.simulator import Simulator

NOWHERE = Path(__file__).parent / "no-such-folder"
LIBRARY = AgentLibrary(NOWHERE, home=NOWHERE)
MODELS = [rules.name for rules in CURRENT_MODELS]
TOOL = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]}

# Fields of body=, each of which some model refuses.
FIELDS: Dict[str, Any] = {
    "top_p": st.sampled_from([0.5, 0.96, 0.99, 1]),
    "top_k": st.sampled_from([1, 40]),
    "tool_choice": st.sampled_from(
        [{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "look"}, {"type": "none"}]
    ),
    "thinking": st.sampled_from(
        [{"type": kind} for kind in ("adaptive", "disabled", "between_tools")]
        + [{"type": "enabled", "budget_tokens": budget} for budget in (1024, 4999, 5000)]
    ),
    "output_config": st.sampled_from([{"effort": "low"}, {"effort": "max"}]),
    "messages": st.sampled_from(
        [[{"role": "user", "content": "q"}, {"role": "assistant", "content": content}] for content in ("{", "a b")]
    ),
    "inference_geo": st.just("us"),
    "max_tokens": st.sampled_from([5000, 64_001, 128_001]),
}
OPTIONS: Dict[str, Any] = {
    "thinking": st.sampled_from(["on", "off", "adaptive", 1024, 4000]),
    "effort": st.sampled_from(["low", "medium", "high", "xhigh", "max"]),
    "temperature": st.sampled_from([0, 0.2, 1]),
    "schema": st.just(SCHEMA),
    "system": st.just("Be brief."),
    "stop": st.just(["END"]),
    "agent": st.builds(
        Agent,
        st.just("a"),
        st.just("Be an agent."),
        temperature=st.sampled_from([None, 0.2, 1]),
        thinking=st.sampled_from([None, "on", "off", 4000]),
        effort=st.sampled_from([None, "low", "max"]),
    ),
    "body": st.fixed_dictionaries({}, optional=FIELDS),
}
GIVEN = st.fixed_dictionaries({"model": st.sampled_from(MODELS), "max_tokens": st.just(5000)}, optional=OPTIONS)


@pytest.fixture(scope="module")
def api() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


def composed(options: Dict[str, Any]) -> ClaudeRequest:
    maker = RequestMaker(CallOptions.of(options), agents=LIBRARY, prices=load_prices(), base_url=DEFAULT_BASE_URL)
    return maker.request("q")


def post(api: Simulator, body: Dict[str, Any]) -> Tuple[int, str]:
    """Post a body as any client would; return the status and what the API says to it."""
    address = urlsplit(api.url)
    connection = HTTPConnection(str(address.hostname), address.port, timeout=30)
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01", "content-type": "application/json"}
    connection.request("POST", "/v1/messages", json.dumps(body).encode("utf-8"), headers)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8")
    connection.close()
    return answer.status, text


def status_of(api: Simulator, body: Dict[str, Any]) -> str:
    status, text = post(api, body)
    return str(status) if status == 200 else f"{status} {text}"


def as_asked(options: Dict[str, Any]) -> Dict[str, Any]:
    """Return the body that states the options literally, as written by somebody who does not know any model's rules."""
    body: Dict[str, Any] = {
        "model": options["model"],
        "max_tokens": options["max_tokens"],
        "messages": [{"role": "user", "content": "q"}],
    }
    if "temperature" in options:
        body["temperature"] = options["temperature"]
    thinking = thinking_body(options.get("thinking"))
    if thinking is not None:
        body["thinking"] = thinking
    body.update(options.get("body", {}))
    config = {}
    if "effort" in options:
        config["effort"] = options["effort"]
    if "schema" in options:
        config["format"] = {"type": "json_schema", "schema": dict(SCHEMA, additionalProperties=False)}
        config["format"]["schema"]["properties"] = {"a": {"type": "integer"}}
    config.update(options.get("body", {}).get("output_config", {}))
    if config:
        body["output_config"] = config
    return body


@settings(max_examples=examples(200))
@given(GIVEN)
def test_what_is_sent_is_taken_and_what_is_refused_would_be_refused(api: Simulator, options: Dict[str, Any]) -> None:
    """Whatever is combined: a request that the API takes, or one line about a request that it would not have taken."""
    if "tool_choice" in options.get("body", {}):
        options["body"] = dict(options["body"], tools=[TOOL])
    request: Optional[ClaudeRequest] = None
    said = ""
    try:
        request = composed(options)
    except OptionError as error:
        said = str(error)
    if request is not None:
        assert status_of(api, request.body) == "200", request.body
    else:
        assert "\n" not in said
        assert status_of(api, as_asked(options)).startswith("400 "), said


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8) + (8).to_bytes(4, "big") * 2).decode()
CONTENTS = st.lists(
    st.sampled_from(
        [
            {"type": "text", "text": "What is this?"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A page."}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}},
            {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "Found."}]},
        ]
    ),
    min_size=1,
    max_size=4,
)
# What counting takes beside what the options make, and what it does not take.
COUNTED: Dict[str, Any] = {
    "tools": st.just([TOOL]),
    "cache_control": st.just({"type": "ephemeral", "ttl": "1h"}),
    "speed": st.sampled_from(["standard", "fast"]),
    "user_profile_id": st.just("up_1"),
    "workspace_id": st.just("wrkspc_1"),
}
NOT_COUNTED: Dict[str, Any] = {
    "metadata": st.just({"user_id": "u"}),
    "service_tier": st.just("auto"),
    "inference_geo": st.just("us"),
    "container": st.just("container_1"),
    "diagnostics": st.just({"previous_message_id": None}),
    "temperature": st.just(1),
}
COUNTING = st.fixed_dictionaries(
    {"model": st.sampled_from(["claude-haiku-5-5", "claude-opus-5", "claude-sonnet-4-6", "claude-opus-5-5"])},
    optional={
        **{name: OPTIONS[name] for name in ("thinking", "effort", "schema", "system", "stop")},
        "content": CONTENTS,
        "body": st.fixed_dictionaries({}, optional={**COUNTED, **NOT_COUNTED}),
    },
)


@settings(max_examples=60)
@given(COUNTING)
def test_tokens_are_counted_of_whatever_is_sent(api: Simulator, options: Dict[str, Any]) -> None:
    """Counting gets all that it takes - so many tokens the API bills for the request - and nothing that it refuses."""
    options = dict(options, body=dict(options.get("body", {})), max_tokens=6000)
    if "content" in options:
        options["body"]["messages"] = [{"role": "user", "content": options.pop("content")}]
    try:
        request = composed(options)
    except OptionError:
        return
    expected = post(api, request.body)
    if expected[0] != 200:  # a field that this model does not take
        return
    usage = json.loads(expected[1])["usage"]
    billed = sum(usage[name] for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))

    async def count() -> int:
        transport = ApiTransport(api_key="k", base_url=api.url, environ={})
        try:
            return await transport.count_tokens(request, timeout_seconds=30)
        finally:
            await transport.close()

    assert asyncio.run(count()) == billed
    sent = next(each.body for each in reversed(api.requests) if each.path.endswith("/count_tokens"))
    assert sent == {name: value for name, value in request.body.items() if name in sent}
    assert not set(sent) & {*NOT_COUNTED, "max_tokens", "stop_sequences", "stream"}
    assert set(sent) == set(request.body) - {*NOT_COUNTED, "max_tokens", "stop_sequences"}


# Some of the current models are about to retire.
@pytest.mark.filterwarnings("ignore::claude_force_nb.errors.ModelRetirementWarning")
def test_every_built_in_agent_comes_to_its_end_on_every_model(run: Any, make: Any, simulator: Simulator) -> None:
    """None runs into its own bound, whatever the model thinks; no call is refused."""
    agents = [agent.name for agent in LIBRARY.list()]

    async def main() -> Dict[str, Any]:
        async with make() as orchestrator:
            return {
                f"{agent} on {model}": await orchestrator.run("Label this: good or bad?", agent=agent, model=model)
                for agent in agents
                for model in MODELS
            }

    results = run(main())
    assert len(results) == len(agents) * len(MODELS) >= 95
    assert {name: result.stop_reason for name, result in results.items() if result.status != "ok"} == {}
    assert {result.stop_reason for result in results.values()} == {"end_turn"}
    assert set(simulator.counters.by_status) == {200}


@lru_cache(maxsize=1)
def description() -> Any:
    """Return a validator of what /v1/messages takes, as an independent description of the API has it."""
    import jsonschema

    spec = find_spec("llm_comply")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / "specs" / "anthropic.json").read_text(encoding="utf-8")
    schemas = json.loads(text)["components"]["schemas"]
    return jsonschema.Draft202012Validator(
        {"$ref": "#/components/schemas/CreateMessageParams", "components": {"schemas": schemas}}
    )


# The description is older than this.
NEWER = frozenset(["between_tools"])


@pytest.mark.skipif(find_spec("llm_comply") is None, reason="llm-comply, a description of the API, is not installed")
@given(GIVEN)
def test_what_is_sent_fits_an_independent_description(options: Dict[str, Any]) -> None:
    """Each body is valid under the schema of CreateMessageParams."""
    options.get("body", {}).pop("tool_choice", None)
    try:
        body = composed(options).body
    except OptionError:
        return
    if body.get("thinking", {}).get("type") in NEWER:
        body = {key: value for key, value in body.items() if key != "thinking"}
    assert [error.message for error in description().iter_errors(body)] == []
