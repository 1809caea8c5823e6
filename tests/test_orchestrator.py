"""The path of every prompt, over a real socket: cache, sharing, retries, limits, money, stopping."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List, Optional

import pytest

from claude_force_nb.agents import Agent
from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.cache import ResponseCache
from claude_force_nb.calls.events import Event
from claude_force_nb.errors import (
    AuthenticationError,
    BrokenConnectionError,
    BudgetExceededError,
    CacheMissError,
    CallTimeoutError,
    ClaudeForceError,
    ClaudeForceWarning,
    EmptyPromptError,
    InvalidRequestError,
    MissingApiKeyError,
    OptionError,
    OverloadedError,
    RateLimitError,
    SpendLimitError,
    StreamCutError,
    TemplateError,
    TransportClosedError,
    UndefinedNameError,
    UnknownAgentError,
    UnknownModelError,
)
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]
# Quick to retry: the API's own way to say "at once".
SOON: Dict[str, Any] = {"retry_after_seconds": 0.01}


def _nested() -> List[Any]:
    inner: List[Any] = []
    for _ in range(5000):
        inner = [inner]
    return inner


# What nothing that goes down into it can show.
DEEP = _nested()


async def until(reached: Callable[[], bool]) -> None:
    """Wait for what the server's thread does."""
    while not reached():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def ledger_rows(orchestrator: AsyncAgentOrchestrator) -> List[Any]:
    assert orchestrator.ledger is not None
    return orchestrator.ledger.summary()


# --- what is given to it


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("cache", False, "enable_cache=False"),
        ("cache", "redis://user:a-long-password@cache.example", "cache_url="),
        ("agents", "my_agents", "AgentLibrary"),
        ("memory", True, "use_memory="),
        ("prices", {"my-model": {"input_mtok": "1"}}, "load_prices"),
        ("ledger", "none", "Ledger"),
        ("ledger", False, "None"),
        ("ledger", Path("costs.db"), "Ledger"),
        ("ledger", [], "Ledger"),
        ("cache_dir", ["a-long-password"], "a path"),
        ("cache_dir", b"folder", "a path"),
        ("answers", 5, "AnswerFile"),
        ("answers_mode", ["use"], "text"),
        ("base_url", ["https://user:a-long-password@gateway.example"], "text"),
        ("transport", "https://user:a-long-password@gateway.example", "FakeTransport"),
        ("environ", [("ANTHROPIC_API_KEY", "a-long-password")], "os.environ"),
        ("on_event", "print", "a function"),
        ("budget", [1], "US dollars"),
        ("daily_budget", {"usd": 1}, "US dollars"),
        ("max_concurrent", [DEEP], "whole number"),
        ("cache_ttl_hours", DEEP, "hours"),
        ("cache_max_size_mb", DEEP, "megabytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_objects_of_another_class_are_refused(make: Make, name: str, value: Any, remedy: str) -> None:
    """In one line that says what to give instead, and does not repeat what may hold a password."""
    with pytest.raises(OptionError, match=f"^{name} must be .*{remedy}") as caught:
        make(**{name: value})
    assert "password" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [10**400, 1e308, float("inf"), float("nan"), 0], ids=lambda value: f"{value!r:.6}")
@pytest.mark.parametrize("name", ["cache_ttl_hours", "cache_max_size_mb"])
def test_limits_of_the_cache_without_bounds_are_refused(make: Make, name: str, value: float) -> None:
    """A number that is no longer finite in seconds or bytes is not a limit; None is for no expiry."""
    with pytest.raises(OptionError, match="must be greater than 0"):
        make(**{name: value})


@pytest.mark.parametrize("value", [5, b"x", object(), DEEP], ids=["number", "bytes", "object", "nested"])
@pytest.mark.parametrize(
    "name", ["template", "on_result", "via", "into", "max_concurrent", "agent_column", "model_column"]
)
def test_arguments_of_a_run_of_another_type_are_refused(
    run: Any, make: Make, simulator: Simulator, name: str, value: Any
) -> None:
    """In one line, before anything is sent and paid: a function is called only when an answer is there."""
    if name == "max_concurrent" and value == 5:
        value = 0.5
    elif name == "via" and value == b"x":
        value = None  # the only one of these that has no default of None
    start = make().run_stream if name == "into" else make().run_many
    with pytest.raises(OptionError, match=f"^{name} must be ") as caught:
        run(start(["p"], **{name: value}))
    assert "\n" not in str(caught.value)
    assert simulator.counters.calls == 0


# --- cache


def test_answered_once(run: Any, make: Make, simulator: Simulator) -> None:
    """The second time an answer comes from the cache: same text, no call, nothing paid, the price as saving."""
    orchestrator = make()

    async def main() -> None:
        first = await orchestrator.run("What is a monad?", agent="explainer", model="haiku")
        again = await orchestrator.run("What is a monad?", agent="explainer", model="haiku")
        assert (first.status, first.cached, first.attempts, first.agent) == ("ok", False, 1, "explainer")
        assert (again.status, again.cached, again.attempts, again.agent) == ("cached", True, 0, "explainer")
        assert (again.text, again.usage, again.request_id) == (first.text, first.usage, first.request_id)
        assert (again.cost, again.saved) == (Decimal(0), first.cost)
        assert first.cost is not None
        assert first.cost > 0
        assert first.cost == simulator.counters.dollars
        await orchestrator.close()

    run(main())
    assert simulator.counters.calls == 1


