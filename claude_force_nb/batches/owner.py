"""Workers that own jobs: each has a locked file, which the operating system unlocks when the process dies."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Dict, Optional

from claude_force_nb.storage.file_lock import try_lock
from claude_force_nb.storage.private import make_private_folder

__all__ = ["Owner", "is_alive"]

# Workers of this process. Their locks must not be tested: closing the opened file would release the lock (POSIX, "fcntl").
_own: Dict[str, int] = {}
_TOKEN = re.compile("[0-9a-f]{32}")


class Owner:
    """A worker, which is alive until `release` or until its process dies, even by SIGKILL.

    Parameters
    ----------
    folder : Path
        Folder of the workers' files, created with mode 0700.

    Raises
    ------
    OSError
        If no file can be created and locked there.
    """

    def __init__(self, folder: Path) -> None:
        make_private_folder(folder)
        self.token = uuid.uuid4().hex
        self._path = _path(folder, self.token)
        self._handle: Optional[int] = os.open(str(self._path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if os.name == "posix":  # an unusual umask may have removed permissions that the user's other processes need
            os.fchmod(self._handle, 0o600)
        self._process = os.getpid()
        try_lock(self._handle, shared_by_process=True)
        _own[self.token] = self._process

    def __repr__(self) -> str:
        return f"Owner({self.token[:8]})"

    def release(self) -> None:
        """Release the lock, so that others may take over the worker's parts. Idempotent."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        os.close(handle)
        if self._process == os.getpid():
            _own.pop(self.token, None)
            _remove(self._path)


def is_alive(folder: Path, token: str) -> bool:
    """Return whether a worker is alive, and remove the file of a dead one; False for an invalid token.

    Raises
    ------
    OSError
        If it is unknown because the file cannot be opened or locked.
    """
    if not _TOKEN.fullmatch(token):
        return False
    if _own.get(token) == os.getpid():
        return True
    path = _path(folder, token)
    try:
        handle = os.open(str(path), os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return False
    try:
        taken = not try_lock(handle, shared_by_process=True)
    finally:
        os.close(handle)
    if not taken:
        _remove(path)
    return taken


def _path(folder: Path, token: str) -> Path:
    return folder / f"{token}.lock"


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:  # Windows cannot remove a file that is open elsewhere, which does no harm since it is unlocked
        pass
