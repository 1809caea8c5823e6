"""The keys of a cache: from an argument, the environment, or a file created once in the user's configuration directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping, Optional, Union

from claude_force_nb.errors import CacheKeyWarning, CacheSecretWarning, SecretError
from claude_force_nb.storage.secret import KEY_FILE_NAME, find_secrets, read_or_make_key
from claude_force_nb.storage.user_folders import is_temporary, user_folder
from claude_force_nb.warn import warn

from .notices import Notices
from .signing import KeyRing, RecordKeys

__all__ = ["KeySource", "record_keys"]


class KeySource:
    """Provides the key ring of a cache; reads or creates the key file only when it is needed.

    Parameters
    ----------
    secret, environ
        See `find_secrets`.
    config_directory : str or path, optional
        Where the random key is kept; the user's configuration directory by default.
    notices : Notices
        Receives a warning when a key is created.

    Raises
    ------
    SecretError
        See `find_secrets`.

    Warns
    -----
    CacheSecretWarning
        If a secret is a placeholder or short.
    """

    def __init__(
        self,
        secret: Union[str, bytes, None],
        environ: Mapping[str, str],
        *,
        config_directory: Union[str, os.PathLike[str], None],
        notices: Notices,
    ) -> None:
        self._current, self._previous, complaints = find_secrets(secret, environ)
        self._environ = environ
        # Resolved now, so that a relative path stays the same when the working directory changes.
        self._config_directory = (
            None if config_directory is None else user_folder("config", environ, given=config_directory)
        )
        self._notices = notices
        self._made: Optional[str] = None
        self.ring: Optional[KeyRing] = None
        for complaint in complaints:
            warn(
                f"{complaint}: anyone who guesses it can forge cached answers; use a random one,"
                " such as from: openssl rand -hex 32",
                CacheSecretWarning,
            )

    @property
    def is_given(self) -> bool:
        """Whether the key is derived from a secret that somebody has set, not from this machine's random one."""
        return self._current is not None

    def make_ring(self, directory: Path, *, new_key: bool = True) -> Optional[KeyRing]:
        """Return the key ring for a cache in `directory`.

        Parameters
        ----------
        directory : Path
        new_key : bool
            Whether to create a random key if neither a secret nor a key exists yet. If False, None is returned instead.

        Raises
        ------
        SecretError
            If no key can be found or created.
        """
        if self.ring is None:
            current = self._current or self._key_from_file(directory, new_key=new_key)
            if current is None:
                return None
            self.ring = KeyRing([current, *self._previous])
        return self.ring

    def make_record_keys(self) -> RecordKeys:
        """Return the keys for records outside the cache; raises SecretError if no key can be found or created."""
        keys = RecordKeys([self._current or self._read_or_make(self._key_path()), *self._previous])
        self.tell()
        self._notices.emit()
        return keys

    def _key_path(self) -> Path:
        return user_folder("config", self._environ, given=self._config_directory) / KEY_FILE_NAME

    def tell(self) -> None:
        """Add the warning that a key was created. Call this once something signed with the key has been stored."""
        message, self._made = self._made, None
        if message:
            self._notices.add("key", message, CacheKeyWarning)

    def _key_from_file(self, directory: Path, *, new_key: bool) -> Optional[bytes]:
        path = self._key_path()
        if is_temporary(path) and not is_temporary(directory):
            # With one key per process, processes could not read each other's entries.
            raise SecretError("CLAUDE_CACHE_SECRET is not set, and there is no folder to save a key in")
        if Path(os.path.realpath(str(directory))) in Path(os.path.realpath(str(path))).parents:
            raise SecretError(
                "the cache directory would contain its own key: set CLAUDE_CACHE_SECRET, or use another directory"
            )
        if not new_key and not os.path.lexists(str(path)):
            return None
        return self._read_or_make(path)

    def _read_or_make(self, path: Path) -> bytes:
        was_there = os.path.lexists(str(path))
        try:
            key, message = read_or_make_key(path)
        except OSError as error:
            raise SecretError(
                f"CLAUDE_CACHE_SECRET is not set, and a key cannot be saved in {path} ({error.strerror or error})"
            ) from None
        if message and was_there:
            self._notices.add("key", message, CacheSecretWarning)
        elif message and not is_temporary(path):
            self._made = message
        return key


def record_keys(secret: Optional[str], environ: Mapping[str, str]) -> RecordKeys:
    """Return the keys for records outside the cache, for a caller without a cache; raises SecretError like `KeySource`."""
    return KeySource(secret, environ, config_directory=None, notices=Notices()).make_record_keys()
