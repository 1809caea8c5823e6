"""Listeners, pause, resume, stop and snapshot of an orchestrator, over a real socket; and the sums over its events."""

from __future__ import annotations

import asyncio
import decimal
import re
import threading
import time
from decimal import Decimal
from typing import Any, AsyncIterator, Callable, Iterator, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.calls.events import Event
from claude_force_nb.calls.snapshot import BudgetState, Headroom, ModelSums, Tally
from claude_force_nb.calls.status import CallState, CallStatus
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.errors import CallTimeoutError, RateLimitError, StoppedError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.run import ResultCollector
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]
NEVER_SECONDS = 300.0


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


@pytest.fixture
def hanging() -> Iterator[Simulator]:
    with Simulator(latency_seconds=NEVER_SECONDS) as simulator:
        yield simulator


# --- listeners


def test_listeners_come_and_go_beside_on_event(run: Any, make: Make) -> None:
    """Each listener hears every event while it is there; one that fails, or goes, changes nothing for the others."""
    heard: List[Tuple[str, str]] = []

    def failing(event: Event) -> None:
        raise RuntimeError("the listener's own")

    orchestrator = make(on_event=lambda event: heard.append(("own", event.kind)))
    remove_failing = orchestrator.add_listener(failing)
    remove = orchestrator.add_listener(lambda event: heard.append(("added", event.kind)))
    run(orchestrator.run("p"))
    assert [kind for who, kind in heard if who == "own"] == ["queued", "sent", "done"]
    assert [kind for who, kind in heard if who == "added"] == ["queued", "sent", "done"]
    remove()
    remove()
    remove_failing()
    heard.clear()
    orchestrator.on_event = lambda event: heard.append(("new", event.kind))
    run(orchestrator.run("p"))
    assert heard == [("new", "hit")]
    orchestrator.on_event = None
    run(orchestrator.run("p"))
    assert heard == [("new", "hit")]


def test_the_same_listener_twice_is_two(run: Any, make: Make) -> None:
    """Taking one of two equal listeners away leaves the other."""
    heard: List[str] = []

    def listener(event: Event) -> None:
        heard.append(event.kind)

    orchestrator = make()
    first, second = orchestrator.add_listener(listener), orchestrator.add_listener(listener)
    first()
    run(orchestrator.run("p"))
    assert heard == ["queued", "sent", "done"]
    second()
    run(orchestrator.run("p"))
    assert heard == ["queued", "sent", "done"]


# --- pause


def test_a_pause_lets_nothing_leave_and_the_cache_answer(run: Any, make: Make, simulator: Simulator) -> None:
    """While paused no call leaves, hits are answered, the snapshot says so; resume sends what waited, each once."""
    orchestrator = make(max_concurrent=3)

    async def main() -> None:
        await orchestrator.run("known")
        orchestrator.pause()
        orchestrator.pause()
        batch = asyncio.ensure_future(orchestrator.run_many(["known", *map(str, range(8))]))
        single = asyncio.ensure_future(orchestrator.run("alone"))
        await until(lambda: orchestrator.snapshot().queued == 9)
        await asyncio.sleep(0.05)
        snapshot = orchestrator.snapshot()
        assert (snapshot.paused, snapshot.in_flight, snapshot.queued) == (True, 0, 9)
        assert simulator.counters.calls == 1
        assert (await orchestrator.run("known")).cached
        orchestrator.resume()
        orchestrator.resume()
        assert (await batch).counts["ok"] == 8
        assert (await single).status == "ok"
        snapshot = orchestrator.snapshot()
        assert (snapshot.paused, snapshot.in_flight, snapshot.queued, snapshot.busy) == (False, 0, 0, False)
        assert simulator.counters.calls == 10

    run(main())


def test_a_pause_leaves_what_is_in_flight_and_other_orchestrators_alone(run: Any, make: Make) -> None:
    """A call that has left is answered during a pause, and another orchestrator of the same key goes on."""
    with Simulator(latency_seconds=0.2) as slow:
        paused, other = make(base_url=slow.url, max_concurrent=1), make(base_url=slow.url, max_concurrent=1)

        async def main() -> None:
            under_way = asyncio.ensure_future(paused.run("p"))
            await until(lambda: paused.snapshot().in_flight == 1)
            paused.pause()
            waits = asyncio.ensure_future(paused.run("q"))
            assert (await under_way).status == "ok"
            assert (await other.run("r")).status == "ok"
            assert not waits.done()
            threading.Thread(target=paused.resume).start()
            assert (await waits).status == "ok"
            await paused.close()
            await other.close()

        run(main())


