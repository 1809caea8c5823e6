"""Budgets: whatever the order of things, nothing is spent beyond the limit."""

from __future__ import annotations

import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.budgets import D, cents, quietly, steps, walk

from claude_force_nb.costs.budget import Budget, BudgetGroup, parse_budget
from claude_force_nb.errors import BudgetExceededError, ClaudeForceWarning, OptionError

DAY = 86400.0


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
        "the price of this call is unknown or has no bound, so the $0.50 {} cannot be enforced;"
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
def test_an_invalid_amount_is_an_error(amount, daily):
    """Negative and infinite amounts are programming errors, not refusals by the budget."""
    for budget in (Budget(1), daily(1)):
        with pytest.raises(ValueError, match="finite amount >= 0"):
            budget.reserve(D(amount))


def test_a_warning_at_four_fifths_comes_once(daily):
    """It comes at 80 %, not below, and not again."""
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
    """What is not a valid amount is an OptionError that names the option."""
    with pytest.raises(OptionError, match=r"^daily_budget must be US dollars from 0 to 1000000, or none, not"):
        parse_budget(value, name="daily_budget")


def test_a_long_invalid_limit_is_shortened():
    """At 40 characters, its quotes among them."""
    for value, shown in (("x" * 38, repr("x" * 38)), ("x" * 39, "'" + "x" * 38 + "…")):
        with pytest.raises(OptionError) as raised:
            parse_budget(value)
        assert str(raised.value).endswith(f"not {shown}")


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


def test_a_release_warns_of_nothing():
    """Only what was spent since can be nearly all of it, also where the limit was lowered in between."""
    budget = Budget(10)
    first, second, third = budget.reserve(D("7.9")), budget.reserve(D(1)), budget.reserve(D(1))
    first.settle(D("7.9"))
    budget.limit = 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second.release()
    with pytest.warns(ClaudeForceWarning, match=r"of the \$9.00 budget is spent"):
        third.settle(D("0.1"))


def test_what_is_set_aside_for_long_is_not_waited_for(daily):
    """Only calls that are settled soon are worth waiting for."""
    for budget in (Budget(1), daily(1)):
        budget.reserve(D("0.5"))
        budget.reserve(D("0.2"), in_flight=True)
        with pytest.raises(BudgetExceededError) as caught:
            budget.reserve(D("0.4"))
        assert caught.value.left_if_calls_are_free == D("0.5")


class LooksLikeANumber:
    """Of no type of ours, though its text is a number."""

    def __str__(self):
        return "5"


@pytest.mark.parametrize("value", [LooksLikeANumber(), [5], b"5", 5j])
def test_a_limit_is_of_a_plain_type(value):
    """What only looks like a number is refused, and shown in at most 40 characters."""
    with pytest.raises(OptionError, match=r"^budget must be US dollars"):
        parse_budget(value)
    with pytest.raises(OptionError) as caught:
        parse_budget("x" * 100)
    assert str(caught.value).endswith("not '" + "x" * 38 + "…")
