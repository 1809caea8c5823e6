"""Reading the values of settings."""

from __future__ import annotations

import pytest

from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.options.reading import read_setting


def test_settings_read_what_toml_and_traitlets_give() -> None:
    """Numbers and booleans are read like their texts; an unknown setting names its nearest."""
    assert read_setting("stream", False, where="x") is False
    assert read_setting("max_tokens", 12, where="x") == 12
    with pytest.raises(OptionError, match="x: unknown setting 'modl'; did you mean 'model'"):
        read_setting("modl", 1, where="x")
