"""The folders of a user's cache, ledger and keys, or temporary ones if the home folder cannot be written."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from threading import Lock
from typing import Mapping, Optional, Union

from claude_force_nb.errors import ClaudeForceWarning
from claude_force_nb.warn import warn

__all__ = ["absolute_path", "home_relative", "is_temporary", "user_folder"]

APPLICATION = "claude_force_nb"

# Environment variables for the individual folders; CLAUDE_FORCE_HOME sets a folder for all of them.
_VARIABLES = {"cache": "CLAUDE_CACHE_DIR", "data": "CLAUDE_FORCE_DATA_DIR", "config": ""}

_lock = Lock()
_session: Optional[Path] = None


def user_folder(kind: str, environ: Mapping[str, str], *, given: Optional[Union[str, os.PathLike[str]]] = None) -> Path:
    """Return the absolute path of a folder of the user; it need not exist yet.

    Parameters
    ----------
    kind : str
        ``"cache"``; ``"data"`` for ledger and batch jobs, which must not be in the cache, since that may be shared,
        cleared and written by others; or ``"config"`` for keys.
    environ : mapping
        Environment variables. The folder's own variable takes precedence, then ``CLAUDE_FORCE_HOME``, then those of the
        system's conventions.
    given : path, optional
        Takes precedence over all of these.

    Notes
    -----
    If nothing is set and there is no home folder, or it cannot be written, a temporary folder is used and removed when the process
    ends; one `ClaudeForceWarning` says so. A folder that was set is never replaced, unless it depends on a home or working
    directory that does not exist.
    """
    named = given or environ.get(_VARIABLES[kind])
    shared = environ.get("CLAUDE_FORCE_HOME")
    if not named and shared:
        named = os.path.join(shared, kind)
    if named:
        path = absolute_path(named)
        return _temporary(kind, f"{os.fspath(named)} cannot be resolved to a folder") if path is None else path
    try:
        import platformdirs

        folders = {"cache": platformdirs.user_cache_dir, "data": platformdirs.user_data_dir}
        found = folders.get(kind, platformdirs.user_config_dir)(APPLICATION, appauthor=False)
    except (RuntimeError, KeyError, OSError):  # HOME is not set, and the password database has no entry for this user
        found = "~"
    if not os.path.isabs(found):
        return _temporary(kind, "there is no home folder")
    if not _can_be_written(found):
        return _temporary(kind, f"{found} cannot be written")
    return Path(found)


def absolute_path(path: Union[str, os.PathLike[str]]) -> Optional[Path]:
    """Return an absolute path with ``~`` expanded; None if it is not valid, or depends on a folder that does not exist."""
    expanded = os.path.expanduser(os.fspath(path))
    if expanded.startswith("~") or "\0" in expanded:
        return None
    try:
        return Path(os.path.abspath(expanded))
    except OSError:  # the working directory has been removed
        return None


def home_relative(path: Union[str, os.PathLike[str]]) -> str:
    """Return a path for display: ``~/…`` inside the home folder, so that it does not reveal the user's name."""
    home = os.path.expanduser("~")
    text = str(path)
    return "~" + text[len(home) :] if len(home) > 1 and text.startswith(home + os.sep) else text


def is_temporary(path: Union[str, os.PathLike[str]]) -> bool:
    """Return whether a path is in this process's temporary folder, which is removed when the process ends."""
    return _session is not None and _session in Path(path).parents


def _can_be_written(folder: str) -> bool:
    """Return whether `folder` is writable or can be created, without creating anything."""
    while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    effective = os.access in os.supports_effective_ids
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)


def _temporary(kind: str, reason: str) -> Path:
    global _session
    with _lock:
        if _session is None:
            try:
                _session = Path(tempfile.mkdtemp(prefix=APPLICATION + "-"))
            except OSError:
                # Nothing is writable anywhere; the caller reports that this folder cannot be written.
                return Path(os.path.sep, APPLICATION, kind)
            atexit.register(_remove, _session, os.getpid())
            message = (
                f"{reason}: cache, costs and batch jobs are in a temporary folder and will be gone when this process ends; "
                "set CLAUDE_FORCE_HOME to a folder that keeps them"
            )
        else:
            message = ""
    if message:
        warn(message, ClaudeForceWarning)
    return _session / kind


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child leaves its parent's folder alone
        shutil.rmtree(str(folder), ignore_errors=True)


def _renew_lock() -> None:
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