def test_another_orchestrator_finds_it(run: Any, make: Make, simulator: Simulator) -> None:
    """An answer outlives the orchestrator that asked for it; an agent's name does not count, its text does."""
    run(make().run("p", agent=Agent("one", "Be brief.")))
    assert run(make().run("p", agent=Agent("two", "Be brief."))).cached
    assert not run(make().run("p", agent=Agent("one", "Be long."))).cached


@pytest.mark.parametrize(("mode", "calls", "cached_after"), [("on", 1, True), ("off", 2, True), ("refresh", 2, True)])
def test_cache_modes(run: Any, make: Make, simulator: Simulator, mode: str, calls: int, cached_after: bool) -> None:
    """on reads and writes, off does neither, refresh writes without reading."""
    orchestrator = make()

    async def main() -> None:
        await orchestrator.run("p")
        await orchestrator.run("p", cache=mode)
        assert simulator.counters.calls == calls
        assert (await orchestrator.run("p")).cached is cached_after

    run(main())


def test_off_writes_nothing_and_only_sends_nothing(run: Any, make: Make, simulator: Simulator) -> None:
    """An answer taken with cache=off is not found later; cache=only raises instead of asking, and needs no key."""

    async def main() -> None:
        orchestrator = make(api_key=None)
        with pytest.raises(CacheMissError, match="cache=only"):
            await orchestrator.run("p", cache="only")
        with pytest.raises(MissingApiKeyError):
            await orchestrator.run("p")
        keyed = make()
        await keyed.run("p", cache="off")
        with pytest.raises(CacheMissError):
            await orchestrator.run("p", cache="only")
        await keyed.run("p")
        assert (await orchestrator.run("p", cache="only")).cached
        assert (await orchestrator.run("p")).cached

    run(main())
    assert simulator.counters.calls == 2


def test_samples_are_different_answers(run: Any, make: Make, simulator: Simulator) -> None:
    """sample=2 asks again, also while sample=1 is in flight, and each is found under its number."""
    orchestrator = make()

    async def main() -> None:
        await asyncio.gather(orchestrator.run("p"), orchestrator.run("p", sample=2))
        assert (await orchestrator.run("p", sample=2)).cached
        assert (await orchestrator.run("p", sample=1)).cached

    run(main())
    assert simulator.counters.calls == 2


@pytest.mark.parametrize("why", ["refusal", "max_tokens"])
def test_what_is_not_cached(run: Any, make: Make, simulator: Simulator, why: str) -> None:
    """Refusals and truncated answers are given, paid and forgotten."""
    if why == "refusal":
        simulator.fail(["refusal"])
    orchestrator = make()

    async def main() -> None:
        first = await orchestrator.run("p", max_tokens=2)
        assert (first.stop_reason, first.status) == (why, "refused" if why == "refusal" else "cut_off")
        assert not (await orchestrator.run("p", max_tokens=2)).cached

    run(main())
    assert simulator.counters.calls == 2


def test_a_shared_cache_stays_open(run: Any, make: Make) -> None:
    """A cache given by the user is used and not closed; enable_cache=False has none."""
    with ResponseCache() as cache:

        async def main() -> None:
            async with make(cache=cache) as orchestrator:
                assert (await orchestrator.run("p")).status == "ok"
            assert len(cache) == 1

        run(main())
    assert make(enable_cache=False).cache is None


# --- sharing


def test_duplicates_are_paid_once(run: Any, make: Make, simulator: Simulator) -> None:
    """Equal prompts in flight share one call: each row has its answer, one is paid for, the others are savings."""
    simulator.fail("slow", delay_seconds=0.05)
    orchestrator = make()
    batch = run(orchestrator.run_many(["same"] * 8 + ["other"]))
    assert simulator.counters.calls == 2
    assert batch.counts == {"ok": 2, "cached": 7, "failed": 0, "not_sent": 0}
    assert len(set(batch.texts[:8])) == 1
    assert batch.cost == simulator.counters.dollars
    assert batch[1].saved == batch[0].cost
    stats = orchestrator.cache.stats()
    assert (stats.hits, stats.misses) == (0, 2)  # of the rows that were sent; the others joined them


def test_what_asks_for_nothing_is_no_look_at_the_cache(run: Any, make: Make, simulator: Simulator) -> None:
    """Before a retry it is counted what the cache has by now: neither hits nor misses."""
    simulator.fail("invalid_request", contains="bad", times=2)
    orchestrator = make()

    async def main() -> None:
        batch = await orchestrator.run_many(["good", "bad 1", "bad 2"])
        before = orchestrator.cache.stats()
        assert (before.hits, before.misses) == (0, 3)
        notices: List[str] = []
        await batch.retry(tell=notices.append)
        assert notices
        after = orchestrator.cache.stats()
        assert (after.hits, after.misses) == (0, 5)  # of the rows that were sent again

    run(main())


