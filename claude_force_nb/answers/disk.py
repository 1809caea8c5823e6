"""Answer files on disk: read only inside their project and up to a size limit, and written as a whole."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from typing import Iterator, List, Optional, Tuple

from claude_force_nb.errors import AnswerFileError
from claude_force_nb.storage.file_lock import release_lock, try_lock
from claude_force_nb.storage.regular_file import project_of, read_regular, replace_file

from .keys import AnswerKeys
from .lines import AnswerLine, LineFault, split_lines

__all__ = ["MAX_FILE_BYTES", "alone_in_folder", "file_state", "read_lines", "write_whole"]

MAX_FILE_BYTES = 512 * 2**20
"""Size limit for reading a file, in bytes."""
# How long to wait for others that write; after that, write nevertheless.
_LOCK_SECONDS = 10.0
_POLL_SECONDS = 0.005


def read_lines(path: str, keys: AnswerKeys) -> Tuple[bytes, List[AnswerLine], List[LineFault]]:
    """Return header, lines and faults of a file like `split_lines`; all empty if the file is missing or empty.

    Raises
    ------
    AnswerFileError
        If it cannot be read, or is not an answer file.
    """
    try:
        data = read_regular(path, max_bytes=MAX_FILE_BYTES, within=project_of(path, or_working_directory=False))
    except FileNotFoundError:
        return b"", [], []
    except OSError as error:
        raise AnswerFileError(f"{path} cannot be read: {error.strerror or error}") from None
    if not data:
        return b"", [], []
    try:
        return split_lines(data, keys)
    except AnswerFileError as error:
        raise AnswerFileError(f"{path}: {error}") from None


def file_state(path: str) -> Optional[Tuple[int, int, int]]:
    """Return a value that changes whenever the file is written; None if the file does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def write_whole(target: str, data: bytes) -> None:
    """Replace a file, keeping its permissions; if this raises OSError, the old file is unchanged."""
    with replace_file(target, binary=True) as file:
        if os.name == "posix" and os.path.exists(target):
            os.fchmod(file.fileno(), os.stat(target).st_mode & 0o777)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def alone_in_folder(target: str) -> Iterator[None]:
    """Let other processes that write answer files in the same folder wait until the body has ended.

    The folder is locked, since the file itself is replaced, and a lock file would be one more file in the repository. On
    Windows and on disks without locks, nobody waits.
    """
    with ExitStack() as at_end:
        try:
            descriptor = os.open(os.path.dirname(target) or ".", os.O_RDONLY)
        except OSError:
            pass
        else:
            at_end.callback(os.close, descriptor)
            if _wait_for_lock(descriptor):
                at_end.callback(release_lock, descriptor)
        yield


def _wait_for_lock(descriptor: int) -> bool:
    ends = time.monotonic() + _LOCK_SECONDS
    try:
        while not try_lock(descriptor, shared_by_process=False):
            if time.monotonic() >= ends:
                return False
            time.sleep(_POLL_SECONDS)
    except OSError:
        return False
    return True
