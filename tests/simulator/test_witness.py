"""The simulator beside a witness: the OpenAPI description of the Messages API in the package llm-comply.

It is of September 2026 and not this project's, so an error that simulator and client share shows here. Where the package is not
installed, the tests are skipped; it needs Python 3.10.
"""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import aiohttp
import jsonschema
import pytest

from claude_force_nb.simulator import Simulator
from claude_force_nb.simulator.failures import ApiFailure
from claude_force_nb.simulator.models import ModelTable
from claude_force_nb.simulator.validation import Headers, Validator

_SPEC = importlib.util.find_spec("llm_comply")
pytestmark = pytest.mark.skipif(
    _SPEC is None, reason="the package llm-comply, with the API's description, is not installed"
)

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}
USER = {"role": "user", "content": "hello"}
OBJECT = {"type": "object", "properties": {}, "additionalProperties": False}
MARK = {"type": "ephemeral", "ttl": "1h"}
REQUESTS: List[Dict[str, Any]] = [
    {"messages": [USER]},
    {"messages": [USER], "temperature": 0.5, "top_k": 3, "stop_sequences": ["x"], "metadata": {"user_id": "me"}},
    {"messages": [USER], "top_p": 0.5, "service_tier": "auto", "stream": True, "cache_control": MARK},
    {"messages": [USER], "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}},
    {"messages": [USER], "thinking": {"type": "disabled"}, "max_tokens": 0},
    {
        "messages": [USER],
        "model": "claude-opus-5",
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "xhigh"},
    },
    {"messages": [USER], "output_config": {"format": {"type": "json_schema", "schema": OBJECT}}},
    {
        "messages": [USER],
        "system": [{"type": "text", "text": "Be brief.", "cache_control": MARK}],
        "tools": [
            {"name": "store", "description": "Stores", "input_schema": OBJECT, "strict": True, "cache_control": MARK}
        ],
        "tool_choice": {"type": "tool", "name": "store", "disable_parallel_tool_use": True},
    },
    {
        "messages": [USER],
        "tools": [
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2, "allowed_domains": ["a.org"]},
            {"type": "web_fetch_20250910", "name": "web_fetch", "citations": {"enabled": True}},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9},
        ],
        "tool_choice": {"type": "auto"},
    },
    {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look", "cache_control": MARK},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGODlh"}},
                    {
                        "type": "document",
                        "title": "T",
                        "context": "c",
                        "citations": {"enabled": True},
                        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                    },
                    {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                    {"type": "tool_use", "id": "toolu_1", "name": "store", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "is_error": False,
                        "content": [{"type": "text", "text": "fine"}],
                    }
                ],
            },
        ]
    },
    {"model": "claude-opus-5", "messages": [USER, {"role": "system", "content": "Be brief."}]},
]


def full(request: Dict[str, Any]) -> Dict[str, Any]:
    return {"model": "claude-haiku-4-5", "max_tokens": 4000, **request}


def load() -> Dict[str, Any]:
    assert _SPEC is not None
    assert _SPEC.submodule_search_locations is not None
    (folder,) = _SPEC.submodule_search_locations
    spec: Dict[str, Any] = json.loads((Path(folder) / "specs" / "anthropic.json").read_text(encoding="utf-8"))
    return spec


@pytest.fixture(scope="module")
def spec() -> Dict[str, Any]:
    return load()


def _nullable(schema: Any, schemas: Dict[str, Any]) -> bool:
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema.get("type") == "null" or any(_nullable(part, schemas) for part in schema.get("anyOf", ()))


