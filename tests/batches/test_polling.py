"""How often the API is asked about a message batch."""

from __future__ import annotations

from typing import Any, List, Optional

import pytest

from claude_force_nb.batches.polling import Backoff, PollSchedule, retry_until_answered
from claude_force_nb.errors import (
    ApiError,
    AuthenticationError,
    InvalidRequestError,
    JobError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
)


def test_pauses_grow_to_their_bound_and_obey_retry_after() -> None:
    """Each wait is between a tenth of its cap and the cap, and never shorter than was asked for."""
    for draw in (0.0, 0.999):
        backoff = Backoff(PollSchedule(first_seconds=1.0, longest_seconds=60.0), draw=lambda draw=draw: draw)
        waits = [backoff.seconds() for _ in range(10)]
        caps = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
        assert all(0.1 * cap <= wait <= cap for wait, cap in zip(waits, caps))
        assert 300 <= backoff.seconds(300.0) <= 301


def test_who_was_told_how_long_to_wait_waits_a_little_longer_than_others() -> None:
    """By a tenth of the wait that it would have been, and by a second at the most: not all come back at once."""
    schedule = PollSchedule(first_seconds=1.0, longest_seconds=60.0)
    backoff = Backoff(schedule, draw=lambda: 1.0)
    assert [backoff.seconds(5.0) for _ in range(6)] == pytest.approx([5.1, 5.2, 5.4, 5.8, 6.0, 6.0])
    assert Backoff(schedule, draw=lambda: 0.5).seconds(5.0) == pytest.approx(5.055)
    assert Backoff(schedule, draw=lambda: 0.0).seconds(0.0) == pytest.approx(0.01)


def test_another_kernel_is_looked_at_often() -> None:
    """A run that waits for another kernel's batch asks only this machine, and does not sleep long after the answers are there."""
    backoff = Backoff(PollSchedule().local, draw=lambda: 1.0)
    assert [backoff.seconds() for _ in range(4)] == [1.0, 2.0, 2.0, 2.0]
    assert PollSchedule(longest_seconds=0.5).local.longest_seconds == 0.5


async def ask(failures: List[Optional[ApiError]]) -> int:
    """Make a call that fails as described by `failures`; return the number of attempts."""
    left = list(failures)

    async def call() -> int:
        failure = left.pop(0)
        if failure is not None:
            raise failure
        return len(failures) - len(left)

    return await retry_until_answered(call, PollSchedule(0.0005, 0.001), "looking at batch x")


@pytest.mark.parametrize("kind", [AuthenticationError, PermissionDeniedError, NotFoundError, InvalidRequestError])
def test_three_refusals_in_a_row_are_meant(run: Any, kind: Any) -> None:
    """Fewer refusals may be errors of a gateway; any other failure is retried indefinitely."""
    refusal, failure = kind("no"), ServerError("broken")
    assert run(ask([None])) == 1
    assert run(ask([refusal, refusal, None])) == 3
    with pytest.raises(JobError, match=r"^looking at batch x: no$") as caught:
        run(ask([failure, refusal, refusal, refusal, None]))
    assert caught.value.__cause__ is refusal
    assert run(ask([refusal, refusal, failure, refusal, refusal, None])) == 6
    assert run(ask([failure] * 8 + [None])) == 9
