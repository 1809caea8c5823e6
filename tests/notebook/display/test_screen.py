"""How often an answer that arrives is shown, and how much of it."""

from __future__ import annotations

import io
import time
from typing import Any, Dict, List

import IPython.display
import pytest

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.answers import result_bundle
from claude_force_nb.notebook.display.markdown import warm_up
from claude_force_nb.notebook.display.screen import NotebookScreen, TerminalScreen


class Display:
    """A front end that records what it is sent."""

    def __init__(self) -> None:
        self.sent: List[Dict[str, str]] = []

    def __call__(self, shown: Dict[str, str], **more: Any) -> Display:
        self.sent.append(shown)
        return self

    def update(self, shown: Dict[str, str], **more: Any) -> None:
        self.sent.append(shown)

    @property
    def characters(self) -> int:
        return sum(len(form) for shown in self.sent for form in shown.values())


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Display:
    sent = Display()
    monkeypatch.setattr(IPython.display, "display", sent)
    return sent


@pytest.mark.slow
def test_a_long_answer_is_shown_less_often(display: Display) -> None:
    """What is sent of an answer that arrives grows with the time that it takes, not with its length times that."""
    screen, partial = NotebookScreen(), PartialAnswer()
    warm_up()
    began = time.monotonic()
    part = "Some words, `code` and *more*. " * 40 + "\n\n"
    while len(partial.text) < 200_000:
        partial.add_text(part)
        time.sleep(0.005)
        screen.show(partial)
    seconds = time.monotonic() - began
    assert len(display.sent) > 1
    assert display.characters <= 2_000_000 * seconds + 1_000_000
    screen.finish(ClaudeResult(text=partial.text, model="m"))
    assert display.sent[-1] == result_bundle(ClaudeResult(text=partial.text, model="m"))
    assert "text/markdown" not in display.sent[0]


@pytest.mark.parametrize("blocks", [3, 30])
def test_much_code_is_shown_before_it_has_all_its_colours(display: Display, blocks: int) -> None:
    """An answer that comes at once, as from the cache, stands there first; at the end it looks as it does wherever it is shown."""
    code = "def f():\n    return 1\n" * 60
    text = "\n\n".join(f"Part {number}.\n\n```python\n{code}```" for number in range(blocks))
    result = ClaudeResult(text=text, model="m")
    NotebookScreen().finish(result)
    coloured = [shown["text/html"].count('class="k"') for shown in display.sent]
    assert coloured == sorted(coloured)
    assert len(coloured) == (1 if blocks == 3 else 2)
    assert coloured[-1] == 120 * blocks
    assert display.sent[-1] == result_bundle(result)


def test_a_short_answer_is_shown_as_it_grows(display: Display) -> None:
    """Each change is sent, and nothing else."""
    screen, partial = NotebookScreen(), PartialAnswer()
    screen.show(partial, "waiting")
    assert display.sent == []
    texts = []
    for delta in ("One", " two", "", " three"):
        partial.add_text(delta)
        texts += [partial.text] * bool(delta)
        # On a busy machine it is shown less often, since it takes longer.
        for _ in range(200):
            time.sleep(0.1)  # the least that lies between two looks
            screen.show(partial)
            if len(display.sent) == len(texts):
                break
        assert [shown["text/plain"] for shown in display.sent] == texts


class Terminal(io.StringIO):
    """A terminal, of which `shown` is what a person sees: a carriage return goes back to the beginning of the line."""

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> List[str]:
        lines = []
        for line in self.getvalue().split("\n"):
            cells: List[str] = []
            for part in line.split("\r"):
                cells[: len(part)] = part
            lines.append("".join(cells).rstrip())
        return lines


def in_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put both streams of this process into a terminal; called by the test itself, since before it pytest puts its own ones there."""
    both = Terminal()
    monkeypatch.setattr("sys.stdout", both)
    monkeypatch.setattr("sys.stderr", both)
    monkeypatch.setenv("COLUMNS", "40")
    return both


def test_a_terminal_says_what_is_waited_for_and_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is cut to the terminal, gone with the first word, and leaves nothing, not even the ^C of the user's."""
    terminal = in_terminal(monkeypatch)
    screen, partial = TerminalScreen(), PartialAnswer()
    screen.wait("importing the SDK · 1 s")
    screen.wait("waiting for the answer, and for a good deal of other things · 2 s")
    assert terminal.shown == ["waiting for the answer, and for a good"[: 40 - 3]]
    screen.show(partial, "thinking · 3 s")
    assert terminal.shown == ["thinking · 3 s"]
    terminal.write("^C")
    partial.add_text("Yes. ")
    screen.show(partial, "writing · 4 s")
    screen.finish(ClaudeResult(text="Yes. No.", model="m"))
    assert terminal.shown[0] == "Yes. No."
    assert terminal.shown[1].startswith("m · ")


def test_a_stopped_wait_leaves_nothing_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the line about the Stop remains, which IPython writes."""
    terminal = in_terminal(monkeypatch)
    screen = TerminalScreen()
    screen.wait("waiting for the answer · 2 s")
    assert terminal.shown == ["waiting for the answer · 2 s"]
    screen.leave(PartialAnswer())
    assert terminal.shown == [""]


def test_a_file_gets_the_answer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ipython script.py > answers.txt` holds no line of what was waited for."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", out)
    screen = TerminalScreen()
    screen.wait("waiting for the answer · 2 s")
    screen.finish(ClaudeResult(text="Yes.", model="m"))
    assert out.getvalue().startswith("Yes.\nm · ")
