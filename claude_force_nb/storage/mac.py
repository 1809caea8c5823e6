"""Message authentication codes of many short messages with one key. Pure."""

from __future__ import annotations

from hashlib import sha256

__all__ = ["Mac"]

_BLOCK_BYTES = 64  # of SHA-256


class Mac:
    """HMAC-SHA256 (RFC 2104) with one key, whose two blocks are hashed once: `hmac.HMAC.copy` takes twice as long as the digest."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = key.ljust(_BLOCK_BYTES, b"\0")  # a key of ours is shorter than a block
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, header: bytes, body: bytes) -> bytes:
        """Return the code of header and body together."""
        inner = self._inner.copy()
        inner.update(header)
        inner.update(body)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()
