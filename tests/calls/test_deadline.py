"""The time limit of a call: when it starts, how much is left, and who caused a cancellation."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from claude_force_nb.calls.deadline import Deadline
from claude_force_nb.errors import CallTimeoutError, RateLimitError


def test_the_time_is_up_unless_it_was_stopped(run: Any) -> None:
    """What has an answer is not cancelled while that is put away; what has none ends with one line."""

    async def main() -> None:
        with Deadline(0.01) as answered:
            answered.start()
            answered.stop()
            await asyncio.sleep(0.03)
        assert not answered.passed
        with Deadline(0.01) as left_in_time:
            left_in_time.start()
        await asyncio.sleep(0.03)  # nothing comes after it, either

        async def wait_too_long() -> None:
            with Deadline(0.01) as late:
                late.start()
                await asyncio.sleep(5)

        with pytest.raises(CallTimeoutError, match=r"within 0\.01 s"):
            await wait_too_long()

    run(main())


def test_the_time_runs_from_the_first_start(run: Any) -> None:
    """Before it any wait is allowed; a second start changes nothing; the end may have been set before."""

    async def main() -> None:
        with Deadline(100.0) as deadline:
            assert deadline.allows(1e9)
            assert 99.0 < deadline.start() <= 100.0
            await asyncio.sleep(0.01)
            assert deadline.start() < 99.995
            assert deadline.leave() < 99.995
            assert deadline.allows(90.0)
            assert not deadline.allows(100.0)
        with Deadline(100.0, ends_at=time.monotonic() + 20.0) as begun:
            assert 19.0 < begun.start() <= 20.0
            assert begun.allows(19.0)
            assert not begun.allows(21.0)

    run(main())


def test_who_follows_begins_when_the_other_leaves(run: Any) -> None:
    """At once where it has left already, with its own length, and with the reason that the other would give."""
    reason = RateLimitError("paused")

    async def main() -> None:
        with Deadline(100.0, explain=lambda seconds: reason) as other:
            with Deadline(50.0) as follower:
                follower.follow(other)
                await asyncio.sleep(0)
                assert follower.allows(1e9)
                other.leave()
                await asyncio.sleep(0)
                assert not follower.allows(51.0)
                assert follower.allows(49.0)
            other.leave()

            async def wait_too_long() -> None:
                with Deadline(0.01) as late:
                    late.follow(other)
                    await asyncio.sleep(5)

            with pytest.raises(RateLimitError, match="paused"):
                await wait_too_long()

    run(main())


def test_a_cancellation_of_somebody_else_is_not_forgiven(run: Any) -> None:
    """Only a cancellation by the deadline itself becomes a time-out."""

    async def main() -> None:
        async def work() -> None:
            with Deadline(100.0) as deadline:
                deadline.start()
                await asyncio.sleep(5)

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
