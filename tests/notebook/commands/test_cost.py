"""What %claude_cost and the command show of the ledger, in three forms, and what they write and remove."""

from __future__ import annotations

import html.parser
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledgers import Clock, hit_of, paid

from claude_force_nb.costs.budget import Budget
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.report import budget_line
from claude_force_nb.errors import ClaudeForceError, OptionError
from claude_force_nb.notebook.commands.cost import cost_bundle, do_cost
from claude_force_nb.notebook.display.bars import Bar
from claude_force_nb.notebook.display.tables import table_bundle

D = Decimal
NOON = 1_793_534_400.0  # 2026-11-01 12:00 UTC
DAY = 86400.0
EVIL = "<img src=x onerror=alert(1)> $1 and $2 | `b` *c* [d](e)"


def lines(bundle: Dict[str, str]) -> List[List[str]]:
    """The cells of the table in text, split where at least two blanks stand."""
    return [re.split(r" {2,}", line.strip()) for line in bundle["text/plain"].splitlines() if line]


def test_a_row_each_with_a_bar_and_a_total(ledger: Ledger) -> None:
    """Dearest first; the longest bar is the largest sum, spent is filled and saved is light; the numbers are the ledger's."""
    ledger.append_many(
        [paid("1.5"), paid("0.25", "claude-haiku-5-5"), hit_of("0.5"), hit_of("0.25", "claude-haiku-5-5")]
    )
    rows = lines(cost_bundle(ledger, "model", "", now=NOON))
    assert rows[0] == ["model", "calls", "cached", "tokens in", "tokens out", "cost", "saved", "█ spent ░ saved"]
    assert rows[1] == ["claude-opus-5-5", "1", "1", "1,000", "200", "$1.50", "$0.5000", "█" * 15 + "░" * 5]
    assert rows[2] == ["claude-haiku-5-5", "1", "1", "1,000", "200", "$0.2500", "$0.2500", "█" * 2 + "░" * 2]
    assert rows[3] == ["total", "2", "2", "2,000", "400", "$1.75", "$0.7500"]
    assert rows[4] == ["all notebooks of this user"]


def test_what_is_not_known_is_never_nothing(ledger: Ledger) -> None:
    """An unknown price is counted apart, on both sides; where nothing else is known there is no $0."""
    ledger.append_many([paid("0.5"), paid(None), paid(None, "odd"), hit_of(None, "odd"), hit_of(None), hit_of("0.1")])
    rows = {row[0]: row for row in lines(cost_bundle(ledger, "model", "", now=NOON))}
    assert rows["claude-opus-5-5"][5:7] == ["$0.5000 + 1 price unknown", "$0.1000 + 1 price unknown"]
    assert rows["odd"][5:] == ["price unknown", "price unknown"]
    assert rows["total"][5:] == ["$0.5000 + 2 price unknown", "$0.1000 + 2 price unknown"]


def test_groups_and_spans(ledger: Ledger, clock: Clock) -> None:
    """By day in order of time, by agent, by notebook; ``since`` leaves out what is older."""
    for days, agent, notebook in ((3, "poet", "a.ipynb"), (2, None, "b.ipynb"), (0, "poet", "b.ipynb")):
        clock.now = NOON - days * DAY
        ledger.append(paid(days + 1, agent=agent), notebook=notebook)

    def keys(by: str, since: str = "") -> List[str]:
        return [row[0] for row in lines(cost_bundle(ledger, by, since, now=NOON))[1:-1] if row[0] != "total"]

    assert keys("day") == ["2026-10-29", "2026-10-30", "2026-11-01"]
    assert keys("day", "60h") == ["2026-10-30", "2026-11-01"]
    assert keys("agent") == ["poet", "(none)"]
    assert keys("notebook") == ["a.ipynb", "b.ipynb"]
    assert lines(cost_bundle(ledger, "day", "60h", now=NOON))[-1][0].endswith("all notebooks of this user, since 60h")
    for by, since in (("modle", ""), ("day", "soon")):
        with pytest.raises(OptionError):
            cost_bundle(ledger, by, since, now=NOON)


def test_nothing_was_asked(ledger: Ledger) -> None:
    """No empty table: one line that says so, with the budget that there is; looking makes no file."""
    shown = cost_bundle(ledger, "model", "7d", now=NOON, below=[budget_line(Budget(5)), budget_line(Budget(None))])
    line = "no answers yet · all notebooks of this user, since 7d · $5.00 of the $5.00 budget left"
    assert shown["text/plain"] == line
    assert not ledger.path.exists()


