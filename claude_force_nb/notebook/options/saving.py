"""Writes settings atomically to the project's pyproject.toml or the user's own file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence
from urllib.parse import urlsplit

from claude_force_nb.errors import ClaudeForceError, OptionError
from claude_force_nb.storage.private import make_private_folder
from claude_force_nb.storage.regular_file import read_regular, replace_file
from claude_force_nb.storage.user_folders import home_relative
from claude_force_nb.text_tables import one_line

from .project import PROJECT_TABLE, ProjectFile, nearest_project
from .reading import is_tighter
from .settings import Settings
from .table import SETTINGS
from .toml_text import with_changes
from .user_file import MOST_BYTES

__all__ = ["PLACES", "save_settings"]

PLACES = ("project", "user")
# Shorter secrets are not searched for, since they occur in many words.
_SHORTEST_SECRET = 8
_LIKE_A_KEY = re.compile(r"sk-ant-", re.IGNORECASE)


def save_settings(
    settings: Settings, given: Mapping[str, Any], *, place: Optional[str], secrets: Sequence[str]
) -> Path:
    """Write settings to a file.

    Parameters
    ----------
    settings : Settings
    given : mapping
        Values by setting, as typed; ``default`` removes a setting from the file.
    place : str, optional
        One of `PLACES`; by default the project's file if it already has settings, else the user's.
    secrets : sequence of str
        Values that must not be written, such as the key in the environment.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OptionError
        If one of the settings may not be written there; nothing is written then.
    ClaudeForceError
        If the file cannot be written.
    """
    project = settings.project
    in_project = place == "project" or (place is None and project.path is not None)
    path = _project_path(project, settings.folder) if in_project else settings.user_file
    values: Dict[str, Any] = {}
    for name, text in given.items():
        values[name] = None if text == "default" else _toml_value(name, text)
        if values[name] is None:
            continue
        _check_secrets(name, str(values[name]), secrets)
        if in_project:
            _check_project(settings, project, name, text)
        if SETTINGS[name].path:
            values[name] = _path_from(str(values[name]), path.parent if in_project else None)
    _write(path, PROJECT_TABLE if in_project else (), values)
    settings.saved(path if in_project and project.trusted else None)
    return path


def _project_path(project: ProjectFile, folder: Path) -> Path:
    if project.foreign:
        raise OptionError(
            f"{project.path} is not changed, since {project.foreign}; --save=user writes to your own file"
        )
    path = project.path or nearest_project(folder)
    if path is None:
        raise OptionError("there is no pyproject.toml in this folder or above it; --save=user writes to your own file")
    return path


def _check_project(settings: Settings, project: ProjectFile, name: str, text: str) -> None:
    """Raise OptionError for a setting that would be ignored in the project's file."""
    option = SETTINGS[name]
    allowed = option.project == "free" or (
        option.project == "tighten" and is_tighter(name, option.read(text), settings.below_project(name))
    )
    if not allowed and not project.trusted:
        raise OptionError(
            f"a project file may not set {name} unless you trust it: --save=user writes to your own file, and "
            "%claude_config trust=on trusts this project; nothing was written"
        )


def _check_secrets(name: str, text: str, secrets: Sequence[str]) -> None:
    has_password = name in ("base_url", "cache_url") and "://" in text and urlsplit(text).password is not None
    if has_password or _LIKE_A_KEY.search(text) or any(_holds(text, secret) for secret in secrets):
        raise OptionError(f"the value of {name} holds a key or a password, which is never written; nothing was written")


def _holds(text: str, secret: str) -> bool:
    return secret in text if len(secret) >= _SHORTEST_SECRET else secret == text


def _toml_value(name: str, typed: Any) -> Any:
    """Return a value for TOML: text, unless it is a boolean or a number."""
    if not isinstance(typed, str):
        raise OptionError(f"{name} is an object in this notebook; save it to a file first; nothing was written")
    value = SETTINGS[name].read(typed)
    if isinstance(value, (bool, int)):
        return value
    number = re.fullmatch(r"[0-9]+(\.[0-9]+)?", typed)
    if number is None or (isinstance(value, str) and not name.endswith("budget")):
        return typed
    return float(typed) if number.group(1) else int(typed)


def _path_from(text: str, folder: Optional[Path]) -> str:
    """Return a path that means the same in the file as in the working directory: relative below `folder`, else absolute."""
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if folder is None or folder not in path.parents:
        return str(path)
    return path.relative_to(folder).as_posix()


def _write(path: Path, table: Sequence[str], changes: Mapping[str, Any]) -> None:
    shown = home_relative(path)
    try:
        content = read_regular(path, max_bytes=MOST_BYTES, within=path.parent)
        mode: Optional[int] = os.stat(str(path)).st_mode & 0o777
    except FileNotFoundError:
        content, mode = b"", None
    except OSError as error:
        raise ClaudeForceError(f"{shown} cannot be read: {error.strerror or error}; nothing was written") from None
    try:
        changed = with_changes(content, table, changes)
    except Exception as error:  # the library's errors for a file that it cannot parse
        raise ClaudeForceError(f"{shown} cannot be changed: {one_line(error)}; nothing was written") from None
    if changed == content:
        return
    try:
        if mode is None:
            make_private_folder(path.parent)
        with replace_file(path, binary=True) as file:
            if mode is not None and os.name == "posix":
                os.fchmod(file.fileno(), mode)
            file.write(changed)
    except OSError as error:
        raise ClaudeForceError(f"{shown} cannot be written: {error.strerror or error}; nothing was written") from None
