"""Frames, bags and lists on real worker processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, List

import pytest
from support.redis_server import PROGRAM, RedisServer

from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.errors import OptionError, UndefinedNameError, UnknownAgentError
from claude_force_nb.simulator import Simulator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    # Older versions of distributed leave sockets of their loops to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
KEY = "sk-ant-api03-never-to-be-seen"


def settings(server: Simulator, tmp_path: Path, **more: Any) -> Any:
    from claude_force_nb.distributed import ClusterSettings

    given: Dict[str, Any] = {
        "base_url": server.url,
        "api_key": KEY,
        "ledger": Ledger(tmp_path / "ledger.db"),
        "cache_dir": str(tmp_path / "cache"),
        "cache_secret": "0123456789abcdef" * 4,
    }
    return ClusterSettings(**{**given, **more})


def frame_of(rows: int, partitions: int) -> Any:
    import dask.dataframe
    import pandas

    texts = [f"review {number}" for number in range(rows)]
    return dask.dataframe.from_pandas(
        pandas.DataFrame({"text": texts, "stars": range(rows)}), npartitions=partitions, sort=False
    )


def test_a_frame_a_bag_and_a_list(client: Any, server: Simulator, tmp_path: Path) -> None:
    """Each gives what run_many would, in the order of its rows; every call is in the client's ledger, and no more are in flight
    than allowed. The key is in no task, no log and no event."""
    import dask.bag

    from claude_force_nb.distributed import answer_bag, answer_frame, answer_list

    server.reset()
    chosen = settings(server, tmp_path, max_concurrent=6)
    before = server.counters.calls
    lazy = asyncio.run(answer_frame(frame_of(60, 5), "Rate {{ text }}", client=client, settings=chosen, model="haiku"))
    assert server.counters.calls == before
    assert KEY not in repr(lazy.dask) + repr(dict(lazy.dask))
    frame = lazy.compute()
    assert list(frame.columns) == ["text", "stars", "answer", "status", "stop_reason", "error", "cost"]
    assert frame.dtypes["cost"] == "float64"
    assert list(frame["stars"]) == list(range(60))
    assert set(frame["status"]) == {"ok"}
    assert all(f"review {number}”" in answer for number, answer in enumerate(frame["answer"]))

    bag = asyncio.run(
        answer_bag(dask.bag.from_sequence(["a", "b", "c"], npartitions=2), client=client, settings=chosen)
    )
    assert [result.status for result in bag.compute()] == ["ok"] * 3
    batch = asyncio.run(answer_list([f"item {number}" for number in range(40)], client=client, settings=chosen))
    assert [f"“item {number}”" in text for number, text in enumerate(batch.texts)] == [True] * 40

    assert server.counters.calls - before == 103
    assert server.counters.most_in_flight <= 6
    entries = list(chosen.ledger.entries(since=0.0))
    assert len(entries) == 103
    paid = sum((entry.cost for entry in entries), Decimal(0))
    assert paid == server.counters.dollars
    logs = repr(client.get_worker_logs()) + repr(client.get_scheduler_logs()) + repr(client.get_events())
    assert KEY not in logs


def test_errors_are_reported_before_anything_is_sent(client: Any, server: Simulator, tmp_path: Path) -> None:
    """A name that the frame does not have, an agent that nobody knows, an option of another kind, a conversation: one line each."""
    from claude_force_nb.distributed import answer_frame, answer_list

    chosen = settings(server, tmp_path)
    calls = server.counters.calls

    def refused(kind: type, words: str, template: str, **options: Any) -> None:
        with pytest.raises(kind, match=words):
            asyncio.run(answer_frame(frame_of(4, 2), template, client=client, settings=chosen, **options))

    refused(UndefinedNameError, "did you mean 'text'", "Rate {{ txt }}")
    refused(UnknownAgentError, "reviwer", "Rate {{ text }}", agent="reviwer")
    refused(OptionError, "did you mean 'model'", "Rate {{ text }}", modle="haiku")
    refused(OptionError, "a conversation needs its prompts in order", "Rate {{ text }}", use_memory=True)
    with pytest.raises(OptionError, match="needs a Client"):
        asyncio.run(answer_list(["a"], settings=chosen, client=object()))
    assert server.counters.calls == calls


def test_the_budget_of_the_whole_is_kept(client: Any, server: Simulator, tmp_path: Path) -> None:
    """Two workers spend from one budget, and no more than it has; what does not fit is not sent."""
    from claude_force_nb.distributed import answer_list

    chosen = settings(server, tmp_path, max_concurrent=8)
    dollars = server.counters.dollars
    prompts = [f"word {number}" for number in range(120)]
    options: Dict[str, Any] = {"model": "haiku", "max_tokens": 300, "thinking": "off"}
    batch = asyncio.run(answer_list(prompts, client=client, settings=chosen, budget="0.002", **options))
    spent = server.counters.dollars - dollars
    assert spent <= Decimal("0.002")
    assert spent == batch.cost
    # What is left at the end is less than the worst case of a single call, 300 tokens of output.
    assert spent > Decimal("0.0016")
    assert batch.counts["ok"] + batch.counts["not_sent"] == 120
    assert batch.counts["not_sent"] > 0
    assert "budget" in str(next(iter(batch.errors.values())))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.exhaustive)])
def test_killed_workers_lose_no_row(start_cluster: Any, server: Simulator, tmp_path: Path, kills: int) -> None:
    """Workers are killed at random points of a run: all rows come in the end, and only calls in flight are paid again."""
    from claude_force_nb.distributed import answer_list

    chance = random.Random(19)
    points = sorted(chance.sample(range(10, 360), kills))
    with start_cluster(2) as (cluster, client):
        chosen = settings(server, tmp_path, max_concurrent=6)
        before = server.counters.calls
        prompts = [f"again {kills} {number}" for number in range(400)]
        killed: List[int] = []

        def kill() -> None:
            for point in points:
                alive: List[int] = []
                while server.counters.calls < before + point or not alive:
                    if done.is_set():
                        return
                    time.sleep(0.005)
                    # Not those that are just starting: Dask does not always start another one in the place of these.
                    alive = [
                        nanny.pid
                        for nanny in cluster.workers.values()
                        if nanny.pid not in (None, *killed) and nanny.process.status.name == "running"
                    ]
                killed.append(chance.choice(alive))
                os.kill(killed[-1], signal.SIGKILL)

        done = threading.Event()
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            batch = asyncio.run(answer_list(prompts, client=client, settings=chosen, model="haiku"))
        finally:
            done.set()
            killer.join()
        assert len(killed) == kills
        assert batch.counts.complete == 400
        assert all(f"“again {kills} {number}”" in text for number, text in enumerate(batch.texts))
        assert server.counters.calls - before <= 400 + 6 * len(killed)


@pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed")
def test_redis_is_killed_and_comes_back(client: Any, server: Simulator, tmp_path: Path) -> None:
    """Answers go on without it, each prompt is paid once, and what is answered after it is back is there for others."""
    pytest.importorskip("redis", reason="redis-py is not installed")
    from claude_force_nb.distributed import answer_list

    redis = RedisServer()
    redis.start()
    try:
        chosen = settings(server, tmp_path, max_concurrent=2, cache_url=redis.url)
        prompts = [f"shared {number}" for number in range(160)]
        before = server.counters.calls

        def fail_and_heal() -> None:
            for point, act in ((30, redis.stop), (60, redis.start)):
                while server.counters.calls < before + point:
                    time.sleep(0.005)
                act()

        failing = threading.Thread(target=fail_and_heal)
        failing.start()
        batch = asyncio.run(answer_list(prompts, client=client, settings=chosen, model="haiku"))
        failing.join()
        assert batch.counts.complete == 160
        assert server.counters.calls - before == 160
        elsewhere = settings(server, tmp_path, cache_url=redis.url, cache_dir=str(tmp_path / "another machine"))
        again = asyncio.run(answer_list(prompts, client=client, settings=elsewhere, model="haiku"))
        assert again.counts.complete == 160
        assert again.counts["cached"] > 0
    finally:
        redis.stop()


def test_stop_ends_all_workers(client: Any, server: Simulator, tmp_path: Path) -> None:
    """A cancelled run stops on every worker at once, and a rerun pays for the rest only."""
    from claude_force_nb.distributed import answer_list

    chosen = settings(server, tmp_path, max_concurrent=4)
    before = server.counters.calls
    prompts = [f"stopped {number}" for number in range(200)]

    async def stopped() -> None:
        run = asyncio.ensure_future(answer_list(prompts, client=client, settings=chosen, model="haiku"))
        while server.counters.calls - before < 30:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        run.cancel()
        await asyncio.wait([run])
        assert run.cancelled()

    asyncio.run(stopped())
    sent = server.counters.calls
    while server.counters.in_flight:
        time.sleep(0.01)
    time.sleep(1.0)
    assert server.counters.calls - sent <= 4
    assert server.counters.in_flight == 0
    paid = server.counters.completed
    batch = asyncio.run(answer_list(prompts, client=client, settings=chosen, model="haiku"))
    assert batch.counts.complete == 200
    assert batch.counts["cached"] >= 20
    assert server.counters.completed - paid == batch.counts["ok"]


def test_a_scheduler_that_ends_is_one_line(start_cluster: Any, server: Simulator, tmp_path: Path) -> None:
    """The run says so, and what was answered is not asked again on another cluster."""
    from claude_force_nb.distributed import answer_list
    from claude_force_nb.errors import ClaudeForceError

    chosen = settings(server, tmp_path, max_concurrent=4)
    prompts = [f"lost {number}" for number in range(150)]
    before = server.counters.calls
    with start_cluster(1) as (cluster, client):

        async def lost() -> str:
            run = asyncio.ensure_future(answer_list(prompts, client=client, settings=chosen, model="haiku"))
            while server.counters.calls - before < 30 and not run.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.get_running_loop().run_in_executor(None, cluster.close)
            with pytest.raises(ClaudeForceError) as raised:
                await run
            return str(raised.value)

        line = asyncio.run(lost())
        assert "the cluster" in line
        assert "run again" in line
    with start_cluster(1) as (_, client):
        batch = asyncio.run(answer_list(prompts, client=client, settings=chosen, model="haiku"))
        assert batch.counts.complete == 150
        assert batch.counts["cached"] >= 20
