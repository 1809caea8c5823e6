"""Which worker owns a job: one locked file per worker, which the operating system unlocks when the process dies."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Dict, Optional

from claude_force_nb.storage.file_lock import try_lock
from claude_force_nb.storage.private import make_private_folder

__all__ = ["Owner", "is_alive"]

# Workers of this process. Opening and closing a file of one's own would give up its lock (POSIX, "fcntl"), so they are known.
_own: Dict[str, int] = {}
_TOKEN = re.compile("[0-9a-f]{32}")


class Owner:
    """A worker, alive until `release` or the death of its process, even by SIGKILL.

    Parameters
    ----------
    folder : Path
        Where workers have their files, made with mode 0700.

    Raises
    ------
    OSError
        If no file can be made and locked there.
    """

    def __init__(self, folder: Path) -> None:
        make_private_folder(folder)
        self.token = uuid.uuid4().hex
        self._path = _path(folder, self.token)
        self._handle: Optional[int] = os.open(str(self._path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if os.name == "posix":  # a umask may have taken away what other processes of the owner need
            os.fchmod(self._handle, 0o600)
        self._process = os.getpid()
        try_lock(self._handle, shared_by_process=True)
        _own[self.token] = self._process

    def __repr__(self) -> str:
        return f"Owner({self.token[:8]})"

    def release(self) -> None:
        """End the work. Idempotent."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        os.close(handle)
        if self._process == os.getpid():
            _own.pop(self.token, None)
            _remove(self._path)


def is_alive(folder: Path, token: str) -> bool:
    """Return whether a worker's process is alive; the file of a dead one is removed. False for an invalid token.

    Raises
    ------
    OSError
        If its file cannot be opened or locked, so that this is unknown.
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
    except OSError:  # Windows keeps a file that is open elsewhere; it is unlocked all the same
        pass
