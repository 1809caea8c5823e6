"""Open files that somebody else may have prepared: regular files only, no links out of a folder, limited in size."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager
from typing import IO, Any, BinaryIO, Iterator, Optional, Union

__all__ = [
    "is_inside",
    "open_for_appending",
    "open_regular",
    "own_target",
    "project_of",
    "read_regular",
    "replace_file",
]

AnyPath = Union[str, "os.PathLike[str]"]

# Without O_NONBLOCK, opening a pipe waits for a writer. The flags are 0 if the system does not have them.
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_LEADS_OUT = "it leads through a symbolic link to a file outside the folder; give the path of the file itself"
# Names that mark a folder as one that was cloned, unpacked or shared as a whole.
_PROJECT_MARKS = (".git", ".hg", "pyproject.toml")


def open_regular(path: AnyPath, *, within: Optional[AnyPath] = None, max_bytes: Optional[int] = None) -> BinaryIO:
    """Open a regular file for reading, in binary.

    Parameters
    ----------
    path : path
    within : path, optional
        A folder that must contain the file after all links are resolved. Use it for files that come with a repository,
        which may contain links to anything that the user can read.
    max_bytes : int, optional
        Largest size, in bytes.

    Raises
    ------
    OSError
        If the file cannot be opened, is a pipe, device or folder, is too large, or is reached by a link that leads out
        of `within`. Its ``strerror`` says which, in a form to follow "… cannot be read: ".

    Notes
    -----
    With `within`, a link that replaces a folder between check and opening would still be followed; one that replaces the file
    itself is not.
    """
    name = os.fspath(path)
    flags = os.O_RDONLY | _NO_WAITING
    if within is not None:
        name = os.path.realpath(name)
        if not is_inside(name, within):
            raise OSError(errno.ELOOP, _LEADS_OUT, os.fspath(path))
        flags |= _NO_LINK
    try:
        descriptor = os.open(name, flags)
    except ValueError:  # a null character in the name
        raise OSError(errno.EINVAL, "this is not a valid file name", os.fspath(path)) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
        if max_bytes is not None and status.st_size > max_bytes:
            raise _too_large(path, max_bytes)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: AnyPath, *, max_bytes: int, within: Optional[AnyPath] = None) -> bytes:
    """Return the bytes of a regular file; see `open_regular`.

    A file that grows, or that claims to be empty and is not, like those in ``/proc``, is refused if it exceeds
    `max_bytes`.
    """
    with open_regular(path, within=within, max_bytes=max_bytes) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise _too_large(path, max_bytes)
    return data


def is_inside(path: AnyPath, folder: AnyPath) -> bool:
    """Return whether a path is inside a folder after resolving all links."""
    inner, outer = os.path.realpath(os.fspath(path)), os.path.realpath(os.fspath(folder))
    try:
        return os.path.commonpath([inner, outer]) == outer and inner != outer
    except ValueError:  # on different drives
        return False


def project_of(path: AnyPath, *, or_working_directory: bool = True) -> Optional[str]:
    """Return the folder of the project to which a file belongs: the nearest one above its path, as written.

    Parameters
    ----------
    path : path
    or_working_directory : bool
        Whether a working directory that is not part of a project counts as the project of the files below it.

    Returns
    -------
    str or None
        None if the file does not belong to a project. Then its path, and the links in it, are the user's own.
    """
    try:
        name = os.path.abspath(os.fspath(path))
        working = os.getcwd() + os.sep
    except OSError:  # the working directory has been removed
        return None
    folder = os.path.dirname(name)
    while True:
        if any(os.path.lexists(os.path.join(folder, mark)) for mark in _PROJECT_MARKS):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return working if or_working_directory and name.startswith(working) else None
        folder = parent


def own_target(path: AnyPath) -> str:
    """Return where to write a file that the user calls `path`: there, or to the regular file to which the user's own link points.

    Raises
    ------
    OSError
        If there is something other than a regular file; or a link that belongs to somebody else, is broken, or leads
        out of its project: a repository may contain such a link in order to create or change a file elsewhere.
    """
    name = os.fspath(path)
    try:
        status = os.lstat(name)
    except FileNotFoundError:
        return name
    except ValueError:
        raise OSError(errno.EINVAL, "this is not a valid file name", name) from None
    if stat.S_ISLNK(status.st_mode):
        if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "it is a link that belongs to another user", name)
        if not os.path.exists(name):
            raise OSError(errno.ELOOP, "it is a link to a file that does not exist", name)
        project = project_of(name, or_working_directory=False)
        if project is not None and not is_inside(name, project):
            raise OSError(
                errno.ELOOP,
                "it is a symbolic link to a file outside the project; give the path of the file itself",
                name,
            )
        name = os.path.realpath(name)
        status = os.lstat(name)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    return name


def open_for_appending(path: AnyPath) -> BinaryIO:
    """Open a file for appending, unbuffered; create it with mode 0600 if necessary.

    Raises
    ------
    OSError
        If it cannot be opened, is a link, or is not a regular file.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | _NO_LINK | _NO_WAITING
    if os.path.islink(os.fspath(path)):
        raise OSError(errno.ELOOP, "it is a link", os.fspath(path))
    descriptor = os.open(os.fspath(path), flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
        return os.fdopen(descriptor, "ab", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def replace_file(path: AnyPath, *, binary: bool = False, newline: Optional[str] = None) -> Iterator[IO[Any]]:
    """Replace a file as a whole: write a new file with a random name next to it, and rename it if the body succeeds.

    The new file is created exclusively, with mode 0600, so that nobody can prepare a link in its place. If the body
    raises, the old file is unchanged. Text is UTF-8.

    Raises
    ------
    OSError
        If the file cannot be written, or if `path` is a link or not a regular file; these are never replaced.
    """
    name = os.fspath(path)
    try:
        if not stat.S_ISREG(os.lstat(name).st_mode):
            kind = "a link" if os.path.islink(name) else "not a regular file"
            raise OSError(errno.EINVAL, f"it is {kind}; give another name", name)
    except FileNotFoundError:
        pass
    except ValueError:
        raise OSError(errno.EINVAL, "this is not a valid file name", name) from None
    draft = f"{name}.{secrets.token_hex(8)}.tmp"
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK | _NO_WAITING, 0o600)
    try:
        if binary:
            file: IO[Any] = os.fdopen(descriptor, "wb")
        else:
            file = os.fdopen(descriptor, "w", encoding="utf-8", newline=newline)
        with file:
            yield file
        os.replace(draft, name)
    except BaseException:
        os.unlink(draft)
        raise


def _too_large(path: AnyPath, max_bytes: int) -> OSError:
    size = f"{max_bytes // 1_000_000} MB" if max_bytes >= 1_000_000 else f"{max_bytes} bytes"
    return OSError(errno.EFBIG, f"it is larger than {size}", os.fspath(path))