def test_a_shared_answer_is_kept_for_who_wants_it(run: Any, make: Make, simulator: Simulator) -> None:
    """Who joins a call that was made with cache=off has the answer in the cache afterwards."""
    simulator.fail("slow", delay_seconds=0.05)
    orchestrator = make()

    async def main() -> None:
        off, on = await asyncio.gather(orchestrator.run("p", cache="off"), orchestrator.run("p"))
        assert (off.status, on.status) == ("ok", "cached")
        assert (await orchestrator.run("p", cache="only")).text == off.text

    run(main())


def test_another_ones_budget_is_not_mine(run: Any, make: Make, simulator: Simulator) -> None:
    """A caller that joins a call which its owner's budget stops before it is sent makes the call itself."""
    orchestrator = make()

    async def main() -> None:
        poor, rich = await asyncio.gather(
            orchestrator.run("p", budget="0.000001"), orchestrator.run("p"), return_exceptions=True
        )
        assert isinstance(poor, BudgetExceededError)
        assert rich.status == "ok"

    run(main())


@pytest.mark.slow
def test_the_import_of_libraries_takes_no_time_from_a_row(simulator: Simulator, tmp_path: Path) -> None:
    """The first row of a process has its full time limit, however long libraries take to import."""
    script = """
import asyncio, sys
from claude_force_nb import AsyncAgentOrchestrator

async def main():
    assert "aiohttp" not in sys.modules
    async with AsyncAgentOrchestrator(base_url=sys.argv[1], api_key="k", timeout_seconds=2.0, max_retries=0) as orchestrator:
        print((await orchestrator.run_many(["hi"]))[0].status)

asyncio.run(main())
"""
    slow = tmp_path / "aiohttp"
    slow.mkdir()
    # Ahead of the real one on the path: it takes its time, and then is the real one.
    slow.joinpath("__init__.py").write_text(
        f"import sys, time\ntime.sleep(2.5)\nsys.path.remove({str(tmp_path)!r})\ndel sys.modules['aiohttp']\n"
        "import aiohttp\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", script, simulator.url],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["ok"]


def test_who_joins_waits_no_longer_than_he_said(run: Any, make: Make, simulator: Simulator) -> None:
    """A caller's time-out also limits its wait for another caller's call, which continues."""
    simulator.fail("slow", delay_seconds=60)
    orchestrator = make()

    async def main() -> None:
        patient = asyncio.ensure_future(orchestrator.run("p", timeout_seconds=60))
        await until(lambda: simulator.counters.in_flight == 1)
        with pytest.raises(CallTimeoutError, match=r"0\.2 s"):
            await orchestrator.run("p", timeout_seconds=0.2)
        # What the bound has cancelled is not cancelled for what the same task does next.
        assert getattr(asyncio.current_task(), "cancelling", int)() == 0
        assert not patient.done()
        simulator.heal()
        assert (await patient).status == "ok"
        assert simulator.counters.calls == 1

    run(main())


@pytest.mark.parametrize("late", [False, True])
def test_a_row_has_its_time_from_when_it_leaves(run: Any, make: Make, simulator: Simulator, late: bool) -> None:
    """A pause costs no row its answer, nor those that joined its call; from when it leaves the time runs for all of them."""
    orchestrator = make(timeout_seconds=1.0)

    async def main() -> None:
        orchestrator.pause()
        waiting = [asyncio.ensure_future(orchestrator.run_many(["p"])) for _ in range(2)]
        await asyncio.sleep(1.1)
        if late:
            simulator.fail("slow", delay_seconds=60)
        orchestrator.resume()
        rows = [(await batch)[0] for batch in waiting]
        if late:
            assert [type(row.error) for row in rows] == [CallTimeoutError, CallTimeoutError]
        else:
            assert sorted(row.status for row in rows) == ["cached", "ok"]

    run(main())


def test_a_cell_has_its_time_from_its_start(run: Any, make: Make, simulator: Simulator) -> None:
    """`run` ends when its time is up though the call never left, and says what it was waiting for; what joined it, too."""
    orchestrator = make(max_concurrent=1)

    async def main() -> None:
        await orchestrator.run("warm up")
        orchestrator.pause()
        began = time.monotonic()
        both = [asyncio.ensure_future(orchestrator.run("p", timeout_seconds=0.3)) for _ in range(2)]
        for error in await asyncio.gather(*both, return_exceptions=True):
            assert isinstance(error, CallTimeoutError)
            assert "0.3 s" in str(error)
            assert "paused" in str(error)
        assert time.monotonic() - began < 2
        orchestrator.resume()
        assert (await orchestrator.run("p")).status == "ok"

    run(main())
    assert simulator.counters.calls == 2


def test_who_joins_another_loops_call_waits_no_longer_than_he_said(make: Make, simulator: Simulator) -> None:
    """The same bound across threads, for a row from the moment in which the other loop's call leaves."""
    simulator.fail("slow", delay_seconds=60)
    orchestrator = make()
    orchestrator.pause()
    ended: List[Any] = []

    def patient() -> None:
        ended.append(asyncio.run(orchestrator.run("p", timeout_seconds=60)))

    other = threading.Thread(target=patient)
    other.start()

    async def main() -> None:
        await until(lambda: orchestrator.snapshot().queued == 1)
        row = asyncio.ensure_future(orchestrator.run_many(["p"], timeout_seconds=0.2))
        with pytest.raises(CallTimeoutError, match=r"0\.2 s"):
            await orchestrator.run("p", timeout_seconds=0.2)
        await asyncio.sleep(0.2)
        assert not row.done(), row.result()[0].error
        orchestrator.resume()
        error = (await row)[0].error
        assert isinstance(error, CallTimeoutError)
        assert "0.2 s" in str(error)

    asyncio.run(main())
    simulator.heal()
    other.join()
    assert [result.status for result in ended] == ["ok"]


