"""Small files that are valid as far as they are checked."""

from __future__ import annotations

import struct
import zlib


def png(width: int = 2, height: int = 3, extra: bytes = b"") -> bytes:
    """Return a PNG that is as valid as its numbers."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + b"\0" * width for _ in range(min(height, 10))))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"") + extra


def pdf(pages: int = 1, extra: bytes = b"") -> bytes:
    body = b"%PDF-1.4\n1 0 obj << /Type /Pages /Count " + str(pages).encode() + b" >> endobj\n"
    body += b"".join(b"%d 0 obj << /Type /Page >> endobj\n" % (number + 2) for number in range(pages))
    return body + extra + b"trailer << /Root 1 0 R >>\nstartxref\n0\n%%EOF\n"


def gif(width: int = 4, height: int = 5) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0;"


def jpeg(width: int = 6, height: int = 7) -> bytes:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + b"\0" * 9 + b"\xff\xff" + frame[1:] + b"\xff\xd9"
