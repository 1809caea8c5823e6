"""The lease book: whatever workers do, and in whatever order, nothing is lent twice."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Dict, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from claude_force_nb.distributed.leases import LeaseBook

_ACTS = st.tuples(
    st.sampled_from(["report", "start", "end", "lend", "spend", "return", "die", "leave"]),
    st.sampled_from("abc"),
    st.integers(0, 12),
)


class _Worker:
    """A simulated worker that obeys its leases, as far as it knows them."""

    def __init__(self) -> None:
        self.limit = self.in_flight = 0
        self.dollars = self.spent = Decimal(0)


@settings(max_examples=examples(300))
@given(most=st.integers(1, 10), budget=st.integers(0, 30), acts=st.lists(_ACTS, max_size=60))
def test_no_more_calls_and_no_more_dollars_than_there_are(most: int, budget: int, acts: List[Any]) -> None:
    """Calls in flight of workers that live never pass the bound; what was spent, by the dead as well, never the budget."""
    book = LeaseBook(most, Decimal(budget))
    workers: Dict[str, _Worker] = {}
    spent_by_the_gone = Decimal(0)
    for act, name, number in acts:
        worker = workers.setdefault(name, _Worker())
        if act == "report":
            lease = book.report(
                name, wanted=number, held=max(worker.limit, worker.in_flight), spent=worker.spent, reserved=Decimal(0)
            )
            worker.limit = lease.slots
            assert 0.0 <= lease.share <= 1.0
        elif act == "start":
            worker.in_flight = max(worker.in_flight, min(worker.limit, number))
        elif act == "end":
            worker.in_flight = min(worker.in_flight, number)
        elif act == "lend":
            loan = book.lend(name, Decimal(number))
            assert loan.granted == 0 or loan.granted >= number
            worker.dollars += loan.granted
        elif act == "spend":
            worker.spent = min(worker.dollars, worker.spent + number)
        elif act == "return":
            left = worker.dollars - worker.spent
            book.take_back(name, left)
            worker.dollars -= left
        else:  # a dead worker is not heard of again
            spent_by_the_gone += worker.spent
            book.leave(name, spent=worker.spent if act == "leave" else None)
            del workers[name]
        assert sum(each.in_flight for each in workers.values()) <= most
        assert spent_by_the_gone + sum(each.dollars for each in workers.values()) <= budget


@settings(max_examples=examples(100))
@given(most=st.integers(1, 50), wants=st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_all_slots_are_lent_where_they_are_wanted(most: int, wants: List[int]) -> None:
    """After two rounds of reports nobody lacks a slot that lies idle, and the shares of the rate limit make one whole."""
    book = LeaseBook(most)
    slots = [0] * len(wants)
    shares = [0.0] * len(wants)
    for _ in range(3):
        for number, wanted in enumerate(wants):
            lease = book.report(str(number), wanted=wanted, held=slots[number])
            slots[number], shares[number] = lease.slots, lease.share
    assert sum(slots) == min(most, sum(wants))
    assert all(each <= wanted for each, wanted in zip(slots, wants))
    if any(wants):
        assert sum(shares) == pytest.approx(1.0)
        # An even part for each, but for what it does not want.
        even = most // len(wants)
        assert all(each >= min(even, wanted) for each, wanted in zip(slots, wants))


def test_what_a_dead_worker_held_stays_counted() -> None:
    """It may have spent all of it; one that ends in peace leaves what it did not spend."""
    book = LeaseBook(4, Decimal(10))
    book.report("a", wanted=4, held=0)
    book.report("b", wanted=4, held=0)
    assert book.lend("a", Decimal(4)).granted == 4
    assert book.lend("b", Decimal(4)).granted == 4
    book.leave("a")
    assert (book.lost, book.left) == (Decimal(4), Decimal(2))
    book.leave("b", spent=Decimal(1))
    assert (book.lost, book.left) == (Decimal(5), Decimal(5))


def test_a_worker_that_lacks_dollars_has_the_others_asked_for_theirs() -> None:
    """What lies idle with one worker is asked back where another needs it, and lent once it is there."""
    book = LeaseBook(4, Decimal(10))
    assert book.lend("a", Decimal(9)).granted == 9
    book.report("a", wanted=0, held=0, spent=Decimal(1))
    refused = book.lend("b", Decimal(5))
    assert (refused.granted, refused.left, refused.may_return) == (0, 1, 8)
    assert book.report("a", wanted=0, held=0, spent=Decimal(1)).give_back
    book.take_back("a", Decimal(8))
    assert book.lend("b", Decimal(5)).granted >= 5
    assert not book.report("a", wanted=0, held=0, spent=Decimal(1)).give_back


def test_a_stopped_run_is_told_to_all() -> None:
    """Each worker hears of it with its next report."""
    book = LeaseBook(4)
    assert book.report("a", wanted=2, held=0).slots == 2
    book.stopped = True
    for name in "ab":
        lease = book.report(name, wanted=1, held=0)
        assert lease.stopped
        assert lease.slots == 0


def test_a_slot_is_lent_again_once_it_is_free() -> None:
    """The first worker has all; the second one gets its part only after the first has said that it uses fewer."""
    book = LeaseBook(10)
    assert book.report("a", wanted=20, held=0).slots == 10
    assert book.report("b", wanted=20, held=0).slots == 0
    assert book.report("a", wanted=20, held=10).slots == 5  # from now on; ten are still in flight
    assert book.report("b", wanted=20, held=0).slots == 0
    assert book.report("a", wanted=20, held=7).slots == 5
    assert book.report("b", wanted=20, held=0).slots == 3
    assert book.report("a", wanted=20, held=5).slots == 5
    assert book.report("b", wanted=20, held=3).slots == 5
