"""Budgets: whatever the order of things, nothing is spent beyond the limit."""

from __future__ import annotations

import threading
import warnings
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.costs.budget import Budget, BudgetGroup, DailyBudget, parse_budget
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.errors import BudgetExceededError, ClaudeForceError, ClaudeForceWarning, OptionError
from claude_force_nb.messages.result import ClaudeResult

NOON = 1_793_534_400.0  # 2026-11-01 12:00 UTC
DAY = 86400.0
D = Decimal
cents = st.integers(0, 60).map(lambda number: D(number) / 100)
# What happens next: reserve an amount, or end one of the reservations with a share of its amount (0: release).
steps = st.lists(st.one_of(cents, st.tuples(st.integers(0, 20), st.integers(0, 4))), max_size=40)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def daily(path):
    made = []

    def make(limit, **given):
        given.setdefault("clock", lambda: NOON)
        made.append(DailyBudget(limit, path, **given))
        return made[-1]

    yield make
    for budget in made:
        budget.close()


def quietly(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClaudeForceWarning)
        return function(*arguments)


def test_reserve_settle_release():
    """Reserved is set aside, settled is spent, released is free again."""
    budget = Budget("1.00")
    first, second = budget.reserve(D("0.5")), budget.reserve(D("0.4"))
    assert (budget.spent, budget.reserved, budget.left) == (0, D("0.9"), D("0.1"))
    first.settle(D("0.25"))
    assert (budget.spent, budget.reserved, budget.left) == (D("0.25"), D("0.4"), D("0.35"))
    second.release()
    assert (budget.spent, budget.reserved, budget.left) == (D("0.25"), 0, D("0.75"))


def test_ending_a_reservation_twice_counts_once():
    """The first of settle and release holds."""
    budget = Budget(10)
    first, second = budget.reserve(D(1)), budget.reserve(D(2))
    for _ in range(2):
        first.settle(D("0.5"))
        first.release()
        second.release()
        second.settle(D(2))
    assert (budget.spent, budget.reserved) == (D("0.5"), 0)
    assert repr(first) == "Reservation(1, ended)"


@pytest.mark.parametrize(("amount", "fits"), [("0.4999", True), ("0.5000", True), ("0.500000000001", False)])
def test_the_limit_itself_fits(amount, fits):
    """Exactly what is left may be reserved, no more."""
    budget = Budget("0.5")
    if fits:
        budget.reserve(D(amount))
    else:
        with pytest.raises(BudgetExceededError):
            budget.reserve(D(amount))
        assert budget.reserved == 0


@pytest.mark.parametrize(
    ("limit", "taken", "amount", "message"),
    [
        ("0.5", "0.48", "0.041", "needs up to $0.0410 but $0.0200 of the $0.50 budget is left; "),
        ("20", "0.00001", "20", "needs up to $20.0000 but $19.9999 of the $20.00 budget is left; "),
        ("0.125", "0.12499", "0.000011", "needs up to $0.000011 but $0.000010 of the $0.125 budget is left; "),
        ("0.0001", "0", "0.000100001", "needs up to $0.000101 but $0.000100 of the $0.0001 budget is left; "),
        ("0", "0", "0.01", "needs up to $0.0100 but $0.0000 of the $0.00 budget is left; "),
    ],
)
def test_a_refusal_says_need_left_and_remedy(limit, taken, amount, message):
    """One line; need rounded up, left rounded down, with the digits that tell them apart."""
    budget = Budget(limit)
    budget.reserve(D(taken))
    with pytest.raises(BudgetExceededError) as caught:
        budget.reserve(D(amount))
    assert str(caught.value) == message + "raise it with budget=… or lower max_tokens="


def test_an_unknown_price_is_refused_under_a_limit(daily):
    """None is refused, saying so, unless it is allowed or there is no limit."""
    line = (
        "the price of this call is unknown or has no bound, so the $0.50 {} cannot be kept;"
        " give the model's price with prices=, allow such calls with allow_unknown_price=on, or set {}=none"
    )
    with pytest.raises(BudgetExceededError) as caught:
        Budget("0.5").reserve(None)
    assert str(caught.value) == line.format("budget", "budget")
    with pytest.raises(BudgetExceededError) as caught:
        daily("0.5").reserve(None)
    assert str(caught.value) == line.format("daily budget", "daily_budget")
    for budget in (Budget("0.5", allow_unknown_price=True), daily("0.5", allow_unknown_price=True), Budget(None)):
        reservation = budget.reserve(None)
        reservation.settle(None)
        assert (budget.spent, budget.reserved) == (0, 0)


def test_a_cost_that_is_not_known_counts_as_reserved(daily):
    """Settling with None keeps the worst case."""
    for budget in (Budget(10), daily(10)):
        budget.reserve(D(2)).settle(None)
        assert (budget.spent, budget.reserved) == (2, 0)