class Reader(html.parser.HTMLParser):
    """Collects elements, text and attributes, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: List[Tuple[str, Dict[str, Any]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Any]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_name_is_text_in_every_form(ledger: Ledger) -> None:
    """A model named as an element, a formula or Markdown is shown as it is named."""
    ledger.append_many([paid("0.5", EVIL, agent=EVIL)], notebook=EVIL)
    for by in ("model", "agent", "notebook"):
        shown = cost_bundle(ledger, by, "", now=NOON)
        assert EVIL in shown["text/plain"]
        page = Reader(shown["text/html"])
        assert EVIL in page.text
        assert {tag for tag, _ in page.tags} <= {"div", "table", "thead", "tbody", "tr", "th", "td", "span"}
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
        # Not two dollars in one run of text, which MathJax would take for a formula, and none unescaped in Markdown.
        assert not re.search(r"\$[^<]*\$", re.sub(r'"[^"]*"', "", shown["text/html"]))
        assert not re.search(
            r"(?<!\\)[$<|`*](?![| ]|$)", re.sub(r"^\||\|$|\*$", "", shown["text/markdown"].split("\n")[2])
        )


amounts = st.decimals(0, 10**6, places=6)


@given(spent=amounts, saved=amounts, more=amounts)
def test_a_bar_never_passes_its_width_and_never_hides_an_amount(spent: Decimal, saved: Decimal, more: Decimal) -> None:
    """Whatever the amounts: at most 20 blocks, at least one for what is not nothing, boxes of at most 100 %."""
    bar = Bar(spent, saved, spent + saved + more)
    text = str(bar)
    assert len(text) <= 20
    assert ("█" in text) == (spent > 0)
    assert ("░" in text) == (saved > 0)
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", bar.to_html())]
    assert sum(widths) <= 100.2
    assert bar.to_html().endswith(f">{text}</span></div>")


def test_numbers_are_right_aligned(ledger: Ledger) -> None:
    """They are right-aligned in all three forms."""
    shown = table_bundle(("name", "n"), [("a", "1"), ("b", "1,000")], right=(1,))
    assert shown["text/plain"] == "name      n\na         1\nb     1,000"
    assert "| --- | ---: |" in shown["text/markdown"]
    assert '<td style="text-align:right">1,000</td>' in shown["text/html"]


def ask(ledger: Ledger, names: Any = None, **options: str) -> str:
    return do_cost(options, ledger, budgets=[], names={} if names is None else names, now=NOON)["text/plain"]


def test_export_writes_every_answer(ledger: Ledger, tmp_path: Path) -> None:
    """As CSV, with ``since``; another ending or a folder that is not there is one line."""
    ledger.append_many([paid("0.5"), hit_of("0.25")])
    path = tmp_path / "costs.csv"
    assert ask(ledger, export=str(path)) == f"2 answers written to {path}"
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3
    with pytest.raises(OptionError, match=r"name of a \.csv file"):
        ask(ledger, export="costs.xlsx")
    with pytest.raises(ClaudeForceError, match="cannot be written"):
        ask(ledger, export=str(tmp_path / "gone" / "costs.csv"))


def test_prune_keeps_today(ledger: Ledger, clock: Clock) -> None:
    """What is older goes; whatever is asked, today's answers stay, since the daily budget counts them."""
    for days in (40, 20, 1, 0):
        clock.now = NOON - days * DAY
        ledger.append(paid(1))
    clock.now = NOON
    assert ask(ledger, prune="30d").startswith("1 answer older than 30d removed")
    assert ask(ledger, prune="0m").startswith("2 answers")
    assert ledger.total().calls == 1
    with pytest.raises(OptionError, match="prune must be like 30m"):
        ask(ledger, prune="old")
    with pytest.raises(OptionError, match="prune cannot be combined"):
        ask(ledger, prune="1d", by="model")
    assert ledger.total().calls == 1


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_has_a_row_for_each_answer(ledger: Ledger, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times in UTC, amounts as numbers, unknown ones missing; an empty ledger works too."""
    module = pytest.importorskip(library)
    found = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "claude_force_nb.costs.ledger_export.find_spec", lambda name: found(name) if name == library else None
    )
    names: Dict[str, Any] = {}
    ask(ledger, names, into="empty")
    assert isinstance(names["empty"], module.DataFrame)
    assert len(names["empty"]) == 0
    ledger.append_many([paid("0.5"), paid(None)], notebook="a.ipynb")
    ledger.append(hit_of("0.25"))
    assert ask(ledger, names, into="frame") == "3 answers in frame"
    frame = names["frame"]
    assert list(frame.columns) == list(names["empty"].columns)
    for name in ("input_tokens", "attempts", "cost", "cached"):
        assert frame[name].dtype == names["empty"][name].dtype
    assert list(names["empty"]["model"].str.slice(0, 3)) == []
    assert frame["cost"].sum() == 0.5
    assert list(frame["cached"]) == [False, False, True]
    assert list(frame["saved"])[-1] == 0.25
    unknown = list(frame["cost"])[1]
    assert unknown is None or unknown != unknown
    moment = next(iter(frame["time"]))
    assert (moment.year, moment.hour) == (2026, 12)
    if library == "pandas" or sys.version_info >= (3, 9):
        assert moment.utcoffset().total_seconds() == 0
    for name in ("a b", "class"):
        with pytest.raises(OptionError, match="variable name"):
            ask(ledger, names, into=name)
    assert sorted(names) == ["empty", "frame"]


def test_options_that_do_not_go_together_are_one_line(ledger: Ledger, tmp_path: Path) -> None:
    """Options that would be ignored silently are reported."""
    target = tmp_path / "costs.csv"
    for asked in ({"export": str(target)}, {"into": "frame"}):
        with pytest.raises(OptionError, match="by cannot be combined"):
            ask(ledger, by="agent", **asked)
    with pytest.raises(OptionError, match="export and into cannot be combined"):
        ask(ledger, export=str(target), into="frame")
    assert not target.exists()


def test_without_a_library_a_frame_is_one_line(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setattr("claude_force_nb.costs.ledger_export.find_spec", lambda name: None)
    with pytest.raises(OptionError, match="needs pandas or polars"):
        ask(ledger, into="frame")