# --- stop


def test_stop_all_ends_calls_in_flight_and_waiting(run: Any, make: Make, hanging: Simulator) -> None:
    """Every waiter gets one line, twins of a call too; the server sees the calls end; later calls are made as ever."""
    orchestrator = make(base_url=hanging.url, max_concurrent=2, timeout_seconds=NEVER_SECONDS)

    async def main() -> None:
        asked = [asyncio.ensure_future(orchestrator.run(text)) for text in ("a", "a", "b", "c", "d")]
        await until(lambda: hanging.counters.in_flight == 2 and orchestrator.snapshot().queued == 2)
        assert await asyncio.get_running_loop().run_in_executor(None, orchestrator.stop_all) == 4
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in errors} == {StoppedError}
        assert "\n" not in str(errors[0])
        assert errors[0] is not errors[1]
        await until(lambda: hanging.counters.in_flight == 0)
        snapshot = orchestrator.snapshot()
        assert (snapshot.in_flight, snapshot.queued) == (0, 0)
        assert orchestrator.stop_all() == 0
        again = asyncio.ensure_future(orchestrator.run("e"))
        await until(lambda: hanging.counters.in_flight == 1)
        orchestrator.stop_all()
        with pytest.raises(StoppedError):
            await again
        await orchestrator.close()

    run(main())


def test_stop_all_ends_a_run_with_what_it_has(run: Any, make: Make) -> None:
    """Rows that were answered keep their answers, those in flight are stopped, the others not sent, all in input order; none is failed."""
    with Simulator() as simulator:
        simulator.fail("slow", delay_seconds=NEVER_SECONDS, contains="never")
        orchestrator = make(base_url=simulator.url, max_concurrent=2, timeout_seconds=NEVER_SECONDS)
        prompts = ["one", "two", "never 1", "never 2", "five", "six"]

        async def main() -> None:
            tally = Tally()
            orchestrator.add_listener(tally)
            batch = asyncio.ensure_future(orchestrator.run_many(prompts))
            await until(lambda: simulator.counters.in_flight == 2 and simulator.counters.completed == 2)
            # The server has sent an answer before the client has taken note of it.
            await until(lambda: orchestrator.snapshot().queued == 2)
            orchestrator.stop_all()
            result = await batch
            assert [row.status for row in result] == ["ok", "ok", "stopped", "stopped", "not_sent", "not_sent"]
            assert {type(row.error) for row in result[2:]} == {StoppedError}
            assert (result.stopped.numbers, len(result.failed)) == ((2, 3), 0)
            assert result[result.stopped] == result.stopped == result[2:4]
            assert [row.cost for row in result[2:]] == [None, None, 0, 0]  # what was sent may be billed
            assert tally.failed == 0
            assert {entry.status for entry in orchestrator.ledger.entries()} == {"ok"}
            assert orchestrator.snapshot().queued == 0
            again = await orchestrator.run_many(["one", "two", "five"])
            assert [row.status for row in again] == ["cached", "cached", "ok"]
            await orchestrator.close()

        run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_stop_all_ends_a_source_without_end(run: Any, make: Make, simulator: Simulator, waits: bool) -> None:
    """A run over a generator that never ends, or that waits for its next prompt, ends with its answers too."""
    orchestrator = make(max_concurrent=2)
    closed: List[bool] = []

    async def source() -> AsyncIterator[str]:
        number = 0
        try:
            while True:
                number += 1
                if waits and number > 4:
                    await asyncio.Event().wait()
                yield str(number)
        finally:
            closed.append(True)

    async def main() -> None:
        results: List[int] = []
        generator = source()
        batch = asyncio.ensure_future(
            orchestrator.run_many(generator, on_result=lambda row, result: results.append(row))
        )
        await until(lambda: len(results) >= 4)
        if waits:
            await asyncio.sleep(0.02)
        orchestrator.stop_all()
        result = await batch
        assert result.counts["ok"] >= 4
        assert len(result) <= simulator.counters.calls + 3
        await generator.aclose()
        await orchestrator.close()

    run(main())
    assert closed == [True]


