"""FamilyPacers and slots: order, cancellation, pauses, event loops and threads."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any, Callable, Dict, List

import pytest

from claude_force_nb.api.limits import Need, Permit
from claude_force_nb.api.pacing import FamilyPacer, FamilyPacers, credential_id, model_family
from claude_force_nb.api.slots import Slots

MODEL = "claude-haiku-4-5"


def no_bytes() -> int:
    return 0


async def enter(pacer: FamilyPacer, slots: Slots, again: bool = False) -> Permit:
    return await pacer.enter(slots, MODEL, input_bytes=no_bytes, max_tokens=64, again=again)


async def opened(slots: Slots) -> FamilyPacer:
    """A pacer in which one call was answered without headers, so that nothing but slots and pauses holds a call."""
    pacer = FamilyPacer()
    pacer.leave(await enter(pacer, slots), slots)
    return pacer


async def rounds() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_waiters_leave_in_the_order_they_came_and_retries_first(run: Callable[..., Any]) -> None:
    """First come, first served, but for a call that was sent before: it has waited longest."""

    async def main() -> List[str]:
        slots = Slots(1)
        pacer = await opened(slots)
        held = await enter(pacer, slots)
        order: List[str] = []

        async def one(name: str, again: bool = False) -> None:
            permit = await enter(pacer, slots, again)
            order.append(name)
            pacer.leave(permit, slots)

        tasks = []
        for name, again in (("a", False), ("b", False), ("retry", True), ("c", False)):
            tasks.append(asyncio.ensure_future(one(name, again)))
            await asyncio.sleep(0)
        assert len(pacer) == 4
        pacer.leave(held, slots)
        await asyncio.gather(*tasks)
        assert (len(pacer), slots.free, pacer.limits.in_flight) == (0, 1, 0)
        return order

    assert run(main()) == ["retry", "a", "b", "c"]


@pytest.mark.parametrize("granted", [False, True])
def test_a_cancelled_waiter_takes_nothing_with_it(run: Callable[..., Any], granted: bool) -> None:
    """Cancelled while it waits, or just when it was let go: slot and reservation are the next one's."""

    async def main() -> None:
        slots = Slots(1)
        pacer = await opened(slots)
        held = await enter(pacer, slots)
        first = asyncio.ensure_future(enter(pacer, slots))
        second = asyncio.ensure_future(enter(pacer, slots))
        await rounds()
        if granted:
            pacer.leave(held, slots)
        first.cancel()
        await rounds()
        assert first.cancelled()
        if not granted:
            pacer.leave(held, slots)
        pacer.leave(await second, slots)
        assert (len(pacer), slots.free, pacer.limits.in_flight) == (0, 1, 0)

    run(main())


def test_a_pause_holds_one_family_and_no_slot(run: Callable[..., Any]) -> None:
    """While one family pauses, another one can use all slots."""

    async def main() -> None:
        slots = Slots(1)
        paused, other = await opened(slots), await opened(slots)
        paused.leave(await enter(paused, slots), slots, verdict="limited", pause_seconds=3600.0)
        waiting = asyncio.ensure_future(enter(paused, slots))
        await rounds()
        assert slots.free == 1
        assert paused.paused_seconds() > 3500
        other.leave(await enter(other, slots), slots)
        assert not waiting.done()
        waiting.cancel()
        await rounds()

    run(main())


def test_a_slot_that_one_family_gives_back_is_anothers(run: Callable[..., Any]) -> None:
    """One that waits for nothing but the slot has it at once, the oldest first whichever family it is of."""

    async def main() -> None:
        slots = Slots(1)
        first, second, third = await opened(slots), await opened(slots), await opened(slots)
        held = await enter(first, slots)
        order: List[str] = []

        async def one(name: str, pacer: FamilyPacer) -> None:
            permit = await enter(pacer, slots)
            order.append(name)
            pacer.leave(permit, slots)

        tasks = []
        for name, pacer in (("a", third), ("b", second), ("c", third), ("d", first)):
            tasks.append(asyncio.ensure_future(one(name, pacer)))
            await asyncio.sleep(0)
        first.leave(held, slots)
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert order == ["a", "b", "c", "d"]
        # Also one that is cancelled in the moment in which it was let go.
        held = await enter(first, slots)
        cancelled = asyncio.ensure_future(enter(first, slots))
        await asyncio.sleep(0)
        other = asyncio.ensure_future(enter(second, slots))
        await asyncio.sleep(0)
        first.leave(held, slots)
        cancelled.cancel()
        second.leave(await asyncio.wait_for(other, 5), slots)
        assert slots.free == 1

    run(main())


def test_after_a_pause_some_go_ahead(run: Callable[..., Any]) -> None:
    """When a pause ends the waiters do not leave all at once: the others follow its answer."""

    async def main() -> None:
        now = [0.0]
        slots = Slots(40)
        pacer = FamilyPacer(clock=lambda: now[0])
        pacer.leave(await enter(pacer, slots), slots)
        pacer.limits.pause(60.0, now[0])
        tasks = [asyncio.ensure_future(enter(pacer, slots)) for _ in range(20)]
        await rounds()
        assert slots.free == 40
        now[0] = 60.0
        pacer.pump()
        await rounds()
        done = [task for task in tasks if task.done()]
        assert len(done) == 16
        for task in done:
            pacer.leave(task.result(), slots)
        for _ in range(5):  # the first in its place, the others a little apart
            now[0] += 0.01
            pacer.pump()
            await rounds()
        for permit in await asyncio.gather(*(task for task in tasks if task not in done)):
            pacer.leave(permit, slots)
        assert slots.free == 40

    run(main())


