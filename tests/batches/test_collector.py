"""Results are processed exactly once, whatever the server sends."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from aiohttp import web
from support.batch_server import BatchServer, answered
from support.batches import JOB, OWNER, QUICK, ask, request
from support.transports import transport

from claude_force_nb.api.batches import ApiBatches
from claude_force_nb.api.reading import Pace
from claude_force_nb.batches.collector import Collector
from claude_force_nb.batches.polling import Backoff, PollSchedule
from claude_force_nb.batches.store import JobStore
from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.errors import (
    CallTimeoutError,
    InvalidRequestError,
    JobError,
    NotAnsweredError,
)


def test_rows_are_found_again_whatever_comes_back(simulator: Any, build: Any, run: Any) -> None:
    """Errored, expired, missing, repeated and unknown rows, in any order: each row has its true outcome, and only answers cost."""
    simulator.fail("invalid_request", endpoint="batch_item", contains="wrong")
    simulator.fail("expired", endpoint="batch_item", contains="late")
    simulator.fail("missing", endpoint="batch_item", contains="gone")
    simulator.fail("duplicate", endpoint="batch_item", contains="twice")
    simulator.fail("unknown", endpoint="batch_item", contains="strange")
    prompts = ["fine", "wrong", "late", "gone", "twice", "strange"] + [f"row {number}" for number in range(30)]

    async def main() -> None:
        async with build() as orchestrator:
            batch = await ask(orchestrator, prompts)
            by_name = dict(zip(prompts, batch))
            assert isinstance(by_name["wrong"].error, InvalidRequestError)
            assert by_name["wrong"].error.status == 400
            assert by_name["wrong"].status == "failed"
            assert by_name["late"].status == "not_sent"
            assert isinstance(by_name["late"].error, NotAnsweredError)
            assert by_name["gone"].status == "failed"
            assert "no line" in str(by_name["gone"].error)
            assert by_name["twice"].status == by_name["fine"].status == "ok"
            assert batch.counts == {"ok": 33, "cached": 0, "failed": 2, "not_sent": 1}
            direct = await orchestrator.run_many(prompts[6:9], model="haiku", max_tokens=50, thinking="off")
            assert direct.texts == batch.texts[6:9]
            simulator.heal()
            again = await ask(orchestrator, prompts)
            assert again.counts == {"ok": 3, "cached": 33, "failed": 0, "not_sent": 0}

    run(main())


def test_polling_survives_every_failure_and_honours_retry_after(simulator: Any, build: Any, run: Any) -> None:
    """Errors, broken connections, pages of HTML and a cut download cost time, never rows or money."""
    simulator.fail([500, "overloaded", "drop", "html", "truncated_json", "authentication"], endpoint="batch_poll")
    simulator.fail(["rate_limit"], endpoint="batch_poll", retry_after_seconds=0.5)
    simulator.fail(["cut", "server_error", "drop"], endpoint="batch_results")
    simulator.fail(["overloaded"], endpoint="batch_create")
    simulator.fail(["server_error"], endpoint="batch_list")

    async def main() -> None:
        async with build() as orchestrator:
            started = asyncio.get_running_loop().time()
            batch = await ask(orchestrator, [str(number) for number in range(300)])
            assert asyncio.get_running_loop().time() - started >= 0.5
            assert batch.counts["ok"] == 300
            assert batch.cost == orchestrator.ledger.total().cost == simulator.counters.dollars
            assert orchestrator.ledger.total().calls == 300
        assert simulator.counters.completed == 300

    run(main())


@pytest.mark.parametrize("endpoint", ["batch_poll", "batch_results"])
@pytest.mark.parametrize("status", [403, 404])
def test_a_batch_that_the_key_cannot_see_ends_its_rows_and_keeps_the_job(
    simulator: Any, build: Any, run: Any, status: int, endpoint: str
) -> None:
    """Nothing is sent again behind the user's back: the rows say that they were sent and may cost something, and the job waits for the right key."""

    async def main() -> None:
        async with build() as orchestrator:
            simulator.fail(status, endpoint=endpoint)
            batch = await ask(orchestrator, ["a", "b", "a"])
            assert [(row.status, row.cost) for row in batch] == [("failed", None)] * 3
            assert batch.cost is None
            line = str(batch[0].error)
            assert isinstance(batch[0].error, JobError)
            assert "\n" not in line
            assert "were sent and may be billed: run again with a key of the workspace that sent them" in line
            simulator.heal()
            again = await ask(orchestrator, ["a", "b", "a"])
            assert again.counts["ok"] == 2
            assert simulator.counters.completed == 2

    run(main())