def test_stop_all_while_paused(run: Any, make: Make, simulator: Simulator) -> None:
    """What waits in a pause is ended, the pause itself stays until resume."""
    orchestrator = make()

    async def main() -> None:
        orchestrator.pause()
        batch = asyncio.ensure_future(orchestrator.run_many(["a", "b"]))
        await until(lambda: orchestrator.snapshot().queued == 2)
        orchestrator.stop_all()
        assert (await batch).counts == {"ok": 0, "cached": 0, "failed": 0, "not_sent": 2}
        assert orchestrator.snapshot().paused
        orchestrator.resume()
        assert (await orchestrator.run("a")).status == "ok"
        await orchestrator.close()

    run(main())
    assert simulator.counters.calls == 1


# --- snapshot


def test_snapshot_tells_limits_retries_and_money(run: Any, make: Make) -> None:
    """Headroom is what the last headers said, retries and held calls are counted, the budget is what is left of it."""
    with Simulator(requests_per_minute=600, output_tokens_per_minute=60_000, burst_seconds=0.5) as simulator:
        simulator.fail(["overloaded"], retry_after_seconds=0.01)
        orchestrator = make(base_url=simulator.url, budget="2.50")
        before = orchestrator.snapshot()
        assert (before.headroom, before.retries, before.paced_waits) == ((), 0, 0)
        assert (before.spent, before.budgets) == (0, (BudgetState("budget", Decimal("2.50"), Decimal("2.50")),))

        async def main() -> None:
            await orchestrator.run_many(map(str, range(12)), model="haiku", max_tokens=50)
            await orchestrator.close()

        run(main())
        after = orchestrator.snapshot()
        headroom = {(each.family, each.kind): each for each in after.headroom}
        assert set(headroom) == {("haiku", "requests"), ("haiku", "output-tokens")}
        assert headroom["haiku", "requests"].limit == 600
        assert 0 <= headroom["haiku", "requests"].remaining <= 5
        assert isinstance(after.headroom[0], Headroom)
        assert after.retries == simulator.counters.calls - 12 > 0
        assert after.paced_waits > 0
        assert after.spent == simulator.counters.dollars
        assert after.budgets[0].left == Decimal("2.50") - simulator.counters.dollars


def test_snapshot_tells_a_pause_of_the_api(run: Any, make: Make, simulator: Simulator) -> None:
    """A 429 shows as its family and the seconds that are left."""
    simulator.fail("rate_limit", retry_after_seconds=60, times=1)
    orchestrator = make()

    async def main() -> None:
        asked = asyncio.ensure_future(orchestrator.run("p", model="haiku"))
        await until(lambda: bool(orchestrator.snapshot().paused_families))
        ((family, seconds),) = orchestrator.snapshot().paused_families
        assert family == "haiku"
        assert 0 < seconds <= 60
        orchestrator.stop_all()
        with pytest.raises(StoppedError):
            await asked
        await orchestrator.close()

    run(main())


def test_snapshot_tells_what_our_own_pacing_holds_back(run: Any, make: Make) -> None:
    """Where a minute's requests are used up, it says which family waits and for how long; no longer once nothing waits."""
    with Simulator(requests_per_minute=6) as simulator:
        orchestrator = make(base_url=simulator.url)

        async def main() -> None:
            await orchestrator.run("first", model="haiku")  # its headers tell the limit
            rows = asyncio.ensure_future(orchestrator.run_many(map(str, range(20)), model="haiku"))
            await until(lambda: bool(orchestrator.snapshot().limited_families))
            state = orchestrator.snapshot()
            assert state.in_flight < state.max_concurrent
            ((family, seconds),) = state.limited_families
            assert family == "haiku"
            assert seconds is not None
            assert 0.5 <= seconds <= 11
            assert state.paused_families == ()
            orchestrator.pause()
            assert orchestrator.snapshot().paused
            orchestrator.stop_all()
            await rows
            assert orchestrator.snapshot().limited_families == ()
            await orchestrator.close()

        run(main())
        assert set(simulator.counters.by_status) == {200}


# --- sums over events


def _event(kind: str, at_seconds: float, model: str = "m", amount: str = "0.25") -> Event:
    value = Decimal(amount)
    result = ClaudeResult(model=model, cost=value) if kind == "done" else ClaudeResult(model=model, saved=value)
    return Event(kind, "f", model, at_seconds, result=result)