def test_orchestrators_that_share_a_pacer_are_served_in_the_order_they_came(run: Callable[..., Any]) -> None:
    """Whoever has a slot free and has waited longest goes, whichever orchestrator it is of."""

    async def main() -> List[str]:
        now = [0.0]
        mine, other, full = Slots(10), Slots(10), Slots(0)
        pacer = FamilyPacer(clock=lambda: now[0])
        pacer.leave(await enter(pacer, mine), mine)
        pacer.limits.pause(60.0, now[0])
        order: List[str] = []

        async def one(name: str, slots: Slots) -> None:
            permit = await enter(pacer, slots)
            order.append(name)
            pacer.leave(permit, slots)

        tasks = []
        for name, slots in (("-", full), ("a", mine), ("b", other), ("c", other), ("d", mine), ("e", other)):
            tasks.append(asyncio.ensure_future(one(name, slots)))
            await asyncio.sleep(0)
        for _ in range(10):
            now[0] += 60.0
            pacer.pump()
            await rounds()
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(pacer) == 0
        return order

    assert run(main()) == ["a", "b", "c", "d", "e"]


def test_while_all_are_refused_each_has_its_turn(run: Callable[..., Any]) -> None:
    """A refused call queues behind those that wait, so that no call uses up its attempts in place of others."""

    async def main() -> None:
        now = [0.0]
        slots = Slots(40)
        pacer = FamilyPacer(clock=lambda: now[0])
        pacer.leave(await enter(pacer, slots), slots)
        refused = await enter(pacer, slots)
        pacer.leave(refused, slots, verdict="limited", pause_seconds=1.0)
        waiting = [asyncio.ensure_future(enter(pacer, slots)) for _ in range(16)]
        await rounds()
        again = asyncio.ensure_future(enter(pacer, slots, again=True))
        await rounds()
        now[0] = 1.0
        pacer.pump()
        await rounds()
        assert [task.done() for task in (*waiting, again)] == [True] * 16 + [False]
        for task in waiting:
            pacer.leave(task.result(), slots)
        now[0] = 1.1
        pacer.pump()
        pacer.leave(await again, slots)

    run(main())


def test_slots_hold_across_loops_and_threads() -> None:
    """However many loops take part, no more calls than slots are under way, and all of them get their turn."""
    slots, pacer = Slots(3), FamilyPacer()
    lock = threading.Lock()
    state: Dict[str, int] = {"now": 0, "most": 0, "done": 0}

    async def one() -> None:
        permit = await enter(pacer, slots)
        with lock:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
        await asyncio.sleep(0)
        with lock:
            state["now"] -= 1
            state["done"] += 1
        pacer.leave(permit, slots)

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(100)))

    threads = [threading.Thread(target=asyncio.run, args=(many(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state["done"] == 400
    assert state["most"] <= 3
    assert (len(pacer), slots.free, pacer.limits.in_flight) == (0, 3, 0)


def test_a_waiter_whose_loop_is_gone_is_passed_over(run: Callable[..., Any]) -> None:
    """A waiter on a closed event loop does not block the others."""
    slots, pacer = Slots(1), FamilyPacer()
    gone = asyncio.new_event_loop()

    async def take() -> Permit:
        return await enter(pacer, slots)

    held = gone.run_until_complete(take())
    pacer.limits.settle(held, 0.0)
    held = pacer.limits.take(held.need, 0.0)
    lost = take()
    task = gone.create_task(lost)
    gone.run_until_complete(rounds())
    assert len(pacer) == 1
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    gone.close()

    async def main() -> None:
        pacer.leave(held, slots)
        pacer.leave(await enter(pacer, slots), slots)

    run(main())
    assert (len(pacer), slots.free) == (0, 1)
    lost.close()
    # It had nothing, so it gives nothing back.
    assert (slots.free, pacer.limits.in_flight) == (1, 0)


def test_orchestrators_with_one_key_share_their_lanes() -> None:
    """Limits belong to key, server and model family; what has no key shares with nobody. The key is not in the id."""
    name = credential_id("sk-ant-secret", "https://a")
    first, second = FamilyPacers(lambda: name), FamilyPacers(lambda: name)
    assert first.of("claude-haiku-4-5") is second.of("claude-haiku-5-5")
    assert first.of("claude-haiku-4-5") is not first.of("claude-sonnet-5-5")
    assert FamilyPacers(lambda: None).of(MODEL) is not FamilyPacers(lambda: None).of(MODEL)
    assert credential_id("sk-ant-secret", "https://b") != name
    assert "secret" not in name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_calls_of_its_parent(run: Callable[..., Any]) -> None:
    """They never end there: where the API was overloaded, so that few calls may be in flight, none would ever leave."""
    name = credential_id("key of a parent", "https://example.test")
    slots = Slots(4)
    pacer = FamilyPacers(lambda: name).of(MODEL)

    async def overloaded() -> None:
        pacer.leave(await enter(pacer, slots), slots, verdict="overloaded")
        await enter(pacer, slots)
        assert pacer.limits.wait_seconds(Need(), 1e9) is None

    run(overloaded())
    child = os.fork()
    if child == 0:
        os._exit(0 if FamilyPacers(lambda: name).of(MODEL).limits.wait_seconds(Need(), 1e9) == 0.0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert FamilyPacers(lambda: name).of(MODEL) is pacer


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