@pytest.mark.parametrize("leaver", [0, 1])
def test_a_cancelled_waiter_leaves_the_others_their_answer(
    run: Any, make: Make, simulator: Simulator, leaver: int
) -> None:
    """Cancelling one of two who wait for the same answer, even the first, does not touch the other's."""
    simulator.fail("slow", delay_seconds=60)
    orchestrator = make()

    async def main() -> None:
        both = [asyncio.ensure_future(orchestrator.run("p")) for _ in range(2)]
        await until(lambda: simulator.counters.in_flight == 1)
        both[leaver].cancel()
        simulator.heal()
        assert (await both[1 - leaver]).text
        assert both[leaver].cancelled()

    run(main())
    assert (simulator.counters.calls, simulator.counters.aborted_by_client) == (1, 0)


# --- retries


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    "fault", [408, 409, "rate_limit", "server_error", 503, "overloaded", "drop", "cut", "stream_error"]
)
def test_what_time_mends_is_retried(run: Any, make: Make, simulator: Simulator, fault: Any, streaming: bool) -> None:
    """Time-outs, conflicts, limits, server failures and broken answers are retried; nothing is shown twice."""
    simulator.fail([fault], **SOON)
    orchestrator = make()
    partial = PartialAnswer() if streaming else None
    result = run(orchestrator.run("p", partial=partial))
    assert (result.status, result.attempts) == ("ok", 2)
    assert simulator.counters.calls == 2
    if partial is not None:
        assert partial.text == result.text


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("invalid_request", InvalidRequestError),
        ("authentication", AuthenticationError),
        ("permission", ClaudeForceError),
        (404, ClaudeForceError),
        (413, ClaudeForceError),
        (422, InvalidRequestError),
        ("spend_limit", SpendLimitError),
        ("billing", SpendLimitError),
    ],
)
def test_what_time_does_not_mend_is_not_retried(
    run: Any, make: Make, simulator: Simulator, fault: Any, error: Any
) -> None:
    """Refused requests, keys and spending are not retried, and the failure is not remembered."""
    simulator.fail([fault])
    orchestrator = make()
    with pytest.raises(error):
        run(orchestrator.run("p"))
    assert simulator.counters.calls == 1
    assert run(orchestrator.run("p")).status == "ok"


def test_retries_end(run: Any, make: Make, simulator: Simulator) -> None:
    """After max_retries further calls the true error is raised."""
    simulator.fail("overloaded", **SOON)
    with pytest.raises(OverloadedError):
        run(make(max_retries=2).run("p"))
    assert simulator.counters.calls == 3


def test_retry_after_is_obeyed_by_the_whole_family(run: Any, make: Make, simulator: Simulator) -> None:
    """After a 429 nothing of that model family is sent before retry-after is over, and all rows end well."""
    simulator.fail(["rate_limit"], retry_after_seconds=1)
    orchestrator = make(max_concurrent=4)
    batch = run(orchestrator.run_many(["a", "b", "c", "d", "e", "f", "g", "h"], model="haiku"))
    assert batch.counts["ok"] == 8
    assert simulator.counters.sent_inside_retry_after == 0
    assert simulator.counters.faults == {"rate_limit": 1}


def test_a_wait_that_cannot_help_is_not_made(run: Any, make: Make, simulator: Simulator) -> None:
    """A retry-after longer than the time that is left ends the call at once, with the reason instead of a time-out."""
    simulator.fail("rate_limit", retry_after_seconds=3600)
    with pytest.raises(RateLimitError) as raised:
        run(make().run("p", timeout_seconds=30))
    assert raised.value.retry_after_seconds == 3600


def test_real_limits_lose_nothing(run: Any, make: Make) -> None:
    """Against real token buckets every row is answered, and none is sent while the API said to wait."""
    with Simulator(requests_per_minute=1200, burst_seconds=1) as simulator:
        orchestrator = make(base_url=simulator.url)
        batch = run(orchestrator.run_many([f"p {number}" for number in range(40)], model="haiku"))
        assert batch.counts["ok"] == 40
        assert simulator.counters.sent_inside_retry_after == 0


# --- time


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("fault", ["hang", "silent"])
def test_timeout(run: Any, make: Make, simulator: Simulator, fault: str, streaming: bool) -> None:
    """A server that says nothing, or stops in the middle of a stream, is left when timeout_seconds are over."""
    orchestrator = make(timeout_seconds=0.5)

    async def main() -> None:
        await orchestrator.run("warm up", timeout_seconds=20)
        simulator.fail([fault])
        with pytest.raises(CallTimeoutError):
            await orchestrator.run("p", partial=PartialAnswer() if streaming else None)

    run(main())
    run(until_idle(simulator))
    assert simulator.counters.calls == 2
    assert run(orchestrator.run("p", timeout_seconds=20)).status == "ok"


