"""Message authentication codes for many short messages with one key. Pure."""

from __future__ import annotations

from hashlib import sha256

__all__ = ["Mac"]

_BLOCK_BYTES = 64  # block size of SHA-256


class Mac:
    """HMAC-SHA256 (RFC 2104) that hashes the key blocks only once, in less time per message than `hmac.HMAC.copy`."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = key.ljust(_BLOCK_BYTES, b"\0")  # our keys are shorter than a block
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, header: bytes, body: bytes) -> bytes:
        """Return the code for the concatenation of header and body."""
        inner = self._inner.copy()
        inner.update(header)
        inner.update(body)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()
