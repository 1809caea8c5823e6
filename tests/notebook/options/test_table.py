"""The table of options, of which settings, lines and help are made."""

from __future__ import annotations

from claude_force_nb.notebook.options.table import LINE_OPTIONS, OPTIONS, SETTINGS


def test_settings_are_options() -> None:
    """What can be set for good can be given to a call; where an answer goes is said on the line."""
    assert set(SETTINGS) <= set(OPTIONS)
    assert "into" in LINE_OPTIONS
