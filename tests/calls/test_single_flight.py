"""Identical work is done once, whichever loops and threads ask for it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Callable, List

import pytest

from claude_force_nb.calls.single_flight import SingleFlight


class Work:
    """Work that ends when the test says so, and counts."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.error: Any = None

    async def __call__(self) -> str:
        self.started += 1
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return "done"


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_one_call_for_all(run: Callable[..., Any]) -> None:
    """Ten who ask for the same wait for one piece of work, and one of them is told that it was its own."""

    async def main() -> None:
        flights: SingleFlight[str] = SingleFlight()
        work = Work()
        waiting = [asyncio.ensure_future(flights.run("key", work)) for _ in range(10)]
        await work.begun.wait()
        work.go.set()
        outcomes = await asyncio.gather(*waiting)
        assert sorted(outcomes) == [("done", False)] + [("done", True)] * 9
        assert work.started == 1
        assert len(flights) == 0

    run(main())


def test_other_keys_are_other_work(run: Callable[..., Any]) -> None:
    """Different keys never share."""

    async def main() -> None:
        flights: SingleFlight[str] = SingleFlight()
        work = Work()
        work.go.set()
        assert await asyncio.gather(flights.run("a", work), flights.run("b", work)) == [("done", False)] * 2
        assert work.started == 2

    run(main())


@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_a_cancelled_waiter_does_not_affect_others(run: Callable[..., Any], leaver: int) -> None:
    """Whoever leaves, be it the first, the others get their outcome."""

    async def main() -> None:
        flights: SingleFlight[str] = SingleFlight()
        work = Work()
        waiting = [asyncio.ensure_future(flights.run("key", work)) for _ in range(3)]
        await work.begun.wait()
        waiting[leaver].cancel()
        await asyncio.wait([waiting[leaver]])
        assert waiting[leaver].cancelled()
        work.go.set()
        others = await asyncio.gather(*(task for number, task in enumerate(waiting) if number != leaver))
        assert [outcome for outcome, _ in others] == ["done", "done"]
        assert (work.started, work.cancelled) == (1, 0)

    run(main())


