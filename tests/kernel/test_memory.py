"""Conversations and agents of a notebook, in real kernels with and without cell ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import nbformat
import pytest
from nbclient import NotebookClient
from support.live_kernel import (
    Cell,
    LiveKernel,
    assert_one_line_and_nothing_sent,
    kernel_environment,
    one_line,
    only_answer,
)

from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow

# What a reader would write: a conversation with a template, a loop, a repeated text, a second conversation.
NOTEBOOK = [
    "%load_ext claude_force_nb",
    "%claude_config memory=on model=haiku",
    'table = "a,b\\n1,2\\n3,4"',
    "%%claude agent=reviewer\nLook at this table:\n\n{{ table }}",
    "%%claude agent=reviewer\nGo on.",
    "%%claude agent=reviewer\nGo on.",
    "for word in ['red', 'green']:\n    last = %claude memory=colours stream=off Tell me of {{ word }}",
    "%claude memory=colours And blue?\n%claude memory=off Alone.",
    "%%claude agent=reviewer into=end\nWhat did you say of {{ len(table) }}?",
]


def sent(server: Simulator, since: int) -> List[Dict[str, Any]]:
    return [request.body for request in server.requests[since:]]


def asked(body: Dict[str, Any]) -> List[str]:
    return [message["content"] for message in body["messages"] if message["role"] == "user"]


def run_all(kernel: LiveKernel, ids: bool) -> List[Cell]:
    cells = [kernel.run(code, f"cell-{number}" if ids else None) for number, code in enumerate(NOTEBOOK)]
    assert [cell.status for cell in cells] == ["ok"] * len(NOTEBOOK), [cell.traceback for cell in cells]
    return cells


def test_restart_and_run_all_is_answered_from_the_cache(server: Simulator, tmp_path: Path) -> None:
    """With cell ids: run, run some cells again, restart, run all, and in nbclient too: one call for each turn in all."""
    environment = kernel_environment(server.url, tmp_path)
    since = server.counters.calls
    with LiveKernel(environment, str(tmp_path)) as kernel:
        run_all(kernel, ids=True)
        calls = server.counters.calls
        assert calls - since == 8
        for number in (3, 6, 4, 3):
            again = kernel.run(NOTEBOOK[number], f"cell-{number}")
            assert " · cached " in again.text or number == 6
        shown = kernel.run("%claude_memory").text
        assert server.counters.calls == calls
        fingerprint = kernel.value("end.fingerprint")
    bodies = sent(server, since)
    assert [len(body["messages"]) for body in bodies] == [1, 3, 5, 1, 3, 5, 1, 7]
    assert asked(bodies[-1])[1:] == ["Go on.", "Go on.", "What did you say of 11?"]
    assert "7 turns, about " in shown
    with LiveKernel(environment, str(tmp_path)) as kernel:
        cells = run_all(kernel, ids=True)
        assert server.counters.calls == calls
        assert kernel.value("end.cached, end.fingerprint") == f"True {fingerprint}"
        assert " · turn 4 of reviewer" in only_answer(cells[-1])["text/html"]

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in NOTEBOOK])
    NotebookClient(book, kernel_manager_class="support.live_kernel.ThisInterpreter").execute(env=environment)
    assert server.counters.calls == calls
    assert "turn 4 of reviewer" in json.dumps(book.cells[-1].outputs)


def test_a_cell_run_again_replaces_its_turn(shared: LiveKernel, server: Simulator) -> None:
    """A changed cell is sent what stood before it; the cells below it are then sent its new turn; undo and clear forget."""
    since = server.counters.calls
    shared.run("%%claude memory=x\none", "a")
    shared.run("%%claude memory=x\ntwo", "b")
    shared.run("%%claude memory=x\nthree", "c")
    shared.run("%%claude memory=x\nTWO", "b")
    shared.run("%%claude memory=x\nthree", "c")
    assert [asked(body) for body in sent(server, since)] == [
        ["one"], ["one", "two"], ["one", "two", "three"], ["one", "TWO"], ["one", "TWO", "three"],
    ]  # fmt: skip
    # A cell that no longer takes part leaves, one that fails keeps its turn.
    assert shared.run("%%claude memory=x max_tokens=none\nONE", "a").status == "error"
    shared.run("%%claude memory=off\ntwo alone", "b")
    table = shared.run("%claude_memory show x").text
    assert ("one" in table, "TWO" in table, "three" in table) == (True, False, True)
    assert "forgot the last turn of x: three" in shared.run("%claude_memory undo x").text
    assert "forgot 1 turn of x" in shared.run("%claude_memory clear x").text
    assert "no conversation 'x'" in one_line(shared.run("%claude_memory show x"))


def test_without_cell_ids_the_same_code_is_the_same_cell(shared: LiveKernel, server: Simulator) -> None:
    """A front end that gives no ids: the same code replaces its turn, other code is a new cell at the end."""
    since = server.counters.calls
    for text in ("first", "second", "first", "third"):
        shared.run("%%claude memory=y\n" + text)
    assert [asked(body) for body in sent(server, since)] == [
        ["first"],
        ["first", "second"],
        ["first", "second", "third"],
    ]
    shared.run("%claude_memory clear y")


def test_stop_and_errors_do_not_enter(shared: LiveKernel, server: Simulator) -> None:
    """A stopped answer, a failed one and a dry run add no turn; a dry run shows the turns."""
    shared.run("%%claude memory=z\nbegin", "a")
    with Simulator(latency_seconds=30) as hanging:
        shared.run("%claude_config base_url=" + hanging.url)
        message_id = shared.send("print('here')\n%claude memory=z go on", "b")
        shared.wait_for_output(message_id, "here")
        shared.interrupt()
        assert "Interrupted" in shared.wait(message_id).traceback[0]
        assert shared.run("%claude memory=z timeout=0.2 go on", "b").status == "error"
    shared.run("%claude_config base_url=default")
    preview = shared.run("%%claude memory=z --dry-run\ngo on", "b").text
    assert shared.value("[each['content'] for each in _.body['messages']][::2]") == "['begin', 'go on']"
    assert "turn 2 of z" in preview
    shared.run("%%claude memory=z --dry-run\nbegin", "a")
    assert "1 turn, about " in shared.run("%claude_memory show z").text
    shared.run("%claude_memory clear z")


def test_long_conversations_say_what_they_leave_out(shared: LiveKernel, server: Simulator) -> None:
    """memory_tokens cuts by whole turns, and the receipt says so in every form."""
    shared.run("%claude_config memory_tokens=300")
    shared.run("%%claude memory=long\n" + "word " * 400, "a")
    data = only_answer(shared.run("%%claude memory=long\nshort", "b"))
    shared.run("%claude_config memory_tokens=default")
    assert asked(server.requests[-1].body) == ["short"]
    line = "turn 2 of long, without the 1 oldest (memory_tokens=300)"
    assert line in data["text/plain"]
    assert line in data["text/html"]
    assert line.replace("_", "\\_") in data["text/markdown"]
    shared.run("%claude_memory clear long")


def test_wherever_the_cell_asks_it_is_the_cell(shared: LiveKernel, server: Simulator) -> None:
    """Inside a function, %%capture and a task the turn belongs to the cell that runs."""
    since = server.counters.calls
    shared.run(
        "def ask(text):\n    return get_ipython().run_line_magic('claude', 'memory=deep stream=off ' + text)", "d"
    )
    shared.run("%%claude memory=deep\nshallow", "a")
    for _ in range(2):
        cell = shared.run("ask('deep one')\nanswer = ask('deep two')", "b")
        assert cell.status == "ok", cell.traceback
        shared.run("%%capture\n%claude memory=deep captured", "c")
        shared.run(
            "import asyncio\nasync def later():\n    return ask('in a task')\nawait asyncio.gather(later())", "e"
        )
    questions = [asked(body) for body in sent(server, since)]
    everything = ["shallow", "deep one", "deep two", "captured", "in a task"]
    assert questions == [everything[: number + 1] for number in range(5)]
    assert "5 turns, about " in shared.run("%claude_memory show deep").text
    shared.run("%claude_memory clear deep")


def test_what_is_shown_is_text(shared: LiveKernel) -> None:
    """Questions and answers in the table are shown as text, whatever they contain."""
    shared.run("%%claude memory=html\n<script>alert(1)</script> costs $5 or $6", "h")
    data = only_answer(shared.run("%claude_memory show html"))
    assert "<script" not in data["text/html"]
    assert "<span>$</span>5" in data["text/html"]
    assert "\\<script\\>" in data["text/markdown"]
    shared.run("%claude_memory clear html")


def test_an_agent_of_the_notebook(shared: LiveKernel, server: Simulator) -> None:
    """%%claude_agent defines an agent from its body as typed, running it again replaces it, and %claude_agents shows it."""
    shown = shared.run(
        "%%claude_agent poet model=haiku max_tokens=77 description='In verse'\nAnswer in {{ verse }}.\n", "p"
    )
    assert "agent poet is defined; use it with agent=poet" in shown.text
    shared.run("%%claude agent=poet\nroses")
    body = server.requests[-1].body
    assert (body["system"], body["model"], body["max_tokens"]) == ("Answer in {{ verse }}.", "claude-haiku-5-5", 77)
    assert "defined again" in shared.run("%%claude_agent poet\nAnswer in rhyme.").text
    shared.run("%%claude agent=poet\nroses")
    assert server.requests[-1].body["system"] == "Answer in rhyme."
    assert server.requests[-1].body["model"] == "claude-sonnet-5-5"
    text = shared.run("%claude_agents poet").text
    assert "Answer in rhyme." in text
    assert "this notebook, cell [" in text
    assert "this notebook, cell [" in shared.run("%claude_agents").text
    before = shared.run("%%claude_agent tester\nTest.").text
    assert "takes precedence over the built-in one" in before
    assert "poet" in shared.complete("%%claude agent=po")
    for code in ("%%claude_agent --help", "%%claude_agent --help\n "):
        assert set(shared.run(code).text.split()) >= {"model=", "description="}


MISTAKES = {
    "%%claude_agent\nx": ("write a name: %%claude_agent NAME",),
    "%%claude_agent poet\n": ("EmptyPromptError: the agent has no text", "below the %%claude_agent line"),
    "%%claude_agent ../x\ny": ("an agent's name must be letters, digits, - and _, not '../x'",),
    "%%claude_agent model=opus\ny": ("an agent's name must be",),
    "%%claude_agent a modle=opus\ny": ("unknown option 'modle'", "did you mean 'model'?"),
    "%%claude_agent a model=sonet\ny": ("did you mean 'sonnet'?",),
    "%%claude_agent a temperature=2\ny": ("temperature takes a number from 0 to 1, not '2'",),
    "%%claude_agent a max_tokens=0\ny": ("max_tokens takes tokens, from 1, not '0'",),
    "%%claude_agent a agent=b\ny": ("unknown option 'agent'",),
    "%%claude_agent a\n\n": ("the agent has no text",),
    "%claude_agent a": ("the agent has no text",),
    "%%claude agent=../../etc/passwd\nhi": ("unknown agent '../../etc/passwd'",),
    "%claude_agents ../x": ("unknown agent '../x'",),
    "%%claude memory=../x\nhi": ("memory takes on, off or a name, not '../x'",),
    "%claude_memory shwo": ("did you mean 'show'?",),
    "%claude_memory clear a b": ("takes one name",),
    "%claude_memory clear nobody": ("there is no conversation 'nobody'",),
    "%claude_config memory_tokens=some": ("memory_tokens takes tokens, from 1, not 'some'",),
    "%claude_config memory_tokens=0": ("memory_tokens takes tokens, from 1, not '0'",),
}


@pytest.mark.parametrize("code", MISTAKES, ids=lambda code: code.splitlines()[0])
def test_a_mistake_is_one_line_and_sends_nothing(shared: LiveKernel, server: Simulator, code: str) -> None:
    """What the user got wrong is named in one line, nothing has left and no agent is defined."""
    assert_one_line_and_nothing_sent(shared, server, code, MISTAKES[code])
    assert "unknown agent 'a'" in one_line(shared.run("%claude_agents a"))


def test_tab_completes_names(shared: LiveKernel) -> None:
    """Tab offers agents behind %%claude_agent and %claude_agents, conversations behind memory= and %claude_memory."""
    shared.run("%%claude memory=talk\nhi", "t")
    for typed, offered in {
        "%%claude_agent rev": "reviewer",
        "%%claude_agent rev mod": "model=",
        "%%claude_agent rev model=hai": "haiku",
        "%claude_agents lab": "labeller",
        "%%claude mem": "memory=",
        "%%claude memory=ta": "talk",
        "%%claude memory=o": "off",
        "%claude_memory un": "undo",
        "%claude_memory show t": "talk",
        "%claude_config memory=of": "off",
    }.items():
        assert offered in shared.complete(typed), typed
    shared.run("%claude_memory clear talk")