def test_a_batch_that_nobody_can_see_is_forgotten_and_sent_anew(simulator: Any, build: Any, run: Any) -> None:
    """What the line says to do is enough: the message batch is named, and once forgotten its rows are free."""

    async def main() -> None:
        async with build() as orchestrator:
            simulator.fail(404, endpoint="batch_poll")
            line = str((await ask(orchestrator, ["a"]))[0].error)
            orchestrator.message_batches.forget(line.split("%claude_jobs forget ")[1].split()[0])
            simulator.heal()
            again = await ask(orchestrator, ["a"])
            assert again[0].status == "ok"
            assert simulator.counters.completed == 2

    run(main())


@pytest.fixture
def collect(tmp_path: Path, serve: Any) -> Callable[..., Any]:
    """``collect(server, lines)`` gives what became of three requests whose batch has these lines, and the part afterwards."""

    def make(
        server: BatchServer,
        run: Any,
        *,
        read: bool = False,
        prompts: Any = ("a", "b", "c"),
        schedule: PollSchedule = QUICK,
    ) -> Any:
        url = serve(server.handle)
        store = JobStore(tmp_path / "jobs.db")
        prints = [bytes.fromhex(request(prompt).fingerprint) for prompt in prompts]
        server.add("msgbatch_x", len(prints))
        part, _ = store.plan(JOB, prints, OWNER, None)
        assert part is not None
        store.mark_sent(part.number, "msgbatch_x")
        sent = store.part(part.number)
        got: Dict[bytes, Any] = {}

        def deliver(fingerprint: bytes, result: Any, paid: bool) -> None:
            assert fingerprint not in got
            got[fingerprint] = (result, paid)

        async def main() -> None:
            way = transport(url)
            collector = Collector(ApiBatches(way), store, load_prices(), None, schedule)
            if read:
                await collector.read("msgbatch_x", JOB, set(prints), deliver)
            else:
                await collector.account(sent, JOB, None, deliver)
            await way.close()

        run(main())
        after = store.part(part.number)
        store.close()
        return [got[each] for each in prints], after

    return make


def fingerprint(prompt: str) -> str:
    return request(prompt).fingerprint


def test_missing_rows_are_downloaded_again(run: Any, collect: Any, monkeypatch: Any) -> None:
    """A later download has the row that the first one lacked; rows of the first are processed only once."""
    server = BatchServer()
    lines = [answered(fingerprint(prompt), prompt) for prompt in "abc"]
    times: List[float] = []

    def results_of_now() -> List[Any]:
        times.append(time.monotonic())
        return lines[: 2 if len(times) == 1 else 3]

    server.results["msgbatch_x"] = results_of_now
    # Each wait is as short as it may be: a tenth of its cap.
    monkeypatch.setattr("claude_force_nb.batches.collector.Backoff", partial(Backoff, draw=lambda: 0.0))
    results, part = collect(server, run, schedule=PollSchedule(first_seconds=0.5, longest_seconds=0.5))
    assert times[1] - times[0] >= 0.05
    assert [result.text for result, paid in results if paid] == ["a", "b", "c"]
    assert len(server.downloads) == 2
    assert (part.succeeded, part.failed, part.unanswered) == (3, 0, 0)


@pytest.mark.parametrize("read", [False, True], ids=["accounted", "read"])
def test_a_row_that_is_absent_fails_alone(run: Any, collect: Any, read: bool) -> None:
    """After three downloads a missing row is counted as failed; it may have been answered, so that its cost is not known."""
    server = BatchServer()
    server.results["msgbatch_x"] = lambda: [answered(fingerprint(prompt), prompt) for prompt in "ac"]
    results, part = collect(server, run, read=read)
    assert [result.status for result, _ in results] == ["ok", "failed", "ok"]
    assert "no line" in str(results[1][0].error)
    assert results[1][0].fingerprint == fingerprint("b")
    assert [result.cost is None for result, _ in results] == [False, True, False]
    assert len(server.downloads) == 3
    if not read:
        assert (part.state, part.succeeded, part.failed, part.unanswered) == ("collected", 2, 1, 0)
        assert part.cost is None


