"""Shows an answer: in one display that is updated, as plain text while it streams, or in one display at the end."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any, Callable, Mapping, Optional, Protocol

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.kernel.updates import Live
from claude_force_nb.text_tables import without_controls

from .answers import AnswerRenderer, broken_off
from .bundles import bundle, line_bundle
from .markdown import warm_up
from .provenance import provenance
from .receipts import receipt
from .terminal_line import TerminalLine

__all__ = ["NotebookScreen", "Screen", "TerminalScreen", "follow", "make_screen", "show_bundle"]

# At most ten updates a second: more cannot be seen, and each sends the whole answer to the browser.
REFRESH_SECONDS = 0.1
# An answer from the cache arrives sooner than this. After it, show the user that something is in progress.
_WAIT_SECONDS = 0.4
# Bounds for a streaming answer: characters sent to the browser per second, and a fifth of the time for rendering.
_CHARACTERS_A_SECOND = 2_000_000
_PAUSE_FACTOR = 5
_BROKEN_OFF = "the answer broke off here"


class Screen(Protocol):
    """Shows one answer while it arrives and when it is complete."""

    def prepare(self) -> None:
        """Start preparations that take time, such as imports; called once, and does not block."""

    def wait(self, line: str) -> None:
        """Show what the call is waiting for while there is nothing of the answer yet."""

    def show(self, partial: PartialAnswer, line: str = "") -> None:
        """Show the answer so far, and below it the state of the call and the elapsed time."""

    def leave(self, partial: Optional[PartialAnswer] = None) -> None:
        """Remove what `wait` showed; mark a partial answer as broken off."""

    def finish(self, result: ClaudeResult) -> None:
        """Show the complete result with its receipt."""


class NotebookScreen:
    """One display, created with the first text and updated in place."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown: Optional[str] = None
        self._waits = False
        self._renderer = AnswerRenderer()
        self._next_update = 0.0

    def prepare(self) -> None:
        """Import the rendering libraries in a thread, while the answer is awaited."""
        _warm_up()

    def wait(self, line: str) -> None:
        """Show what the call is waiting for while there is nothing of the answer yet."""
        if line != self._shown:
            self._shown = line
            self._put(line_bundle(line))
            self._waits = True

    def leave(self, partial: Optional[PartialAnswer] = None) -> None:
        """Remove what `wait` showed; mark a partial answer as broken off."""
        if partial is not None and partial.text:
            self._put(self._renderer.complete(partial.text, partial.thinking, mark=_BROKEN_OFF))
        elif self._waits:
            self._put(bundle("", "", ""))

    def show(self, partial: PartialAnswer, line: str = "") -> None:
        """Show the answer so far, if it has changed and the last update was long enough ago for its length."""
        began = time.perf_counter()
        if began < self._next_update:
            return
        text, thinking = partial.text, partial.thinking
        state = "\0".join((thinking, text, line))
        if state == self._shown or (not text and not thinking):
            return
        self._shown = state
        rendered = self._renderer.partial(text, thinking, line)
        self._put(rendered)
        # Each update sends the whole text. Updates become rarer as the answer grows, so that neither time nor traffic grows
        # quadratically.
        sending = sum(map(len, rendered.values())) / _CHARACTERS_A_SECOND
        self._next_update = began + max(_PAUSE_FACTOR * (time.perf_counter() - began), sending)

    def finish(self, result: ClaudeResult) -> None:
        """Show the complete result with its receipt; long new code is highlighted in a second update."""
        self._put(self._renderer.result(result, in_full=False), provenance(result))
        if not self._renderer.coloured:
            self._put(self._renderer.result(result), provenance(result))

    def _put(self, shown: Mapping[str, str], metadata: Optional[Mapping[str, Any]] = None) -> None:
        self._waits = False
        if self._handle is None:
            self._handle = show_bundle(shown, display_id=True, metadata=metadata)
        else:
            self._handle.update(shown, raw=True, metadata=metadata)


