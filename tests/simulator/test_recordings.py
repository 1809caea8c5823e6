"""The simulator beside recordings of the true API: shapes, order of events, words of errors, what is accepted."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import aiohttp
import pytest

from claude_force_nb.simulator import Simulator

FOLDER = os.environ.get("CLAUDE_FORCE_RECORDINGS", "")

pytestmark = pytest.mark.skipif(not FOLDER, reason="CLAUDE_FORCE_RECORDINGS names no folder of recordings")

# Keys of a message that are younger than the recordings.
NEWER = {"container", "diagnostics"}

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def recorded() -> List[Dict[str, Any]]:
    """Every recorded call: path, request, status, answer as text."""
    load = runpy.run_path(str(Path(FOLDER) / "replay.py"))["load"]
    files = sorted(path for path in Path(FOLDER).rglob("*") if path.suffix in (".yaml", ".json"))
    with warnings.catch_warnings():
        # The loader leaves closing its files to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        calls = [dict(call, text=call["body"].decode("utf-8", "replace")) for path in files for call in load(str(path))]
    assert len(calls) > 40
    return calls


def send(
    simulator: Simulator, calls: List[Tuple[str, Any]], headers: Dict[str, str] = HEADERS
) -> List[Tuple[int, str, Dict[str, str]]]:
    """Send ``(path, body)`` one after the other."""

    async def main() -> List[Tuple[int, str, Dict[str, str]]]:
        answers = []
        async with aiohttp.ClientSession(headers=headers) as session:
            for path, sent in calls:
                async with session.post(simulator.url + path, json=sent) as answer:
                    names = {name.lower(): value for name, value in answer.headers.items()}
                    answers.append((answer.status, await answer.text(), names))
        return answers

    return asyncio.run(main())


def events(text: str) -> Iterator[Dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith("data:"):
            yield json.loads(line[5:])


def order(text: str) -> List[str]:
    """Return the events' names, with those repeated in a row once."""
    names: List[str] = []
    for event in events(text):
        if not names or names[-1] != event["type"]:
            names.append(event["type"])
    return names


def is_stream(text: str) -> bool:
    return text.lstrip().startswith("event:")


# Retired today, and current when they were recorded; the simulator serves them, with the rules of their time, where it is told to.
RETIRED_SINCE = (
    "claude-3-opus-20240229",
    "claude-sonnet-4-20250514",
    "claude-sonnet-4-0",
    "claude-opus-4-1-20250805",
)


def headers_of(call: Dict[str, Any]) -> Dict[str, str]:
    """Return the recorded headers that count; a recording shows no key, and not always the version."""
    recorded_headers = call["req_headers"]
    key = "an-invalid-key" if call["status"] == 401 else "test-key"
    headers = {"x-api-key": key, "anthropic-version": recorded_headers.get("anthropic-version") or "2023-06-01"}
    if "anthropic-beta" in recorded_headers:
        headers["anthropic-beta"] = recorded_headers["anthropic-beta"]
    return headers


def test_every_recorded_request_is_judged_as_the_api_did(recorded: List[Dict[str, Any]]) -> None:
    """Status, and error with its words, are the recording's; a stream is answered by a stream."""
    judged = []
    with Simulator(extra_models=RETIRED_SINCE) as simulator:
        for call in recorded:
            ((status, text, _),) = send(simulator, [(call["path"], call["req"])], headers_of(call))
            assert status == call["status"], (call["path"], text)
            if status == 200:
                assert is_stream(call["text"]) == is_stream(text)
            else:
                assert json.loads(text)["error"] == json.loads(call["text"])["error"]
            judged.append(status)
    assert len(judged) > 60
    assert set(judged) == {200, 400, 401, 404}


def test_models_that_were_recorded_and_are_retired_are_refused(recorded: List[Dict[str, Any]]) -> None:
    """Without the option each of them is a 404 today, and no other recorded request fails."""
    with Simulator() as simulator:
        for call in recorded:
            if call["status"] != 200:
                continue
            ((status, _, _),) = send(simulator, [(call["path"], call["req"])], headers_of(call))
            assert status == (404 if call["req"]["model"] in RETIRED_SINCE else 200)


def test_messages_have_the_keys_of_the_api(recorded: List[Dict[str, Any]]) -> None:
    """A plain message and its usage have exactly the keys of a recorded one, and those that came later."""
    messages = [
        json.loads(call["text"]) for call in recorded if call["text"].startswith('{"') and call["status"] == 200
    ]
    with Simulator() as simulator:
        sent = {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": [{"role": "user", "content": "hello"}]}
        ((_, text, _),) = send(simulator, [("/v1/messages", sent)])
    message = json.loads(text)
    assert set(message) - NEWER in [set(other) for other in messages]
    assert set(message["usage"]) in [set(other["usage"]) for other in messages]


def test_streams_have_the_order_and_keys_of_the_api(recorded: List[Dict[str, Any]]) -> None:
    """With and without thinking, the events come in a recorded order and have exactly recorded keys."""
    streams = [call["text"] for call in recorded if is_stream(call["text"])]
    starts = [event["message"] for text in streams for event in events(text) if event["type"] == "message_start"]
    deltas = [event for text in streams for event in events(text) if event["type"] == "message_delta"]
    orders = [order(text) for text in streams]
    sent = {"model": "claude-haiku-4-5", "max_tokens": 2000, "messages": [{"role": "user", "content": "hello"}]}
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    with Simulator() as simulator:
        answers = send(
            simulator,
            [("/v1/messages", dict(sent, stream=True)), ("/v1/messages", dict(sent, stream=True, **thinking))],
        )
    for _, text, _ in answers:
        assert order(text) in orders
        start, *_, delta, _ = events(text)
        assert set(start["message"]) - NEWER in [set(other) for other in starts]
        assert set(start["message"]["usage"]) in [set(other["usage"]) for other in starts]
        assert set(delta["delta"]) in [set(other["delta"]) for other in deltas]
        assert set(delta["usage"]) in [set(other["usage"]) for other in deltas]


def test_rate_limit_headers_have_the_names_of_the_api(recorded: List[Dict[str, Any]]) -> None:
    """Each rate-limit header that is sent was seen in a recording, in the same form."""
    seen = {name: value for call in recorded for name, value in call["headers"].items() if "ratelimit" in name}
    limits = {"requests_per_minute": 9, "input_tokens_per_minute": 9000, "output_tokens_per_minute": 9000}
    sent = {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": [{"role": "user", "content": "hello"}]}
    with Simulator(**limits) as simulator:
        ((_, _, headers),) = send(simulator, [("/v1/messages", sent)])
    ours = {name: value for name, value in headers.items() if "ratelimit" in name}
    assert len(ours) == 9
    for name, value in ours.items():
        assert value.isdigit() == seen[name].isdigit()
        assert value.endswith("Z") == seen[name].endswith("Z")