async def until_idle(simulator: Simulator) -> None:
    await until(lambda: simulator.counters.in_flight == 0)


def test_timeout_includes_retries(run: Any, make: Make, simulator: Simulator) -> None:
    """The bound is on the call with its retries, not on each of them."""
    simulator.fail("overloaded", retry_after_seconds=0.05)
    with pytest.raises((CallTimeoutError, OverloadedError)):
        run(make(max_retries=1000).run("p", timeout_seconds=0.3))
    assert simulator.counters.calls < 10


def test_waiting_for_a_slot_is_not_part_of_the_call(run: Any, make: Make, simulator: Simulator) -> None:
    """timeout_seconds runs from when a call leaves: rows that wait their turn do not time out."""
    simulator.fail("slow", delay_seconds=0.6)
    batch = run(make(max_concurrent=1, timeout_seconds=1.7).run_many(["a", "b", "c"]))
    assert batch.counts["ok"] == 3


# --- many


def test_rows_keep_their_order(run: Any, make: Make, simulator: Simulator) -> None:
    """Whichever ends first, results are in input order, and on_result tells row by row."""
    simulator.fail("slow", contains="first", delay_seconds=1.5)
    told: List[int] = []
    orchestrator = make()
    prompts = ["first", "second", "third"]
    batch = run(orchestrator.run_many(prompts, on_result=lambda row, result: told.append(row)))
    assert sorted(told) == [0, 1, 2]
    assert told[-1] == 0
    expected = [run(orchestrator.run(prompt, cache="only")).text for prompt in prompts]
    assert batch.texts == expected
    assert batch.duration_seconds > 0


def test_sources(run: Any, make: Make, simulator: Simulator) -> None:
    """Lists, generators and asynchronous generators are read one by one, no faster than workers become free."""
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for number in range(20):
            taken += 1
            yield f"p{number}"

    async def slow_source() -> AsyncIterator[str]:
        for prompt in source():
            await asyncio.sleep(0)
            yield prompt

    ahead: List[int] = []
    orchestrator = make(max_concurrent=3)
    first = run(orchestrator.run_many(source(), on_result=lambda row, _: ahead.append(taken)))
    assert max(ahead[:10]) < 20
    again = run(orchestrator.run_many(slow_source()))
    assert again.texts == first.texts
    assert again.counts["cached"] == 20
    assert len(run(orchestrator.run_many([]))) == 0


def test_rows_that_cannot_be_sent(run: Any, make: Make, simulator: Simulator) -> None:
    """A row that is not a prompt, or empty, is not sent and says why; the others are answered, half a character replaced."""
    batch = run(make().run_many(["good", "", 5, "half \ud83d", "{{ literal }}"]))  # type: ignore[list-item]
    assert [row.status for row in batch] == ["ok", "failed", "failed", "ok", "ok"]
    assert [str(error)[:7] for error in batch.errors.values()] == ["row 1: ", "row 2: "]
    assert [type(error) for error in batch.errors.values()] == [EmptyPromptError, OptionError]
    assert simulator.counters.calls == 3


def test_rows_of_a_template(run: Any, make: Make, simulator: Simulator) -> None:
    """A row is a mapping of variables over those of the run; one whose prompt cannot be made fails alone, with its number."""
    orchestrator = make()
    rows = [{"text": "good", "mood": "calm"}, {"text": "bad"}, {"other": 1}, "plain"]
    batch = run(orchestrator.run_many(rows, template="Label {{ text }} as {{ mood }}", variables={"mood": "cross"}))
    assert [row.status for row in batch] == ["ok", "ok", "failed", "failed"]
    assert str(batch.errors[2]).startswith("row 2: 'text' in {{ text }} is not defined")
    assert batch[0] != batch[1]
    alone = orchestrator.request("Label {{ text }} as {{ mood }}", variables={"text": "bad", "mood": "cross"})
    assert batch[1].fingerprint == alone.fingerprint
    plain = run(orchestrator.run_many([3, "four"], template="Count to {{ item }}"))
    assert plain[0].fingerprint == orchestrator.request("Count to 3").fingerprint
    assert simulator.counters.calls == 4


def test_a_stream_keeps_no_rows(run: Any, make: Make, simulator: Simulator) -> None:
    """run_stream tells every row once and returns what became of them all, equal to the sums of the rows."""
    orchestrator = make()
    told: Dict[int, Any] = {}
    summary = run(orchestrator.run_stream(["a", "", "b", "a"], on_result=told.__setitem__))
    batch = run(orchestrator.run_many(["a", "", "b", "a"], cache="only"))
    assert sorted(told) == [0, 1, 2, 3]
    assert summary.counts == {"ok": 2, "cached": 1, "failed": 1, "not_sent": 0}
    assert len(summary) == 4
    assert summary.cost == sum(result.cost for result in told.values())
    assert (summary.input_tokens, summary.output_tokens) == (
        batch.usage.total_input_tokens,
        batch.usage.output_tokens,
    )
    assert [told[row].text for row in range(4)] == batch.texts


