"""The dashboard's content in HTML and in text."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.harmless import Page

from claude_force_nb.cache import CacheStats
from claude_force_nb.calls.events import Event
from claude_force_nb.calls.snapshot import BudgetState, Headroom, ModelSums, Snapshot, Tally
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.dashboard.drawing import dashboard_bundle
from claude_force_nb.notebook.dashboard.view import DashboardState
from claude_force_nb.text_tables import one_line


def _snapshot(**changes: Any) -> Snapshot:
    values: Dict[str, Any] = {
        "in_flight": 3,
        "queued": 1234,
        "max_concurrent": 10,
        "paused": True,
        "paused_families": (("opus", 4.2),),
        "headroom": (Headroom("opus", "requests", 50.0, 2.0), Headroom("opus", "output-tokens", 8000.0, 8000.0)),
        "retries": 7,
        "paced_waits": 8,
        "spent": Decimal("1.5"),
        "budgets": (BudgetState("budget", Decimal(5), Decimal("3.5")), BudgetState("daily_budget", Decimal(9), None)),
    }
    values.update(changes)
    return Snapshot(**values)


def _state(*models: ModelSums) -> DashboardState:
    stats = CacheStats(
        hits=30, misses=10, integrity_failures=2, entries=11, size_bytes=1_234_567, max_size_bytes=500_000_000
    )
    return DashboardState(_snapshot(), stats, models, ((0.0, 0.0), (1.0, 0.5), (2.0, 1.0)), failed=6)


def test_what_the_prompt_cache_saved_is_shown_where_it_was_used() -> None:
    """Two models count together."""
    assert "prompt cache" not in dashboard_bundle(_state(ModelSums("m-1", 5)))["text/plain"]
    two = [ModelSums(name, 5, prompt_cache_saved=Decimal("0.75")) for name in ("m-1", "m-2")]
    bundle = dashboard_bundle(_state(*two))
    assert "Saved by prompt cache $1.50" in " ".join(bundle["text/plain"].split())
    assert "Saved by prompt cache" in bundle["text/html"]


def test_plain_text_says_everything() -> None:
    """Spend, savings, cache, limits, budgets, pauses: each number is in the plain text, and reads as expected."""
    plain = dashboard_bundle(_state(ModelSums("m-1", 5, 6, Decimal("1.25"), Decimal("0.5"), 2)))["text/plain"]
    facts = {
        " ".join(line.split()[:-1]): line.split()[-1] for line in plain.splitlines() if len(line.split()) in (2, 3)
    }
    assert (facts["Saved"], facts["Hit rate"], facts["Queue 1,234"]) == ("$0.5000", "55%", "paused")
    assert (facts["Hits"], facts["Misses"], facts["Entries"], facts["Integrity failures"]) == ("6", "11", "11", "2")
    assert (facts["Retries"], facts["Failed"]) == ("7", "6")
    for text in (
        "Spent                $1.25 + 2 price unknown",
        "In flight            3 of 10",
        "Budget left          $3.50 of $5.00",
        "Left today           unknown of $9.00",
        "Paced waits          8",
        "Stored               1.2 MB of 500 MB",
        "! No call is sent until Resume is pressed.",
        "! The API asked opus to wait: 5 s left.",
        "▁▅█",
    ):
        assert re.sub(" +", " ", text) in re.sub(" +", " ", plain), text
    assert re.search(r"m-1 +5 +6 +\$1\.25 \+ 2 price unknown +\$0\.5000", plain)
    assert re.search(r"opus +2 of 50 +– +8,000 of 8,000", plain)


def test_what_holds_calls_back_is_named() -> None:
    """A limit is said beside the queue and with its time; a pause of the user's or of the API's takes its place."""

    def shown(**changes: Any) -> str:
        snapshot = _snapshot(**{"paused": False, "paused_families": (), **changes})
        return " ".join(dashboard_bundle(DashboardState(snapshot))["text/plain"].split())

    limited = (("haiku", 22.4), ("opus", None))
    plain = shown(limited_families=limited)
    assert "Queue 1,234 limited" in plain
    assert "! Rate limit of haiku: the next call is sent in 23 s." in plain
    assert "! opus is overloaded: fewer calls at once until the API takes more again." in plain
    plain = shown(limited_families=limited, paused_families=(("haiku", 22.4),))
    assert "The API asked haiku to wait: 23 s left." in plain
    assert "Rate limit of haiku" not in plain
    plain = shown(limited_families=limited, paused=True)
    assert "Queue 1,234 paused" in plain
    assert "Rate limit" not in plain
    assert "limited" not in shown() + shown(limited_families=limited, queued=0)


@pytest.mark.parametrize("form", ["text/plain", "text/html"])
def test_what_is_not_known_is_never_nothing(form: str) -> None:
    """A model without a price is shown as one, in its row and in the sums: no $0 for what was paid or saved."""
    state = _state(ModelSums("nobody-knows", 2, 3, unknown_price=2, unknown_saved=3))
    shown = dashboard_bundle(state)[form]
    text = shown if form == "text/plain" else Page(shown).text
    assert "$0" not in text
    assert re.search(r"nobody-knows\s+2\s+3\s+price unknown\s+price unknown", text)
    for label in ("Spent", "Saved"):
        assert re.search(label + r"\s+price unknown", text)
    part = dashboard_bundle(_state(ModelSums("m", 2, 3, Decimal("1.5"), Decimal("2.5"), 1, 2)))[form]
    text = " ".join((part if form == "text/plain" else Page(part).text).split())
    assert text.count("$1.50 + 1 price unknown") == text.count("$2.50 + 2 price unknown") == 2


names = st.one_of(
    st.text(min_size=1, max_size=40),
    st.sampled_from(
        ["<img src=x onerror=alert(1)>", "\"'><script>alert(1)</script>", "$x$ & $y$", "a|b`c`", "\u202eevil"]
    ),
)


@given(names, names)
def test_names_are_text_in_every_form(model: str, family: str) -> None:
    """Whatever a model or family is called, the HTML has the same elements, and all forms show the name."""
    calm = Page(dashboard_bundle(_calm("m", "f"))["text/html"])
    shown = dashboard_bundle(_calm(model, family))
    seen = Page(shown["text/html"])
    dollars = [element for element in seen.elements if element != "span"]
    assert dollars == [element for element in calm.elements if element != "span"]
    for name in (model, family):
        flat = one_line(name)
        assert flat in shown["text/plain"]
        assert flat in seen.text
    # Two dollar signs in one text would be a formula.
    assert "$" not in re.sub(r"<span>\$</span>", "", shown["text/html"])


def _calm(model: str, family: str) -> DashboardState:
    snapshot = _snapshot(headroom=(Headroom(family, "requests", 50.0, 2.0),), paused_families=((family, 1.0),))
    return DashboardState(snapshot, CacheStats(), (ModelSums(model, 1, 1, Decimal(1), Decimal(1)),))


@given(
    st.builds(
        CacheStats,
        hits=st.integers(0, 10**9),
        misses=st.integers(0, 10**9),
        entries=st.integers(0, 10**9),
        size_bytes=st.integers(0, 10**12),
        max_size_bytes=st.integers(0, 10**12),
    ),
    st.decimals(0, 10**6, places=6),
    st.lists(st.floats(0, 1), max_size=60),
)
def test_html_says_what_the_plain_text_says(cache: CacheStats, cost: Decimal, rates: List[float]) -> None:
    """Every word of the plain text, but the drawn curve, is in the HTML too."""
    state = DashboardState(
        _snapshot(),
        cache,
        (ModelSums("m", 1, 2, cost, cost),),
        tuple(enumerate(rates)),
        failed=1,  # type: ignore[arg-type]
    )
    shown = dashboard_bundle(state)
    seen = " ".join(Page(shown["text/html"]).text.split())
    for line in shown["text/plain"].splitlines():
        for words in re.split(r" {2,}|! ", line.strip()):
            if not set(words) <= set("▁▂▃▄▅▆▇█"):
                assert " ".join(words.split()) in seen, words


def _event(kind: str, asked: str, at_seconds: float, result: ClaudeResult) -> Event:
    return Event(kind, "f", asked, at_seconds, result=result)


def test_cost_and_hit_rate_stand_beside_each_other_over_time() -> None:
    """What was spent until then, and which share the cache gave; an answer counts as what it is, however often others looked."""
    tally = Tally()
    for second in range(200):
        paid = second % 2 == 0
        result = ClaudeResult(model="m-1", cost=Decimal("0.01") if paid else Decimal(0), saved=Decimal("0.01"))
        tally(_event("done" if paid else "hit", "m-1", float(second), result))
    costs = [cost for _, cost in tally.costs()]
    assert costs == sorted(costs)
    assert costs[-1] == Decimal(1)
    assert [at for at, _ in tally.costs()] == [at for at, _ in tally.hit_rates()]
    stats = CacheStats(hits=7, misses=900)  # with the looks of dry runs and of calls that joined another's
    state = DashboardState(_snapshot(), stats, tuple(tally.models()), tuple(tally.hit_rates()), tuple(tally.costs()))
    plain = dashboard_bundle(state)["text/plain"]
    for fact in ("Hits 100", "Misses 100", "Hit rate 50%"):
        assert fact in re.sub(" +", " ", plain)
    assert re.search(r"Spent over time: \$0\.0\d+ at first, \$1\.00 now\n  ▁.*█\n  Hit rate over time", plain)
    page = dashboard_bundle(state)["text/html"]
    assert page.count('<svg role="img" aria-label="') == 2
    assert page.index("Spent over time") < page.index("Hit rate over time")


def test_the_model_that_answered_and_the_one_that_was_asked_are_told_apart() -> None:
    """An alias of the server's has a row of its own that names both; the same name is not said twice."""
    tally = Tally()
    tally(_event("done", "opus-latest", 1.0, ClaudeResult(model="claude-opus-5-5", cost=Decimal(2))))
    tally(_event("done", "claude-opus-5-5", 1.0, ClaudeResult(model="claude-opus-5-5", cost=Decimal(1))))
    assert [(row.model, row.asked, row.cost) for row in tally.models()] == [
        ("claude-opus-5-5", "opus-latest", Decimal(2)),
        ("claude-opus-5-5", "claude-opus-5-5", Decimal(1)),
    ]
    plain = dashboard_bundle(DashboardState(_snapshot(), None, tuple(tally.models())))["text/plain"]
    assert re.search(r"^  claude-opus-5-5 asked as opus-latest +1 ", plain, re.MULTILINE)
    assert re.search(r"^  claude-opus-5-5 +1 ", plain, re.MULTILINE)
