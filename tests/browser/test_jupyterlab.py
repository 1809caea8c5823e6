"""JupyterLab in a real Chromium, against the simulator: what a user sees and presses."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from typing import Any, Dict

import pytest
from support.live_lab import DARK, LIGHT, WAIT_SECONDS, Lab, NotebookPage, OpenNotebook
from support.screenshots import picture, screenshot_path

from claude_force_nb.cache import CacheStats
from claude_force_nb.calls.snapshot import Headroom, ModelSums, Snapshot
from claude_force_nb.notebook.dashboard.drawing import dashboard_bundle
from claude_force_nb.notebook.dashboard.view import DashboardState
from claude_force_nb.simulator import Simulator

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

NEVER_SECONDS = 600.0

# Names that would do something if they were ever taken for HTML, for an attribute's end or for a formula.
EVIL_MODEL = "claude-\"x'><img src=x onerror=\"window.hacked='model'\">"
EVIL_AGENT = "<img src=x onerror=window.hacked=1>"


def tiles(notebook: NotebookPage, cell: int) -> Dict[str, str]:
    """Return what stands in the dashboard's tiles that can be seen."""
    pairs = (
        notebook.cell(cell)
        .locator(".cf-tile")
        .evaluate_all(
            "tiles => tiles.filter(tile => tile.offsetParent !== null).map("
            "tile => ['.cf-label', '.cf-value'].map(part => tile.querySelector(part).innerText))"
        )
    )
    return {label: " ".join(value.split()) for label, value in pairs}


def until_tiles(notebook: NotebookPage, cell: int, **expected: str) -> None:
    """Wait until tiles show what is expected; underscores stand for spaces in their labels."""
    ends = time.monotonic() + WAIT_SECONDS
    wanted = {label.replace("_", " "): value for label, value in expected.items()}
    while True:
        seen = tiles(notebook, cell)
        if {label: seen.get(label) for label in wanted} == wanted:
            return
        assert time.monotonic() < ends, (wanted, seen)
        notebook.page.wait_for_timeout(100)


def press(notebook: NotebookPage, cell: int, label: str) -> None:
    """Press one of the dashboard's buttons."""
    notebook.cell(cell).get_by_role("button", name=label, exact=True).click()


def press_stop(notebook: NotebookPage) -> None:
    """Press the notebook's own Stop."""
    notebook.page.get_by_role("toolbar").get_by_title(re.compile("Interrupt")).first.click()


SETUP = (
    "%load_ext claude_force_nb\nfrom claude_force_nb import ClaudeResult\n"
    "orchestrator = get_ipython()._claude_force_extension.magics.session.orchestrator\n_ = orchestrator.cache.clear()"
)


