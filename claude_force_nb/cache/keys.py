"""The keys of a cache: from argument, environment, or a file made once in the user's configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping, Optional, Union

from claude_force_nb.errors import CacheSecretWarning, SecretError
from claude_force_nb.warn import warn

from .notices import Notices
from .secret import KEY_FILE_NAME, find_secrets, read_or_make_key
from .signing import KeyRing

__all__ = ["APPLICATION", "KeySource", "absolute"]

APPLICATION = "claude_force_nb"


class KeySource:
    """Gives the key ring of a cache, without reading or making a key file before it is needed.

    Parameters
    ----------
    secret, environ
        See `find_secrets`.
    config_directory : str or path, optional
        Where the random key is kept; the user's configuration directory by default.
    notices : Notices
        Told when a key is made.

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
        self._config_directory = None if config_directory is None else absolute(config_directory)
        self._notices = notices
        self.ring: Optional[KeyRing] = None
        for complaint in complaints:
            warn(
                f"{complaint}: whoever guesses it can forge cached answers; make a random one,"
                " as with: openssl rand -hex 32",
                CacheSecretWarning,
            )

    def make_ring(self, directory: Path) -> KeyRing:
        """Return the key ring for a cache in `directory`; raises SecretError where there is no key to be had."""
        if self.ring is None:
            self.ring = KeyRing([self._current or self._key_from_file(directory), *self._previous])
        return self.ring

    def _key_from_file(self, directory: Path) -> bytes:
        place = self._config_directory
        if place is None:
            import platformdirs

            place = platformdirs.user_config_dir(APPLICATION, appauthor=False)
        path = Path(place, KEY_FILE_NAME)
        if Path(os.path.realpath(str(directory))) in Path(os.path.realpath(str(path))).parents:
            raise SecretError(
                "the cache directory would hold its own key: set CLAUDE_CACHE_SECRET, or another directory"
            )
        try:
            key, message = read_or_make_key(path)
        except OSError as error:
            raise SecretError(
                f"CLAUDE_CACHE_SECRET is not set, and no key can be kept in {path} ({error.strerror or error})"
            ) from None
        if message:
            self._notices.add("key", message, CacheSecretWarning)
        return key


def absolute(path: Union[str, os.PathLike[str]]) -> str:
    """Return a path that means the same wherever the notebook goes; ``~`` is the user's home."""
    return os.path.abspath(os.path.expanduser(os.fspath(path)))
