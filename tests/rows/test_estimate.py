"""What a batch would cost: distinct prompts are counted once, and tokens of a sample speak for the whole."""

from __future__ import annotations

import datetime
import math
import random
from decimal import Decimal
from typing import List

import pytest

from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.messages.request import DEFAULT_BASE_URL, ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage
from claude_force_nb.rows.estimate import SAMPLE_SIZE, BatchEstimate, Sampled, minutes_at_limits


def _request(prompt: str) -> ClaudeRequest:
    body = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": prompt}]}
    return ClaudeRequest(body=body, base_url=DEFAULT_BASE_URL)


def _sampled(prompts: List[str]) -> Sampled:
    sampled = Sampled()
    for prompt in prompts:
        request = _request(prompt)
        if sampled.is_new(request):
            sampled.missing(request, len(prompt))
    return sampled


def test_equal_prompts_are_counted_once() -> None:
    """Rows are all rows; what would be sent are the distinct ones that the cache does not have."""
    sampled = Sampled()
    for prompt in ("a", "b", "a", "a", "c", "b"):
        request = _request(prompt)
        if not sampled.is_new(request):
            continue
        if prompt == "b":
            sampled.cached(request, ClaudeResult(text="x", usage=Usage(output_tokens=7)))
        else:
            sampled.missing(request, 10)
    assert (sampled.rows, sampled.distinct, sampled.to_send, sampled.to_send_bytes) == (6, 3, 2, 20)
    assert (sampled.cached_rows, sampled.output_tokens, sampled.model) == (2, [7], "claude-haiku-4-5")


def test_few_requests_are_all_counted() -> None:
    """Where every request was counted, the sum is exact."""
    sampled = _sampled(["a" * size for size in range(1, 6)])
    estimate = BatchEstimate.of(sampled, [1, 2, 3, 4, 5])
    assert (estimate.input_tokens, estimate.input_error, estimate.output_tokens) == (15.0, 0.0, None)


def test_the_error_bound_contains_the_true_sum() -> None:
    """Of many batches the true sum lies within two standard errors for nearly all."""
    chance = random.Random(1)
    held = 0
    for _ in range(100):
        lengths = [chance.randrange(20, 2000) for _ in range(300)]
        tokens = {
            f"{number} " + "x" * length: length / 4 * chance.uniform(0.8, 1.2) for number, length in enumerate(lengths)
        }
        sampled = _sampled(list(tokens))
        counted = [round(tokens[request.body["messages"][0]["content"]]) for request, _ in sampled.sample]
        estimate = BatchEstimate.of(sampled, counted)
        assert len(counted) == SAMPLE_SIZE
        held += abs(estimate.input_tokens - sum(tokens.values())) <= estimate.input_error
    assert held >= 85


def test_nothing_counted() -> None:
    """Without a count, four bytes are taken for a token, and the error has no bound."""
    estimate = BatchEstimate.of(_sampled(["a" * 400, "b" * 400]), [])
    assert (estimate.input_tokens, estimate.input_error) == (200.0, math.inf)


def test_price() -> None:
    """The price is that of all requests, half of it through message batches; unknown where the model's is."""
    prices = load_prices()
    day = datetime.date(2026, 11, 1)
    estimate = BatchEstimate.of(_sampled([f"{number} " + "a" * 100 for number in range(10)]), [25] * 10)
    whole = estimate.price(prices, output_tokens=10, via="api", on=day)
    assert whole == 10 * prices.cost("claude-haiku-4-5", Usage(input_tokens=25, output_tokens=10), on=day)
    assert whole is not None
    assert estimate.price(prices, output_tokens=10, via="batches", on=day) == whole / 2
    assert BatchEstimate.of(Sampled(), []).price(prices, output_tokens=10, via="api", on=day) == Decimal(0)
    unknown = _sampled(["a"])
    unknown.model = "nobody-knows-1"
    assert BatchEstimate.of(unknown, [1]).price(prices, output_tokens=10, via="api", on=day) is None


@pytest.mark.parametrize(
    ("needs", "limits", "minutes"),
    [({"requests": 100.0}, [("requests", 50.0)], 2.0),
     ({"requests": 100.0, "input-tokens": 9000.0}, [("requests", 50.0), ("input-tokens", 1000.0)], 9.0),
     ({"requests": 100.0}, [("requests", 0.0)], None), ({"requests": 100.0, "output-tokens": None}, [("output-tokens", 5.0)], None),
     ({}, [], None)],
)  # fmt: skip
def test_minutes_at_limits(needs: dict, limits: list, minutes: float) -> None:  # type: ignore[type-arg]
    """The slowest limit decides; what is not known, and a limit of nothing, decides nothing."""
    assert minutes_at_limits(needs, limits) == minutes
