"""The signed form of a cache entry, and signatures for other records. Pure: no files, no environment, no clock.

::

    version 4 · key id 8 · created 8 · expires 8 · fingerprint 32 · checksum 4 │ HMAC-SHA256 32 │ JSON body
    └───────────────────── header, 64 bytes, big-endian ─────────────────────┘

The HMAC covers header and body, so no byte of an entry can change, no entry can answer another request, and none can
outlive its expiry. It is verified before anything in the entry is trusted or decoded. The checksum (CRC-32 of
everything but itself and the HMAC) is not a protection: if the key id is unknown, so that the HMAC cannot be verified,
it distinguishes an entry signed with another key from a damaged one.
"""

from __future__ import annotations

import hmac
import struct
from typing import Dict, Iterable, Tuple
from zlib import crc32

from claude_force_nb.storage.mac import Mac
from claude_force_nb.vocabulary import counted

__all__ = [
    "NEVER",
    "OVERHEAD_BYTES",
    "BadSignatureError",
    "KeyRing",
    "RecordKeys",
    "SignatureError",
    "UnknownKeyError",
]

# Increment this with every change of the layout or of the body's meaning: entries of other versions then become misses.
_VERSION = b"CFN1"
_HEADER = struct.Struct(">4s8sQQ32sI")
_MAC_BYTES = 32
_unpack = _HEADER.unpack_from
_compare = hmac.compare_digest

OVERHEAD_BYTES = _HEADER.size + _MAC_BYTES
"""Bytes that signing adds to a body."""

NEVER = 2**64 - 1
"""``expires`` of an entry that never expires."""


class SignatureError(ValueError):
    """A value is not an entry that one of our keys signed for this fingerprint."""


class BadSignatureError(SignatureError):
    """The value was damaged, altered, or belongs to another fingerprint."""


class UnknownKeyError(SignatureError):
    """The value is undamaged, but signed with a key that is not on the ring.

    Attributes
    ----------
    key_id : bytes
        Public id of the unknown key, 8 bytes.
    """

    def __init__(self, key_id: bytes) -> None:
        super().__init__("signed with an unknown key")
        self.key_id = key_id


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, b"claude_force_nb response cache, " + purpose, "sha256")


class KeyRing:
    """Keys derived from secrets: the first signs, all verify.

    Parameters
    ----------
    secrets : iterable of bytes
        At least one, the current one first. Only the keys derived from them are kept.

    Raises
    ------
    ValueError
        If the secrets are missing, or one of them is empty.
    """

    __slots__ = ("_keys", "_signer", "key_id")

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._keys: Dict[bytes, Mac] = {}
        self.key_id = b""
        for secret in secrets:
            if not secret:
                raise ValueError("a secret is empty")
            key_id = _derive(secret, b"key id, version 1")[:8]
            self._keys.setdefault(key_id, Mac(_derive(secret, b"signing key, version 1")))
            self.key_id = self.key_id or key_id
        if not self.key_id:
            raise ValueError("a key ring needs a secret")
        self._signer = self._keys[self.key_id]

    def __repr__(self) -> str:
        return f"KeyRing({counted(len(self._keys), 'key')}, signing with {self.key_id.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a key ring holds keys and cannot be pickled")

    def sign(self, body: bytes, *, fingerprint: bytes, created: int, expires: int) -> bytes:
        """Return the entry for `body`.

        Parameters
        ----------
        body : bytes
        fingerprint : bytes
            32 bytes.
        created, expires : int
            Milliseconds since 1970 UTC, 0 to `NEVER`.
        """
        bare = _HEADER.pack(_VERSION, self.key_id, created, expires, fingerprint, 0)
        header = bare[:-4] + crc32(body, crc32(bare[:-4])).to_bytes(4, "big")
        return b"".join((header, self._signer.digest(header, body), body))

    def unsign(self, value: bytes, *, fingerprint: bytes) -> Tuple[bytes, int, int]:
        """Return body, created and expires (milliseconds since 1970 UTC) of an entry; inverse of `sign`.

        Raises
        ------
        UnknownKeyError
            If the entry is undamaged but was signed with a key that is not on the ring.
        BadSignatureError
            If it was changed in any other way, or was signed for another fingerprint.
        """
        if len(value) < OVERHEAD_BYTES:
            raise BadSignatureError("too short")
        version, key_id, created, expires, signed_for, checksum = _unpack(value)
        key = self._keys.get(key_id)
        if key is None:
            if version == _VERSION and crc32(value[OVERHEAD_BYTES:], crc32(value[: _HEADER.size - 4])) == checksum:
                raise UnknownKeyError(key_id)
            raise BadSignatureError("damaged")
        body = value[OVERHEAD_BYTES:]
        if not _compare(key.digest(value[: _HEADER.size], body), value[_HEADER.size : OVERHEAD_BYTES]):
            raise BadSignatureError("the signature does not match")
        if version != _VERSION or signed_for != fingerprint:
            raise BadSignatureError("signed for another request or version")
        return body, created, expires


# A record carries this much of the 32-byte HMAC: 2**128 values are too many to guess.
_RECORD_MAC_BYTES = 16


class RecordKeys:
    """Keys for records outside the cache, derived from the same secrets: the first signs, all verify.

    They differ from the keys of entries, so that a signature of one kind cannot pass for the other.

    Parameters
    ----------
    secrets : iterable of bytes
        At least one, the current one first; none is empty. They are not kept.
    """

    __slots__ = ("_keys",)

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._keys = [Mac(_derive(secret, b"signing key of records, version 1")) for secret in secrets]

    def __repr__(self) -> str:
        return f"RecordKeys({counted(len(self._keys), 'key')})"

    def __reduce__(self) -> str:
        raise TypeError("keys cannot be pickled")

    def sign(self, record: bytes) -> str:
        """Return the signature of a record, 32 hexadecimal digits."""
        return self._keys[0].digest(b"", record)[:_RECORD_MAC_BYTES].hex()

    def fits(self, record: bytes, signature: object) -> bool:
        """Return whether one of the keys signed the record; `signature` may be any object."""
        if type(signature) is not str or not signature.isascii():
            return False
        return any(_compare(key.digest(b"", record)[:_RECORD_MAC_BYTES].hex(), signature) for key in self._keys)