def test_tally_sums_by_model() -> None:
    """Paid and saved dollars are exact, unknown prices are counted apart, other events change nothing."""
    tally = Tally()
    for kind, model in (("done", "a"), ("done", "b"), ("done", "b"), ("hit", "a"), ("queued", "a"), ("sent", "a")):
        tally(_event(kind, 1.0, model))
    tally(Event("done", "f", "c", 2.0, result=ClaudeResult(model="c", cost=None)))
    tally(Event("hit", "f", "c", 2.0, result=ClaudeResult(model="c", saved=None)))
    quarter, half = Decimal("0.25"), Decimal("0.50")
    assert tally.models() == [
        ModelSums("b", 2, 0, half, asked="b"),
        ModelSums("a", 1, 1, quarter, quarter, asked="a"),
        ModelSums("c", 1, 1, unknown_price=1, unknown_saved=1, asked="c"),
    ]
    assert tally.hit_rates() == [(0.0, 0.25), (1.0, 0.5)]


def test_tally_is_exact_whatever_the_notebook_does_with_decimals() -> None:
    """A notebook that works with three digits sees every cent of the session."""
    tally = Tally()
    with decimal.localcontext() as context:
        context.prec = 3
        for amount in ("1000", "0.01"):
            tally(_event("done", 1.0, amount=amount))
            tally(_event("hit", 1.0, amount=amount))
    assert [(row.cost, row.saved) for row in tally.models()] == [(Decimal("1000.01"), Decimal("1000.01"))]


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=300))
def test_tally_history_stays_small_and_loses_nothing(steps: List[Tuple[float, bool]]) -> None:
    """However long it runs: at most 60 stretches, in order, whose answers and hits are all there."""
    tally = Tally()
    at = 0.0
    for wait, hit in steps:
        at += wait
        tally(_event("hit" if hit else "done", at))
    rates = tally.hit_rates()
    assert len(rates) <= 60
    assert rates == sorted(rates)
    assert all(0 <= rate <= 1 for _, rate in rates)
    stretches = list(tally._stretches)
    assert sum(stretch.answers for stretch in stretches) == len(steps)
    assert sum(stretch.hits for stretch in stretches) == sum(hit for _, hit in steps)


