"""Money in real kernels: budgets of the call, the session and the day, what is shown of it, what is kept of it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Dict, Iterator, Tuple

import pytest
from support.live_kernel import LiveKernel, kernel_environment, one_line

from claude_force_nb.costs.budget import DailyBudget
from claude_force_nb.errors import ClaudeForceWarning
from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow

Kernels = Tuple[LiveKernel, LiveKernel]


def environment(url: str, folder: Path) -> Dict[str, str]:
    return {**kernel_environment(url, folder), "CLAUDE_FORCE_CACHE": "off"}


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with Simulator(accept_any_model=True) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("money")


@pytest.fixture(scope="module")
def kernels(server: Simulator, folder: Path) -> Iterator[Kernels]:
    """Two kernels of one user, in notebooks of their own."""
    outside = {**environment(server.url, folder), "CLAUDE_FORCE_DAILY_BUDGET": "3"}
    one = LiveKernel({**outside, "JPY_SESSION_NAME": "one.ipynb"}, str(folder))
    with one, LiveKernel({**outside, "JPY_SESSION_NAME": "two.ipynb"}, str(folder)) as two:
        for kernel in (one, two):
            assert kernel.run("%load_ext claude_force_nb").status == "ok"
        yield one, two


def test_a_session_budget_binds_the_session(kernels: Kernels, server: Simulator) -> None:
    """What was spent before the limit was set, or before another setting changed, is not forgotten."""
    one, _ = kernels
    assert one.run("%%claude model=opus max_tokens=400 into=first\nhello").status == "ok"
    session = "get_ipython().magics_manager.registry['ClaudeMagics'].session"
    spent = Decimal(one.value(f"{session}.orchestrator.budget.spent"))
    assert spent >= Decimal(one.value("first.cost")) > 0
    one.run("%claude_config budget={} allow_unknown_price=off".format(spent + Decimal("0.001")))
    one.run("%claude_config max_concurrent=3")
    calls = server.counters.calls
    line = one_line(one.run("%%claude model=opus max_tokens=400\nhello again"))
    assert line.startswith("BudgetExceededError: needs up to $0.0")
    assert " but $0.0010 of the " in line
    assert line.endswith(" session budget is left; raise it with %claude_config budget=… or lower max_tokens=")
    assert server.counters.calls == calls
    one.run("%claude_config budget=none max_concurrent=default")
    assert one.run("%%claude model=opus max_tokens=400\nhello again").status == "ok"


def test_a_budget_in_the_cell_is_the_calls(kernels: Kernels, server: Simulator) -> None:
    """``budget=`` in a cell bounds that call, whatever the session has left."""
    one, _ = kernels
    calls = server.counters.calls
    line = one_line(one.run("%%claude model=opus budget=0.001\nhello"))
    assert "of the $0.001 budget is left; raise it with budget=…" in line
    assert server.counters.calls == calls


def test_a_daily_budget_is_one_for_all_kernels(kernels: Kernels, server: Simulator, folder: Path) -> None:
    """Two kernels spend from the same; one line refuses in both when it is gone, and one line warned before."""
    one, two = kernels
    day = DailyBudget(3, folder / "data" / "ledger-local.db")
    try:
        with pytest.warns(ClaudeForceWarning, match="daily budget is spent"):
            day.reserve(day.left - Decimal("0.6")).settle(None)
        cells = [each.run("%%claude model=opus max_tokens=400\nwho are you") for each in (one, two)]
        assert [cell.status for cell in cells] == ["ok", "ok"]
        # The same line in each, once; no path and no line of code in it.
        for cell in cells:
            assert cell.stderr.count("\n") <= 2, cell.stderr
            assert "of the $3.00 daily budget is spent" in cell.stderr
        day.reserve(day.left - Decimal("0.001")).settle(None)
    finally:
        day.close()
    calls = server.counters.calls
    for each in (one, two):
        line = one_line(each.run("%%claude model=opus max_tokens=400\nwho are they"))
        assert "but $0.0010 of the $3.00 daily budget is left; raise it with %claude_config daily_budget=…" in line
    assert server.counters.calls == calls
    for each in (one, two):
        each.run("%claude_config daily_budget=none")
        assert each.run("%%claude model=opus max_tokens=400\nwho are they").status == "ok"


def test_an_unknown_price_is_refused_under_a_budget_unless_allowed(kernels: Kernels, server: Simulator) -> None:
    """One line names the three remedies; allowed, it is sent, and its receipt says price unknown."""
    one, _ = kernels
    one.run("%claude_config budget=5")
    calls = server.counters.calls
    line = one_line(one.run("%%claude model=claude-unknown-9\nhello"))
    assert "the price of this call is unknown" in line
    assert "%claude_config budget=none" in line
    assert server.counters.calls == calls
    one.run("%claude_config allow_unknown_price=on")
    cell = one.run("%%claude model=claude-sonnet-0 into=r\nhello")
    one.run("%claude_config budget=none allow_unknown_price=off")
    assert cell.status == "ok", cell.traceback
    assert "price unknown" in cell.text
    assert one.value("r.cost") == "None"


def test_the_cost_of_all_kernels_is_shown(kernels: Kernels, folder: Path) -> None:
    """Both notebooks' answers in each kernel, in three forms, with bars; as a frame and a file; a slip is one line."""
    one, two = kernels
    for each in (one, two):  # other tests of this file may run in another process
        for question in ("what is a notebook", "what is a kernel"):
            assert each.run(f"%%claude model=haiku\n{question}").status == "ok"
    for each in (one, two):
        cell = each.run("%claude_cost by=notebook since=1d")
        assert cell.status == "ok", cell.traceback
        (data,) = [output["data"] for output in cell.outputs]
        for form in ("text/plain", "text/markdown", "text/html"):
            assert "one.ipynb" in data[form].replace("\\", "")
            assert "two.ipynb" in data[form].replace("\\", "")
            assert "█" in data[form]
    pytest.importorskip("pandas", reason="pandas is not installed")
    assert one.value("get_ipython().run_line_magic('claude_cost', 'into=frame')").endswith("None")
    assert int(one.value("len(frame)")) == int(one.value("sum(frame['notebook'].isin(['one.ipynb', 'two.ipynb']))")) > 3
    one.run("%claude_config budget=5")
    assert "of the $5.00 session budget left" in one.run("%claude_cost").text
    one.run("%claude_config budget=none")
    assert "written to costs.csv" in two.run("%claude_cost export=costs.csv").text
    assert (folder / "costs.csv").read_text(encoding="utf-8").startswith("time,notebook,cell,agent,model,")
    assert "did you mean 'since'?" in one_line(one.run("%claude_cost sinc=7d"))
    assert sorted(one.complete("%claude_cost ")) == ["by=", "export=", "into=", "prune=", "since="]


