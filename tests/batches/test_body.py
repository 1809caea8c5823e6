"""The body of a create: every row once, counted to the byte."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, List

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import request

from claude_force_nb.batches.body import BatchBody, row_bytes
from claude_force_nb.errors import (
    OptionError,
)


@given(st.lists(st.text(), max_size=20), st.integers(300, 2000), st.integers(1, 6))
def test_bodies_hold_every_row_once_within_their_bounds(texts: List[str], most_bytes: int, most: int) -> None:
    """Whatever the rows: each body is valid JSON of the size that was counted, within the bounds, and together they are all."""
    bodies = [BatchBody("2023-06-01", (), most_requests=most, most_bytes=most_bytes)]
    wanted = []
    for text in dict.fromkeys(text for text in texts if text.isprintable()):
        row = row_bytes(request(text))
        if len(b'{"requests":[]}') + len(row) > most_bytes:
            with pytest.raises(OptionError, match="without via=batches"):
                bodies[-1].check(row)
            continue
        bodies[-1].check(row)
        if not bodies[-1].fits(row):
            assert len(bodies[-1]) > 0
            bodies.append(BatchBody("2023-06-01", (), most_requests=most, most_bytes=most_bytes))
        assert bodies[-1].fits(row)
        bodies[-1].add(bytes.fromhex(request(text).fingerprint), row, None)
        wanted.append(request(text).fingerprint)
    found = []
    for number, body in enumerate(bodies):
        if number % 2:
            body.spill()
        size = body.size_bytes
        sent = body.body()
        assert len(sent) == size <= most_bytes
        rows = json.loads(sent)["requests"]
        assert len(rows) <= most
        for row in rows:
            assert row["params"] == request(row["params"]["messages"][0]["content"]).body
            found.append(row["custom_id"])
        body.clear()
    assert found == wanted


def test_a_body_takes_as_much_as_its_bounds_and_no_more() -> None:
    """The bounds are exact, to the byte and to the row."""
    rows = [row_bytes(request(str(number))) for number in range(3)]
    exact = len(b'{"requests":[]}') + len(rows[0]) + 1 + len(rows[1])
    for most_bytes, most_requests, fits in ((exact, 2, True), (exact - 1, 2, False), (exact, 1, False)):
        body = BatchBody("2023-06-01", (), most_requests=most_requests, most_bytes=most_bytes)
        body.add(b"0" * 32, rows[0], Decimal(1))
        assert body.fits(rows[1]) is fits
    body.add(b"1" * 32, rows[1], None)
    assert body.bounds is None


@given(st.sets(st.integers(0, 9)))
def test_a_split_body_is_two_that_are_counted_right(taken: Any) -> None:
    """What is taken out and what stays are together what was there."""
    body = BatchBody("2023-06-01", ())
    prints = [bytes.fromhex(request(str(number)).fingerprint) for number in range(10)]
    for number, fingerprint in enumerate(prints):
        body.add(fingerprint, row_bytes(request(str(number))), Decimal(number))
    other = body.split([prints[number] for number in taken])
    for part, numbers in ((body, set(range(10)) - taken), (other, taken)):
        assert part.bounds == {prints[number]: Decimal(number) for number in numbers}
        size = part.size_bytes
        assert len(part.body()) == size