def test_the_dashboard_follows_the_cells(open_notebook: OpenNotebook, server: Simulator, lab: Lab) -> None:
    """Load, ask, ask again: spend, savings, hits and limits become what the simulator billed; the rest of the story of a
    notebook follows: reload, save, open it without a kernel, in the dark."""
    billed = server.counters.dollars
    notebook = open_notebook(
        [
            SETUP + "\n%config ClaudeForce.budget = 0.5",
            "%claude_dashboard",
            "%%claude agent=explainer model=sonnet into=answer\nWhat is a generator?",
            "%%claude agent=explainer model=sonnet\nWhat is a generator?",
            "_ = await orchestrator.run_many(['row %d' % (n % 40) for n in range(60)], model='haiku')",
            "print('alive')\n_ = await orchestrator.run('once more', model='haiku')",
        ]
    )
    notebook.run(0)
    notebook.run(1)
    until_tiles(notebook, 1, Spent="$0", Hits="0", Budget_left="$0.5000 of $0.5000")
    notebook.run(2)
    cost = server.counters.dollars - billed
    until_tiles(notebook, 1, Spent=f"${cost:.4f}", Saved="$0", Hits="0", Misses="1", Entries="1")
    notebook.run(3)
    until_tiles(notebook, 1, Saved=f"${cost:.4f}", Hits="1", Hit_rate="50%")
    assert "· cached " in notebook.cell(3).inner_text()
    notebook.page.wait_for_timeout(500)  # a curve is drawn over time
    notebook.run(4)
    spent = server.counters.dollars - billed
    until_tiles(notebook, 1, Spent=f"${spent:.4f}", Entries="41", Queue="0", In_flight="0 of 10")
    text = " ".join(notebook.cell(1).inner_text().split())
    assert re.search(r"claude-haiku-5-5 40 20 \$", text), text
    assert re.search(r"haiku [\d,]+ of 1,000 [\d,]+ of 450,000 [\d,]+ of 90,000", text), text
    assert "Hit rate over time" in text
    assert_readable(notebook, 1)
    picture(notebook, "dashboard-light", 1)

    # Reloaded, the page finds the kernel and its widgets again, and goes on showing what happens.
    notebook.save()
    notebook.open()
    notebook.cell(1).get_by_role("button", name="Pause", exact=True).wait_for()
    assert notebook.cell(1).locator(".cf-tiles:visible").count() == 3  # the live one only, not its copy as well
    notebook.run(5)
    spent = server.counters.dollars - billed
    until_tiles(notebook, 1, Spent=f"${spent:.4f}", Entries="42")
    picture(notebook, "reloaded", 1)
    saved = notebook.save()
    outputs = [output["data"] for output in saved["cells"][1]["outputs"]]
    assert "claude-haiku-5-5" in "".join(outputs[-1]["text/plain"])
    assert "claude-haiku-5-5" in "".join(outputs[-1]["text/html"])
    assert "tok · $" in "".join(saved["cells"][2]["outputs"][0]["data"]["text/plain"])

    # Without its kernel the notebook still shows receipts and numbers, and nothing broken; here in the dark.
    lab.end_kernels()
    lab.set_theme(DARK)
    try:
        notebook.open()
        copy = notebook.cell(1).locator(".claude-force-dash:visible")
        copy.first.wait_for()
        seen = tiles(notebook, 1)
        assert (seen["Hits"], seen["Hit rate"]) == ("21", "34%"), seen
        assert notebook.cell(1).get_by_role("button", name="Pause", exact=True).count() == 0
        assert notebook.cell(1).get_by_text("Error displaying widget").filter(visible=True).count() == 0
        assert "→" in notebook.cell(2).locator(".claude-force").inner_text()
        assert_readable(notebook, 1)
        picture(notebook, "saved-notebook-dark")
        notebook.run(0)
        notebook.run(1)
        notebook.cell(1).get_by_role("button", name="Pause", exact=True).wait_for()
        assert_readable(notebook, 1)
        notebook.run(2)
        until_tiles(notebook, 1, Hits="0", Misses="1", Spent=f"${cost:.4f}")
        picture(notebook, "dashboard-dark", 1)
    finally:
        lab.set_theme(LIGHT)


# Contrast of a text with what is behind it, by the formula of WCAG 2, and whether it runs out of its box.
_LOOK = """
elements => {
  const number = colour => {
    const [r, g, b, a] = colour.match(/[\\d.]+/g).map(Number);
    return {rgb: [r, g, b], a: a === undefined ? 1 : a};
  };
  const luminance = rgb => {
    const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return elements.filter(element => element.offsetParent !== null).map(element => {
    let behind = element, ground = null;
    while (behind && !ground) {
      const colour = number(getComputedStyle(behind).backgroundColor);
      if (colour.a > 0.9) ground = colour.rgb;
      behind = behind.parentElement;
    }
    ground = ground || [255, 255, 255];
    const ink = number(getComputedStyle(element).color);
    const mixed = ink.rgb.map((v, i) => v * ink.a + ground[i] * (1 - ink.a));
    const [light, dark] = [luminance(mixed), luminance(ground)].sort((a, b) => b - a);
    return {
      text: element.innerText,
      contrast: (light + 0.05) / (dark + 0.05),
      fits: !element.clientWidth || element.scrollWidth <= element.clientWidth + 1,
    };
  });
}
"""


