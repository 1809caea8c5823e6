"""The list of project files that the user trusts, kept in the user's own configuration by path and content."""

from __future__ import annotations

import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Dict, Mapping, Optional

from claude_force_nb.errors import ClaudeForceError, ClaudeForceWarning
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.storage.private import make_private_folder
from claude_force_nb.storage.regular_file import read_regular, replace_file
from claude_force_nb.storage.user_folders import user_folder
from claude_force_nb.warn import warn

__all__ = ["TrustStore", "digest", "not_the_users_own"]

_MAX_BYTES = 1_000_000


def digest(content: bytes) -> str:
    """Return a fingerprint of a file's content."""
    return sha256(content).hexdigest()


def not_the_users_own(status: os.stat_result) -> str:
    """Return why somebody else could have written a file, or "".

    A group whose only member is the user, which most systems create for each user, does not count as somebody else.
    """
    if sys.platform == "win32":  # no POSIX owners and modes
        return ""
    if status.st_uid not in (0, os.geteuid()):
        return "it belongs to another user"
    own_group = status.st_gid == os.getegid() == os.geteuid()
    if status.st_mode & 0o002 or (status.st_mode & 0o020 and not own_group):
        return "others can write it"
    return ""


class TrustStore:
    """The list of trusted project files.

    Parameters
    ----------
    folder : path, optional
        The user's configuration folder by default.
    """

    def __init__(self, folder: Optional[Path] = None) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """Path of the file with the list."""
        if self._folder is None:
            self._folder = user_folder("config", os.environ)
        return self._folder / "trusted-projects.json"

    def is_trusted(self, project: Path, content: bytes) -> bool:
        """Return whether the user has trusted this file with this very content."""
        return self._read().get(str(project)) == digest(content)

    def knows(self, project: Path) -> bool:
        """Return whether the user has trusted this file with any content."""
        return str(project) in self._read()

    def trust(self, project: Path, content: bytes) -> None:
        """Trust a file as long as its content does not change.

        Raises
        ------
        ClaudeForceError
            If the list cannot be written.
        """
        self._write({**self._read(), str(project): digest(content)})

    def distrust(self, project: Path) -> None:
        """Remove a file from the list; raises like `trust`."""
        trusted = self._read()
        if trusted.pop(str(project), None) is not None:
            self._write(trusted)

    def _read(self) -> Dict[str, str]:
        try:
            data = load_json(read_regular(self.path, max_bytes=_MAX_BYTES).decode("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or "it is not valid JSON"
            warn(f"{self.path} cannot be read: {reason}; no project is trusted", ClaudeForceWarning)
            return {}
        if not isinstance(data, dict):
            return {}
        return {name: value for name, value in data.items() if isinstance(value, str)}

    def _write(self, trusted: Mapping[str, str]) -> None:
        try:
            make_private_folder(self.path.parent)
            with replace_file(self.path) as file:
                json.dump(trusted, file, indent=1, sort_keys=True)
        except OSError as error:
            raise ClaudeForceError(f"{self.path} cannot be written: {error.strerror or error}") from None
