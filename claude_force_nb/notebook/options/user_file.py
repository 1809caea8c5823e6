"""The user's own settings for all notebooks: ``settings.toml`` in the user's configuration folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Mapping

from claude_force_nb.errors import ClaudeForceWarning
from claude_force_nb.storage.regular_file import open_regular
from claude_force_nb.storage.user_folders import home_relative, user_folder
from claude_force_nb.text_tables import one_line
from claude_force_nb.vocabulary import did_you_mean
from claude_force_nb.warn import warn

from .table import SETTINGS
from .toml_text import parse_toml
from .trust import not_the_users_own

__all__ = ["MOST_BYTES", "read_user_file", "user_file_path"]

MOST_BYTES = 1_000_000
"""A longer file is not read: no settings need this much."""


def user_file_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the user's settings file, which need not exist."""
    return user_folder("config", environ) / "settings.toml"


def read_user_file(path: Path) -> Mapping[str, Any]:
    """Return the settings in the user's file; warn once and return none if it cannot be read or is not the user's own."""
    try:
        with open_regular(path, within=path.parent, max_bytes=MOST_BYTES) as file:
            foreign = not_the_users_own(os.fstat(file.fileno()))
            content = file.read(MOST_BYTES)
        data = parse_toml(content)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        warn(f"{home_relative(path)} is ignored, since it cannot be read: {reason}", ClaudeForceWarning)
        return {}
    if foreign:
        warn(f"{home_relative(path)} is ignored, since {foreign}", ClaudeForceWarning)
        return {}
    for name in data:
        if name not in SETTINGS:
            near = did_you_mean(name, SETTINGS)
            warn(f"{home_relative(path)}: unknown setting {name[:40]!r} is ignored{near}", ClaudeForceWarning)
    return {name: value for name, value in data.items() if name in SETTINGS}