def relaxed(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Return the description without the demand that what is null is written down: recorded answers leave it out."""
    changed = copy.deepcopy(spec)
    schemas = changed["components"]["schemas"]
    for schema in schemas.values():
        properties = schema.get("properties", {})
        schema["required"] = [
            name for name in schema.get("required", ()) if not _nullable(properties.get(name, {}), schemas)
        ]
    return changed


def checker(spec: Dict[str, Any], name: str) -> Any:
    return jsonschema.Draft202012Validator({**spec, "$ref": f"#/components/schemas/{name}"})


def problems(validator: Any, value: Any) -> List[str]:
    return [f"{list(error.absolute_path)}: {error.message[:300]}" for error in validator.iter_errors(value)]


def accepted(sent: Any, *, counting: bool = False) -> bool:
    try:
        Validator(ModelTable()).check(sent, Headers(), counting=counting)
    except ApiFailure:
        return False
    return True


@pytest.mark.parametrize("request_body", REQUESTS, ids=lambda value: str(value)[:60])
def test_what_is_accepted_fits_the_description(spec: Dict[str, Any], request_body: Dict[str, Any]) -> None:
    sent = full(request_body)
    assert accepted(sent)
    assert problems(checker(spec, "CreateMessageParams"), sent) == []
    counted = {name: value for name, value in sent.items() if name in COUNTED}
    assert accepted(counted, counting=True)
    assert problems(checker(spec, "CountMessageTokensParams"), counted) == []


COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control")


def objects(value: Any, path: Tuple[Any, ...] = ()) -> Iterator[Tuple[Any, ...]]:
    """Yield the path of every object but those that are free: schemas, and the arguments of a call."""
    if isinstance(value, dict):
        yield path
        for name, item in value.items():
            if name not in ("schema", "input_schema", "input"):
                yield from objects(item, (*path, name))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from objects(item, (*path, place))


def at(value: Any, path: Tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


@pytest.mark.parametrize("request_body", REQUESTS, ids=lambda value: str(value)[:60])
def test_both_refuse_an_unknown_or_missing_field_anywhere(spec: Dict[str, Any], request_body: Dict[str, Any]) -> None:
    """Each object of a request gets a field more, and then loses each of its fields: both agree whether that is a request."""
    validator = checker(spec, "CreateMessageParams")
    for path in objects(full(request_body)):
        changed = copy.deepcopy(full(request_body))
        at(changed, path)["color"] = "red"
        assert not validator.is_valid(changed)
        assert not accepted(changed), path
        for name in at(full(request_body), path):
            changed = copy.deepcopy(full(request_body))
            del at(changed, path)[name]
            # The simulator may have a reason of its own; what the description refuses, it refuses as well.
            assert validator.is_valid(changed) or not accepted(changed), (path, name)


@pytest.mark.parametrize("request_body", REQUESTS, ids=lambda value: str(value)[:60])
def test_both_refuse_values_of_another_type(spec: Dict[str, Any], request_body: Dict[str, Any]) -> None:
    validator = checker(spec, "CreateMessageParams")
    for path in objects(full(request_body)):
        for name in at(full(request_body), path):
            for value in (None, True, -1, "", "x" * 600, [], [{}], {}):
                changed = copy.deepcopy(full(request_body))
                at(changed, path)[name] = value
                assert validator.is_valid(changed) or not accepted(changed), (
                    path,
                    name,
                    value,
                )


async def responses(simulator: Simulator, path: str, sent: Any) -> str:
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        if sent is None:
            answer = await session.get(simulator.url + path)
        else:
            answer = await session.post(simulator.url + path, json=sent)
        return await answer.text()


def get(simulator: Simulator, path: str, sent: Any = None) -> str:
    return asyncio.run(responses(simulator, path, sent))


def test_answers_fit_the_description(spec: Dict[str, Any]) -> None:
    """Messages, plain and streamed, counts, models, batches and errors."""
    spec = relaxed(spec)
    with Simulator(batch_seconds=0) as simulator:
        for request_body in REQUESTS:
            sent = full({**request_body, "stream": False})
            message = json.loads(get(simulator, "/v1/messages", sent))
            assert problems(checker(spec, "Message"), message) == []
            if sent["max_tokens"]:
                for line in get(simulator, "/v1/messages", dict(sent, stream=True)).splitlines():
                    if line.startswith("data:") and "ping" not in line:
                        assert problems(checker(spec, "MessageStreamEvent"), json.loads(line[5:])) == []
            counted = {name: value for name, value in sent.items() if name in COUNTED}
            count = json.loads(get(simulator, "/v1/messages/count_tokens", counted))
            assert problems(checker(spec, "CountMessageTokensResponse"), count) == []
        models = json.loads(get(simulator, "/v1/models?limit=1000"))
        assert problems(checker(spec, "ListResponse_ModelInfo_"), models) == []
        row = {"custom_id": "a", "params": full({"messages": [USER]})}
        batch = json.loads(
            get(simulator, "/v1/messages/batches", {"requests": [row, {**row, "custom_id": "b", "params": {}}]})
        )
        assert problems(checker(spec, "MessageBatch"), batch) == []
        while json.loads(get(simulator, "/v1/messages/batches/" + batch["id"]))["processing_status"] != "ended":
            pass
        for line in get(simulator, f"/v1/messages/batches/{batch['id']}/results").splitlines():
            assert problems(checker(spec, "MessageBatchIndividualResponse"), json.loads(line)) == []
        error = json.loads(get(simulator, "/v1/messages", {}))
        assert problems(checker(spec, "ErrorResponse"), error) == []
        simulator.fail("refusal", category="bio")
        refused = json.loads(get(simulator, "/v1/messages", full({"messages": [USER]})))
        assert problems(checker(spec, "Message"), refused) == []
