"""Front ends that do not show display updates: every answer and the end of every batch is a display of its own."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterator, List

import pytest
from support.live_kernel import Cell, LiveKernel, one_line, only_answer

from claude_force_nb.simulator import Simulator


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    # So slow that in a browser each answer is updated several times.
    with Simulator(latency_seconds=0.5, tokens_per_second=1000) as simulator:
        yield simulator


def shown_after(cell: Cell) -> str:
    """Return what a reader without display updates sees of a cell: text, and each display as it was first."""
    assert cell.updates == 0, cell.history
    return "\n".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)


def assert_answered_in(cell: Cell) -> None:
    data = only_answer(cell)
    assert "imulated answer" in data["text/plain"]
    assert " tok · $0.0" in data["text/plain"].splitlines()[-1]
    assert "text/html" in data


@pytest.mark.slow
def test_a_console_gets_the_answer_as_one_display(shared: LiveKernel) -> None:
    """A console of jupyter_client ignores updates: nothing is shown before the answer and its receipt are complete."""
    cell = shared.run_as_console("%claude What is a delta?")
    assert cell.updates == 0
    assert_answered_in(cell)


@pytest.mark.slow
def test_a_notebook_gets_it_while_it_arrives(shared: LiveKernel) -> None:
    """With and without the name of the cell, as one output."""
    for number, cell_id in enumerate((None, "a-cell")):
        cell = shared.run(f"%claude What is an estuary? {number}", cell_id)
        assert cell.updates >= 2
        assert_answered_in(cell)


@pytest.mark.slow
def test_live_is_said_by_the_cell_and_by_a_setting(shared: LiveKernel) -> None:
    """off: one display at the end, also in a notebook; on: in a console as text while it comes, and nothing is lost."""
    cell = shared.run("%claude live=off What is a fjord?", "a-cell")
    assert cell.updates == 0
    assert_answered_in(cell)
    shown = shown_after(shared.run_as_console("%claude live=on What is a lagoon?"))
    assert shown.count("imulated") == 1
    assert " tok · $0.0" in shown.splitlines()[-1]
    shared.run("%claude_config live=off")
    assert shared.run("%claude What is a sound?").updates == 0
    shared.run("%claude_config live=default")
    assert one_line(shared.run("%claude live=of hi")) == (
        "OptionError: live must be one of auto, on, off, not 'of'; did you mean 'off'?"
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "live=on"])
def test_the_end_of_a_batch_is_a_display(shared: LiveKernel, options: str) -> None:
    """In a console, with a line that is rewritten before it where it was asked for."""
    cell = shared.run_as_console(f"%claude_batch ['bay {options}', 'cape {options}'] model=haiku {options}")
    shown = shown_after(cell)
    assert "2 rows · 2 ok · $0.0" in shown
    assert ("0 of 2" in cell.stderr) == bool(options)
    assert "\x1b" not in cell.stderr
    only_answer(cell)


@pytest.mark.slow
def test_a_batch_in_the_background_ends_in_a_display(shared: LiveKernel) -> None:
    """In a console its end is shown by itself, while the prompt waits for what is typed."""
    told: List[Dict[str, Any]] = []
    shared.on_message = told.append
    try:
        shared.run_as_console("run = %claude_batch ['north', 'south'] model=haiku --background")
        shared.listen(3)
    finally:
        shared.on_message = None
    displays = [message for message in told if message["msg_type"] == "display_data"]
    assert "0 of 2" in displays[0]["content"]["data"]["text/plain"]
    assert "2 rows · 2 ok" in displays[-1]["content"]["data"]["text/plain"]
    assert not [message for message in told if message["msg_type"] == "update_display_data"]


@pytest.mark.slow
def test_a_stopped_answer_is_shown_as_far_as_it_came(shared: LiveKernel) -> None:
    """Also in a console: what has come, marked, and one line that says what to do."""
    with Simulator(tokens_per_second=20) as slow:
        shared.run(f"%claude_config base_url={slow.url}")
        shared.run("%claude model=haiku thinking=off hello")
        message_id = shared.client.execute(
            "%claude model=haiku thinking=off What is a strait? Please explain at length.",
            store_history=True,
            stop_on_error=False,
        )
        # Without updates there is no sign that the answer is arriving, so the test cannot wait for one.
        while not slow.counters.in_flight:
            shared.listen(0.1)
        shared.listen(2)
        shared.interrupt()
        cell = shared.wait(message_id)
        shared.run("%claude_config base_url=default")
    assert cell.status == "error"
    assert cell.traceback[0].startswith("Interrupted: stopped after ")
    (output,) = cell.outputs
    assert "the answer broke off here" in output["data"]["text/plain"]


@pytest.mark.slow
def test_a_captured_answer_is_captured_once(shared: LiveKernel) -> None:
    """Updates would each be an output of the capture."""
    cell = shared.run("%%capture captured\nanswer = %claude What is a reef?", "a-cell")
    assert cell.outputs == []
    assert shared.value("len(captured.outputs), answer.text in captured.outputs[0].data['text/plain']") == "1 True"
    shared.run(
        "from IPython.utils.capture import capture_output\nwith capture_output() as kept:\n    answer = %claude What is a shoal?"
    )
    assert shared.value("len(kept.outputs)") == "1"


@pytest.mark.slow
def test_an_output_widget_gets_the_answer_and_the_batch(shared: LiveKernel) -> None:
    """`Output` ignores updates while it is active (ipywidgets#1844), and only then."""
    shared.run("import ipywidgets\nout = ipywidgets.Output()\nother = ipywidgets.Output()")
    cell = shared.run("with out:\n    answer = %claude What is a spit?", "a-cell")
    assert cell.updates == 0
    assert_answered_in(cell)
    cell = shared.run("with out:\n    %claude_batch ['isthmus', 'inlet'] model=haiku", "a-cell")
    assert "2 rows · 2 ok" in shown_after(cell)
    assert shared.run("%claude What is a tombolo?", "a-cell").updates >= 2


@pytest.mark.slow
def test_interact_gets_one_answer(shared: LiveKernel) -> None:
    """A function that `@interact` calls shows its answer once, though it returns it as well."""
    shared.run("import ipywidgets")
    code = "@ipywidgets.interact(sea=['Baltic'])\ndef ask(sea):\n    answer = %claude How deep is the {{ sea }} sea?\n    return answer"
    cell = shared.run(code, "a-cell")
    assert json.dumps(cell.outputs).count("text/markdown") == 1
    assert cell.updates == 0


@pytest.mark.slow
def test_no_button_where_no_click_is_heard(shared: LiveKernel) -> None:
    """Consoles, nbclient and papermill get the dashboard's numbers as one small output, without importing widgets."""
    console = shared.run_as_console("%claude_dashboard")
    (output,) = console.outputs
    assert set(output["data"]) == {"text/plain", "text/markdown", "text/html"}
    assert len(json.dumps(output)) < 40_000
    browser = shared.run("%claude_dashboard")
    assert "application/vnd.jupyter.widget-view+json" in browser.outputs[0]["data"]
    shared.run("%claude_dashboard close")


_FORMULAS = "The root is $x^2$, which costs $5.\n\n$$\n\\frac{1}{2}\n$$\n\nAnd $\\href{javascript:1}{y}$."
_VS_CODE = "vscode-notebook-cell:/folder/book.ipynb#W1sZmlsZQ%3D%3D"


def test_vs_code_gets_formulas_as_mathml_as_well(shared: LiveKernel) -> None:
    """Hidden beside the TeX, in cells of VS Code only; Markdown and text are the same everywhere."""
    show = f"from claude_force_nb import ClaudeResult\nClaudeResult(text={_FORMULAS!r}, model='m')"
    shared.run("import sys; sys.modules.pop('latex2mathml.converter', None)  # another test may have needed it")
    elsewhere = only_answer(shared.run(show, "7f9d3f0e-2d1c"))
    assert "<math" not in elsewhere["text/html"]
    assert shared.value("'latex2mathml.converter' in sys.modules") == "False"
    there = only_answer(shared.run(show, _VS_CODE))
    assert {**there, "text/html": ""} == {**elsewhere, "text/html": ""}
    page = there["text/html"]
    assert re.findall(r'<(span|div) class="claude-force-mathml" hidden="hidden"><math', page) == ["span", "div"]
    assert page.count("mathjax_process") == elsewhere["text/html"].count("mathjax_process") == 2
    assert page.count("<style>") == 1
    assert "<math" not in only_answer(shared.run(show, "7f9d3f0e-2d1c"))["text/html"]


def test_vs_code_gets_formulas_while_an_answer_arrives(shared: LiveKernel) -> None:
    """Each update has those that are complete; the last one is what a cell at once shows."""
    grow = (
        "from claude_force_nb.notebook.display.answers import AnswerRenderer\n"
        f"text, renderer = {_FORMULAS!r}, AnswerRenderer()\n"
        "print([renderer.partial(text[:end])['text/html'].count('<math') for end in range(0, len(text), 20)])\n"
        "print(renderer.complete(text) == AnswerRenderer().complete(text))"
    )
    counts, same = shared.run(grow, _VS_CODE).stdout.splitlines()
    assert counts == "[0, 1, 1, 2, 2]", counts
    assert same == "True"
