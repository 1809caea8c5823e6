"""Ed25519 keys for answer files: a signing key, which never leaves the user's configuration, and trusted public keys.

The package ``cryptography`` (extra ``sign``) is imported only when a key is used.
"""

from __future__ import annotations

import os
import re
import secrets
from binascii import hexlify, unhexlify
from hashlib import sha256
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from claude_force_nb.errors import ConfigurationError, SecretError
from claude_force_nb.storage.private import make_private_folder
from claude_force_nb.storage.regular_file import read_regular, replace_file

__all__ = ["PublicKeys", "key_id_of", "make_signing_key", "own_public_key", "trust_public_key", "trusted_public_keys"]

_SIGNING_KEY = "answers-signing.key"
_TRUSTED = "trusted-answer-keys.txt"
_MAX_BYTES = 100_000
_HEX_KEY = re.compile(r"[0-9a-f]{64}\Z")


class PublicKeys:
    """The user's signing key, if any, and the trusted public keys, which include the user's own.

    Parameters
    ----------
    folder : Path
        The user's configuration directory.
    """

    def __init__(self, folder: Path) -> None:
        self._signer: Any = None
        self._trusted: Dict[bytes, Any] = {}
        self.signs_with = b""
        seed = _read(folder / _SIGNING_KEY)
        trusted = [key for key, _ in trusted_public_keys(folder)]
        library = _library() if seed or trusted else None
        if library is None:  # without it, such signatures count as those of unknown keys
            return
        if seed and _HEX_KEY.match(seed.strip()):
            self._signer = library.Ed25519PrivateKey.from_private_bytes(unhexlify(seed.strip()))
            own = _public_hex(self._signer)
            self.signs_with = key_id_of(own)
            trusted.append(own)
        for key in trusted:
            self._trusted[key_id_of(key)] = library.Ed25519PublicKey.from_public_bytes(unhexlify(key))

    def sign(self, checksum: bytes) -> str:
        """Return the signature of a checksum as 128 hexadecimal digits."""
        signature: bytes = self._signer.sign(_message(checksum))
        return signature.hex()

    def trusts(self, key_id: bytes) -> bool:
        """Return whether a key is trusted."""
        return key_id in self._trusted

    def check(self, checksum: bytes, code: bytes, key_id: bytes) -> Optional[bool]:
        """Return True for a valid signature, False for one with a key that is not trusted, None for an invalid one."""
        key = self._trusted.get(key_id)
        if key is None:
            return False
        try:
            key.verify(unhexlify(code), _message(checksum))
        except Exception:  # InvalidSignature, which cannot be named here because the library is optional
            return None
        return True


def key_id_of(public: str) -> bytes:
    """Return the id of a public key in a line: 16 hexadecimal digits."""
    return hexlify(sha256(b"claude_force_nb answer file, public key " + public.encode("ascii")).digest()[:8])


def make_signing_key(folder: Path) -> str:
    """Create the user's signing key and return its public key.

    Raises
    ------
    SecretError
        If there already is one, or it cannot be written.
    ConfigurationError
        If ``cryptography`` is not installed.
    """
    library = _library()
    if library is None:
        raise ConfigurationError("signing needs cryptography: pip install 'claude_force_nb[sign]'")
    path = folder / _SIGNING_KEY
    seed = secrets.token_bytes(32)
    try:
        make_private_folder(folder)
        descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(hexlify(seed) + b"\n")
    except FileExistsError:
        raise SecretError(f"there is a signing key already in {path}; remove it to make another one") from None
    except OSError as error:
        raise SecretError(f"{path} cannot be written: {error.strerror or error}") from None
    return _public_hex(library.Ed25519PrivateKey.from_private_bytes(seed))


def own_public_key(folder: Path) -> Optional[str]:
    """Return the public key of the user's signing key, or None if the user has no signing key."""
    seed, library = _read(folder / _SIGNING_KEY).strip(), _library()
    if library is None or not _HEX_KEY.match(seed):
        return None
    return _public_hex(library.Ed25519PrivateKey.from_private_bytes(unhexlify(seed)))


def trusted_public_keys(folder: Path) -> List[Tuple[str, str]]:
    """Return the trusted public keys with the names that the user gave them; ignore lines that are not keys."""
    split = [line.split(None, 1) for line in _read(folder / _TRUSTED).splitlines()]
    return [(words[0], words[1] if len(words) > 1 else "") for words in split if words and _HEX_KEY.match(words[0])]


def trust_public_key(folder: Path, public: str, name: str) -> None:
    """Trust a public key from now on.

    Raises
    ------
    SecretError
        If `public` is not a public key, or the list cannot be written.
    """
    if not _HEX_KEY.match(public):
        raise SecretError("a public key is 64 hexadecimal digits, as `claude-force-nb keys show` prints them")
    keys = {**dict(trusted_public_keys(folder)), public: " ".join(name.split())}
    try:
        make_private_folder(folder)
        with replace_file(folder / _TRUSTED) as file:
            file.write("".join(f"{key} {keys[key]}".rstrip() + "\n" for key in sorted(keys)))
    except OSError as error:
        raise SecretError(f"{folder / _TRUSTED} cannot be written: {error.strerror or error}") from None


def _read(path: Path) -> str:
    try:
        return read_regular(path, max_bytes=_MAX_BYTES, within=path.parent).decode("utf-8")
    except (OSError, ValueError):
        return ""


def _message(checksum: bytes) -> bytes:
    return b"claude_force_nb answer file, version 1: " + checksum


def _public_hex(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    raw: bytes = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return raw.hex()


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        return None
    return ed25519
