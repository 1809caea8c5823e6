"""Agreement between columns of answers."""

from __future__ import annotations

from typing import List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.batch_comparison import Agreement, BatchComparison, ComparedBatch
from claude_force_nb.rows.results import BatchResult


def column(model: str, answers: List[Optional[str]]) -> ComparedBatch:
    """A column of answers; None for a row that failed."""
    results = [
        ClaudeResult(status="failed", error=RuntimeError("no answer"), cost=None)
        if text is None
        else ClaudeResult(text=text, model=model, stop_reason="end_turn", fingerprint=f"{model} {row}")
        for row, text in enumerate(answers)
    ]
    return ComparedBatch(model, None, 1, BatchResult(results))


def test_kappa_of_a_table_that_is_known() -> None:
    """25 yes and 25 no against 30 and 20, 35 of them the same: 0.70 of the rows, of which 0.50 are by chance, so 0.40."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    found = Agreement.of(pairs)
    assert (found.rows, found.share) == (50, 0.7)
    assert found.kappa == pytest.approx(0.4)
    assert str(found) == "70% (κ 0.40)"
    assert str(Agreement.of([("a", "a")])) == "100%", "kappa is not defined"
    assert str(Agreement.of([])) == ""


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1))
def test_kappa_is_bounded_and_the_same_both_ways(pairs: List[tuple[str, str]]) -> None:
    """At most 1, which it is where all agree; who is first does not count."""
    found, other = Agreement.of(pairs), Agreement.of([(two, one) for one, two in pairs])
    assert found.share == other.share
    assert found.kappa == (None if other.kappa is None else pytest.approx(other.kappa))
    assert found.kappa is None or -1 <= found.kappa <= 1
    if found.kappa is not None and found.share == 1:
        assert found.kappa == 1


def test_rows_that_one_column_lacks_do_not_count() -> None:
    """White space and capitals are not a difference, a row without an answer neither agrees nor differs, and why is said."""
    made = BatchComparison(
        (column("a", ["Good.", "bad", "good", None]), column("b", [" good.\n", "good", None, "bad"]))
    )
    found = made.agreement(0, 1)
    assert (found.rows, found.share) == (2, 0.5)
    assert made.differing() == [1]
    frame = made.to_frame()
    assert frame["agree"].tolist() == [True, False, None, None]
    assert frame["a"].tolist()[:3] == ["Good.", "bad", "good"]
    assert frame["a"].isna().tolist() == [False, False, False, True]
    shown = made.bundle()
    assert "1 of 4 rows differ" in shown["text/plain"]
    assert "a: 1 without a complete answer, the first: RuntimeError: no answer" in shown["text/plain"]
    assert "<script>" not in BatchComparison((column("<script>", ["<script>"]),)).bundle()["text/html"]
