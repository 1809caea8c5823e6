"""Slots across loops and threads, and pauses of a model family."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any, Callable, List

import pytest

from claude_force_nb.api.pacing import Pacer, SlotGate, model_family


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("claude-sonnet-5-5", "sonnet"),
        ("claude-sonnet-4-5-20250929", "sonnet"),
        ("claude-3-5-haiku-latest", "haiku"),
        ("anthropic/claude-opus-4.5", "opus"),
        ("CLAUDE-OPUS-5-5", "opus"),
        ("us.anthropic.claude-opus-4-5-v1:0", "opus"),
        ("qwen3:8b", "qwen3:8b"),
        ("claude-2.1", "claude-2.1"),
        ("4711", "4711"),
    ],
)
def test_families(model: str, family: str) -> None:
    """Versions of a model, however a gateway spells them, share one limit; another maker's model has its own."""
    assert model_family(model) == family


def test_a_pause_holds_the_family_and_is_never_shortened() -> None:
    """A pause ends at the latest of the times given, holds all versions of the model, and no other family."""
    now = [100.0]
    pacer = Pacer(clock=lambda: now[0])
    pacer.pause("claude-sonnet-5-5", 10)
    pacer.pause("claude-sonnet-4-6", 2)
    assert pacer.paused_seconds("claude-sonnet-4-5") == 10
    assert pacer.paused_seconds("claude-haiku-5-5") == 0
    now[0] = 111.0
    assert pacer.paused_seconds("claude-sonnet-4-5") == 0


def test_ready_waits_for_the_longest_pause(run: Callable[..., Any]) -> None:
    """Who waits looks again when the pause is over, since it may have been prolonged meanwhile."""
    now = [0.0]
    looks: List[float] = []

    def clock() -> float:
        looks.append(now[0])
        now[0] += 0.004
        return now[0]

    async def main() -> None:
        pacer = Pacer(clock=clock)
        pacer.pause("m", 0.02)
        await pacer.ready("m")
        assert pacer.paused_seconds("m") == 0

    run(main())
    assert len(looks) > 2


def test_no_more_than_the_limit(run: Callable[..., Any]) -> None:
    """Of a hundred tasks never more than three hold a slot, and all get theirs, first come first served."""

    async def main() -> None:
        gate = SlotGate(3)
        holders = most = 0
        served: List[int] = []

        async def one(number: int) -> None:
            nonlocal holders, most
            await gate.acquire()
            served.append(number)
            holders += 1
            most = max(most, holders)
            await asyncio.sleep(0)
            holders -= 1
            gate.release()

        await asyncio.gather(*(one(number) for number in range(100)))
        assert most == 3
        assert served == list(range(100))
        assert gate._free == 3

    run(main())


def test_no_more_than_the_limit_across_threads() -> None:
    """The limit holds for event loops in several threads together."""
    gate = SlotGate(2)
    lock = threading.Lock()
    counts = {"now": 0, "most": 0, "served": 0}

    async def one() -> None:
        await gate.acquire()
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts["most"], counts["now"])
            counts["served"] += 1
        await asyncio.sleep(0)
        with lock:
            counts["now"] -= 1
        gate.release()

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(50)))

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {"now": 0, "most": 2, "served": 200}
    assert gate._free == 2


@pytest.mark.parametrize("when", ["while waiting", "while its slot is on the way"])
def test_a_cancelled_waiter_takes_no_slot(run: Callable[..., Any], when: str) -> None:
    """A waiter that is cancelled, even at the moment when a slot is given to it, passes the slot on."""

    async def main() -> None:
        gate = SlotGate(1)
        await gate.acquire()
        first, second = asyncio.ensure_future(gate.acquire()), asyncio.ensure_future(gate.acquire())
        await asyncio.sleep(0)
        if when == "while waiting":
            first.cancel()
            gate.release()
        else:
            gate.release()
            first.cancel()
        await second
        assert first.cancelled()
        gate.release()
        assert gate._free == 1

    run(main())


def test_a_waiter_whose_loop_is_gone_takes_no_slot(run: Callable[..., Any]) -> None:
    """Waiters left behind in a closed loop do not keep slots from those who live."""
    gate = SlotGate(1)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(gate.acquire())
    waiting = loop.create_task(gate.acquire())
    loop.run_until_complete(asyncio.sleep(0))
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    gate.release()
    del waiting
    gc.collect()

    async def main() -> None:
        await gate.acquire()
        gate.release()

    run(main())
    assert gate._free == 1
