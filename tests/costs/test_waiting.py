"""A call that fits once others are settled waits for them, and one that never will is refused at once."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import Any, Callable, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.costs.budget import Budget, BudgetGroup, DailyBudget, reserve_in_turn
from claude_force_nb.costs.waiting import Waiter, WaitingQueue
from claude_force_nb.errors import BudgetExceededError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.filterwarnings("ignore:.*budget is spent")
D = Decimal
MODEL = "claude-haiku-4-5"
Make = Callable[..., AsyncAgentOrchestrator]


async def rounds(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_it_waits_for_what_is_under_way(run: Any) -> None:
    """Where the rest would suffice if the others cost nothing, it waits; what they really cost decides."""

    async def main() -> None:
        group = BudgetGroup([Budget("1")])
        first = await reserve_in_turn(group, D("0.8"))
        second = asyncio.ensure_future(reserve_in_turn(group, D("0.5")))
        third = asyncio.ensure_future(reserve_in_turn(group, D("0.6")))
        await rounds()
        assert not second.done()
        first.settle(D("0.3"))
        assert (await second).amount == D("0.5")
        await rounds()
        assert not third.done()
        second.result().settle(D("0.4"))
        with pytest.raises(BudgetExceededError, match=r"needs up to \$0.6000 but \$0.3000"):
            await third
        assert group.budgets[0].reserved == 0

    run(main())


def test_what_can_never_fit_is_refused_at_once(run: Any) -> None:
    """A call that waiting cannot help is refused."""

    async def main() -> None:
        budget = Budget("1")
        await reserve_in_turn(BudgetGroup([budget]), D("0.8"))
        with pytest.raises(BudgetExceededError):
            await asyncio.wait_for(reserve_in_turn(BudgetGroup([budget]), D("1.1")), 5)
        # A job of hours is not waited for.
        other = Budget("1")
        other.reserve(D("0.8"))
        with pytest.raises(BudgetExceededError):
            await asyncio.wait_for(reserve_in_turn(BudgetGroup([other]), D("0.5")), 5)

    run(main())


def test_first_come_first_served_and_a_cancelled_one_lets_the_next_in(run: Any) -> None:
    """A dear call is not passed by cheap ones; where it gives up, those behind it go on."""

    async def main() -> None:
        budget = Budget("1")
        group = BudgetGroup([budget])
        first = await reserve_in_turn(group, D("0.9"))
        dear = asyncio.ensure_future(reserve_in_turn(group, D("0.8")))
        await rounds()
        cheap = [asyncio.ensure_future(reserve_in_turn(group, D("0.05"))) for _ in range(2)]
        await rounds()
        assert not any(task.done() for task in [dear, *cheap])
        dear.cancel()
        await rounds()
        assert all(task.done() for task in cheap)
        assert len(budget.queue) == 0
        first.release()

    run(main())


def test_a_raised_limit_lets_them_go(run: Any) -> None:
    """Setting a higher limit lets waiting calls proceed."""

    async def main() -> None:
        budget = Budget("1")
        await reserve_in_turn(BudgetGroup([budget]), D("0.9"))
        waiting = asyncio.ensure_future(reserve_in_turn(BudgetGroup([budget]), D("0.5")))
        await rounds()
        budget.limit = D(2)
        assert (await waiting).amount == D("0.5")

    run(main())


def test_who_waits_on_a_loop_that_is_gone_is_passed_over(run: Any) -> None:
    """The queue goes on with the next one, whether it is asked who is first or told to wake somebody."""
    queue = WaitingQueue()

    async def join() -> Waiter:
        return queue.join()

    def leave_dead_ones() -> None:
        gone = asyncio.new_event_loop()
        for _ in range(2):
            dead = gone.run_until_complete(join())
        gone.close()
        dead.wake()  # does nothing, and raises nothing

    leave_dead_ones()
    other = asyncio.new_event_loop()
    waiter = other.run_until_complete(join())
    assert (len(queue), queue.is_first(waiter), len(queue)) == (3, True, 1)
    queue.leave(waiter)
    other.close()
    leave_dead_ones()

    async def main() -> None:
        first, second = queue.join(), queue.join()
        assert len(queue) == 4
        queue.wake_first()
        assert len(queue) == 2
        await asyncio.wait_for(first.wait(), 5)
        assert (queue.is_first(first), queue.is_first(second)) == (True, False)
        queue.leave(first)
        await asyncio.wait_for(second.wait(), 5)
        assert queue.is_first(second)
        again = asyncio.ensure_future(second.wait())  # woken once, it waits anew
        await rounds()
        assert not again.done()
        again.cancel()
        queue.leave(second)
        queue.leave(second)
        assert (len(queue), queue.is_first(second)) == (0, False)
        queue.wake_first()

    run(main())


def test_it_waits_for_this_process_and_not_for_others(run: Any, tmp_path: Any) -> None:
    """What another kernel has reserved may never be settled: it counts as spent. What is our own is waited for."""
    path = tmp_path / "ledger.db"
    ours, theirs = DailyBudget(1, path), DailyBudget(1, path)

    async def main() -> None:
        group = BudgetGroup([Budget(None), ours])
        mine = await reserve_in_turn(group, D("0.3"))
        theirs.reserve(D("0.5"), in_flight=True)
        with pytest.raises(BudgetExceededError):
            await reserve_in_turn(group, D("0.6"))
        waiting = asyncio.ensure_future(reserve_in_turn(group, D("0.4")))
        await rounds()
        assert not waiting.done()
        mine.settle(D("0.1"))
        assert (await waiting).amount == D("0.4")

    run(main())
    ours.close()
    theirs.close()


@given(
    amounts=st.lists(st.integers(1, 60).map(lambda number: D(number) / 100), min_size=1, max_size=60),
    shares=st.lists(st.integers(0, 4), min_size=1, max_size=10),
    limits=st.tuples(st.integers(50, 300), st.integers(50, 300)).map(lambda pair: [D(each) / 100 for each in pair]),
    threads=st.integers(1, 3),
)
def test_whatever_the_order_all_end_and_no_limit_is_passed(
    amounts: List[Decimal], shares: List[int], limits: List[Decimal], threads: int
) -> None:
    """On several loops at once each caller gets its money or a refusal, nobody hangs, and the sums stay under both limits."""
    budgets = [Budget(limit) for limit in limits]
    refused: List[Decimal] = []
    broken: List[BaseException] = []

    async def one(number: int, amount: Decimal) -> None:
        group = BudgetGroup(budgets if number % 3 else budgets[:1])
        try:
            reservation = await reserve_in_turn(group, amount)
        except BudgetExceededError:
            refused.append(amount)
            return
        assert all(budget.spent + budget.reserved <= budget.limit for budget in group.budgets if budget.limit)
        await rounds(number % 4)
        reservation.settle(amount * shares[number % len(shares)] / 4)

    async def some(part: int) -> None:
        mine = [one(number, amount) for number, amount in enumerate(amounts) if number % threads == part]
        await asyncio.wait_for(asyncio.gather(*mine), 60)

    def loop(part: int) -> None:
        try:
            asyncio.run(some(part))
        except BaseException as error:
            broken.append(error)

    workers = [threading.Thread(target=loop, args=(part,)) for part in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert broken == []
    for budget in budgets:
        assert budget.reserved == 0
        assert len(budget.queue) == 0
        assert budget.limit is not None
        assert budget.spent <= budget.limit
    # Refused only what does not fit now either: money never shrinks what was spent.
    for amount in refused:
        assert any(amount > budget.left for budget in budgets if budget.left is not None)


def test_a_tight_batch_answers_every_row_that_its_money_allows(run: Any, make: Make, simulator: Simulator) -> None:
    """Twenty at a time reserve far more than they cost; all rows are answered, since they wait for each other."""
    rows = [f"Count the letters of row {number}" for number in range(60)]
    free = run(make(ledger=None).run_many(rows, model=MODEL, max_tokens=1000, cache="off"))
    assert free.counts["ok"] == 60
    # One worst case is about $0.0055; what all sixty cost, and one and a half worst cases.
    budget = free.cost + D("0.008")
    orchestrator = make(max_concurrent=20)
    batch = run(orchestrator.run_many(rows, model=MODEL, max_tokens=1000, budget=budget, cache="off"))
    assert batch.counts["ok"] == 60, batch.errors
    assert batch.cost <= budget


def test_a_batch_that_runs_out_of_money_is_refused_from_some_row_on(run: Any, make: Make) -> None:
    """Half the money answers the first rows, about half, in their order; the others are not sent and say why."""
    rows = [f"Count the letters of row {number}" for number in range(60)]
    free = run(make(ledger=None).run_many(rows, model=MODEL, max_tokens=200, cache="off"))
    budget = free.cost / 2 + D("0.0015")
    batch = run(make(max_concurrent=20).run_many(rows, model=MODEL, max_tokens=200, budget=budget, cache="off"))
    assert batch.cost <= budget
    assert 25 <= batch.counts["ok"] <= 45
    assert batch.counts["not_sent"] == 60 - batch.counts["ok"]
    assert all(isinstance(error, BudgetExceededError) for error in batch.errors.values())
    answered = [row for row, result in enumerate(batch) if result.status == "ok"]
    assert max(answered) < batch.counts["ok"] + 20


def test_a_cancelled_run_that_waits_for_money_leaves_nothing(run: Any, make: Make, simulator: Simulator) -> None:
    """Stop while rows wait: the line is empty, and what was under way counts with its worst case."""
    simulator.fail("hang")
    budget = Budget("0.008")
    orchestrator = make(max_concurrent=20, budget=budget)

    async def main() -> None:
        rows = [f"row {number}" for number in range(30)]
        task = asyncio.ensure_future(orchestrator.run_many(rows, model=MODEL, max_tokens=1000))
        while len(budget.queue) == 0 or simulator.counters.in_flight == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(budget.queue) == 0
        assert budget.reserved == 0
        assert 0 < budget.spent <= D("0.008")
        await orchestrator.close()

    run(main())
