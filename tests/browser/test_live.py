"""Answers where JupyterLab updates displays and where it does not, and how they stand in the saved notebook."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List

import pytest
from support.live_lab import OpenNotebook
from support.screenshots import picture

from claude_force_nb.simulator import Simulator

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELLS = [
    "%load_ext claude_force_nb\n%claude_config base_url={url}",
    "%claude What is a river?",
    "import ipywidgets\nout = ipywidgets.Output()\nout",
    "with out:\n    answer = %claude What is a lake?\n    labels = %claude_batch ['a pond', 'a pool'] model=haiku",
    "@ipywidgets.interact(sea=['Baltic', 'North'])\ndef ask(sea):\n    answer = %claude How deep is the {{ sea }} sea?\n    return answer",
    "%%capture kept\n%claude What is a canal?",
    "kept.show()",
]


@pytest.fixture(scope="module")
def slow_server() -> Iterator[Simulator]:
    # So slow that each answer is updated several times.
    with Simulator(latency_seconds=0.5, tokens_per_second=1000) as simulator:
        yield simulator


def rich(outputs: List[Dict[str, Any]]) -> List[str]:
    return ["".join(output["data"]["text/plain"]) for output in outputs if "data" in output]


def test_every_answer_is_seen_and_saved_once(open_notebook: OpenNotebook, slow_server: Simulator) -> None:
    """In the cell, in an `Output`, by `@interact` as its list is changed, and captured."""
    page = open_notebook([CELLS[0].format(url=slow_server.url), *CELLS[1:]])
    for number in range(len(CELLS)):
        page.run(number)
    widget = page.cell(2).locator(".jp-OutputArea-output")
    widget.get_by_text("2 rows · 2 ok").first.wait_for()
    assert widget.get_by_text("imulated answer from claude-sonnet").count() == 1
    interacting = page.cell(4).locator(".jp-OutputArea-output")
    interacting.get_by_text("Baltic sea").first.wait_for()
    interacting.locator("select").select_option("North")
    interacting.get_by_text("North sea").first.wait_for()
    interacting.get_by_text("saved").or_(interacting.get_by_text(" tok · ")).first.wait_for()
    assert interacting.get_by_text("imulated answer from claude-sonnet").count() == 1
    assert page.cell(6).get_by_text("imulated answer from claude-sonnet").count() == 1
    picture(page, "live")
    cells = page.save()["cells"]
    (answer,) = rich(cells[1]["outputs"])
    assert "imulated answer" in answer
    assert " tok · $0.0" in answer