# --- what is in flight at Stop


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Stop that gives calls in flight more than a moment, so that a busy machine is not too slow for it."""
    for module in ("calls.status", "rows.workers"):
        monkeypatch.setattr(f"claude_force_nb.{module}.STOP_GRACE_SECONDS", 60.0)


@pytest.mark.usefixtures("patient")
def test_answers_in_flight_at_stop_are_kept(run: Any, make: Make) -> None:
    """What comes back within a moment of a Stop is in results, cache and ledger; what waited did not leave."""
    with Simulator(latency_seconds=0.1) as quick:
        orchestrator = make(base_url=quick.url, max_concurrent=4)
        kept: List[Tuple[int, str]] = []

        async def main() -> None:
            await orchestrator.run("warm up")
            batch = asyncio.ensure_future(
                orchestrator.run_many(
                    [f"p{number}" for number in range(40)],
                    on_result=lambda row, result: kept.append((row, result.status)),
                )
            )
            await until(lambda: len(kept) >= 8 and quick.counters.in_flight == 4)
            sent = quick.counters.calls
            batch.cancel()
            with pytest.raises(asyncio.CancelledError):
                await batch
            assert quick.counters.calls == sent
            assert quick.counters.completed == sent
            assert len(kept) == sent - 1
            again = await orchestrator.run_many([f"p{number}" for number in range(40)])
            assert again.counts["cached"] == len(kept)
            await orchestrator.close()

        run(main())
        assert quick.counters.calls == 41
        assert quick.counters.aborted_by_client == 0


@pytest.mark.slow
@pytest.mark.parametrize("interrupts", [11, 50])
def test_no_interrupt_pays_twice_for_what_had_come_back(run: Any, make: Make, interrupts: int) -> None:
    """Interrupts over a batch, at any moment of its calls: no answer that came is asked for again."""
    with Simulator(latency_seconds=0.05) as quick:
        orchestrator = make(base_url=quick.url, max_concurrent=5)
        prompts = [f"p{number}" for number in range(120)]

        async def main() -> None:
            await orchestrator.run("warm up")
            for number in range(interrupts):
                batch = asyncio.ensure_future(orchestrator.run_many(prompts))
                await asyncio.wait([batch], timeout=0.007 * (number % 11))
                batch.cancel()
                await asyncio.wait([batch])
            assert (await orchestrator.run_many(prompts)).counts["failed"] == 0
            await orchestrator.close()

        run(main())
        paid = [entry.fingerprint for entry in Ledger(orchestrator.ledger.path).entries() if entry.cost]
        assert len(paid) == len(set(paid)) == len(prompts) + 1
        # Where the machine stands still for longer than the grace, an answer comes too late or is cut off: it did not come back.
        assert quick.counters.calls - len(paid) <= 10


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("stop", ["cancel", "stop_all"])
def test_a_single_answer_in_flight_at_stop_is_kept(run: Any, make: Make, simulator: Simulator, stop: str) -> None:
    """Run again, it comes from the cache; a second call is not paid."""
    orchestrator = make()

    async def main() -> None:
        await orchestrator.run("warm up")
        simulator.fail("slow", delay_seconds=NEVER_SECONDS)
        asked = asyncio.ensure_future(orchestrator.run("p"))
        await until(lambda: simulator.counters.in_flight == 1)
        if stop == "cancel":
            asked.cancel()
        else:
            orchestrator.stop_all()
        simulator.heal()
        await asyncio.wait([asked])
        assert asked.cancelled() if stop == "cancel" else asked.result().status == "ok"
        assert (await orchestrator.run("p")).cached
        await orchestrator.close()

    run(main())
    assert simulator.counters.calls == 2


def test_what_does_not_come_in_time_is_cut(run: Any, make: Make, hanging: Simulator) -> None:
    """Stop waits for a moment and no longer; rows that had left may be billed, and say so: their cost is not known."""
    orchestrator = make(base_url=hanging.url, max_concurrent=2, timeout_seconds=NEVER_SECONDS)
    source = open_source(["a", "b", "c", "d"])
    collected = ResultCollector(source)

    async def main() -> None:
        batch = asyncio.ensure_future(orchestrator.run_stream(source, on_result=collected))
        await until(lambda: hanging.counters.in_flight == 2)
        began = time.monotonic()
        batch.cancel()
        await asyncio.wait([batch])
        assert 0.2 < time.monotonic() - began < 2
        assert collected.may_be_billed == 2
        rows = collected.batch(stopped=StoppedError("stopped"))
        assert [row.status for row in rows] == ["stopped", "stopped", "not_sent", "not_sent"]
        assert [row.cost for row in rows] == [None, None, 0, 0]
        assert [row.attempts for row in rows] == [1, 1, 0, 0]
        await until(lambda: hanging.counters.in_flight == 0)
        await orchestrator.close()

    run(main())


# --- what a call waits for


def test_a_call_says_what_it_waits_for(run: Any, make: Make, simulator: Simulator) -> None:
    """Paused, queued behind others, sent, and a retry with its number, time and reason, in words and as data."""
    orchestrator = make(max_concurrent=1)

    async def reaches(status: CallStatus, kind: str) -> CallState:
        await until(lambda: status.state().kind == kind)
        return status.state()

    async def main() -> None:
        await orchestrator.run("warm up")
        orchestrator.pause()
        simulator.fail("slow", delay_seconds=NEVER_SECONDS)
        statuses = [CallStatus() for _ in range(3)]
        asked = [asyncio.ensure_future(orchestrator.run(str(n), status=each)) for n, each in enumerate(statuses)]
        for number, status in enumerate(statuses):
            state = await reaches(status, "paused")
            assert state.ahead == number
            assert "resume" in str(state)
        orchestrator.resume()
        await reaches(statuses[0], "sent")
        assert str(await reaches(statuses[2], "queued")) == "queued, 1 before this one"
        await until(lambda: simulator.counters.in_flight == 1)
        simulator.heal()
        await asyncio.gather(*asked)
        assert {status.state().kind for status in statuses} == {"ended"}
        simulator.fail(["overloaded", None], retry_after_seconds=30)
        status = CallStatus()
        retried = asyncio.ensure_future(orchestrator.run("again", status=status))
        state = await reaches(status, "retry")
        assert (state.attempt, state.most_attempts) == (2, 5)
        assert 15 < (state.seconds or 0) <= 31
        assert "verloaded" in state.reason
        assert re.match(r"attempt 2 of 5 in [123]\d s after: ", str(state))
        retried.cancel()
        await asyncio.wait([retried])
        simulator.heal()
        simulator.fail(["overloaded", None], retry_after_seconds=0.01)
        status = CallStatus()
        assert (await orchestrator.run("again", status=status)).attempts == status.attempts == 2
        await orchestrator.close()

    run(main())


def test_a_wait_that_cannot_fit_ends_at_once(run: Any, make: Make, simulator: Simulator) -> None:
    """Where the rate limit leaves later than the time of a cell is up, it says so at once, and nothing is sent."""
    simulator.fail(["rate_limit"], retry_after_seconds=60)
    orchestrator = make(max_retries=0)

    async def main() -> None:
        with pytest.raises(RateLimitError):
            await orchestrator.run("p")
        status = CallStatus()
        waits = asyncio.ensure_future(orchestrator.run("r", timeout_seconds=300, status=status))
        await until(lambda: status.state().kind == "rate_limit")
        assert 30 < (status.state().seconds or 0) < 70
        assert "sending in" in str(status.state())
        began = time.monotonic()
        with pytest.raises(
            CallTimeoutError, match=r"rate limit allows this call in \d+ s at the earliest, but the timeout is 15 s"
        ):
            await orchestrator.run("q", timeout_seconds=15)
        assert time.monotonic() - began < 10
        waits.cancel()
        await asyncio.wait([waits])

    run(main())
    assert simulator.counters.calls == 1


def test_a_refusal_says_when_the_next_try_would_be_too_late(run: Any, make: Make, simulator: Simulator) -> None:
    """The API's own reason, how long it would be, and what to do."""
    simulator.fail("rate_limit", retry_after_seconds=60)
    began = time.monotonic()
    with pytest.raises(
        RateLimitError,
        match=r"rate limit is reached .*; it can be retried in [56]. s at the earliest, but the timeout is 5 s; raise",
    ):
        run(make().run("p", timeout_seconds=5))
    assert time.monotonic() - began < 4
    assert simulator.counters.calls == 1


