"""What real answers of the API cost, by this package and by the source of its prices, which reads them in its own way."""

from __future__ import annotations

import datetime
import warnings
from typing import Any, Dict, List

import pytest
from support.recordings import FOLDER, REPLAY, read_plain, read_stream, recordings

from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.messages.usage import Usage

genai_prices = pytest.importorskip("genai_prices", reason="genai-prices, the source of the prices, is not installed")
pytestmark = [
    pytest.mark.skipif(not FOLDER, reason="CLAUDE_FORCE_RECORDINGS names no folder of recordings"),
    pytest.mark.skipif(
        load_prices().source != "genai-prices " + genai_prices.__version__,
        reason="another version of genai-prices is installed than the table is from",
    ),
]
DAY = datetime.date(2026, 10, 14)


def answers(path: str) -> List[Dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # replay.py leaves closing its file to the interpreter
        interactions = REPLAY.load(path)
    found = []
    for interaction in interactions:
        if interaction["status"] == 200:
            streamed = b"event: message_start" in interaction["body"]
            found.append((read_stream if streamed else read_plain)(interaction["body"]))
    return found


@pytest.mark.parametrize("path", recordings())
def test_a_recorded_answer_costs_what_its_source_says(path: str) -> None:
    """Cache writes and reads beside the input, cumulative usage of streams once, thinking as output: the same Decimal."""
    for message in answers(path):
        theirs = genai_prices.extract_usage(
            {"model": message["model"], "usage": message["usage"]}, provider_id="anthropic"
        ).calc_price(genai_request_timestamp=datetime.datetime(DAY.year, DAY.month, DAY.day, 12))
        assert load_prices().cost(message["model"], Usage.from_api(message["usage"]), on=DAY) == theirs.total_price