def test_a_run_may_be_narrower(run: Any, make: Make, simulator: Simulator) -> None:
    """max_concurrent of a run bounds it, below that of the orchestrator."""
    simulator.fail("slow", delay_seconds=0.05)
    batch = run(make(max_concurrent=10).run_many([f"p{number}" for number in range(8)], max_concurrent=2))
    assert batch.counts["ok"] == 8
    assert simulator.counters.most_in_flight == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"via": "bathces"}, OptionError),
        ({"max_concurrent": 0}, OptionError),
        ({"template": "{{ no end"}, TemplateError),
        ({"agent": "reviwer"}, UnknownAgentError),
        ({"model": "sonet"}, UnknownModelError),
        ({"max_token": 5}, OptionError),
        ({"cache": "onn"}, OptionError),
        ({"sample": 0}, OptionError),
        ({"thinking": 5000, "max_tokens": 100, "model": "claude-haiku-4-5"}, OptionError),
        ({"budget": "much"}, OptionError),
    ],
)
def test_wrong_options_end_a_run_before_it_begins(
    run: Any, make: Make, simulator: Simulator, options: Any, error: Any
) -> None:
    """What is wrong for all rows is one error before anything is taken from the source or sent."""
    source = iter(["a", "b"])
    with pytest.raises(error):
        run(make().run_many(source, **options))
    assert list(source) == ["a", "b"]
    assert simulator.counters.calls == 0


def test_a_single_text_is_not_a_list(run: Any, make: Make) -> None:
    """A text given to run_many is refused instead of being asked letter by letter."""
    with pytest.raises(OptionError, match="use run"):
        run(make().run_many("hello"))


def test_a_source_that_fails_ends_the_run(run: Any, make: Make, simulator: Simulator) -> None:
    """An error of the source is the run's; what was answered is in the cache, and nothing is left running."""

    def source() -> Iterator[str]:
        yield "a"
        yield "b"
        raise ZeroDivisionError

    orchestrator = make(max_concurrent=1)
    with pytest.raises(ZeroDivisionError):
        run(orchestrator.run_many(source()))
    assert run(orchestrator.run("b", cache="only")).cached


@pytest.mark.parametrize("fault", ["spend_limit", "billing", "authentication"])
def test_a_limit_of_the_account_ends_the_sending(run: Any, make: Make, simulator: Simulator, fault: str) -> None:
    """A spend limit or a refused key in the middle of a run keeps what is done and sends nothing more."""
    simulator.fail([None, None, None, fault])
    batch = run(make(max_concurrent=1).run_many(f"p{number}" for number in range(10)))
    assert [row.status for row in batch] == ["ok"] * 3 + ["failed"] + ["not_sent"] * 6
    assert simulator.counters.calls == 4
    assert all(type(error) is type(batch[3].error) for error in batch.errors.values())
    assert len(batch.errors) == 7


def test_one_failure_is_one_row(run: Any, make: Make, simulator: Simulator) -> None:
    """A row that the API refuses fails alone."""
    simulator.fail("invalid_request", contains="bad")
    batch = run(make().run_many(["a", "bad", "c"]))
    assert [row.status for row in batch] == ["ok", "failed", "ok"]
    assert isinstance(batch[1].error, InvalidRequestError)
    assert batch[1].fingerprint


@pytest.mark.parametrize("threads", [1, 2])
def test_max_concurrent(make: Make, threads: int) -> None:
    """Never more than max_concurrent calls are in flight at the server, from one loop or from two in two threads."""
    with Simulator(latency_seconds=0.02) as simulator:
        orchestrator = make(base_url=simulator.url, max_concurrent=3)
        results: List[Any] = []

        def body(name: str) -> None:
            results.append(asyncio.run(orchestrator.run_many(f"{name}{number}" for number in range(12))))

        running = [threading.Thread(target=body, args=(name,)) for name in "ab"[:threads]]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert [batch.counts["ok"] for batch in results] == [12] * threads
        assert simulator.counters.most_in_flight == 3


# --- stopping


def test_cancelling_a_run(run: Any, make: Make, simulator: Simulator) -> None:
    """A cancelled run leaves no task, no open call and no slot behind; what was answered is kept."""
    simulator.fail("hang", contains="hang")
    orchestrator = make(max_concurrent=4)

    async def main() -> None:
        before = asyncio.all_tasks()
        done: List[int] = []
        work = asyncio.ensure_future(
            orchestrator.run_many(
                ["a", "b", *(f"hang {n}" for n in range(9))], on_result=lambda row, _: done.append(row)
            )
        )
        await until(lambda: len(done) == 2 and simulator.counters.in_flight == 4)
        work.cancel()
        await asyncio.wait([work])
        assert work.cancelled()
        assert asyncio.all_tasks() == before
        await until_idle(simulator)
        assert (await orchestrator.run("a", cache="only")).cached
        simulator.heal()
        assert (await orchestrator.run_many(["c", "d", "e", "f", "g"])).counts["ok"] == 5
        await orchestrator.close()

    run(main())
    assert simulator.counters.aborted_by_client == 4


def test_cancelling_during_back_off(run: Any, make: Make, simulator: Simulator) -> None:
    """A call that waits for its next try is cancelled like any other."""
    simulator.fail("overloaded", retry_after_seconds=60)
    events: List[str] = []
    orchestrator = make(on_event=lambda event: events.append(event.kind))

    async def main() -> None:
        before = asyncio.all_tasks()
        work = asyncio.ensure_future(orchestrator.run("p"))
        await until(lambda: "retry" in events)
        work.cancel()
        await asyncio.wait([work])
        assert work.cancelled()
        assert asyncio.all_tasks() == before

    run(main())


