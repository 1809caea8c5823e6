"""What a cell of JupyterLab says while it waits, why it does and since when; the line of a batch and the dashboard say the same."""

from __future__ import annotations

import re
import time
from typing import Iterator, List

import pytest
from support.live_lab import WAIT_SECONDS, NotebookPage, OpenNotebook
from support.screenshots import picture

from claude_force_nb.simulator import Simulator

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# Takes note of every text that the output of a cell has had.
_WATCH = """
cell => {
  window.seen = [];
  const note = () => {
    const text = [...cell.querySelectorAll('.jp-OutputArea-output')].map(each => each.innerText.trim()).join('\\n');
    if (text && text !== window.seen[window.seen.length - 1]) window.seen.push(text);
  };
  new MutationObserver(note).observe(cell, {childList: true, characterData: true, subtree: true});
}
"""
SOON = "import asyncio\nafter = asyncio.get_running_loop().call_later\n"
# Libraries on a slow disk.
SLOW_DISK = """
import sys, time
class SlowDisk:
    def find_spec(self, name, path=None, target=None):
        if name == "aiohttp":
            time.sleep(1.5)
sys.meta_path.insert(0, SlowDisk())
"""
CELLS = [
    SLOW_DISK + "%load_ext claude_force_nb\nsession = get_ipython()._claude_force_extension.magics.session",
    "%claude model=haiku What is a mill?",
    SOON
    + "session.orchestrator.pause()\n_ = after(3, session.orchestrator.resume)\n%claude model=haiku What is a weir?",
    "%claude model=haiku What is a lock?",
    SOON + "session.orchestrator.resize(1)\n"
    "others = [asyncio.ensure_future(session.orchestrator.run(f'slowly {n}', model='haiku')) for n in range(3)]\n"
    "await asyncio.sleep(0.2)\n%claude model=haiku What is a dam?",
    "%claude_config base_url={limited}\n%claude_dashboard",
    "_ = await session.orchestrator.run_many([f'fill {n}' for n in range(21)], model='haiku')\n"
    "%claude model=haiku What is a canal?",
    "%claude_batch [f'row {n}' for n in range(3)] model=haiku",
    "%claude_config base_url={slow}\n%claude model=sonnet thinking=on What is a sluice?",
]


@pytest.fixture
def limited() -> Iterator[Simulator]:
    with Simulator(requests_per_minute=20) as simulator:
        yield simulator


@pytest.fixture
def slow() -> Iterator[Simulator]:
    with Simulator(tokens_per_second=40) as simulator:
        yield simulator


def watched(notebook: NotebookPage, number: int, name: str = "", shows: str = "") -> List[str]:
    """Run a cell and return every text of its output, in order; where it `shows` a text there is a picture of that."""
    notebook.cell(number).evaluate(_WATCH)
    notebook.start(number)
    if shows:
        notebook.cell(number).locator(".jp-OutputArea-output").get_by_text(re.compile(shows)).first.wait_for()
        picture(notebook, f"waiting-{name}", number)
    notebook.wait_for_end(number)
    seen: List[str] = notebook.page.evaluate("window.seen")
    return seen


def lines(seen: List[str], pattern: str) -> List[str]:
    """Return what was seen that fits, each once."""
    return [text for text in dict.fromkeys(seen) if re.search(pattern, text)]


def test_a_cell_says_what_it_waits_for(
    open_notebook: OpenNotebook, server: Simulator, limited: Simulator, slow: Simulator
) -> None:
    """Importing, paused, a retry, queued, a rate limit, thinking and writing, each with a clock that goes on."""
    server.fail("overloaded", times=1, retry_after_seconds=3, contains="a lock")
    server.fail("slow", delay_seconds=1.5, contains="slowly")
    notebook = open_notebook([cell.replace("{limited}", limited.url).replace("{slow}", slow.url) for cell in CELLS])
    notebook.run(0)
    assert lines(watched(notebook, 1), r"^importing libraries · \d+ s$")
    assert len(lines(watched(notebook, 2, "paused", "^paused"), r"^paused; resume to continue · \d+ s$")) > 1
    retry = r"^attempt 2 of \d+ in (\d|under 1) s after: .*overloaded.* · \d+ s$"
    assert len(lines(watched(notebook, 3, "retry", "^attempt 2"), retry)) > 1
    seen = watched(notebook, 4, "queued", "^queued")
    for ahead in ("2 before this one", "1 before this one"):
        assert lines(seen, rf"^queued, {ahead} · \d+ s$"), seen
    notebook.run(5)
    limit = r"^rate limit, sending in (\d|under 1) s · \d+ s$"
    assert len(lines(watched(notebook, 6, "rate-limit", "^rate limit"), limit)) > 1
    batch = r"^\d of 3.* waiting · rate limit of haiku, next call in \d s"
    assert lines(_batch_beside_the_dashboard(notebook), batch)
    seen = watched(notebook, 8, "writing", "writing · ")
    assert lines(seen, r"thinking, about [\d,]+ tokens · \d+ s$"), seen
    assert len(lines(seen, r"imulated answer[\s\S]*writing · \d+ s$")) > 1, seen
    assert "writing" not in seen[-1].splitlines()[-1]


def _batch_beside_the_dashboard(notebook: NotebookPage) -> List[str]:
    """Run the batch; return what its line said. The dashboard is seen to say the same meanwhile."""
    notebook.cell(7).evaluate(_WATCH)
    notebook.start(7)
    dashboard = notebook.cell(5).locator(".claude-force-dash")
    dashboard.get_by_text(re.compile("^Rate limit of haiku: the next call is sent in")).filter(
        visible=True
    ).first.wait_for()
    picture(notebook, "waiting-batch")
    ends = time.monotonic() + WAIT_SECONDS
    while not re.search(r"Queue\s+\d\s+limited", notebook.cell(5).inner_text()):
        assert time.monotonic() < ends, notebook.cell(5).inner_text()
        notebook.page.wait_for_timeout(100)
    notebook.wait_for_end(7)
    seen: List[str] = notebook.page.evaluate("window.seen")
    return seen
