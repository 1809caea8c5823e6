"""How the dashboard lives in a real kernel, seen through the messages that a browser would get."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from support.harmless import Page
from support.live_kernel import Cell, LiveKernel, kernel_environment, one_line

from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow

WIDGET = "application/vnd.jupyter.widget-view+json"
# The kernel sends at most four pictures a second; each test waits for what it expects, and this long to see nothing come.
QUIET_SECONDS = 1.5


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
        return " ".join(Page(" ".join(values)).text.split())

    def until(self, *texts: str) -> None:
        """Read messages until all these texts are on the page."""
        ends = time.monotonic() + 60
        while not all(text in self.text for text in texts):
            assert time.monotonic() < ends, self.text
            self.kernel.listen(0.1)

    def quiet(self) -> int:
        """Return the number of messages that arrive while nothing happens."""
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
        assert kernel.value("'ipywidgets' in sys.modules") == "False"  # nobody waits for what he may never open
        kernel.run(SESSION)
        yield kernel


@pytest.fixture
def kernel(shared: LiveKernel, server: Simulator) -> Iterator[LiveKernel]:
    yield shared
    server.heal()
    shared.run("%claude_dashboard close\nsession.orchestrator.resume()\nsession.orchestrator.stop_all()")


SESSION = "session = get_ipython()._claude_force_extension.magics.session"
COUNT = (
    "def get_comms():\n"
    "    manager = get_ipython().kernel.comm_manager\n"
    "    return list(manager.comms)\n"
    "def get_left():\n"
    "    told = len(session.orchestrator._emitter.listeners)\n"
    "    after = len(get_ipython().events.callbacks['post_run_cell'])\n"
    "    due = [h for h in asyncio.get_running_loop()._scheduled\n"
    "           if not h.cancelled() and 'dashboard' in repr(h)]\n"
    "    return told, after, due\n"
)


def opened(kernel: LiveKernel) -> Tuple[Browser, Cell]:
    browser = Browser(kernel)
    cell = kernel.run("%claude_dashboard")
    assert cell.status == "ok", cell.traceback
    return browser, cell


def shown_dollars(browser: Browser, what: str) -> float:
    """Return a sum of the page, which shows four digits of a dollar."""
    found = re.search(rf"{what} \$([\d.]+)", browser.text)
    assert found, browser.text
    return float(found.group(1))


def test_it_is_a_widget_with_a_copy_that_says_the_same(kernel: LiveKernel) -> None:
    """The output is a widget that is there, with text and HTML beside it, and a copy with the numbers in all forms."""
    browser, cell = opened(kernel)
    widget, copy = (output["data"] for output in cell.outputs)
    assert widget[WIDGET]["model_id"] in browser.models
    assert widget["text/plain"]
    assert widget["text/html"]
    assert "Budget left" in copy["text/plain"]
    assert "Budget left" in Page(copy["text/html"]).text
    assert copy["text/plain"] in copy["text/markdown"]
    labels = {model.get("description") for model in browser.models.values()}
    assert {"Pause", "Stop all", "Clear cache"} <= labels
    assert "Resume" not in labels  # the same button, while calls are paused
    assert any('role="status" aria-live="polite"></div>' in str(m.get("value")) for m in browser.models.values())
    assert not browser.visible("Yes, clear")


def test_numbers_follow_what_cells_do(kernel: LiveKernel, server: Simulator) -> None:
    """A paid and a cached answer change spend, savings, rate and entries, in the widget and, at rest, in the copy."""
    browser, _ = opened(kernel)
    spent, saved = shown_dollars(browser, "Spent"), shown_dollars(browser, "Saved")
    spent_before = server.counters.dollars
    assert kernel.run("%claude_cache clear --yes").status == "ok"
    cost = Decimal(kernel.run("a = %claude model=sonnet numbers\nprint(a.cost)").stdout.split()[-1])
    assert server.counters.dollars - spent_before == cost
    browser.until("Entries 1", f"claude-sonnet-5-5 1 0 ${cost:.4f}")
    assert shown_dollars(browser, "Spent") - spent == pytest.approx(float(cost), abs=1.1e-4)
    kernel.run("b = %claude model=sonnet numbers")
    browser.until(f"claude-sonnet-5-5 1 1 ${cost:.4f} ${cost:.4f}")
    assert shown_dollars(browser, "Saved") - saved == pytest.approx(float(cost), abs=1.1e-4)
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
    code = (
        "r = await session.orchestrator.run_many([str(n) for n in range(400)], cache='off', model='claude-haiku-4-5')"
    )
    cell = kernel.run(code)
    assert cell.status == "ok", cell.traceback
    browser.until("claude-haiku-4-5 400 0")
    per_widget: Dict[str, List[float]] = {}
    for at, name in browser.received:
        per_widget.setdefault(name, []).append(at)
    assert per_widget
    for times in per_widget.values():
        assert len(times) <= 4 * (time.monotonic() - began) + 2


def test_two_dashboards_share_one_source(kernel: LiveKernel) -> None:
    """A second dashboard adds no listener; the same cell run again replaces its own; both change."""
    kernel.run(COUNT)
    before = kernel.value("get_left()[0]")
    others = int(kernel.value("len(get_comms())"))
    first = kernel.wait(kernel.send("%claude_dashboard", cell_id="one"))
    one = int(kernel.value("len(get_comms())")) - others
    browser = Browser(kernel)
    kernel.wait(kernel.send("%claude_dashboard", cell_id="two"))
    assert int(kernel.value("len(get_comms())")) - others == 2 * one
    kernel.wait(kernel.send("%claude_dashboard", cell_id="two"))
    assert int(kernel.value("len(get_comms())")) - others == 2 * one
    assert int(kernel.value("get_left()[0]")) == int(before) + 1
    assert first.status == "ok"
    kernel.run("%claude model=haiku two of them")
    browser.until("claude-haiku-5-5")
    assert kernel.value("len(session.dashboards._source._viewers)") == "2"


@pytest.mark.parametrize("way", ["%claude_dashboard close", "import ipywidgets; ipywidgets.Widget.close_all()"])
def test_closing_leaves_nothing_behind(kernel: LiveKernel, way: str) -> None:
    """However it is closed: no comm, no listener, no callback, no timer; its copy has the last numbers."""
    kernel.run(COUNT)
    kernel.run("c = %claude model=haiku a cell has its Stop button\nknown = set(get_comms())")
    nothing = kernel.value("get_left()")
    browser, _ = opened(kernel)
    kernel.run("c = %claude model=haiku before the end")
    assert kernel.value("get_left()") != nothing
    assert kernel.value("set(get_comms()) <= known") == "False"
    assert kernel.run(way).status == "ok"
    assert kernel.value("get_left()") == nothing
    assert kernel.value("set(get_comms()) <= known") == "True"
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
    browser.until("No call is sent until Resume is pressed.")
    calls = server.counters.calls
    run = (
        "job = asyncio.get_running_loop().create_task(session.orchestrator.run_many("
        "['{0} %d' % n for n in range(30)], model='haiku', timeout_seconds=300))\nawait asyncio.sleep(0)"
    )
    kernel.run(run.format("paused"))
    browser.until("Queue 30", "In flight 0 of 10")
    assert server.counters.calls == calls
    browser.click("Resume")
    browser.until("Queue 0", "Resumed. Calls are sent again.")
    assert kernel.value("dict((await job).counts)['ok']") == "30"
    server.fail("slow", delay_seconds=300, contains="stopped")
    kernel.run(run.format("stopped"))
    browser.until("In flight 10 of 10", "Queue 20")
    browser.click("Stop all")
    browser.until("In flight 0 of 10", "Queue 0", "Stopped 10 calls.")
    assert kernel.value("sorted((k, v) for k, v in (await job).counts.items() if v)") == (
        "[('not_sent', 20), ('stopped', 10)]"
    )


def test_a_setting_that_changes_lets_nothing_out_of_hand(kernel: LiveKernel, server: Simulator) -> None:
    """Paused stays paused under new settings, and the buttons reach the job that began under the old ones."""
    server.fail("slow", delay_seconds=300, contains="stopped")
    run = "job = %claude_batch ['{} %d' % n for n in range(30)] model=haiku cache=off timeout=600 --background"
    browser, _ = opened(kernel)
    calls = server.counters.calls
    browser.click("Pause")
    browser.until("No call is sent until Resume is pressed.")
    kernel.run(run.format("old"))
    kernel.run("held = session.orchestrator\n%claude_config max_retries=2")
    kernel.run("new = asyncio.ensure_future(session.orchestrator.run('new', model='haiku', cache='off'))")
    assert kernel.value("held is session.orchestrator") == "False"
    browser.until("No call is sent until Resume is pressed.", "Queue 31", "In flight 0 of")
    assert server.counters.calls == calls
    browser.click("Resume")
    browser.until("Queue 0")
    assert kernel.value("(await job).counts['ok'], (await new).status") == "30 ok"
    kernel.run(run.format("stopped"))
    browser.until("In flight 10 of", "Queue 20")
    kernel.run("%claude_config max_retries=default")
    kernel.run("_ = session.orchestrator")
    browser.until("In flight 10 of 20", "Queue 20")  # the earlier orchestrator's ten slots, and ten of the new one
    browser.click("Stop all")
    browser.until("In flight 0 of", "Queue 0", "Stopped 10 calls.")
    assert kernel.value("(await job).counts['stopped'], len((await job).failed)") == "10 0"


def test_stop_all_ends_a_cell_as_stop_does(kernel: LiveKernel, server: Simulator, tmp_path: Path) -> None:
    """A cell that waits ends with one line, and into= holds what had arrived."""
    shown = tmp_path / "shown"
    server.fail("silent", after_events=6, contains="halfway")
    kernel.run(
        "import os, threading, time\n"
        "def stop_soon():\n"
        f"    while not os.path.exists({str(shown)!r}): time.sleep(0.01)\n"
        "    session.orchestrator.stop_all()\n"
        "threading.Thread(target=stop_soon).start()"
    )
    sent = kernel.send("%%claude model=haiku thinking=off timeout=300 into=kept\nhalfway")
    line = one_line(kernel.act_once_shown(sent, "writing", shown.touch))
    assert line == "StoppedError: stopped with everything else in progress; run again to continue"
    assert kernel.value("kept.status, type(kept.error).__name__, len(kept.text) > 0") == "stopped StoppedError True"


def test_clearing_the_cache_asks(kernel: LiveKernel) -> None:
    """Clear cache asks first; Keep keeps, Yes clears."""
    kernel.run("%claude_cache clear --yes")
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
    """The extension takes its dashboards with it."""
    kernel.run(COUNT)
    nothing = kernel.value("len(get_comms())")
    browser, _ = opened(kernel)
    assert kernel.value("len(get_comms())") != nothing
    assert kernel.run("%unload_ext claude_force_nb").status == "ok"
    assert kernel.value("len(get_comms())") == nothing
    assert browser.models == {}
    assert kernel.value("[t for t in asyncio.all_tasks() if 'claude_force_nb' in repr(t)]") == "[]"
    kernel.run("%load_ext claude_force_nb\n" + SESSION)


@pytest.mark.slow
def test_a_blocking_magic_and_pause_do_not_lock_each_other(kernel: LiveKernel, server: Simulator) -> None:
    """In a function or a callback, Resume cannot be handled: a call is refused at once, cached answers still come."""
    kernel.run("def ask(prompt):\n    answer = %claude model=haiku {{ prompt }}\n    return answer")
    kernel.run("ask('known')")
    calls = server.counters.calls
    kernel.run("session.orchestrator.pause()")
    assert kernel.value("ask('known').cached") == "True"
    refused = kernel.run("ask('new')")
    line = "ClaudeForceError: calls are paused, and the Resume button cannot work while this cell waits; press Resume first, then run it again"
    assert refused.traceback == [line]
    assert refused.seconds < 5
    kernel.run("%%time\n_ = %claude_batch ['new 1', 'new 2'] model=haiku")
    kernel.run(
        "import ipywidgets\nbutton, told = ipywidgets.Button(), []\n"
        "def clicked(_):\n    try:\n        ask('newer')\n    except Exception as error:\n        told.append(str(error))\n"
        "button.on_click(clicked)"
    )
    kernel.send_comm(kernel.value("button.model_id"), {"method": "custom", "content": {"event": "click"}})
    assert kernel.value("told[0]") == line.partition(": ")[2]
    assert server.counters.calls == calls
    kernel.run("session.orchestrator.resume()")
    assert kernel.value("ask('new').status") == "ok"
