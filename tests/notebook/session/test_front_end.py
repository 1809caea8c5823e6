"""The front end remembers what a cell has shown."""

from __future__ import annotations

from types import SimpleNamespace

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.session.front_end import FrontEnd


def test_only_the_very_value_that_was_shown_counts() -> None:
    """A later value is not taken for one that was shown and freed, even if it has the same address in memory."""
    front_end = FrontEnd(SimpleNamespace(execution_count=1), {})
    front_end.mark_shown(ClaudeResult(text="shown and freed"))
    later = [ClaudeResult(text=str(number)) for number in range(1000)]
    assert not any(map(front_end.was_shown, later))
    kept = ClaudeResult(text="kept")
    front_end.mark_shown(kept)
    assert front_end.was_shown(kept)
    assert not front_end.was_shown(ClaudeResult(text="kept"))
    front_end.shell.execution_count += 1
    assert not front_end.was_shown(kept)