def assert_readable(notebook: NotebookPage, cell: int) -> None:
    """Every text of the dashboard stands out from its ground: 4.5 to 1, as WCAG 2 AA asks, and none runs out of its box."""
    texts = notebook.cell(cell).locator(".claude-force-dash :is(h4, th, td, p, .cf-label, .cf-value, .cf-note)")
    seen = texts.evaluate_all(_LOOK)
    assert len(seen) > 20
    assert [each for each in seen if each["contrast"] < 4.5 or not each["fits"]] == []


def test_names_are_text(open_notebook: OpenNotebook) -> None:
    """An agent and a model named to break out of HTML are shown as they are called: no element, no script run."""
    notebook = open_notebook(
        [
            SETUP,
            "%claude_dashboard",
            f"result = await orchestrator.run('p', model={EVIL_MODEL!r})\nresult",
            f"ClaudeResult(text='made by hand', model={EVIL_MODEL!r}, agent={EVIL_AGENT!r})",
            f'%%claude agent="{EVIL_AGENT}"\nhello',
        ]
    )
    for number in range(5):
        notebook.run(number)
    notebook.cell(1).get_by_text(EVIL_MODEL).filter(visible=True).first.wait_for()
    assert EVIL_MODEL in notebook.cell(2).locator(".jp-OutputArea").inner_text()
    assert EVIL_AGENT in notebook.cell(3).locator(".jp-OutputArea").inner_text()
    assert "UnknownAgentError" in notebook.cell(4).inner_text()
    assert notebook.page.locator(".jp-Notebook .jp-OutputArea img").count() == 0
    assert notebook.page.evaluate("typeof window.hacked") == "undefined"
    picture(notebook, "names-are-text")


def test_stop_ends_a_batch(open_notebook: OpenNotebook, server: Simulator) -> None:
    """The notebook's Stop ends a batch in the middle with one line; what was answered is kept, and the dashboard rests."""
    server.fail("slow", delay_seconds=NEVER_SECONDS, contains="never")
    rows = "rows = ['quick %d' % n for n in range(12)] + ['never %d' % n for n in range(28)]"
    notebook = open_notebook(
        [
            SETUP,
            rows,
            "%claude_dashboard",
            "%%claude_batch rows model=haiku timeout=600 into=labels\nLabel {{ item }}",
            "print(labels.counts['ok'], labels.counts['cached'], len(labels))",
        ]
    )
    for number in range(3):
        notebook.run(number)
    notebook.start(3)
    until_tiles(notebook, 2, In_flight="10 of 10", Queue="18", Entries="12")
    picture(notebook, "batch-running")
    press_stop(notebook)
    notebook.wait_for_end(3)
    assert "Interrupted: 12 of 40 done" in notebook.cell(3).locator(".jp-OutputArea").inner_text()
    assert "Traceback" not in notebook.cell(3).inner_text()
    until_tiles(notebook, 2, In_flight="0 of 10", Queue="0")
    picture(notebook, "batch-stopped")
    assert "12 0 40" in notebook.run(4).inner_text()


