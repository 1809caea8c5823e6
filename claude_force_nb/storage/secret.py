"""The user's secret: from an argument, the environment, or a key file created once. It is never shown or logged."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path
from typing import List, Mapping, Optional, Tuple, Union

from claude_force_nb.errors import SecretError

from .private import make_private_folder
from .user_folders import home_relative

__all__ = [
    "KEY_FILE_NAME",
    "MINIMUM_CHARACTERS",
    "find_secrets",
    "read_key",
    "read_or_make_key",
    "requires_secret",
    "weakness",
]

KEY_FILE_NAME = "cache.key"
MINIMUM_CHARACTERS = 16

# Placeholders for secrets in READMEs, templates and compose files; compared without case and punctuation.
_PLACEHOLDERS = frozenset(
    [
        "changeit",
        "changeme",
        "changethis",
        "default",
        "demo",
        "development",
        "dev",
        "dummy",
        "empty",
        "example",
        "fixme",
        "foobar",
        "hackme",
        "insecure",
        "key",
        "mysecret",
        "mysecretkey",
        "none",
        "null",
        "password",
        "placeholder",
        "replaceme",
        "secret",
        "secretkey",
        "someothersecret",
        "somesecret",
        "supersecret",
        "supersecretkey",
        "test",
        "testing",
        "testsecret",
        "thisisasecret",
        "todo",
        "topsecret",
        "undefined",
        "unsafe",
        "yoursecret",
        "yoursecrethere",
        "yoursecretkey",
        "yoursecretkeyhere",
        "yourstrongrandomsecret",
        "claudecachesecret",
    ]
)
_PLACEHOLDER_PARTS = (
    "changeme",
    "changethis",
    "replaceme",
    "replacethis",
    "yourstrong",
    "yoursecret",
    "yourrandom",
    "placeholder",
)

_KEY_LINE = re.compile(rb"[0-9a-f]{64}\n?\Z")


def weakness(secret: str) -> Optional[str]:
    """Return why `secret` is weak, in words that do not contain it; None if no weakness is known."""
    plain = re.sub(r"[^a-z0-9]", "", secret.lower())
    if plain in _PLACEHOLDERS or any(part in plain for part in _PLACEHOLDER_PARTS):
        return "is a placeholder"
    if len(secret) < MINIMUM_CHARACTERS:
        return f"has fewer than {MINIMUM_CHARACTERS} characters"
    if len(set(secret)) < 5:
        return "has fewer than 5 different characters"
    return None


def requires_secret(environ: Mapping[str, str]) -> bool:
    """Whether ``CLAUDE_FORCE_REQUIRE_SECRET`` is set to anything but an explicit no."""
    return environ.get("CLAUDE_FORCE_REQUIRE_SECRET", "").strip().lower() not in ("", "0", "false", "no", "off")


def find_secrets(
    secret: Union[str, bytes, None], environ: Mapping[str, str]
) -> Tuple[Optional[bytes], List[bytes], List[str]]:
    """Return the current secret (None if a key file is needed), the previous ones, and one-line warnings.

    Parameters
    ----------
    secret : str or bytes, optional
        A secret given in code; takes precedence over ``CLAUDE_CACHE_SECRET``.
    environ : mapping
        Provides ``CLAUDE_CACHE_SECRET`` (unset and empty are the same), ``CLAUDE_CACHE_SECRET_PREVIOUS``
        (comma-separated) and ``CLAUDE_FORCE_REQUIRE_SECRET``. White space around a secret is ignored.

    Raises
    ------
    SecretError
        If `secret` is empty or not text, or if ``CLAUDE_FORCE_REQUIRE_SECRET`` is set and there is no secret, or a weak
        one.
    """
    name = "CLAUDE_CACHE_SECRET" if secret is None else "the cache secret"
    if secret is None:
        current = environ.get("CLAUDE_CACHE_SECRET", "").strip()
    elif isinstance(secret, (str, bytes)):
        current = (secret.decode("utf-8", "surrogateescape") if isinstance(secret, bytes) else secret).strip()
        if not current:
            raise SecretError("the cache secret is empty; leave it out to use CLAUDE_CACHE_SECRET or a key file")
    else:
        raise SecretError(f"the cache secret must be text or bytes, not {type(secret).__name__}")

    complaints = []
    if current and weakness(current):
        complaints.append(f"{name} {weakness(current)}")
    listed = environ.get("CLAUDE_CACHE_SECRET_PREVIOUS", "").strip()
    # The whole value is a candidate too, since a secret may contain a comma.
    previous = [part.strip() for part in listed.split(",") if part.strip()] if listed else []
    for part in previous:
        if weakness(part):
            complaints.append(f"a secret in CLAUDE_CACHE_SECRET_PREVIOUS {weakness(part)}")
            break
    if "," in listed:
        previous.append(listed)

    if requires_secret(environ):
        remedy = "; CLAUDE_FORCE_REQUIRE_SECRET asks for a random one, such as from: openssl rand -hex 32"
        if not current:
            raise SecretError("CLAUDE_CACHE_SECRET is not set" + remedy)
        if complaints:
            raise SecretError(complaints[0] + remedy)
    encoded = [part.encode("utf-8", "surrogateescape") for part in previous]
    return (current.encode("utf-8", "surrogateescape") or None), encoded, complaints


def read_or_make_key(path: Path) -> Tuple[bytes, Optional[str]]:
    """Return the secret in the key file at `path`, creating the file if needed, and a message for the user.

    The file is written completely under another name and then linked. So if two kernels start at once, one creates the
    key and both use it, and no reader ever sees half of it.

    Returns
    -------
    secret : bytes
    message : str or None
        One line if a key was created or its permissions were corrected, else None.

    Raises
    ------
    SecretError
        If `path` is not this user's own regular file with a key that nobody else could have written. It is left
        unchanged; in particular, a symbolic link is never followed.
    OSError
        If the directory or the file cannot be created or read.
    """
    for _ in range(3):
        try:
            return read_key(path)
        except FileNotFoundError:
            if _make_key(path):
                return read_key(path)[0], (
                    f"CLAUDE_CACHE_SECRET is not set: made a random key for the response cache in {home_relative(path)}"
                )
    raise SecretError(f"the cache key {path} keeps disappearing; set CLAUDE_CACHE_SECRET")


def _make_key(path: Path) -> bool:
    make_private_folder(path.parent)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(str(draft), os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if os.name == "posix":  # the umask may have removed permissions that the owner needs
                os.fchmod(file.fileno(), 0o600)
            file.write(secrets.token_hex(32).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(str(draft), str(path))
        except FileExistsError:
            return False
        except (AttributeError, NotImplementedError, OSError):
            # There are no hard links (FAT, some network mounts). On Windows, rename refuses an existing target.
            # Elsewhere the window between check and rename is small, and the loser reads the winner's key.
            if os.path.lexists(str(path)):
                return False
            os.rename(str(draft), str(path))
        return True
    finally:
        if os.path.lexists(str(draft)):
            os.unlink(str(draft))


def read_key(path: Path) -> Tuple[bytes, Optional[str]]:
    """Do the same as `read_or_make_key` without creating anything; raise FileNotFoundError if the file does not exist."""
    remedy = "; remove it, or set CLAUDE_CACHE_SECRET"
    if stat.S_ISLNK(os.lstat(str(path)).st_mode):
        raise SecretError(f"the cache key {path} is a symbolic link{remedy}")
    # O_NONBLOCK: if somebody has put a pipe there, opening it must not wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(str(path), flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SecretError(f"the cache key {path} is not a regular file{remedy}")
        message = None
        if os.name == "posix":
            if status.st_uid != os.geteuid():
                raise SecretError(f"the cache key {path} belongs to another user{remedy}")
            if status.st_mode & 0o022:
                raise SecretError(f"the cache key {path} can be written by other users{remedy}")
            if status.st_mode & 0o077:
                os.fchmod(file.fileno(), 0o600)
                message = f"the cache key {path} could be read by other users; it is 0600 now"
        content = file.read(256)
    if not _KEY_LINE.match(content):
        raise SecretError(f"the cache key {path} does not contain a key{remedy}")
    return content[:64], message