def test_the_last_waiter_takes_the_work_with_it(run: Callable[..., Any]) -> None:
    """When all have left, the work is cancelled, and has ended before the last waiter's wait is over."""

    async def main() -> None:
        flights: SingleFlight[str] = SingleFlight()
        work = Work()
        waiting = [asyncio.ensure_future(flights.run("key", work)) for _ in range(3)]
        await work.begun.wait()
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert (work.started, work.cancelled, len(flights)) == (1, 1, 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_a_caller_after_the_last_waiter_left_starts_again(run: Callable[..., Any]) -> None:
    """Nobody joins work that is being cancelled."""

    async def main() -> None:
        flights: SingleFlight[str] = SingleFlight()
        first, second = Work(), Work()
        second.go.set()
        waiting = asyncio.ensure_future(flights.run("key", first))
        await first.begun.wait()
        waiting.cancel()
        await asyncio.sleep(0)
        assert await flights.run("key", second) == ("done", False)
        assert first.cancelled == 1

    run(main())


def test_a_failure_reaches_all_and_is_forgotten(run: Callable[..., Any]) -> None:
    """All who wait see the failure; the next who asks starts over."""

    async def main() -> None:
        flights: SingleFlight[str] = SingleFlight()
        work = Work()
        work.error = ValueError("no")
        waiting = [asyncio.ensure_future(flights.run("key", work)) for _ in range(3)]
        await work.begun.wait()
        work.go.set()
        assert [repr(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == [
            "ValueError('no')"
        ] * 3
        work.error = None
        assert await flights.run("key", work) == ("done", False)

    run(main())


def test_work_that_cancels_itself_is_not_repeated_forever(run: Callable[..., Any]) -> None:
    """Work that ends by cancellation of its own ends its waiters' wait the same way."""

    async def main() -> None:
        flights: SingleFlight[str] = SingleFlight()
        calls: List[int] = []

        async def cancels() -> str:
            calls.append(1)
            raise asyncio.CancelledError

        outcomes = await asyncio.gather(*(flights.run("key", cancels) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert len(calls) <= 3

    run(main())


def in_thread(main: Callable[[], Any], results: List[Any]) -> threading.Thread:
    def body() -> None:
        try:
            results.append(asyncio.run(main()))
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread


def test_threads_share(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops in other threads join the work of this one and get its outcome, at once and not when they next look."""
    monkeypatch.setattr("claude_force_nb.calls.single_flight._POLL_SECONDS", 30.0)
    results: List[Any] = []

    async def main() -> None:
        flights: SingleFlight[str] = SingleFlight()
        work = Work()
        mine = asyncio.ensure_future(flights.run("key", work))
        await work.begun.wait()
        threads = [in_thread(lambda: flights.run("key", work), results) for _ in range(3)]
        while len(flights._flights["key"].waiters) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        work.go.set()
        assert await mine == ("done", False)
        for thread in threads:
            await asyncio.get_running_loop().run_in_executor(None, thread.join, 15.0)
            assert not thread.is_alive()
        assert work.started == 1

    run(main())
    assert results == [("done", True)] * 3


@pytest.mark.parametrize("how", ["ends", "is abandoned"])
def test_work_of_a_loop_that_dies_is_taken_over(run: Callable[..., Any], how: str) -> None:
    """Where the loop that works ends, or just stops running, one who waits on another loop does the work itself."""
    flights: SingleFlight[str] = SingleFlight()
    begun = threading.Event()
    loop = asyncio.new_event_loop()
    leave = loop.create_future()
    tasks: List[Any] = []

    async def never() -> str:
        begun.set()
        await leave
        if how == "ends":
            raise asyncio.CancelledError
        loop.stop()
        await asyncio.sleep(3600)
        return "never"

    def body() -> None:
        tasks.append(loop.create_task(flights.run("key", never)))
        try:
            loop.run_until_complete(tasks[0])
        except (asyncio.CancelledError, RuntimeError):  # the loop was stopped before its future was done
            pass

    async def main() -> None:
        work = Work()
        work.go.set()
        waiting = asyncio.ensure_future(flights.run("key", work))
        await turns()
        loop.call_soon_threadsafe(leave.set_result, None)
        assert await waiting == ("done", False)

    async def sweep() -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=body)
    thread.start()
    assert begun.wait(20)
    try:
        run(main())
    finally:
        thread.join()
        loop.run_until_complete(sweep())
        loop.close()
    assert tasks[0].cancelled()


def test_work_of_a_closed_loop_ends_when_another_loop_comes(run: Callable[..., Any]) -> None:
    """A loop that is closed over its tasks: what its work holds is given back, and others' work goes on."""
    flights: SingleFlight[str] = SingleFlight()
    gone = asyncio.new_event_loop()
    ended: List[str] = []

    async def never(name: str) -> str:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(name)
            if name == "stubborn":
                await asyncio.sleep(0)
        return name

    for name in ("stubborn", "plain"):
        task = gone.create_task(flights.run(name, lambda name=name: never(name)))  # type: ignore[misc]
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    gone.call_soon(gone.call_soon, gone.stop)
    gone.run_forever()
    for flight in flights._flights.values():
        flight.task._log_destroy_pending = False  # type: ignore[attr-defined]
    gone.close()
    assert (len(flights), ended) == (2, [])

    async def main() -> None:
        work = Work()
        work.go.set()
        assert await flights.run("other", work) == ("done", False)
        assert sorted(ended) == ["plain", "stubborn"]
        assert await flights.run("plain", work) == ("done", False)

    run(main())
    assert len(flights) == 0


def test_work_that_is_being_ended_is_not_joined(run: Any) -> None:
    """Who asks for it while its last waiter's cancellation is under way starts it anew, and gets an answer."""
    flights: SingleFlight[str] = SingleFlight()
    begun: List[int] = []
    ended: List[int] = []

    async def main() -> None:
        closing = asyncio.Event()
        close = asyncio.Event()

        async def slow_to_end() -> str:
            begun.append(1)
            try:
                await asyncio.sleep(60)
            finally:
                closing.set()
                await close.wait()
                ended.append(1)
            return "never"

        async def quick() -> str:
            begun.append(2)
            return "new"

        first = asyncio.ensure_future(flights.run("key", slow_to_end))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        await closing.wait()
        assert await asyncio.wait_for(flights.run("key", quick), 5) == ("new", False)
        assert not ended
        close.set()
        await asyncio.wait([first])
        assert first.cancelled()

    run(main())
    assert begun == [1, 2]


def test_work_in_its_grace_is_joined_and_not_cancelled(run: Any) -> None:
    """Its last waiter left, and it may still come to its end: who asks for it then gets that, and it goes on for him."""
    flights: SingleFlight[str] = SingleFlight()

    async def main() -> None:
        work = Work()
        leaving = asyncio.Event()

        def grace() -> float:
            leaving.set()
            return 1.0

        first = asyncio.ensure_future(flights.run("key", work, grace=grace))
        await work.begun.wait()
        first.cancel()
        await leaving.wait()
        second = asyncio.ensure_future(flights.run("key", work))
        await asyncio.wait([first])  # its grace is over
        assert first.cancelled()
        work.go.set()
        assert await asyncio.wait_for(second, 20) == ("done", True)
        assert (work.started, work.cancelled) == (1, 0)

    run(main())


@pytest.mark.parametrize(("grace", "ends"), [(60.0, True), (0.0, False)])
def test_all_work_is_ended_after_its_grace(run: Any, grace: float, ends: bool) -> None:
    """`end_all` lets what is about to come to its end do so, and cuts the rest with the error that it was given."""
    flights: SingleFlight[str] = SingleFlight()

    async def main() -> None:
        work = Work()
        waiting = asyncio.ensure_future(flights.run("key", work, grace=lambda: grace))
        await work.begun.wait()
        assert flights.end_all(lambda: ValueError("ended")) == 1
        if ends:
            await turns()
            work.go.set()
            assert await waiting == ("done", False)
        else:
            with pytest.raises(ValueError, match="ended"):
                await waiting

    run(main())