def test_a_users_own_timeout(run: Any, make: Make, simulator: Simulator) -> None:
    """asyncio.wait_for around a call times out as everywhere, and the call leaves the server."""
    simulator.fail("hang")
    orchestrator = make()

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(orchestrator.run("p"), 0.1)
        await until_idle(simulator)

    run(main())


# Python's own word on the connection that nobody closed.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_is_closed_over_its_calls_keeps_no_slot(run: Any, make: Make, simulator: Simulator) -> None:
    """What was under way on a loop that is gone holds up nobody: its place and its turn go to the next caller."""
    simulator.fail(["hang"])
    orchestrator = make(max_concurrent=1, budget=1)
    gone = asyncio.new_event_loop()
    lost = [gone.create_task(orchestrator.run(f"lost {number}")) for number in range(3)]
    gone.run_until_complete(until(lambda: simulator.counters.in_flight == 1))
    for task in [*lost, *(flight.task for flight in orchestrator._answerer.flights._flights.values())]:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    gone.close()

    async def main() -> None:
        assert (await orchestrator.run("p")).status == "ok"
        assert orchestrator.snapshot().in_flight == 0
        # One call was sent, and may be billed.
        assert orchestrator.budget.reserved == 0
        await orchestrator.close()

    run(main())


def test_closed(run: Any, make: Make, simulator: Simulator) -> None:
    """After close() every further use is a TransportClosedError, a cached answer too; closing again does nothing."""

    async def main() -> None:
        async with make() as orchestrator:
            await orchestrator.run("p")
        for call in (orchestrator.run("p"), orchestrator.run("new"), orchestrator.run_many(["p"])):
            with pytest.raises(TransportClosedError):
                await call
        await orchestrator.close()

    run(main())
    assert simulator.counters.calls == 1


def test_closing_while_a_run_is_under_way(run: Any, make: Make, simulator: Simulator) -> None:
    """close() ends a run in the background: what is done is kept, the rest says that it was closed."""
    simulator.fail("hang", contains="hang")
    orchestrator = make(max_concurrent=2)

    async def main() -> None:
        work = asyncio.ensure_future(orchestrator.run_many(["a", "hang 1", "hang 2", "b", "c"]))
        await until(lambda: simulator.counters.completed == 1 and simulator.counters.in_flight == 2)
        await orchestrator.close()
        batch = await work
        assert [row.status for row in batch] == ["ok"] + ["not_sent"] * 4
        assert all(isinstance(error, TransportClosedError) for error in batch.errors.values())

    run(main())


# --- money


def test_the_budget_is_never_passed(run: Any, make: Make, simulator: Simulator) -> None:
    """With fifty calls at once, what the server billed stays within the budget, and what is refused was not sent."""
    orchestrator = make(max_concurrent=50, budget="0.02")
    prompts = (f"p{number}" for number in range(120))
    with pytest.warns(ClaudeForceWarning, match="of the \\$0.02 budget is spent"):
        batch = run(orchestrator.run_many(prompts, model="haiku", max_tokens=500))
    assert 0 < simulator.counters.dollars <= Decimal("0.02")
    assert batch.cost == simulator.counters.dollars == orchestrator.budget.spent
    assert batch.counts["ok"] == simulator.counters.completed
    assert all(isinstance(error, BudgetExceededError) for error in batch.errors.values())
    assert batch.counts["not_sent"] == len(batch.errors)
    assert orchestrator.budget.reserved == 0


def test_a_batchs_budget(run: Any, make: Make, simulator: Simulator) -> None:
    """budget= of a run bounds that run; answers from the cache cost nothing and still come."""
    orchestrator = make(max_concurrent=1)
    first = run(orchestrator.run_many(["a", "b"], model="haiku", max_tokens=500))
    assert first.cost is not None
    again = run(orchestrator.run_many(["a", "b", "c"], model="haiku", max_tokens=500, budget=0))
    assert [row.status for row in again] == ["cached", "cached", "not_sent"]


def test_lost_calls_count_as_spent(run: Any, make: Make, simulator: Simulator) -> None:
    """Where nobody can tell whether a call was billed, its worst case stays counted: the sum billed stays within the budget."""
    simulator.fail("lost")
    orchestrator = make(budget="0.0005", max_retries=100)
    with pytest.warns(ClaudeForceWarning, match="budget is spent"), pytest.raises(BrokenConnectionError):
        run(orchestrator.run("p", model="haiku", max_tokens=300))
    assert 0 < simulator.counters.dollars <= Decimal("0.0005")
    assert simulator.counters.calls == 2


def test_what_cannot_be_bounded_needs_no_budget(run: Any, make: Make, simulator: Simulator) -> None:
    """Content given by address may be of any length: with a budget it is refused, without one it is sent."""
    image = [
        {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]}
    ]
    with pytest.raises(BudgetExceededError):
        run(make(budget="100").run("p", body={"messages": image}))
    assert run(make().run("p", body={"messages": image})).status == "ok"