def test_what_became_of_each_row_is_counted(run: Any, collect: Any) -> None:
    """Succeeded, failed and unanswered; a refusal succeeded and is billed, a message that nobody can read is of unknown cost."""
    server = BatchServer()
    refused = answered(fingerprint("b"), "no", stop_reason="refusal")
    kinds = [
        answered(fingerprint("a")),
        refused,
        {"custom_id": fingerprint("c"), "result": {"type": "canceled"}},
        {"custom_id": fingerprint("d"), "result": {"type": "expired"}},
        {"custom_id": fingerprint("e"), "result": {"type": "expired"}},
        {"custom_id": fingerprint("f"), "result": {"type": "errored", "error": {"error": {"type": "api_error"}}}},
    ]
    server.results["msgbatch_x"] = lambda: kinds
    results, part = collect(server, run, prompts="abcdef")
    assert [result.status for result, _ in results] == ["ok", "refused", "stopped", "not_sent", "not_sent", "failed"]
    assert [paid for _, paid in results] == [True, True, False, False, False, False]
    assert (part.succeeded, part.failed, part.unanswered) == (2, 1, 3)
    assert part.cost == results[0][0].cost + results[1][0].cost > 0


def test_an_unreadable_answer_fails_its_row_at_unknown_cost(run: Any, collect: Any) -> None:
    """An unreadable answer was billed nevertheless."""
    server = BatchServer()
    broken = {"custom_id": fingerprint("b"), "result": {"type": "succeeded", "message": "?"}}
    server.results["msgbatch_x"] = lambda: [answered(fingerprint("a")), broken, answered(fingerprint("c"))]
    results, part = collect(server, run)
    assert [(result.status, paid) for result, paid in results] == [("ok", True), ("failed", False), ("ok", True)]
    assert (part.succeeded, part.failed, part.cost) == (2, 1, None)


def test_an_answer_wins_over_an_earlier_failure_of_its_row(run: Any, collect: Any) -> None:
    """The order of lines does not matter, and each row ends once."""
    server = BatchServer()
    expired = [{"custom_id": fingerprint(each), "result": {"type": "expired"}} for each in "abc"]
    lines = [*expired, answered(fingerprint("b"), "late"), answered(fingerprint("b"), "again"), expired[1]]
    server.results["msgbatch_x"] = lambda: lines
    results, part = collect(server, run)
    assert [result.text for result, _ in results] == ["", "late", ""]
    assert len(server.downloads) == 1
    assert (part.succeeded, part.unanswered) == (1, 2)


def test_between_two_looks_there_is_as_long_as_the_api_asked_for(run: Any, tmp_path: Path, serve: Any) -> None:
    """A batch in progress is not polled more often than the API asked."""
    server = BatchServer()
    looks: List[float] = []

    async def handle(incoming: web.Request) -> web.StreamResponse:
        looks.append(time.monotonic())
        answer = await server.handle(incoming)
        answer.headers["retry-after"] = "0.05"
        batch["processing_status"] = "ended"  # from the second look on
        return answer

    batch = server.add("msgbatch_x", 1, ended=False)
    url = serve(handle)

    async def main() -> None:
        way = transport(url)
        store = JobStore(tmp_path / "jobs.db")
        info = await Collector(ApiBatches(way), store, load_prices(), None, QUICK).wait_until_ended("msgbatch_x")
        assert (info.id, info.ended) == ("msgbatch_x", True)
        await way.close()

    run(main())
    assert len(looks) == 2
    assert looks[1] - looks[0] >= 0.05


def test_unusable_lines_fail_only_their_own_rows(run: Any, collect: Any, monkeypatch: Any) -> None:
    """Nested, endless or half lines are passed over; the other rows have their answers."""
    monkeypatch.setattr("claude_force_nb.api.batches._MOST_LINE_BYTES", 5000)
    server = BatchServer()
    deep: Any = []
    for _ in range(150):
        deep = [deep]
    server.results["msgbatch_x"] = lambda: [
        deep,
        answered(fingerprint("b"), "x" * 10_000),
        {"custom_id": fingerprint("b"), "result": {"n": int("9" * 1000)}},
        answered(fingerprint("a")),
        answered(fingerprint("c")),
    ]
    results, _ = collect(server, run)
    assert [result.status for result, _ in results] == ["ok", "failed", "ok"]


