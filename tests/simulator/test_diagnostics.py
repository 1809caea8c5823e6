"""Diagnostics about why the prompt cache could not reuse an earlier prompt."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any, Callable, Dict, Optional
from urllib.parse import urlsplit

import pytest

from claude_force_nb.simulator import Simulator

MARK = {"type": "ephemeral"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}


def ask(simulator: Simulator, body: Dict[str, Any]) -> Dict[str, Any]:
    address = urlsplit(simulator.url)
    connection = HTTPConnection(str(address.hostname), address.port, timeout=30)
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    connection.request("POST", "/v1/messages", json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, text
    if body.get("stream"):
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
        return dict(events[0]["message"])
    return dict(json.loads(text))


def first(**more: Any) -> Dict[str, Any]:
    messages = [{"role": "user", "content": "What is a monad?"}]
    return {"model": "claude-opus-4-8", "max_tokens": 100, "system": "Be brief.", "messages": messages, **more}


def goes_on(body: Dict[str, Any]) -> None:
    """Mark blocks, write the same in another way, and add to the end."""
    body["system"] = [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    body["messages"][0]["content"] = [{"type": "text", "text": "What is a monad?", "cache_control": MARK}]
    body["messages"] += [{"role": "assistant", "content": "A monoid."}, {"role": "user", "content": "Of what?"}]


CHANGES: Dict[Optional[str], Callable[[Dict[str, Any]], Any]] = {
    None: goes_on,
    "model_changed": lambda body: body.update(model="claude-opus-4-7"),
    "system_changed": lambda body: body.update(system="Be long."),
    "tools_changed": lambda body: body.update(tools=[TOOL]),
    "messages_changed": lambda body: body.update(messages=[{"role": "user", "content": "What is a monoid?"}]),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reason", CHANGES)
def test_the_first_difference_is_named(simulator: Simulator, reason: Optional[str], stream: bool) -> None:
    """With the tokens of the earlier prompt; null where the later request goes on from the earlier one."""
    opened = ask(simulator, first(diagnostics={"previous_message_id": None}))
    assert opened["diagnostics"] is None
    body = first(diagnostics={"previous_message_id": opened["id"]}, stream=stream)
    CHANGES[reason](body)
    found = ask(simulator, body)["diagnostics"]
    if reason is None:
        assert found is None
    else:
        tokens = opened["usage"]["input_tokens"]
        assert found == {"cache_miss_reason": {"type": reason, "cache_missed_input_tokens": tokens}}


def test_unknown_ids_are_reported(simulator: Simulator) -> None:
    """These are ids that were never issued, and those of requests that did not ask for diagnostics."""
    not_asked = ask(simulator, first())
    assert not_asked["diagnostics"] is None
    for name in ("msg_nobody", not_asked["id"]):
        found = ask(simulator, first(diagnostics={"previous_message_id": name}))["diagnostics"]
        assert found == {"cache_miss_reason": {"type": "previous_message_not_found"}}
