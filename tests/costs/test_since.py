"""The meaning of ``since=``."""

from __future__ import annotations

import pytest

from claude_force_nb.costs.since import parse_since
from claude_force_nb.errors import OptionError

NOW = 1_793_534_400.0  # 2026-11-01 12:00 UTC
DAY = 86400.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30m", NOW - 1800),
        ("24h", NOW - DAY),
        ("7d", NOW - 7 * DAY),
        (" 2W ", NOW - 14 * DAY),
        ("1.5h", NOW - 5400),
        ("2026-11-01", NOW - DAY / 2),
        ("999999999w", 0),
        ("1066-10-14", 0),
    ],
)
def test_since(text, moment):
    """Spans count back from now, days from their start in UTC."""
    assert parse_since(text, now=NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "7", "d", "7y", "-7d", "2026-13-01", "yesterday", "7d 3h", "x" * 500, "७d", "a\nb"]
)
def test_since_refuses_in_one_line(text):
    """Anything else is an OptionError that shows the forms."""
    with pytest.raises(OptionError, match="since must be like 30m, 24h, 7d, 2w or 2026-11-01, not") as caught:
        parse_since(text, now=NOW)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 120
