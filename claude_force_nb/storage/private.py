"""Folders and files that only their user can read, whatever the umask."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Dict, Tuple, Union

__all__ = ["make_private_file", "make_private_folder", "read_start"]

AnyPath = Union[str, "os.PathLike[str]"]

# Held while a descriptor of a file is open that must not be closed under another thread's locks.
_lock = threading.Lock()
# By device and inode, a descriptor of every file whose start was read; see `read_start`.
_kept: Dict[Tuple[int, int], int] = {}


def make_private_folder(path: AnyPath) -> None:
    """Make a folder with mode 0700, including missing parents. Existing folders are left unchanged.

    Raises
    ------
    OSError
        If it cannot be made, or something else has its name.
    """
    folder = Path(path)
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_private_folder(folder.parent)
    try:
        os.mkdir(str(folder), 0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    if os.stat(str(folder)).st_mode & 0o777 != 0o700:  # a umask may take away what the owner needs
        os.chmod(str(folder), 0o700)


def make_private_file(path: AnyPath) -> None:
    """Make an empty file with mode 0600 unless it exists.

    SQLite would make it with the mode that the umask leaves; its -wal and -shm files copy this one's mode. A file that is there
    must not even be opened: closing any descriptor of a file takes away all locks that the process has on it, those of other
    connections too ("How To Corrupt An SQLite Database File", section 2.2), and then another process takes itself for the last one
    and removes the log that is in use.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    with _lock:
        try:
            descriptor = os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        try:
            if sys.platform != "win32" and os.fstat(descriptor).st_mode & 0o777 != 0o600:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)


def read_start(path: AnyPath, length: int) -> bytes:
    """Return up to the first `length` bytes of a file that may be an open database, and leave everybody's locks on it alone.

    Its descriptor stays open, since closing it would take away the locks of this process; see `make_private_file`. That is one for
    each file, until the file has no name any more and another one is looked at.

    Raises
    ------
    OSError
        If it cannot be read, or is not a regular file.
    """
    if sys.platform == "win32":  # has no such locks, and removes no file that is open
        with open(path, "rb") as file:
            return file.read(length)
    with _lock:
        _close_removed()
        status = os.stat(str(path))
        key = (status.st_dev, status.st_ino)
        if key not in _kept:
            descriptor = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            status = os.fstat(descriptor)  # of what was opened, should another file have taken the name since
            key = (status.st_dev, status.st_ino)
            _kept.setdefault(key, descriptor)
        return os.pread(_kept[key], length, 0)


def _close_removed() -> None:
    for key, descriptor in list(_kept.items()):
        if os.fstat(descriptor).st_nlink == 0:
            os.close(descriptor)
            del _kept[key]


def _renew_lock() -> None:
    global _lock
    # It may be held by a thread that a forked child does not have.
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