def test_prices_of_the_user(kernels: Kernels, server: Simulator, folder: Path) -> None:
    """A dict or a file prices what is asked from then on; a bad one is one line and changes nothing."""
    one, _ = kernels
    one.run("mine = {'claude-sonnet-0': {'input_mtok': '1000', 'output_mtok': 0}}")
    shown = one.run("%claude_config prices=mine budget=50")
    assert "mine (1 model)" in shown.text
    one.run("%%claude model=claude-sonnet-0 max_tokens=10 into=r\nhow dear is this")
    assert Decimal(one.value("r.cost")) == Decimal(one.value("r.usage.input_tokens")) / 1000
    calls = server.counters.calls
    assert "needs up to" in one_line(one.run("%%claude model=claude-sonnet-0 budget=0.1\nhow dear is this now"))
    line = one_line(one.run("%claude_config max_tokens=5 prices=gone.json"))
    assert line == "OptionError: %claude_config: prices: gone.json cannot be read: No such file or directory"
    assert (
        "5"
        not in one.value("get_ipython().magics_manager.registry['ClaudeMagics'].session.settings.value('max_tokens')")[
            :1
        ]
    )
    one.run("mine = 3")
    assert "or the name of a dict" in one_line(one.run("%claude_config prices=mine"))
    assert server.counters.calls == calls
    (folder / "own.toml").write_text("[claude-sonnet-0]\ninput_mtok = 0\noutput_mtok = 2000\n", encoding="utf-8")
    one.run("%claude_config prices=own.toml")
    one.run("%%claude model=claude-sonnet-0 max_tokens=10 into=r\nhow dear is this")
    assert Decimal(one.value("r.cost")) == Decimal(one.value("r.usage.output_tokens")) / 500
    assert "claude-sonnet-0" in one.complete("%claude model=claude-sonnet-")
    one.run("%claude_config prices=default budget=none")
