"""The numbers in the live line, with a clock that the test sets."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import List

from claude_force_nb.calls.snapshot import Snapshot
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.progress import Progress, duration

PAID = ClaudeResult(cost=Decimal("0.01"))
CACHED = ClaudeResult(cost=Decimal(0), saved=Decimal("0.01"), status="cached", cached=True)


def progress_of(total: int, now: List[float]) -> Progress:
    return Progress(total=lambda: total, taken=lambda: 0, clock=lambda: now[0])


def test_the_projection_goes_by_the_last_seconds() -> None:
    """Cached rows at the beginning, as after a Stop, do not make the others look cheap, neither their price nor their time."""
    now = [0.0]
    progress = progress_of(2000, now)
    assert progress.projected_cost is None
    for _ in range(1000):
        progress.ended(CACHED)
    for _ in range(30):
        now[0] += 1.0
        for _ in range(10):
            progress.ended(PAID)
        line = progress.line()
    assert progress.cost == Decimal("3.00")
    assert progress.projected_cost == Decimal("10.00")
    assert line == "1,300 of 2,000 · 1,000 cached · $3.00, about $10.00 in all · 10/s · 70 s left"
    for _ in range(700):
        progress.ended(PAID)
    assert progress.projected_cost == progress.cost == Decimal("10.00")
    assert (progress.fraction, progress.tally.saved) == (1.0, Decimal("10.00"))


def test_stopped_rows_are_counted_by_themselves() -> None:
    """They do not count as failed."""
    progress = progress_of(3, [0.0])
    progress.ended(ClaudeResult(status="stopped", cost=Decimal(0)))
    assert progress.line() == "1 of 3 · 1 stopped"


def test_a_price_that_is_not_known_is_not_projected() -> None:
    """One unknown price makes the sum unknown."""
    progress = progress_of(4, [0.0])
    progress.ended(PAID)
    assert progress.projected_cost == Decimal("0.04")
    progress.ended(ClaudeResult(cost=None))
    assert progress.projected_cost is None
    assert "price unknown" in progress.line()


def test_durations() -> None:
    """Seconds, minutes and hours change where the next unit says more."""
    assert [duration(seconds) for seconds in (0.4, 89, 90, 5399, 5400)] == ["0 s", "89 s", "2 min", "90 min", "1.5 h"]


def test_what_waits_is_not_in_flight() -> None:
    """No more is said to be in flight than is; rows that were begun and have not left wait, and what for is named."""
    calls = Snapshot(2, 8, 10, False, (), (), 0, 0, Decimal(0))
    progress = Progress(total=lambda: 10, taken=lambda: 6, clock=lambda: 0.0, calls=lambda: calls)
    assert progress.line() == "0 of 10 · 2 in flight · 4 waiting"
    calls = replace(calls, limited_families=(("haiku", 22.7),))
    limited = "2 in flight · 4 waiting · rate limit of haiku, next call in 23 s"
    assert progress.line() == f"0 of 10 · {limited}"
    calls = replace(calls, limited_families=(("haiku", None), ("a\nb", 0.6)))
    assert progress.line().endswith("haiku is overloaded, fewer at once · rate limit of a b, next call in 1 s")
    calls = replace(calls, in_flight=0, paused=True)
    assert progress.line() == "0 of 10 · 6 waiting · paused; resume to continue"
    calls = replace(calls, in_flight=50, paused=False, limited_families=())
    assert progress.line() == "0 of 10 · 6 in flight"
    for _ in range(10):
        progress.ended(CACHED)
    calls = replace(calls, in_flight=0, limited_families=(("haiku", 22.7),))  # of other calls: these rows are done
    assert progress.line() == "10 of 10 · 10 cached"


def test_a_paused_run_has_no_time_left() -> None:
    """Its rate says nothing about the time until Resume is pressed; afterwards it does again."""
    now = [0.0]
    calls = Snapshot(0, 8, 10, True, (), (), 0, 0, Decimal(0))
    progress = Progress(total=lambda: 30, taken=lambda: 10, clock=lambda: now[0], calls=lambda: calls)
    for _ in range(10):
        progress.ended(PAID)
    now[0] = 1.0
    assert progress.line() == "10 of 30 · paused; resume to continue · $0.1000, about $0.3000 in all · 10/s"
    calls = replace(calls, paused=False)
    assert progress.line() == "10 of 30 · $0.1000, about $0.3000 in all · 10/s · 2 s left"


def test_progress_as_text_is_the_line() -> None:
    """As `print(job.progress)` shows it."""
    assert str(progress_of(3, [0.0])) == "0 of 3"


def test_a_long_line_wraps() -> None:
    """What the rows are waiting for is read in a narrow cell too, where a line that cannot wrap would be cut off."""
    assert "nowrap" not in progress_of(3, [0.0]).bundle()["text/html"]
