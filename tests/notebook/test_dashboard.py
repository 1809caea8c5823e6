"""The dashboard: what it says, and how it lives in a real kernel, seen through the messages that a browser would get."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.live_kernel import Cell, LiveKernel, kernel_environment, one_line

from claude_force_nb.cache import CacheStats
from claude_force_nb.calls.snapshot import BudgetState, Headroom, ModelSums, Snapshot
from claude_force_nb.notebook.dashboard.view import DashboardState, dashboard_bundle
from claude_force_nb.simulator import Simulator

WIDGET = "application/vnd.jupyter.widget-view+json"
# The kernel sends at most four pictures a second; each test waits for what it expects, and this long to see nothing come.
QUIET_SECONDS = 1.5


# --- what it says


class _Seen(HTMLParser):
    """What a browser would make of HTML: its elements, and its text without style sheets."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: List[str] = []
        self.text = ""
        self._in_style = False
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.elements.append(tag)
        self._in_style = tag == "style"
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag in ("h4", "td", "th", "p", "div", "tr"):
            self.text += "\n"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.text += data


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


def test_plain_text_says_everything() -> None:
    """Spend, savings, cache, limits, budgets, pauses: each number is in the plain text, and reads as expected."""
    plain = dashboard_bundle(_state(ModelSums("m-1", 5, 6, Decimal("1.25"), Decimal("0.5"), 2)))["text/plain"]
    facts = {
        " ".join(line.split()[:-1]): line.split()[-1] for line in plain.splitlines() if len(line.split()) in (2, 3)
    }
    assert (facts["Saved"], facts["Hit rate"], facts["Queue"]) == ("$0.5000", "75%", "1,234")
    assert (facts["Hits"], facts["Misses"], facts["Entries"], facts["Integrity failures"]) == ("30", "10", "11", "2")
    assert (facts["Retries"], facts["Failed"]) == ("7", "6")
    for text in (
        "Spent                $1.25 + 2 price unknown",
        "In flight            3 of 10",
        "Budget left          $3.50 of $5.00",
        "Left today           unknown of $9.00",
        "Paced waits          8",
        "Stored               1.2 MB of 500 MB",
        "! No call leaves until Resume is pressed.",
        "! The API asked opus to wait: 5 s left.",
        "▁▅█",
    ):
        assert re.sub(" +", " ", text) in re.sub(" +", " ", plain), text
    assert re.search(r"m-1 +5 +6 +\$1\.25 \+ 2 price unknown +\$0\.5000", plain)
    assert re.search(r"opus +2 of 50 +– +8,000 of 8,000", plain)


@pytest.mark.parametrize("form", ["text/plain", "text/html"])
def test_what_is_not_known_is_never_nothing(form: str) -> None:
    """A model without a price is shown as one, in its row and in the sums: no $0 for what was paid or saved."""
    state = _state(ModelSums("nobody-knows", 2, 3, unknown_price=2, unknown_saved=3))
    shown = dashboard_bundle(state)[form]
    text = shown if form == "text/plain" else _Seen(shown).text
    assert "$0" not in text
    assert re.search(r"nobody-knows\s+2\s+3\s+price unknown\s+price unknown", text)
    for label in ("Spent", "Saved"):
        assert re.search(label + r"\s+price unknown", text)
    part = dashboard_bundle(_state(ModelSums("m", 2, 3, Decimal("1.5"), Decimal("2.5"), 1, 2)))[form]
    text = " ".join((part if form == "text/plain" else _Seen(part).text).split())
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
    calm = _Seen(dashboard_bundle(_calm("m", "f"))["text/html"])
    shown = dashboard_bundle(_calm(model, family))
    seen = _Seen(shown["text/html"])
    dollars = [element for element in seen.elements if element != "span"]
    assert dollars == [element for element in calm.elements if element != "span"]
    for name in (model, family):
        flat = " ".join(name.split())
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
    seen = " ".join(_Seen(shown["text/html"]).text.split())
    for line in shown["text/plain"].splitlines():
        for words in re.split(r" {2,}|! ", line.strip()):
            if not set(words) <= set("▁▂▃▄▅▆▇█"):
                assert " ".join(words.split()) in seen, words


# --- in a kernel


