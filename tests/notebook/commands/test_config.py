"""%claude_config."""

from __future__ import annotations

import re
from pathlib import Path

from claude_force_nb.notebook.commands.config import config_bundle
from claude_force_nb.notebook.options.settings import Settings


def test_amounts_in_the_settings_are_read_at_a_glance(tmp_path: Path) -> None:
    """``1e3`` is shown as the thousand dollars that it is."""
    settings = Settings(configurable=None, environ={"CLAUDE_FORCE_BUDGET": "1e3"}, folder=tmp_path)
    assert re.search(r"^budget +1000 +CLAUDE_FORCE_BUDGET", config_bundle(settings)["text/plain"], re.MULTILINE)