def test_buttons_work_while_a_cell_waits(open_notebook: OpenNotebook, server: Simulator) -> None:
    """In this JupyterLab clicks reach the kernel beside the running cell: pause, resume and stop act at once."""
    server.fail("slow", delay_seconds=NEVER_SECONDS, contains="never")
    notebook = open_notebook(
        [
            SETUP,
            "%claude_dashboard",
            "orchestrator.pause()\nbatch = await orchestrator.run_many(['go %d' % n for n in range(20)], model='haiku')",
            "batch = await orchestrator.run_many(['never %d' % n for n in range(20)], timeout_seconds=600)\nbatch.counts",
        ]
    )
    notebook.run(0)
    notebook.run(1)
    notebook.start(2)
    until_tiles(notebook, 1, Queue="20 paused", In_flight="0 of 10")
    assert notebook.cell(1).get_by_text("No call is sent until Resume is pressed.").filter(visible=True).count() == 1
    picture(notebook, "paused", 1)
    press(notebook, 1, "Resume")
    notebook.wait_for_end(2)
    until_tiles(notebook, 1, Queue="0", Entries="20")
    notebook.start(3)
    until_tiles(notebook, 1, In_flight="10 of 10", Queue="10")
    press(notebook, 1, "Stop all")
    notebook.wait_for_end(3)
    assert "'failed': 0, 'not_sent': 10, 'stopped': 10" in notebook.cell(3).inner_text()
    notebook.cell(1).get_by_text("Stopped 10 calls.").wait_for()
    picture(notebook, "stopped-all", 1)


def test_the_keyboard_is_enough(open_notebook: OpenNotebook) -> None:
    """Tab reaches every button in the order in which it is read, Enter and Space press it, and clearing asks first."""
    notebook = open_notebook([SETUP, "%claude model=haiku keep this", "%claude_dashboard"])
    for number in range(3):
        notebook.run(number)
    until_tiles(notebook, 2, Entries="1")
    page = notebook.page
    notebook.cell(2).get_by_role("button", name="Pause", exact=True).focus()
    order = []
    for _ in range(3):
        order.append(page.evaluate("document.activeElement.innerText.trim()"))
        page.keyboard.press("Tab")
    assert order == ["Pause", "Stop all", "Clear cache"]
    notebook.cell(2).get_by_role("button", name="Clear cache", exact=True).focus()
    page.keyboard.press("Enter")
    notebook.cell(2).get_by_role("alert").get_by_text("Remove 1 cached answer?").wait_for()
    assert page.evaluate("document.activeElement.innerText.trim()") == "Clear cache"
    picture(notebook, "clear-asks", 2)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText.trim()") == "Yes, clear"
    page.keyboard.press("Space")
    notebook.cell(2).get_by_role("status").get_by_text("Cleared 1 answer.").wait_for()
    until_tiles(notebook, 2, Entries="0")
    notebook.cell(2).get_by_role("button", name="Yes, clear", exact=True).wait_for(state="hidden")


def test_a_narrow_dashboard_breaks_no_word_into_letters(chromium: Any) -> None:
    """Where a window of 480 px leaves an output some 360, models keep their words, and the table scrolls sideways."""
    models = (
        ModelSums("claude-opus-5-5", 5, 6, Decimal("1.25"), Decimal("0.5"), 2, asked="opus-latest"),
        ModelSums("mistral-large-2411-instruct-q4_K_M:latest", 1, 0, Decimal("0.05")),
    )
    limits = (Headroom("opus", "requests", 50.0, 2.0), Headroom("haiku", "output-tokens", 8000.0, 7000.0))
    snapshot = Snapshot(3, 1234, 10, True, (("opus", 4.2),), limits, 7, 8, Decimal(1))
    times = tuple((float(second), 0.5) for second in range(30))
    costs = tuple((float(second), Decimal(second)) for second in range(30))
    state = DashboardState(snapshot, CacheStats(entries=11), models, times, costs, failed=2)
    page = chromium.new_page(viewport={"width": 360, "height": 900})
    try:
        page.set_content(dashboard_bundle(state)["text/html"])
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        lines = page.locator("td:first-child").evaluate_all(
            "cells => cells.map(cell => cell.clientHeight / (1.3 * parseFloat(getComputedStyle(cell).fontSize)))"
        )
        assert len(lines) == 4
        assert max(lines) < 5, lines
        page.screenshot(path=str(screenshot_path("dashboard-480")))
    finally:
        page.close()