class Browser:
    """The widgets of a kernel as a page would hold them."""

    def __init__(self, kernel: LiveKernel) -> None:
        self.kernel = kernel
        self.models: Dict[str, Dict[str, Any]] = {}
        self.received: List[Tuple[float, str]] = []
        self.copies: Dict[str, Dict[str, str]] = {}
        kernel.on_message = self._take

    def _take(self, message: Dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_open":
            self.models[content["comm_id"]] = dict(content["data"]["state"])
        elif kind == "comm_msg" and content["comm_id"] in self.models:
            if content["data"].get("method") == "update":
                self.received.append((time.monotonic(), content["comm_id"]))
                self.models[content["comm_id"]].update(content["data"]["state"])
        elif kind == "comm_close":
            self.models.pop(content["comm_id"], None)
        elif "claude-force-copy" in content.get("data", {}).get("text/html", ""):
            self.copies[content["transient"]["display_id"]] = content["data"]
            if kind == "update_display_data":
                self.received.append((time.monotonic(), "copy"))

    @property
    def text(self) -> str:
        """What stands in the HTML widgets."""
        values = [str(model.get("value", "")) for model in self.models.values()]
        return " ".join(_Seen(" ".join(values)).text.split())

    def until(self, *texts: str) -> None:
        """Read what comes until all these stand on the page."""
        ends = time.monotonic() + 60
        while not all(text in self.text for text in texts):
            assert time.monotonic() < ends, self.text
            self.kernel.listen(0.1)

    def quiet(self) -> int:
        """Return how many messages come while nothing happens."""
        self.kernel.listen(QUIET_SECONDS)
        self.received.clear()
        self.kernel.listen(QUIET_SECONDS)
        return len(self.received)

    def click(self, label: str) -> None:
        """Press a button."""
        (button,) = [name for name, model in self.models.items() if model.get("description") == label]
        data = {"method": "custom", "content": {"event": "click"}}
        self.kernel.send_comm(button, data)

    def visible(self, label: str) -> bool:
        """Return whether the box around a button is shown."""
        button = next(name for name, model in self.models.items() if model.get("description") == label)
        box = next(m for m in self.models.values() if "IPY_MODEL_" + button in (m.get("children") or ()))
        return self.models[box["layout"].replace("IPY_MODEL_", "")].get("display") != "none"


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with Simulator(requests_per_minute=60_000) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def shared(server: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKernel]:
    folder = tmp_path_factory.mktemp("dashboard")
    with LiveKernel(kernel_environment(server.url, folder), str(folder)) as kernel:
        assert kernel.run("import sys, asyncio\n%load_ext claude_force_nb").status == "ok"
        kernel.run("session = get_ipython()._claude_force_extension.magics.session")
        yield kernel


@pytest.fixture
def kernel(shared: LiveKernel, server: Simulator) -> Iterator[LiveKernel]:
    yield shared
    server.heal()
    shared.run("%claude_dashboard close\nsession.orchestrator.resume()\nsession.orchestrator.stop_all()")


COUNT = (
    "def get_comms():\n"
    "    manager = get_ipython().kernel.comm_manager\n"
    "    return list(manager.comms)\n"
    "def get_left():\n"
    "    told = len(session.orchestrator._emitter.listeners)\n"
    "    after = len(get_ipython().events.callbacks['post_run_cell'])\n"
    "    due = [h for h in asyncio.get_running_loop()._scheduled\n"
    "           if not h.cancelled() and 'dashboard' in repr(h)]\n"
    "    return len(get_comms()), told, after, due\n"
)


def opened(kernel: LiveKernel) -> Tuple[Browser, Cell]:
    browser = Browser(kernel)
    cell = kernel.run("%claude_dashboard")
    assert cell.status == "ok", cell.traceback
    return browser, cell


def test_it_is_a_widget_with_a_copy_that_says_the_same(kernel: LiveKernel) -> None:
    """The output is a widget that is there, with text and HTML beside it, and a copy with the numbers in all forms."""
    loaded = kernel.value("'ipywidgets' in sys.modules")
    browser, cell = opened(kernel)
    assert loaded == "False"
    widget, copy = (output["data"] for output in cell.outputs)
    assert widget[WIDGET]["model_id"] in browser.models
    assert widget["text/plain"]
    assert widget["text/html"]
    assert "Budget left" in copy["text/plain"]
    assert "Budget left" in _Seen(copy["text/html"]).text
    assert copy["text/plain"] in copy["text/markdown"]
    labels = {model.get("description") for model in browser.models.values()}
    assert {"Pause", "Resume", "Stop all", "Clear cache"} <= labels
    assert not browser.visible("Yes, clear")


@pytest.mark.slow
def test_numbers_follow_what_cells_do(kernel: LiveKernel, server: Simulator) -> None:
    """A paid and a cached answer change spend, savings, rate and entries, in the widget and, at rest, in the copy."""
    browser, _ = opened(kernel)
    spent_before = server.counters.dollars
    assert kernel.run("%claude_cache clear").status == "ok"
    cost = Decimal(kernel.run("a = %claude model=sonnet numbers\nprint(a.cost)").stdout.split()[-1])
    assert server.counters.dollars - spent_before == cost
    browser.until(f"Spent ${cost:.4f}", "Entries 1", f"claude-sonnet-5-5 1 0 ${cost:.4f}")
    kernel.run("b = %claude model=sonnet numbers")
    browser.until(f"claude-sonnet-5-5 1 1 ${cost:.4f} ${cost:.4f}", f"Saved ${cost:.4f}")
    browser.until("of 60,000")
    kernel.listen(1.0)
    (copy,) = browser.copies.values()
    assert f"${cost:.4f}" in copy["text/plain"]
    assert browser.quiet() == 0
    kernel.run("1 + 1")
    assert browser.quiet() == 0
    kernel.run("session.orchestrator.cache.clear()")
    browser.until("Entries 0")


def test_at_most_four_pictures_a_second(kernel: LiveKernel) -> None:
    """A run of many calls, each with its events, sends few messages: four times a second at most, while it goes on."""
    browser, _ = opened(kernel)
    kernel.listen(0.6)
    browser.received.clear()
    began = time.monotonic()
    code = "r = await session.orchestrator.run_many([str(n) for n in range(400)], cache='off', model='haiku')"
    cell = kernel.run(code)
    assert cell.status == "ok", cell.traceback
    browser.until("claude-haiku-5-5 400 0")
    per_widget: Dict[str, List[float]] = {}
    for at, name in browser.received:
        per_widget.setdefault(name, []).append(at)
    assert per_widget
    for times in per_widget.values():
        assert len(times) <= 4 * (time.monotonic() - began) + 2


def test_two_dashboards_share_one_source(kernel: LiveKernel) -> None:
    """A second dashboard adds no listener; the same cell run again replaces its own; both change."""
    kernel.run(COUNT)
    before = kernel.value("get_left()[1]")
    first = kernel.wait(kernel.send("%claude_dashboard", cell_id="one"))
    one = int(kernel.value("len(get_comms())"))
    browser = Browser(kernel)
    kernel.wait(kernel.send("%claude_dashboard", cell_id="two"))
    assert int(kernel.value("len(get_comms())")) == 2 * one
    kernel.wait(kernel.send("%claude_dashboard", cell_id="two"))
    assert int(kernel.value("len(get_comms())")) == 2 * one
    assert int(kernel.value("get_left()[1]")) == int(before) + 1
    assert first.status == "ok"
    kernel.run("%claude model=haiku two of them")
    browser.until("claude-haiku-5-5")
    assert kernel.value("len(session.watching._dashboards._source._viewers)") == "2"


@pytest.mark.parametrize("way", ["%claude_dashboard close", "import ipywidgets; ipywidgets.Widget.close_all()"])
def test_closing_leaves_nothing_behind(kernel: LiveKernel, way: str) -> None:
    """However it is closed: no comm, no listener, no callback, no timer; its copy has the last numbers."""
    kernel.run(COUNT)
    kernel.run("import ipywidgets")
    nothing = kernel.value("get_left()")
    browser, _ = opened(kernel)
    kernel.run("c = %claude model=haiku before the end")
    assert kernel.value("get_left()") != nothing
    assert kernel.run(way).status == "ok"
    assert kernel.value("get_left()") == nothing
    assert browser.models == {}
    (copy,) = browser.copies.values()
    assert "claude-haiku-5-5" in copy["text/plain"]
    browser.received.clear()
    kernel.run("d = %claude model=haiku after the end")
    kernel.listen(0.6)
    assert browser.received == []


def test_buttons_steer_work_behind_the_cells(kernel: LiveKernel, server: Simulator) -> None:
    """Pause holds a background run, Resume lets it go on, Stop all ends it with what it has."""
    browser, _ = opened(kernel)
    browser.click("Pause")
    browser.until("No call leaves until Resume is pressed.")
    calls = server.counters.calls
    run = (
        "job = asyncio.get_running_loop().create_task(session.orchestrator.run_many("
        "['{0} %d' % n for n in range(30)], model='haiku', timeout_seconds=300))\nawait asyncio.sleep(0)"
    )
    kernel.run(run.format("paused"))
    browser.until("Queue 30", "In flight 0 of 10")
    assert server.counters.calls == calls
    browser.click("Resume")
    browser.until("Queue 0", "Calls leave again.")
    assert kernel.value("dict((await job).counts)['ok']") == "30"
    server.fail("slow", delay_seconds=300, contains="stopped")
    kernel.run(run.format("stopped"))
    browser.until("In flight 10 of 10", "Queue 20")
    browser.click("Stop all")
    browser.until("In flight 0 of 10", "Queue 0", "Stopped 10 calls.")
    assert kernel.value("sorted((k, v) for k, v in (await job).counts.items() if v)") == (
        "[('failed', 10), ('not_sent', 20)]"
    )


@pytest.mark.slow
def test_a_setting_that_changes_lets_nothing_out_of_hand(kernel: LiveKernel, server: Simulator) -> None:
    """Paused stays paused under new settings, and the buttons reach the job that began under the old ones."""
    server.fail("slow", delay_seconds=300, contains="stopped")
    run = "job = %claude_batch ['{} %d' % n for n in range(30)] model=haiku cache=off timeout=600 --background"
    browser, _ = opened(kernel)
    calls = server.counters.calls
    browser.click("Pause")
    browser.until("No call leaves until Resume is pressed.")
    kernel.run(run.format("old"))
    kernel.run("held = session.orchestrator\n%claude_config max_retries=2")
    kernel.run("new = asyncio.ensure_future(session.orchestrator.run('new', model='haiku', cache='off'))")
    assert kernel.value("held is session.orchestrator") == "False"
    browser.until("No call leaves until Resume is pressed.", "Queue 31", "In flight 0 of")
    assert server.counters.calls == calls
    browser.click("Resume")
    browser.until("Queue 0")
    assert kernel.value("(await job).counts['ok'], (await new).status") == "30 ok"
    kernel.run(run.format("stopped"))
    browser.until("In flight 10 of", "Queue 20")
    kernel.run("%claude_config max_retries=default")
    kernel.run("_ = session.orchestrator")
    browser.until("In flight 10 of", "Queue 20")
    browser.click("Stop all")
    browser.until("In flight 0 of", "Queue 0", "Stopped 10 calls.")
    assert kernel.value("(await job).counts['failed']") == "10"


def test_stop_all_ends_a_cell_as_stop_does(kernel: LiveKernel, server: Simulator) -> None:
    """A cell that waits ends with one line, and into= holds what had arrived."""
    server.fail("silent", after_events=6, contains="halfway")
    kernel.run(
        "import threading, time\n"
        "def stop_soon():\n"
        "    while not session.orchestrator.snapshot().in_flight: time.sleep(0.01)\n"
        "    time.sleep(0.5)\n"
        "    session.orchestrator.stop_all()\n"
        "threading.Thread(target=stop_soon).start()"
    )
    line = one_line(kernel.run("%%claude model=haiku timeout=300 into=kept\nhalfway"))
    assert line == "StoppedError: stopped with all else that was under way; run again to continue"
    assert kernel.value("kept.status, type(kept.error).__name__, len(kept.text) > 0") == "failed StoppedError True"


def test_clearing_the_cache_asks(kernel: LiveKernel) -> None:
    """Clear cache asks first; Keep keeps, Yes clears."""
    kernel.run("%claude_cache clear")
    kernel.run("e = %claude model=haiku keep me")
    browser, _ = opened(kernel)
    browser.click("Clear cache")
    browser.until("Remove 1 cached answer?")
    assert browser.visible("Yes, clear")
    browser.click("Keep")
    browser.until("Nothing was removed.", "Entries 1")
    assert not browser.visible("Yes, clear")
    assert kernel.value("len(session.orchestrator.cache)") == "1"
    browser.click("Clear cache")
    kernel.listen(0.3)
    browser.click("Yes, clear")
    browser.until("Cleared 1 answer.", "Entries 0")
    assert kernel.value("len(session.orchestrator.cache)") == "0"


def test_it_follows_a_new_orchestrator(kernel: LiveKernel) -> None:
    """Settings that make a new orchestrator leave the dashboard and its sums alive."""
    browser, _ = opened(kernel)
    kernel.run("%claude_config max_concurrent=7")
    kernel.run("f = %claude model=opus after the change")
    browser.until("In flight 0 of 7", "claude-opus-5-5 1 0")
    kernel.run("%claude_config max_concurrent=default budget=3")
    browser.until("In flight 0 of 10", "of $3.00")
    kernel.run("%claude_config budget=default")
    browser.until("no limit")


def test_a_wrong_word_is_one_line(kernel: LiveKernel) -> None:
    """What it does not take is said in one line."""
    assert one_line(kernel.run("%claude_dashboard opne")) == (
        "OptionError: %claude_dashboard takes nothing or close, not 'opne'"
    )


def test_unloading_closes_it(kernel: LiveKernel) -> None:
    """The extension takes its dashboards with it. Last, since it ends the shared session."""
    kernel.run(COUNT)
    browser, _ = opened(kernel)
    before = int(kernel.value("len(get_comms())"))
    assert kernel.run("%unload_ext claude_force_nb").status == "ok"
    assert before - int(kernel.value("len(get_comms())")) == before
    assert browser.models == {}
    assert kernel.value("[t for t in asyncio.all_tasks() if 'claude_force_nb' in repr(t)]") == "[]"
    kernel.run("%load_ext claude_force_nb\nsession = get_ipython()._claude_force_extension.magics.session")
