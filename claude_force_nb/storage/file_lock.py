"""Locks on open files. The operating system releases them when their holder dies, even by SIGKILL."""

from __future__ import annotations

import errno
import os
import sys

__all__ = ["release_lock", "try_lock"]

_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
# Windows prevents other processes from reading a locked range, so lock a byte beyond the end of the file.
_LOCKED_OFFSET = 1 << 40


def try_lock(descriptor: int, *, shared_by_process: bool) -> bool:
    """Lock an open file without waiting; return False if it is locked already.

    Parameters
    ----------
    descriptor : int
        Descriptor of a file that is open for writing, or of a folder for a ``flock``. Closing it releases the lock.
    shared_by_process : bool
        True for a lock of the process (POSIX ``fcntl``): other descriptors of this process do not compete with it,
        closing any of them releases it, and a forked child does not inherit it. False for a lock of this descriptor
        (``flock``): it excludes other descriptors of this process too, and a forked child holds it until it closes the
        file. Windows has only the second kind.

    Raises
    ------
    OSError
        If the file cannot be locked at all, as on some network disks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LOCKED_OFFSET, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            lock = fcntl.lockf if shared_by_process else fcntl.flock
            lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def release_lock(descriptor: int) -> None:
    """Release a lock of this descriptor (``flock``), also if a forked child has inherited it; only on POSIX."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
