"""One line of a message batch's results."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any, Dict

import pytest

from claude_force_nb.batches.result_line import read_line
from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.errors import (
    InvalidRequestError,
    OverloadedError,
)
from claude_force_nb.simulator.failures import ERROR_TYPES


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"custom_id": 5, "result": {}}',
        b'{"custom_id": "x", "result": {"type": "expired"}}',
        b'{"custom_id": "' + b"A" * 64 + b'", "result": {}}',
        b'{"custom_id": "' + b"a" * 64 + b'"}',
    ],
)
def test_lines_that_are_none_of_ours(line: bytes) -> None:
    """Anything other than an object with a fingerprint and a result is ignored."""
    assert read_line(line) is None


def outcome(result: Dict[str, Any]) -> Any:
    line = json.dumps({"custom_id": "ab" * 32, "result": result}).encode()
    found = read_line(line)
    assert found is not None
    day = datetime.date(2026, 11, 1)
    return found.to_result(agent="a", model="claude-haiku-5-5", prices=load_prices(), on=day, now=0.0)


@pytest.mark.parametrize("envelope", [True, False])
def test_errored_rows_have_the_error_that_a_direct_call_would_have(envelope: bool) -> None:
    """With or without the envelope of an error response, and for unknown types."""
    for kind, wanted in (("invalid_request_error", InvalidRequestError), ("overloaded_error", OverloadedError)):
        error: Dict[str, Any] = {"type": kind, "message": "because"}
        result = outcome({"type": "errored", "error": {"type": "error", "error": error} if envelope else error})
        assert (result.status, type(result.error)) == ("failed", wanted)
        assert "because" in str(result.error)
    for strange in (None, "text", [], {"error": None}, {"type": "new_error"}):
        assert outcome({"type": "errored", "error": strange}).status == "failed"
    assert outcome({"type": "something new"}).status == "failed"


def test_an_errored_row_has_the_status_that_a_direct_call_would_have() -> None:
    """By the simulator's table, which has the API's types by status; a type that nobody knows is a failure of the API."""
    by_type: Dict[str, Any] = {}
    for status, kind in ERROR_TYPES.items():
        by_type.setdefault(kind, []).append(status)
    for kind, statuses in by_type.items():
        if kind != "conflict_error":  # of two calls at once, which rows are not
            found = outcome({"type": "errored", "error": {"type": kind, "message": "because"}}).error
            assert found.status in statuses, kind
            assert found.error_type == kind
    assert outcome({"type": "errored", "error": {"type": "new_error"}}).error.status == 500


def test_answers_are_priced_as_part_of_a_batch() -> None:
    """Whatever tier the message names; a result without a message fails its row."""
    message = {"id": "msg_1", "model": "claude-haiku-5-5", "content": [{"type": "text", "text": "yes"}]}
    usage = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "standard"}
    result = outcome({"type": "succeeded", "message": dict(message, usage=usage)})
    assert (result.status, result.text, result.request_id, result.agent) == ("ok", "yes", "msg_1", "a")
    assert result.cost == (1000 * Decimal("0.10") + 100 * Decimal("0.50")) / 10**6 / 2
    assert outcome({"type": "succeeded"}).status == "failed"
