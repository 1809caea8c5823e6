"""Folders and files that only their owner can read, whatever the umask."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Dict, Tuple, Union

__all__ = ["make_private_file", "make_private_folder", "read_start"]

AnyPath = Union[str, "os.PathLike[str]"]

# Held while a descriptor is open whose closing would release another thread's locks.
_lock = threading.Lock()
# A descriptor of every file whose start was read, by device and inode; see `read_start`.
_kept: Dict[Tuple[int, int], int] = {}


def make_private_folder(path: AnyPath) -> None:
    """Create a folder with mode 0700, including missing parents. Existing folders are left unchanged.

    Raises
    ------
    OSError
        If it cannot be created, or if `path` is not a folder.
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
    if os.stat(str(folder)).st_mode & 0o777 != 0o700:  # the umask may remove permissions that the owner needs
        os.chmod(str(folder), 0o700)


def make_private_file(path: AnyPath) -> None:
    """Create an empty file with mode 0600 unless it exists.

    SQLite would create it with a mode that depends on the umask; its -wal and -shm files copy the mode of this file. An
    existing file must not even be opened: closing any descriptor of a file releases all locks of the process on it,
    including those of other connections ("How To Corrupt An SQLite Database File", section 2.2). Then another process
    assumes that it is the last one and removes the log that is in use.

    Raises
    ------
    OSError
        If it cannot be created.
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
    """Return up to the first `length` bytes of a file that may be an open database, without affecting any locks on it.

    The descriptor stays open, since closing it would release the locks of this process; see `make_private_file`. There
    is one descriptor per file. It is closed by a later call, once the file has been removed.

    Raises
    ------
    OSError
        If it cannot be read, or is not a regular file.
    """
    if sys.platform == "win32":  # it has no such locks, and does not remove open files
        with open(path, "rb") as file:
            return file.read(length)
    with _lock:
        _close_removed()
        status = os.stat(str(path))
        key = (status.st_dev, status.st_ino)
        if key not in _kept:
            descriptor = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            status = os.fstat(descriptor)  # of the file that was opened, which may have replaced the one seen above
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
    # The lock may be held by a thread that does not exist in the forked child.
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