def test_more_than_reserved_is_still_counted(daily):
    """A cost above its reservation counts in full, and left never shows less than 0."""
    for budget in (Budget(1), daily(1)):
        reservation = budget.reserve(D("0.5"))
        quietly(reservation.settle, D(3))
        assert (budget.spent, budget.left) == (3, 0)
        with pytest.raises(BudgetExceededError, match=r"\$0\.0000 of the"):
            budget.reserve(D("0.01"))


def test_no_limit_keeps_the_sum(daily, path):
    """Without a limit everything fits; the daily one then touches no file."""
    budget = Budget(None)
    budget.reserve(D(10) ** 9).settle(D(5))
    assert (budget.limit, budget.left, budget.spent) == (None, None, 5)
    free = daily(None)
    free.reserve(D(10)).settle(D(10))
    free.reserve(None).release()
    assert free.left is None
    assert not path.parent.exists()


@pytest.mark.parametrize("amount", ["-0.01", "NaN", "Infinity"])
def test_an_amount_that_is_none_is_a_mistake(amount, daily):
    """Negative and endless amounts are errors of the program, not of the budget."""
    for budget in (Budget(1), daily(1)):
        with pytest.raises(ValueError, match="finite amount >= 0"):
            budget.reserve(D(amount))


def test_a_warning_at_four_fifths_comes_once(daily):
    """Not below 80 %, once at it, not again."""
    for budget in (Budget(10), daily(10)):
        first, second, third = (budget.reserve(D(3)) for _ in range(3))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            first.settle(D(3))
            budget.reserve(D("0.5")).settle(D("0.5"))
            second.settle(D("1.5"))
        third.release()
        reservation, last = budget.reserve(D(3)), budget.reserve(D(2))
        with pytest.warns(ClaudeForceWarning, match=r"\$8.0000 of the \$10.00 (daily )?budget is spent"):
            reservation.settle(D(3))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            last.settle(D("1.5"))


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (None, None),
        ("none", None),
        (" Off ", None),
        ("", None),
        (0, 0),
        (5, 5),
        (0.1, D("0.1")),
        ("$0.50", D("0.5")),
        ("1e2", 100),
    ],
)
def test_a_limit_is_dollars(value, limit):
    """Numbers and text, through text so that 0.1 is a tenth."""
    assert parse_budget(value) == limit


@pytest.mark.parametrize("value", [-1, "x", "nan", "inf", True, [], "1e7", object, "9" * 100])
def test_a_bad_limit_is_one_line(value):
    """What is no amount is an OptionError that names the option."""
    with pytest.raises(OptionError, match=r"^daily_budget must be US dollars from 0 to 1000000, or none, not"):
        parse_budget(value, name="daily_budget")


def walk(budget, steps):
    """Take the steps, checking after each; return what was settled."""
    taken, settled = [], D(0)
    for step in steps:
        if isinstance(step, tuple):
            if taken:
                reservation = taken[step[0] % len(taken)]
                actual = reservation.amount * step[1] / 4
                ended = repr(reservation).endswith("ended)")
                settled += 0 if ended else actual
                if step[1]:
                    quietly(reservation.settle, actual)
                else:
                    reservation.release()
        else:
            try:
                taken.append(budget.reserve(step))
            except BudgetExceededError:
                assert step > budget.left
        assert budget.spent + budget.reserved <= budget.limit
        assert budget.spent == settled
        assert budget.reserved >= 0


@given(steps)
def test_no_order_of_steps_passes_the_limit(steps):
    """With actual <= reserved, spent + reserved <= limit after every step, and spent is exactly what was settled."""
    walk(Budget(1), steps)


@given(st.lists(st.tuples(st.integers(0, 1), cents, st.integers(0, 4)), max_size=30))
def test_a_group_reserves_in_all_or_none(calls):
    """No member passes its limit, and a refusal by one leaves nothing reserved in another."""
    shared, small, large = Budget(1), Budget("0.3"), Budget("0.9")
    groups = [BudgetGroup([small, None, shared]), BudgetGroup([large, shared])]
    for which, amount, share in calls:
        fits = amount <= groups[which].left
        before = [budget.reserved for budget in (shared, small, large)]
        if not fits:
            with pytest.raises(BudgetExceededError):
                groups[which].reserve(amount)
            assert [budget.reserved for budget in (shared, small, large)] == before
            continue
        reservation = groups[which].reserve(amount)
        quietly(reservation.settle, amount * share / 4)
        assert shared.spent == small.spent + large.spent
    assert shared.spent <= 1
    assert small.spent <= D("0.3")


def test_a_group_of_nothing_lets_all_pass():
    """No budgets, no limit."""
    group = BudgetGroup([None])
    group.reserve(None).settle(None)
    assert group.left is None


