"""How often the API is asked about a message batch."""

from __future__ import annotations

from claude_force_nb.batches.polling import Backoff, PollSchedule


def test_pauses_grow_to_their_bound_and_obey_retry_after() -> None:
    """Each wait is between a tenth of its cap and the cap, and never shorter than was asked for."""
    for draw in (0.0, 0.999):
        backoff = Backoff(PollSchedule(first_seconds=1.0, longest_seconds=60.0), draw=lambda draw=draw: draw)
        waits = [backoff.seconds() for _ in range(10)]
        caps = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
        assert all(0.1 * cap <= wait <= cap for wait, cap in zip(waits, caps))
        assert 300 <= backoff.seconds(300.0) <= 301


def test_another_kernel_is_looked_at_often() -> None:
    """A run that waits for another kernel's batch asks only this machine, and does not sleep long after the answers are there."""
    backoff = Backoff(PollSchedule().local, draw=lambda: 1.0)
    assert [backoff.seconds() for _ in range(4)] == [1.0, 2.0, 2.0, 2.0]
    assert PollSchedule(longest_seconds=0.5).local.longest_seconds == 0.5
