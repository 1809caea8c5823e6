"""The keys that sign the lines of answer files, derived from the user's secret; they differ from those of the cache."""

from __future__ import annotations

import hmac
from binascii import unhexlify
from typing import Any, Dict, Iterable, Mapping, Optional, Union

from claude_force_nb.errors import SecretError
from claude_force_nb.storage.mac import Mac
from claude_force_nb.storage.secret import KEY_FILE_NAME, find_secrets, read_key
from claude_force_nb.storage.user_folders import user_folder
from claude_force_nb.vocabulary import counted

from .public_keys import PublicKeys

__all__ = ["PUBLIC_CODE_DIGITS", "AnswerKeys", "find_keys"]

_KEY_ID_BYTES = 8

PUBLIC_CODE_DIGITS = 128
"""Hexadecimal digits of an Ed25519 signature; one made with a secret has half as many."""


class AnswerKeys:
    """Keys derived from secrets: the first signs, all verify.

    Parameters
    ----------
    secrets : iterable of bytes
        Non-empty secrets, the current one first; there may be none. Only the keys derived from them are kept.
    public : PublicKeys, optional
        Trusted public keys. If they include a signing key, it takes precedence over the secrets.
    """

    __slots__ = ("_keys", "_public", "_signs_with")

    def __init__(self, secrets: Iterable[bytes] = (), public: Optional[PublicKeys] = None) -> None:
        self._public = public
        self._keys: Dict[bytes, Mac] = {}
        self._signs_with = b""
        for secret in secrets:
            key_id = _derive(secret, b"key id, version 1")[:_KEY_ID_BYTES].hex().encode("ascii")
            self._keys.setdefault(key_id, Mac(_derive(secret, b"signing key, version 1")))
            self._signs_with = self._signs_with or key_id

    def __bool__(self) -> bool:
        return bool(self._keys) or bool(self._public and self._public.signs_with)

    def __repr__(self) -> str:
        return f"AnswerKeys({counted(len(self._keys), 'key')})"

    def __reduce__(self) -> str:
        raise TypeError("keys cannot be pickled")

    def sign(self, checksum: bytes) -> Dict[str, Any]:
        """Return the signature fields for a line with this checksum, or {} without a key."""
        if self._public is not None and self._public.signs_with:
            key_id = self._public.signs_with.decode("ascii")
            return {"signature": {"code": self._public.sign(checksum), "key": key_id}}
        if not self._signs_with:
            return {}
        code = self._keys[self._signs_with].digest(b"", checksum).hex()
        return {"signature": {"code": code, "key": self._signs_with.decode("ascii")}}

    def trusts(self, key_id: bytes) -> bool:
        """Return whether a public key is trusted."""
        return self._public is not None and self._public.trusts(key_id)

    def check(self, checksum: bytes, code: bytes, key_id: bytes) -> Optional[bool]:
        """Return True for a valid signature, False for one by an unknown key, None for an invalid one."""
        if len(code) == PUBLIC_CODE_DIGITS:
            return False if self._public is None else self._public.check(checksum, code, key_id)
        key = self._keys.get(key_id)
        if key is None:
            return False
        return hmac.compare_digest(key.digest(b"", checksum), unhexlify(code)) or None


def find_keys(secret: Union[str, bytes, None], environ: Mapping[str, str]) -> AnswerKeys:
    """Return the user's keys: from the given secret or the environment, else from the key file if it exists.

    No key file is created: without a secret, nothing is signed.

    Raises
    ------
    SecretError
        See `storage.secret.find_secrets`.
    """
    current, previous, _ = find_secrets(secret, environ)
    folder = user_folder("config", environ)
    if current is None:
        try:
            current = read_key(folder / KEY_FILE_NAME)[0]
        except (OSError, SecretError):
            # The key is missing, or others could have written it. New lines are then unsigned, and signed ones count as
            # others'.
            current = None
    return AnswerKeys([*([current] if current else []), *previous], PublicKeys(folder))


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, b"claude_force_nb answer file, " + purpose, "sha256")