def test_only_429s_end_as_a_rate_limit_error(run: Any, make: Make, simulator: Simulator) -> None:
    """A row whose time runs out between two tries says why there was no answer, and how often it was asked."""
    simulator.fail("rate_limit", retry_after_seconds=0.8)  # the second try is refused long before the time is up
    orchestrator = make(max_retries=1000)
    batch = run(orchestrator.run_many(["a", "b", "c"], timeout_seconds=1.5))
    assert [type(row.error) for row in batch] == [RateLimitError] * 3
    assert all(row.attempts >= 1 for row in batch)
    assert sum(row.attempts for row in batch) == simulator.counters.calls
    assert [row.cost for row in batch] == [0, 0, 0]


def test_rows_are_let_out_again_soon_after_a_burst_of_429s(run: Any, make: Make, simulator: Simulator) -> None:
    """Twenty refusals cost two or three pauses, not twenty."""
    orchestrator = make(max_concurrent=50)
    simulator.fail("rate_limit", times=20, retry_after_seconds=0.5)
    began = time.monotonic()
    batch = run(orchestrator.run_many([f"p {number}" for number in range(60)]))
    assert time.monotonic() - began < 10 * 0.5
    assert (batch.counts["ok"], simulator.counters.by_status[429]) == (60, 20)


def test_attempts_of_failed_rows(run: Any, make: Make, simulator: Simulator) -> None:
    """A failed row counts the calls that were made for it; one whose call may be billed has no known cost."""
    simulator.fail("server_error", contains="five hundred", retry_after_seconds=0.01)
    simulator.fail("lost", contains="lost")
    batch = run(make(max_retries=2).run_many(["five hundred", "lost", "fine"]))
    assert [row.attempts for row in batch] == [3, 3, 1]
    assert batch[0].cost == 0
    assert batch[1].cost is None
    assert batch.cost is None


def test_cancelling_a_run_ends_it(run: Any, make: Make, hanging: Simulator) -> None:
    """`cancel_run` of a task without message batches cancels it: nothing of it goes on, and nobody waits for it for ever."""
    orchestrator = make(base_url=hanging.url, max_concurrent=2, timeout_seconds=NEVER_SECONDS)

    async def main() -> None:
        batch = asyncio.ensure_future(orchestrator.run_many(["a", "b", "c"]))
        await until(lambda: hanging.counters.in_flight == 2)
        orchestrator.cancel_run(batch)
        await asyncio.wait([batch], timeout=5)
        assert batch.cancelled()
        await until(lambda: hanging.counters.in_flight == 0)
        await orchestrator.close()

    run(main())
    assert hanging.counters.calls == 2