class FinalScreen:
    """One display, created at the end, for front ends that do not show updates."""

    def __init__(self) -> None:
        self._renderer = AnswerRenderer()

    def prepare(self) -> None:
        """Import the rendering libraries in a thread."""
        _warm_up()

    def wait(self, line: str) -> None:
        """Show nothing, since it could not be removed afterwards."""

    def show(self, partial: PartialAnswer, line: str = "") -> None:
        """Show nothing, since the rest could not be added."""

    def leave(self, partial: Optional[PartialAnswer] = None) -> None:
        """Show a partial answer, marked as broken off."""
        if partial is not None and partial.text:
            show_bundle(self._renderer.complete(partial.text, partial.thinking, mark=_BROKEN_OFF))

    def finish(self, result: ClaudeResult) -> None:
        """Show the complete result with its receipt."""
        show_bundle(self._renderer.result(result), metadata=provenance(result))


class TerminalScreen:
    """Plain text on standard output, as it arrives.

    Parameters
    ----------
    live : bool
        False to write the answer only when it is complete.
    """

    def __init__(self, *, live: bool = True) -> None:
        self._live = live
        self._written = ""
        self._line = TerminalLine()

    def prepare(self) -> None:
        """Do nothing."""

    def wait(self, line: str) -> None:
        """Show what the call is waiting for, if the terminal allows removing it afterwards."""
        self._line.show(line)

    def leave(self, partial: Optional[PartialAnswer] = None) -> None:
        """Remove what `wait` showed; mark a partial answer as broken off."""
        self._line.clear()
        if partial is not None and partial.text:
            self._write(partial.text)
            sys.stdout.write(f"\n[{_BROKEN_OFF}]\n")
            sys.stdout.flush()

    def show(self, partial: PartialAnswer, line: str = "") -> None:
        """Write the text that has been added; as long as there is none, show the state of the call."""
        if self._live and partial.text:
            self._write(partial.text)
        else:
            self._line.show(line)

    def _write(self, text: str) -> None:
        self._line.clear()
        text = without_controls(text)
        # If the call was repeated, the text written so far stays, and the new text starts on a new line.
        if not text.startswith(self._written):
            sys.stdout.write("\n")
            self._written = ""
        sys.stdout.write(text[len(self._written) :])
        sys.stdout.flush()
        self._written = text

    def finish(self, result: ClaudeResult) -> None:
        """Write the rest of the answer and the receipt."""
        self._write(result.text)
        mark = broken_off(result)
        below = f"[{mark}]\n{receipt(result)}" if mark else receipt(result)
        sys.stdout.write(f"\n{below}\n")
        sys.stdout.flush()


def make_screen(live: Live, *, in_kernel: bool) -> Screen:
    """Return the screen for an answer."""
    if live is Live.TEXT or not in_kernel:
        return TerminalScreen(live=live is not Live.AT_END)
    return NotebookScreen() if live is Live.IN_PLACE else FinalScreen()


def _warm_up() -> None:
    threading.Thread(target=warm_up, name="claude-force-rendering", daemon=True).start()


async def follow(
    screen: Screen, partial: Optional[PartialAnswer], state: Callable[[], object], clock: Callable[[], float]
) -> None:
    """Show an answer while it arrives, and the state of the call before that, until cancelled.

    Parameters
    ----------
    screen : Screen
    partial : PartialAnswer or None
        None if nothing is shown before the answer is complete.
    state : callable
        Returns an object whose text describes the state of the call.
    clock : callable
        Returns seconds.
    """
    began = clock()
    await asyncio.sleep(REFRESH_SECONDS)
    screen.prepare()
    while True:
        waited = clock() - began
        line = f"{state()} · {waited:.0f} s"
        if partial is not None and (partial.text or partial.thinking):
            screen.show(partial, line)
        elif waited >= _WAIT_SECONDS:
            screen.wait(line)
        await asyncio.sleep(REFRESH_SECONDS)


def show_bundle(
    bundle: Mapping[str, Any], *, display_id: bool = False, metadata: Optional[Mapping[str, Any]] = None
) -> Any:
    """Display a MIME bundle; return its display handle if `display_id` is True."""
    from IPython.display import display

    return display(bundle, raw=True, display_id=display_id or None, metadata=metadata)  # type: ignore[no-untyped-call]
