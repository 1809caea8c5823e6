"""How long to wait before another try."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.api.retry import BASE_DELAY_SECONDS, MAX_DELAY_SECONDS, delay_seconds
from claude_force_nb.errors import (
    ApiError,
    AuthenticationError,
    BrokenConnectionError,
    CallTimeoutError,
    ContextTooLongError,
    InvalidRequestError,
    MalformedAnswerError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    RedirectedError,
    ServerError,
    SpendLimitError,
    StreamCutError,
)

chances = st.floats(0, 1, exclude_max=True)
attempts = st.integers(1, 10_000)


def test_who_was_told_how_long_to_wait_waits_a_little_longer() -> None:
    """By a tenth of that and of the backoff, and by a second at the most."""
    told = RateLimitError("x", retry_after_seconds=2.0)
    waits = [delay_seconds(told, attempt, random=lambda: 0.5) for attempt in (1, 2, 3, 4, 10)]
    assert waits == pytest.approx([2.125, 2.15, 2.2, 2.3, 2.5])
    assert delay_seconds(told, 1, random=lambda: 0.0) == 2.0


@given(attempts, chances)
def test_full_jitter(attempt: int, chance: float) -> None:
    """Without retry-after the wait is anywhere from 0 to a bound that doubles with each attempt up to its maximum."""
    bound = min(MAX_DELAY_SECONDS, BASE_DELAY_SECONDS * 2 ** min(attempt - 1, 40))
    assert delay_seconds(ServerError("x"), attempt, random=lambda: chance) == chance * bound
    assert delay_seconds(ServerError("x"), attempt, random=lambda: 0.0) == 0


@given(attempts, chances)
def test_a_retry_after_of_zero_is_ignored(attempt: int, chance: float) -> None:
    """Where a server says 0, or a date that has passed by our clock, all tries would be used up within a moment."""
    said = OverloadedError("x", status=529, retry_after_seconds=0.0)
    unsaid = OverloadedError("x", status=529)
    assert delay_seconds(said, attempt, random=lambda: chance) == delay_seconds(unsaid, attempt, random=lambda: chance)


@given(attempts, chances, st.floats(0.001, 86_400))
def test_retry_after_is_obeyed(attempt: int, chance: float, seconds: float) -> None:
    """A retry-after is never undercut, however long, and passed by a second at most."""
    error = RateLimitError("x", status=429, retry_after_seconds=seconds)
    assert seconds <= delay_seconds(error, attempt, random=lambda: chance) <= seconds + 1


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        (AuthenticationError, False),
        (BrokenConnectionError, True),
        (CallTimeoutError, False),
        (ContextTooLongError, False),
        (InvalidRequestError, False),
        (MalformedAnswerError, True),
        (NotFoundError, False),
        (OverloadedError, True),
        (PermissionDeniedError, False),
        (RateLimitError, True),
        (RedirectedError, False),
        (ServerError, True),
        (SpendLimitError, False),
        (StreamCutError, True),
    ],
)
def test_what_is_worth_another_try(kind: type, retryable: Optional[bool]) -> None:
    """Only what time may mend is tried again."""
    error: ApiError = kind("x")
    assert error.retryable is retryable
