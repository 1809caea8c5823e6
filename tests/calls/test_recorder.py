"""Answers of one iteration of the event loop are written together, and none is lost."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, List

import pytest
from support.cache_tools import answer, make_cache

from claude_force_nb.calls.recorder import Recorder
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.errors import CacheWarning
from claude_force_nb.messages.request import ClaudeRequest


def request(number: int) -> ClaudeRequest:
    return ClaudeRequest(
        {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": str(number)}]}
    )


def paid(text: str) -> Any:
    return answer(text, cost=Decimal("0.01"))


def test_answers_of_many_tasks_are_on_disk_before_each_continues(run: Callable[..., Any], tmp_path: Path) -> None:
    """At the moment record() returns, another process would find the answer in the cache and in the ledger."""
    with make_cache(tmp_path / "cache") as cache, make_cache(tmp_path / "cache") as other:
        ledger, reader = Ledger(tmp_path / "ledger.db"), Ledger(tmp_path / "ledger.db")
        recorder = Recorder(ledger, "book")

        async def one(number: int) -> None:
            await recorder.record(request(number), paid(str(number)), cache=cache, cell=f"c{number % 2}")
            assert other.get(request(number)).text == str(number)  # type: ignore[union-attr]
            assert reader.total().calls == 20

        async def all_at_once() -> None:
            await asyncio.gather(*(one(number) for number in range(20)))

        run(all_at_once())
        assert {entry.cell for entry in reader.entries()} == {"c0", "c1"}
        assert {entry.notebook for entry in reader.entries()} == {"book"}
        ledger.close()
        reader.close()


def test_who_is_cancelled_has_paid_all_the_same(run: Callable[..., Any], tmp_path: Path) -> None:
    """The answer of a cancelled caller is written: the next run finds it."""
    with make_cache(tmp_path / "cache") as cache:
        ledger = Ledger(tmp_path / "ledger.db")
        recorder = Recorder(ledger, None)

        async def cancelled() -> None:
            task = asyncio.ensure_future(recorder.record(request(1), paid("kept"), cache=cache, cell=None))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert cache.get(request(1)) is not None

            async def cancelled_before() -> None:
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                try:
                    await recorder.record(request(2), paid("kept"), cache=cache, cell=None)
                finally:
                    assert cache.get(request(2)) is not None

            with pytest.raises(asyncio.CancelledError):
                await asyncio.ensure_future(cancelled_before())

        run(cancelled())
        assert ledger.total().cost == Decimal("0.02")
        ledger.close()


def test_a_loop_that_ends_in_between_loses_nothing(tmp_path: Path) -> None:
    """A loop that is closed before its round was over: flush() writes what it left."""
    with make_cache(tmp_path / "cache") as cache:
        ledger = Ledger(tmp_path / "ledger.db")
        recorder = Recorder(ledger, None)
        loop = asyncio.new_event_loop()
        task = loop.create_task(recorder.record(request(1), paid("kept"), cache=cache, cell=None))
        loop.call_soon(loop.stop)
        loop.run_forever()  # one round: the task has handed its answer over, the commit is due in the next
        assert not task.done()
        assert cache.get(request(1)) is None
        task.cancel()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        recorder.flush()
        assert cache.get(request(1)).text == "kept"  # type: ignore[union-attr]
        assert ledger.total().calls == 1
        ledger.close()


@pytest.mark.parametrize("closing", ["in the loop", "after it"])
def test_what_waits_when_all_is_closed_is_written_first(tmp_path: Path, closing: str) -> None:
    """flush() writes what the running loop, or one that has stopped, has not yet written, and lets its callers go on."""
    with make_cache(tmp_path / "cache") as cache:
        ledger = Ledger(tmp_path / "ledger.db")
        recorder = Recorder(ledger, None)
        loop = asyncio.new_event_loop()
        task = loop.create_task(recorder.record(request(1), paid("kept"), cache=cache, cell=None))
        if closing == "in the loop":
            loop.call_soon(recorder.flush)
        loop.call_soon(loop.stop)
        loop.run_forever()
        if closing == "after it":
            assert ledger.total().calls == 0
            recorder.flush()
        assert ledger.total().calls == 1
        loop.run_until_complete(task)
        loop.close()
        recorder.flush()
        assert ledger.total().calls == 1
        ledger.close()


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_keyboard_interrupt_while_writing_loses_nothing(tmp_path: Path, goes_on: bool) -> None:
    """Ctrl-C in the middle of a transaction: it is made again, as the loop goes on or ends its tasks."""
    times = iter([KeyboardInterrupt])

    def clock() -> float:
        for interruption in times:
            raise interruption
        return time.time()

    with make_cache(tmp_path / "cache") as cache:
        ledger = Ledger(tmp_path / "ledger.db", clock=clock)
        recorder = Recorder(ledger, None)
        loop = asyncio.new_event_loop()
        task = loop.create_task(recorder.record(request(1), paid("kept"), cache=cache, cell=None))
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        if not goes_on:
            task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        assert task.cancelled() is not goes_on
        loop.close()
        assert ledger.total().calls == 1
        ledger.close()


def record_and_stop(folder: Path, after: str, stop: Callable[[], None], raised: Any, *, goes_on: bool = False) -> None:
    """Call `stop` when a function named `after` returns while an answer is recorded; the answer costs what it costs once."""

    def look(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code.co_name == after:
            sys.setprofile(None)
            stop()

    with make_cache(folder / "cache") as cache:
        ledger = Ledger(folder / "ledger.db")
        recorder = Recorder(ledger, None)
        loop = asyncio.new_event_loop()
        task = loop.create_task(recorder.record(request(1), paid("kept"), cache=cache, cell=None))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.setprofile(look)
        try:
            with pytest.raises(raised):
                loop.run_until_complete(task)
        finally:
            sys.setprofile(None)
            signal.signal(signal.SIGINT, before)
        if not goes_on:
            task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        loop.close()
        assert ledger.total().calls == 1
        assert cache.get(request(1)) is not None
        ledger.close()


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("after", ["_commit_after", "fingerprint", "put_many", "begin_immediate", "append_many"])
def test_a_keyboard_interrupt_records_nothing_twice(tmp_path: Path, after: str, goes_on: bool) -> None:
    """SIGINT before, between and after the transactions of cache and ledger."""
    record_and_stop(tmp_path, after, lambda: signal.raise_signal(signal.SIGINT), KeyboardInterrupt, goes_on=goes_on)


def test_a_signal_handler_that_ends_the_process_records_nothing_twice(tmp_path: Path) -> None:
    """A handler of SIGTERM raises SystemExit while the cache writes; the tasks that end with the loop write all."""

    def end() -> None:
        raise SystemExit

    record_and_stop(tmp_path, "fingerprint", end, SystemExit)


def test_a_warning_made_an_error_reaches_the_callers_and_the_ledger_is_kept(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    """Where warnings are errors, a cache that refuses an entry ends the call, and the money is in the ledger."""
    with make_cache(tmp_path / "cache", max_size_mb=0.0005) as cache:
        ledger = Ledger(tmp_path / "ledger.db")
        recorder = Recorder(ledger, None)
        outcomes: List[Any] = []

        async def both() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("error", CacheWarning)
                outcomes.extend(
                    await asyncio.gather(
                        recorder.record(request(1), paid("x" * 2000), cache=cache, cell=None),
                        recorder.record(request(2), paid("y" * 2000), cache=cache, cell=None),
                        return_exceptions=True,
                    )
                )

        run(both())
        assert all(isinstance(outcome, CacheWarning) for outcome in outcomes)
        assert ledger.total().calls == 2
        ledger.close()


def test_an_answer_that_comes_with_the_end_of_its_time_is_an_answer(run: Callable[..., Any], tmp_path: Path) -> None:
    """The time is up in the very moment in which the answer is there: it is returned, and cached, and counted once."""
    from claude_force_nb.orchestrator import AsyncAgentOrchestrator
    from claude_force_nb.testing import FakeTransport

    def late(_: Any) -> str:
        time.sleep(0.06)  # holds the loop: the answer is there, and the timer is due
        return "just in time"

    ledger = Ledger(tmp_path / "ledger.db")
    orchestrator = AsyncAgentOrchestrator(
        transport=FakeTransport(late), cache_dir=tmp_path / "cache", ledger=ledger, timeout_seconds=0.05
    )

    async def main() -> None:
        async with orchestrator:
            first = await orchestrator.run("p")
            assert (first.status, first.text) == ("ok", "just in time")
            assert (await orchestrator.run("p")).cached
        await asyncio.sleep(0.1)

    run(main())
    assert ledger.total().calls == 1
    ledger.close()