def test_a_group_settles_all_though_one_warns():
    """A warning that the user made an error does not keep the other budgets from counting."""
    first, second = Budget(1), Budget(1)
    reservation = BudgetGroup([first, second]).reserve(D(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ClaudeForceWarning):
            reservation.settle(D("0.9"))
    assert (first.spent, second.spent, first.reserved, second.reserved) == (D("0.9"), D("0.9"), 0, 0)


def test_threads_never_pass_the_limit():
    """Eight threads hammer one budget of which a part fits."""
    budget, passed = Budget(1), []

    def work():
        for _ in range(200):
            try:
                reservation = budget.reserve(D("0.01"))
            except BudgetExceededError:
                continue
            assert budget.left >= 0
            reservation.settle(D("0.004"))
            passed.append(D("0.004"))

    threads = [threading.Thread(target=quietly, args=(work,)) for _ in range(8)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClaudeForceWarning)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert budget.spent == sum(passed) <= 1
    assert budget.left < D("0.01")


def test_a_daily_budget_is_shared(daily):
    """What one kernel reserves and spends, another sees at once."""
    one, two = daily(1), daily(1)
    reservation = one.reserve(D("0.7"))
    assert (two.reserved, two.left) == (D("0.7"), D("0.3"))
    with pytest.raises(BudgetExceededError) as caught:
        two.reserve(D("0.4"))
    assert str(caught.value) == (
        "needs up to $0.4000 but $0.3000 of the $1.00 daily budget is left; raise it with daily_budget=… or lower max_tokens="
    )
    reservation.settle(D("0.1"))
    assert (two.spent, two.reserved, two.left) == (D("0.1"), 0, D("0.9"))
    two.reserve(D("0.4")).release()
    assert one.left == D("0.9")


def test_amounts_below_its_unit_are_rounded_up(daily):
    """A daily budget counts in 10**-12 dollars, never less than was spent."""
    budget = daily(1)
    budget.reserve(D("1e-15")).settle(D("1e-15"))
    budget.reserve(D("0.000000000001")).settle(D("0.000000000001"))
    assert budget.spent == D("0.000000000002")


def test_each_day_has_its_own(daily):
    """At midnight UTC the budget is whole again, and a late settlement counts for the day of its reservation."""
    clock = iter([NOON, NOON + DAY / 2 - 1, NOON + DAY / 2, NOON + DAY / 2, NOON + DAY / 2]).__next__
    budget = daily(1, clock=clock)
    late = budget.reserve(D("0.7"))
    with pytest.raises(BudgetExceededError):
        budget.reserve(D("0.4"))
    budget.reserve(D("0.9")).settle(D("0.25"))
    late.settle(D("0.7"))
    assert budget.spent == D("0.25")
    assert budget.reserved == 0


def test_the_ledgers_morning_counts(daily, path):
    """Calls of the day that were recorded before, or without, the budget count; calls of both count once."""
    clock = [NOON - DAY]
    ledger = Ledger(path, clock=lambda: clock[0])
    ledger.append(ClaudeResult(cost=D(100)))
    clock[0] = NOON - 3600
    ledger.append_many([ClaudeResult(cost=D("0.3")), ClaudeResult(cost=None), ClaudeResult(cached=True, cost=D(0))])
    budget = daily(1)
    assert (budget.spent, budget.left) == (D("0.3"), D("0.7"))
    clock[0] = NOON
    budget.reserve(D("0.4")).settle(D("0.4"))
    ledger.append(ClaudeResult(cost=D("0.4")))
    assert budget.spent == D("0.7")
    # An answer that was billed and lost is in no ledger, and counts beside what is.
    budget.reserve(D("0.05")).settle(None)
    ledger.close()
    assert budget.spent == D("0.75")
    with pytest.raises(BudgetExceededError):
        budget.reserve(D("0.26"))


def test_pruning_keeps_todays_reservations(daily, path):
    """Even pruning everything does not free what is reserved or spent today."""
    budget = daily(1)
    budget.reserve(D("0.5"))
    budget.reserve(D("0.2")).settle(D("0.2"))
    ledger = Ledger(path, clock=lambda: NOON)
    ledger.prune(0)
    ledger.close()
    assert budget.left == D("0.3")


def test_a_file_that_cannot_be_written_refuses(daily, path):
    """No promise without a file: reserving is refused in one line, and reading says why."""
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 100)
    budget = daily(1)
    with pytest.raises(
        BudgetExceededError, match=r"the daily budget cannot be kept: .*; mend it or set daily_budget=none"
    ):
        budget.reserve(D("0.1"))
    with pytest.raises(ClaudeForceError, match="cannot be read"):
        _ = budget.spent


def test_a_settlement_that_cannot_be_written_costs_one_warning(daily, path):
    """The answer is not lost; what was reserved goes on counting."""
    budget = daily(1)
    first, second = budget.reserve(D("0.1")), budget.reserve(D("0.2"))
    budget.close()
    moved = path.with_name("moved")
    path.rename(moved)
    path.mkdir()
    with pytest.warns(ClaudeForceWarning, match="counts worst cases as spent") as caught:
        first.settle(D(0))
    second.release()
    assert len(caught) == 1
    path.rmdir()
    moved.rename(path)
    assert budget.reserved == D("0.3")


@given(steps)
def test_no_order_of_steps_passes_a_daily_limit(tmp_path_factory, steps):
    """As for one process, over the file."""
    budget = DailyBudget(1, tmp_path_factory.mktemp("daily") / "ledger.db", clock=lambda: NOON)
    try:
        walk(budget, steps)
    finally:
        budget.close()