class SlowServer(BatchServer):
    """Sends its results line by line, with pauses."""

    def __init__(self, pause_seconds: float, *, endless: bytes = b"") -> None:
        super().__init__()
        self.pause_seconds = pause_seconds
        self.endless = endless

    async def handle(self, incoming: web.Request) -> web.StreamResponse:
        """Answer one call."""
        if not incoming.path.endswith("/results"):
            return await super().handle(incoming)
        self.downloads.append("msgbatch_x")
        response = web.StreamResponse()
        await response.prepare(incoming)
        for line in self.results["msgbatch_x"]():
            await response.write(json.dumps(line).encode() + b"\n")
            await asyncio.sleep(self.pause_seconds)
        while self.endless:
            await response.write(self.endless)
            await asyncio.sleep(self.pause_seconds)
        return response


@pytest.mark.parametrize(
    "endless",
    [
        b" ",
        pytest.param(b"\n", marks=pytest.mark.slow),
        pytest.param(b'{"custom_id": "another"}\n', marks=pytest.mark.slow),
    ],
)
def test_a_trickle_of_results_ends(run: Any, collect: Any, monkeypatch: Any, endless: bytes) -> None:
    """A server that sends a byte now and then blocks nothing: after three futile downloads the job is put off."""
    monkeypatch.setattr("claude_force_nb.api.batches._PACE", Pace(least_bytes=2000, seconds=0.3))
    server = SlowServer(0.05, endless=endless)
    server.results["msgbatch_x"] = list
    began = time.monotonic()
    with pytest.raises(JobError, match=r"sent \d+ bytes in \d s.*run again to collect it"):
        collect(server, run)
    assert len(server.downloads) == 3
    assert time.monotonic() - began < 10


def test_a_trickle_keeps_what_it_brought(run: Any, collect: Any, monkeypatch: Any) -> None:
    """Rows that arrived before the trickle are kept, and downloads that bring new rows do not count as fruitless."""
    monkeypatch.setattr("claude_force_nb.api.batches._PACE", Pace(least_bytes=2000, seconds=0.2))
    server = SlowServer(0.0, endless=b" ")
    lines = [answered(fingerprint(prompt), prompt) for prompt in "abc"]
    server.results["msgbatch_x"] = lambda: lines[: len(server.downloads)]
    server.pause_seconds = 0.05
    results, _ = collect(server, run)
    assert [result.text for result, paid in results if paid] == ["a", "b", "c"]


def test_a_slow_and_honest_download_is_read_to_its_end(run: Any, collect: Any, monkeypatch: Any) -> None:
    """Many times the bound of one wait may pass in all, as long as enough arrives in each."""
    monkeypatch.setattr("claude_force_nb.api.batches._PACE", Pace(least_bytes=100, seconds=0.1))
    server = SlowServer(0.06)
    filler = [answered("ab" * 32, "x" * 200) for _ in range(10)]
    server.results["msgbatch_x"] = lambda: filler + [answered(fingerprint(prompt), prompt) for prompt in "abc"]
    results, _ = collect(server, run)
    assert [result.text for result, _ in results] == ["a", "b", "c"]
    assert len(server.downloads) == 1


def test_more_lines_than_a_batch_has(run: Any, collect: Any, monkeypatch: Any) -> None:
    """Lines without end, however fast, end the download; the rows that came before are kept."""
    monkeypatch.setattr("claude_force_nb.api.batches._MOST_LINES", 1000)
    server = SlowServer(0.0, endless=b"\n" * 100)
    server.results["msgbatch_x"] = list
    with pytest.raises(JobError, match="more than 1,000 lines"):
        collect(server, run)


@pytest.mark.slow
def test_a_trickle_instead_of_a_batch_ends(run: Any, serve: Any, monkeypatch: Any) -> None:
    """Status responses and refusals have a time limit, like results."""
    monkeypatch.setattr("claude_force_nb.api.batches._PACE", Pace(least_bytes=2000, seconds=0.3))
    monkeypatch.setattr("claude_force_nb.api.reading.SLOWEST", Pace(least_bytes=2000, seconds=0.3))
    status = 200

    async def trickle(incoming: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(incoming)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    async def main() -> None:
        nonlocal status
        way = transport(serve(trickle))
        api = ApiBatches(way)
        for call in (lambda: api.retrieve("msgbatch_x"), lambda: api.recent(limit=5), lambda: api.cancel("msgbatch_x")):
            with pytest.raises(CallTimeoutError, match="which is too slow to finish"):
                await asyncio.wait_for(call(), 10)
        status = 400
        with pytest.raises(InvalidRequestError):
            await asyncio.wait_for(api.retrieve("msgbatch_x"), 10)
        await way.close()

    run(main())
