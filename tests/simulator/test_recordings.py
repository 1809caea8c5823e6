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


def test_what_the_api_accepted_is_accepted(recorded: List[Dict[str, Any]]) -> None:
    """Every request that the API answered is answered: the validation refuses nothing real."""
    accepted = [call for call in recorded if call["status"] == 200 and call["req"] is not None]
    with Simulator(accept_any_model=True) as simulator:
        answers = send(simulator, [(call["path"], call["req"]) for call in accepted])
    refused = [text for status, text, _ in answers if status != 200]
    assert not refused
    for call, (_, text, _) in zip(accepted, answers):
        assert is_stream(call["text"]) == is_stream(text)


def test_errors_have_the_words_of_the_api(recorded: List[Dict[str, Any]]) -> None:
    """Recorded errors come back with the same status, type and message."""
    compared = []
    with Simulator(accept_any_model=False) as simulator:
        for call in recorded:
            if call["status"] == 200 or "effort" in call["text"]:
                continue
            key = "an-invalid-key" if call["status"] == 401 else "test-key"
            sent = call["req"]
            if call["status"] != 404:
                sent = dict(sent, model="claude-haiku-4-5")
            ((status, text, _),) = send(simulator, [(call["path"], sent)], dict(HEADERS, **{"x-api-key": key}))
            assert (status, json.loads(text)["error"]) == (call["status"], json.loads(call["text"])["error"])
            compared.append(status)
    assert sorted(compared) == [400, 401, 404]


def test_messages_have_the_keys_of_the_api(recorded: List[Dict[str, Any]]) -> None:
    """A plain message and its usage have exactly the keys of a recorded one."""
    messages = [
        json.loads(call["text"]) for call in recorded if call["text"].startswith('{"') and call["status"] == 200
    ]
    with Simulator() as simulator:
        sent = {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": [{"role": "user", "content": "hello"}]}
        ((_, text, _),) = send(simulator, [("/v1/messages", sent)])
    message = json.loads(text)
    assert set(message) in [set(other) for other in messages]
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
        assert set(start["message"]) in [set(other) for other in starts]
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
