"""Reads ``[tool.claude_force_nb]`` from the nearest pyproject.toml, which may come from somebody else's repository."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional

from claude_force_nb.errors import ClaudeForceWarning
from claude_force_nb.storage.regular_file import open_regular
from claude_force_nb.text_tables import one_line
from claude_force_nb.vocabulary import did_you_mean
from claude_force_nb.warn import warn

from .table import SETTINGS
from .toml_text import parse_toml, table_of
from .trust import TrustStore, not_the_users_own

__all__ = ["PROJECT_TABLE", "ProjectFile", "nearest_project", "read_project"]

PROJECT_TABLE = ("tool", "claude_force_nb")

# A larger file is not read: no project's settings need this much.
_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class ProjectFile:
    """The settings of a project file, and whether the user trusts it.

    Attributes
    ----------
    path : Path or None
        None if no file has our table.
    content : bytes
        The file's content.
    values : mapping
        The table's settings.
    foreign : str
        Why the file can never be trusted, because another user owns it or can write it; else "".
    trusted : bool
        True if the user trusts the file with its present content.
    changed : bool
        True if the user trusted the file, and it has changed since.
    """

    path: Optional[Path] = None
    content: bytes = field(default=b"", repr=False)
    values: Mapping[str, Any] = field(default_factory=dict)
    foreign: str = ""
    trusted: bool = False
    changed: bool = False

    @property
    def remedy(self) -> str:
        """What the user can do if the file is ignored."""
        if self.foreign:
            return f"it cannot be trusted, since {self.foreign}"
        since = "it has changed since you trusted it; " if self.changed else ""
        return f"{since}%claude_config trust=on allows it, if this project is yours"


def read_project(folder: Path, store: TrustStore) -> ProjectFile:
    """Read the nearest pyproject.toml in `folder` or above; if it cannot be read, warn once and set nothing."""
    path = nearest_project(folder)
    return ProjectFile() if path is None else _read(path, store)


def nearest_project(folder: Path) -> Optional[Path]:
    """Return the nearest pyproject.toml in `folder` or above, even if it is not a regular file; None if none exists."""
    for each in (folder, *folder.parents):
        path = each / "pyproject.toml"
        if os.path.lexists(str(path)):
            return path
    return None


def _read(path: Path, store: TrustStore) -> ProjectFile:
    try:
        with open_regular(path, within=path.parent, max_bytes=_MAX_BYTES) as file:
            foreign = not_the_users_own(os.fstat(file.fileno()))
            content = file.read(_MAX_BYTES)
    except OSError as error:
        return _unusable(path, error.strerror or str(error))
    if b"claude_force_nb" not in content:  # saves importing a TOML parser
        return ProjectFile()
    try:
        table = _table(content)
    except (ValueError, RecursionError) as error:
        return _unusable(path, "it is nested too deeply" if isinstance(error, RecursionError) else one_line(error))
    if table is None:
        return ProjectFile()
    known = {name: value for name, value in table.items() if name in SETTINGS}
    for name in table:
        if name not in known:
            near = did_you_mean(name, SETTINGS)
            warn(f"{path}: unknown setting {name[:40]!r} is ignored{near}", ClaudeForceWarning)
    trusted = not foreign and store.is_trusted(path, content)
    changed = not trusted and store.knows(path)
    return ProjectFile(path, content, known, foreign, trusted, changed)


def _table(content: bytes) -> Optional[Mapping[str, Any]]:
    table = table_of(parse_toml(content), PROJECT_TABLE)
    if table is not None and not isinstance(table, dict):
        raise ValueError("[tool.claude_force_nb] is not a table")
    return table


def _unusable(path: Path, reason: str) -> ProjectFile:
    warn(f"{path} is ignored, since it cannot be read: {reason}", ClaudeForceWarning)
    return ProjectFile()