def test_the_ledger_has_what_was_paid(run: Any, make: Make, simulator: Simulator) -> None:
    """With faults of many kinds, rows, tokens and dollars of the ledger are those of the server's paid answers."""
    simulator.fail(["overloaded", "rate_limit", "drop", "server_error"], probability=0.3, times=40, seed=4, **SOON)
    orchestrator = make(max_concurrent=20, max_retries=20)
    prompts = [f"p{number % 100}" for number in range(130)]
    batch = run(orchestrator.run_many(prompts, model="haiku"))
    seen = simulator.counters
    assert batch.counts == {"ok": 100, "cached": 30, "failed": 0, "not_sent": 0}
    (row,) = ledger_rows(orchestrator)
    assert (row.calls, row.hits) == (seen.completed, 30) == (100, 30)
    assert (row.input_tokens, row.output_tokens, row.cost) == (seen.input_tokens, seen.output_tokens, seen.dollars)
    assert sum(seen.faults.values()) > 10


# --- what one sees


def test_events(run: Any, make: Make, simulator: Simulator) -> None:
    """on_event tells each step of a request in its order, with its evidence; one that fails harms nothing."""
    simulator.fail(["rate_limit", "overloaded"], **SOON)
    events: List[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        raise RuntimeError("the listener's own")

    orchestrator = make(on_event=on_event)
    result = run(orchestrator.run("p"))
    kinds = [event.kind for event in events]
    assert kinds == ["queued", "sent", "paused", "retry", "sent", "retry", "sent", "done"]
    assert [event.attempt for event in events] == [0, 1, 1, 1, 2, 2, 3, 3]
    assert {event.fingerprint for event in events} == {result.fingerprint}
    assert events == sorted(events, key=lambda event: event.at_seconds)
    assert isinstance(events[2].error, RateLimitError)
    assert events[2].delay_seconds >= 0.01
    assert events[-1].result == result
    events.clear()
    run(orchestrator.run("p"))
    simulator.fail(["invalid_request"])
    with pytest.raises(InvalidRequestError):
        run(orchestrator.run("q"))
    assert [event.kind for event in events] == ["hit", "queued", "sent", "failed"]


def test_request_is_what_run_sends(run: Any, make: Make, simulator: Simulator) -> None:
    """request() gives the very request that run() sends, and sends nothing itself."""
    orchestrator = make()
    options: Dict[str, Any] = {"agent": "reviewer", "model": "haiku", "variables": {"x": "a\nb"}, "temperature": 1}
    asked = orchestrator.request("Look: {{ x }}", **options)
    assert simulator.counters.calls == 0
    result = run(orchestrator.run("Look: {{ x }}", **options))
    assert result.fingerprint == asked.fingerprint
    assert simulator.requests[0].body == asked.body


@pytest.mark.parametrize(
    ("prompt", "options", "error"),
    [
        ("", {}, EmptyPromptError),
        (" \n\t", {}, EmptyPromptError),
        ("{{ x }}", {"variables": {"x": " "}}, EmptyPromptError),
        ("{{ y }}", {"variables": {}}, UndefinedNameError),
        ("p", {"agent": "reviwer"}, UnknownAgentError),
        ("p", {"model": "sonet"}, UnknownModelError),
        ("p", {"temprature": 1}, OptionError),
        (b"p", {}, OptionError),
    ],
)
def test_nothing_is_sent(run: Any, make: Make, simulator: Simulator, prompt: Any, options: Any, error: Any) -> None:
    """Errors in prompt or options are one line, before anything is sent."""
    with pytest.raises(error) as raised:
        run(make().run(prompt, **options))
    assert "\n" not in str(raised.value)
    assert simulator.counters.calls == 0


@pytest.mark.parametrize(
    "options",
    [{"max_concurrent": 0}, {"max_concurrent": 2.5}, {"max_retries": -1}, {"timeout_seconds": 0}, {"budget": "x"}],
    ids=str,
)
def test_bounds_of_the_constructor(make: Make, options: Dict[str, Any]) -> None:
    """A bound that cannot be is refused where it is given."""
    with pytest.raises(OptionError):
        make(**options)


def test_a_repr_without_secrets(make: Make) -> None:
    """The repr names the server and not the key."""
    shown = repr(make(api_key="sk-ant-secret-0123456789"))
    assert "127.0.0.1" in shown
    assert "secret" not in shown


def test_created_anywhere(make: Make, simulator: Simulator) -> None:
    """An orchestrator made without a loop, or in another one's time, works in every later loop."""
    orchestrator: Optional[AsyncAgentOrchestrator] = None

    async def create() -> None:
        nonlocal orchestrator
        orchestrator = make(max_concurrent=1)

    asyncio.run(create())
    assert orchestrator is not None
    for name in "ab":
        assert asyncio.run(orchestrator.run_many([name + "1", name + "2", name + "3"])).counts["ok"] == 3


def test_a_stream_is_cut_for_good(run: Any, make: Make, simulator: Simulator) -> None:
    """A stream that is cut each time ends as that error, with what was shown started over each time."""
    simulator.fail("cut", after_events=4)
    partial = PartialAnswer()
    with pytest.raises(StreamCutError):
        run(make(max_retries=1).run("p", partial=partial))
    assert simulator.counters.cut == 2
