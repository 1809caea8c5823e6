"""The simulator's rate limits: the buckets by themselves, and their headers and refusals over a socket."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List, Tuple

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.simulator import Simulator, SimulatorOptions
from claude_force_nb.simulator.limits import Bucket, RateLimits

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}


def body(model: str = "claude-haiku-4-5", prompt: str = "hello", **more: Any) -> Dict[str, Any]:
    return {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": prompt}], **more}


def send(simulator: Simulator, *bodies: Dict[str, Any]) -> List[Tuple[int, Dict[str, str], Any]]:
    """Send `bodies` one after the other over one connection."""

    async def main() -> List[Tuple[int, Dict[str, str], Any]]:
        answers = []
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            for sent in bodies:
                async with session.post(simulator.url + "/v1/messages", json=sent) as answer:
                    shown = {name.lower(): value for name, value in answer.headers.items()}
                    answers.append((answer.status, shown, await answer.json()))
        return answers

    return asyncio.run(main())


def test_bucket_refills_continuously() -> None:
    """600 a minute are 10 a second, up to the capacity and never beyond."""
    bucket = Bucket("requests", 600, 20.0, 10.0)
    bucket.refill(0.0)
    bucket.level -= 20
    assert bucket.wait_for(1) == pytest.approx(0.1)
    bucket.refill(0.1)
    assert bucket.wait_for(1) == 0
    bucket.refill(1.0)
    assert bucket.level == pytest.approx(10.0)
    bucket.refill(100.0)
    assert bucket.level == 20.0


def test_a_request_larger_than_the_bucket_needs_a_full_one() -> None:
    """It could never be admitted otherwise; the debt is waited for by those that follow."""
    limits = RateLimits(SimulatorOptions(input_tokens_per_minute=600))
    assert limits.admit("haiku", 6000, 0.0) is None
    refusal = limits.admit("haiku", 1, 0.0)
    assert refusal is not None
    assert (refusal.name, refusal.retry_after_seconds) == ("input-tokens", 541)


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 500)), max_size=60),
    st.integers(1, 2000),
    st.integers(1, 60_000),
    st.floats(0.1, 120),
)
def test_never_more_than_the_buckets_allow(
    calls: List[Tuple[float, int]], requests: int, tokens: int, burst: float
) -> None:
    """Over any history what was admitted fits capacity plus refill, and waiting as told is always enough."""
    limits = RateLimits(
        SimulatorOptions(requests_per_minute=requests, input_tokens_per_minute=tokens, burst_seconds=burst)
    )
    now, taken, largest = 0.0, 0, 0
    for admitted, (pause, size) in enumerate(calls, 1):
        now += pause
        refusal = limits.admit("haiku", size, now)
        if refusal is not None:
            now += refusal.retry_after_seconds
            assert limits.admit("haiku", size, now) is None
        taken += size
        largest = max(largest, size)
        assert admitted <= max(1.0, requests * burst / 60) + now * requests / 60 + 1e-3
        assert taken <= max(1.0, tokens * burst / 60) + now * tokens / 60 + largest + 1e-3


def test_headers_tell_limit_remaining_and_reset() -> None:
    """Requests are exact, tokens rounded to thousands, and reset is when the bucket is full again."""
    with Simulator(
        requests_per_minute=60, input_tokens_per_minute=100_000, output_tokens_per_minute=50_000
    ) as simulator:
        before = datetime.now(timezone.utc)
        (_, first, _), (_, second, _) = send(simulator, body(), body(prompt="x" * 40_000))
    prefix = "anthropic-ratelimit-"
    assert (first[prefix + "requests-limit"], first[prefix + "requests-remaining"]) == ("60", "59")
    assert second[prefix + "requests-remaining"] == "58"
    assert first[prefix + "input-tokens-remaining"] == "100000"
    assert second[prefix + "input-tokens-remaining"] == "90000"
    assert second[prefix + "output-tokens-limit"] == "50000"
    reset = datetime.strptime(second[prefix + "requests-reset"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    assert timedelta(0) < reset - before < timedelta(seconds=30)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"requests_per_minute": 60, "burst_seconds": 2}, "requests"),
        ({"input_tokens_per_minute": 600, "burst_seconds": 1}, "input-tokens"),
        ({"output_tokens_per_minute": 600, "burst_seconds": 4}, "output-tokens"),
    ],
)
def test_empty_bucket_is_a_429_with_retry_after(options: Dict[str, int], name: str) -> None:
    """Whichever limit binds, the refusal names it, says how long to wait, bills nothing and spares other families."""
    with Simulator(**options) as simulator:
        answers = send(simulator, *[body(prompt="x" * 30)] * 3)
        status, headers, answer = answers[-1]
        assert (status, answer["error"]["type"]) == (429, "rate_limit_error")
        assert name.replace("-", " ") in answer["error"]["message"]
        assert int(headers["retry-after"]) >= 1
        assert headers[f"anthropic-ratelimit-{name}-remaining"] == "0"
        answered = [status for status, _, _ in answers].count(200)
        assert (simulator.counters.completed, simulator.counters.rate_limited) == (answered, 3 - answered)
        # The same family pools, dated and newer names included; another does not.
        assert [status for status, _, _ in send(simulator, body("claude-haiku-5-5"), body("claude-opus-5-5"))] == [
            429,
            200,
        ]
        simulator.reset()
        assert send(simulator, body())[0][0] == 200


def test_calls_inside_a_retry_after_are_counted() -> None:
    """A call of the family that was told to wait counts, one of another family and one after the wait do not."""
    with Simulator(retry_after_grace_seconds=0.0) as simulator:
        simulator.fail("rate_limit", times=1, retry_after_seconds=30)
        send(simulator, body())
        assert simulator.counters.sent_inside_retry_after == 0
        send(simulator, body("claude-opus-5-5"))
        assert simulator.counters.sent_inside_retry_after == 0
        send(simulator, body("claude-haiku-5-5"))
        assert simulator.counters.sent_inside_retry_after == 1
        simulator.reset()
        send(simulator, body())
        assert simulator.counters.sent_inside_retry_after == 0


def test_the_grace_covers_calls_already_under_way() -> None:
    """Calls that were sent before the client could read the retry-after are not a fault of its own."""
    with Simulator(retry_after_grace_seconds=60.0) as simulator:
        simulator.fail("rate_limit", times=1, retry_after_seconds=50)
        send(simulator, body(), body())
        assert simulator.counters.sent_inside_retry_after == 0
