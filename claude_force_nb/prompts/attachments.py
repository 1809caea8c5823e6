"""Images and documents as content blocks: their type, whether they can be sent, and how many tokens they may have. Pure.

The limits are those of the Messages API, from its documentation ("Images and vision", "PDF support", "Request size
limits", October 2026) and its error messages. An image may have 10 MB of base64 and 8000 pixels per side (2000 if the
request has more than 20 images). A request may have 600 images and 600 pages (100 if the model's context window is
under 1M tokens), and 32 MB in all.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from claude_force_nb.errors import AttachmentError
from claude_force_nb.vocabulary import counted

__all__ = [
    "IMAGE_BOUND_TOKENS",
    "MAX_REQUEST_BYTES",
    "Attachment",
    "attachment",
    "check_blocks",
    "is_image",
    "is_pdf",
]

MAX_IMAGE_BASE64_BYTES = 10 * 1024 * 1024
MAX_IMAGE_PIXELS = 8000
MANY_IMAGES = 20
MAX_MANY_IMAGE_PIXELS = 2000
MAX_REQUEST_BYTES = 32 * 1024 * 1024
# Limits for images and PDF pages of one request, depending on the model's context window.
LARGE_CONTEXT_TOKENS = 1_000_000
MAX_PARTS_LARGE_CONTEXT = 600
MAX_PARTS = 100

# The largest image in the documentation has 4784 tokens, after the API has scaled it down; the rest is a margin.
IMAGE_BOUND_TOKENS = 6000

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
# Common formats that the API does not accept.
_OTHER_MAGIC = (
    (b"PK\x03\x04", "a ZIP archive, as docx, xlsx and pptx are"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"BM", "a BMP image"),
    (b"SQLite format 3", "an SQLite database"),
    (b"PAR1", "a Parquet table"),
    (b"\x7fELF", "a program"),
    (b"ID3", "a sound"),
)


@dataclass(frozen=True)
class Attachment:
    """A checked image or PDF that can be sent.

    Attributes
    ----------
    name : str
        File name, or the kind of value from which it was made.
    media_type : str
        ``image/png``, ``image/jpeg``, ``image/gif``, ``image/webp`` or ``application/pdf``.
    data : bytes
    width, height : int
        Pixels; 0 for a PDF.
    pages : int
        Number of pages found in a PDF; 0 if they cannot be counted, or for an image.
    """

    name: str
    media_type: str
    data: bytes = field(repr=False)
    width: int = 0
    height: int = 0
    pages: int = 0

    def __str__(self) -> str:
        if self.width:
            return f"[image {self.name}, {self.width} x {self.height} pixels]"
        pages = f", {counted(self.pages, 'page')}" if self.pages else ""
        return f"[PDF {self.name}{pages}, {counted(len(self.data), 'byte')}]"

    def block(self) -> Dict[str, Any]:
        """Return the content block of the Messages API."""
        kind = "image" if self.width else "document"
        data = b64encode(self.data).decode("ascii")
        return {"type": kind, "source": {"type": "base64", "media_type": self.media_type, "data": data}}


def attachment(data: bytes, name: str) -> Optional[Attachment]:
    """Return an image or PDF, recognised by its bytes, not by its name; None if it may be text.

    Raises
    ------
    AttachmentError
        If it has another binary format, is damaged or encrypted, or is larger than the API accepts.
    """
    media_type = _media_type(data)
    if media_type == "application/pdf":
        return _pdf(data, name)
    if media_type is not None:
        return _image(data, name, media_type)
    kind = next((kind for magic, kind in _OTHER_MAGIC if data.startswith(magic)), None)
    if data[4:12] in (b"ftypheic", b"ftypmif1", b"ftypavif"):
        kind = "an HEIC or AVIF image"
    # The magic number may be two letters, with which a text can begin too.
    if kind is not None and (b"\x00" in data[:1024] or not data[:1024].isascii()):
        raise AttachmentError(
            f"{name} is {kind}; only PNG, JPEG, GIF and WebP images, PDF and text can be sent; nothing was sent"
        )
    return None


def _media_type(data: bytes) -> Optional[str]:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _image(data: bytes, name: str, media_type: str) -> Attachment:
    try:
        width, height = _SIZE[media_type](data)
    except (IndexError, ValueError):
        width = height = 0
    if not width or not height:
        raise AttachmentError(f"{name} is a damaged {media_type}; nothing was sent")
    if max(width, height) > MAX_IMAGE_PIXELS:
        raise AttachmentError(
            f"{name} is {width} x {height} pixels, but the API takes at most {MAX_IMAGE_PIXELS} a side; "
            "make it smaller; nothing was sent"
        )
    encoded = 4 * -(-len(data) // 3)
    if encoded > MAX_IMAGE_BASE64_BYTES:
        raise AttachmentError(
            f"{name} is {encoded / 2**20:.1f} MB as base64, but the API takes at most "
            f"{MAX_IMAGE_BASE64_BYTES // 2**20} MB per image; make it smaller; nothing was sent"
        )
    return Attachment(name, media_type, data, width, height)


def _number(data: bytes, start: int, length: int, order: Any = "big") -> int:
    piece = data[start : start + length]
    if len(piece) < length:
        raise ValueError
    return int.from_bytes(piece, order)


def _png_size(data: bytes) -> Tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise ValueError
    return _number(data, 16, 4), _number(data, 20, 4)


def _gif_size(data: bytes) -> Tuple[int, int]:
    return _number(data, 6, 2, "little"), _number(data, 8, 2, "little")


def _webp_size(data: bytes) -> Tuple[int, int]:
    form = data[12:16]
    if form == b"VP8X":
        return _number(data, 24, 3, "little") + 1, _number(data, 27, 3, "little") + 1
    if form == b"VP8L":
        bits = _number(data, 21, 4, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 ":
        return _number(data, 26, 2, "little") & 0x3FFF, _number(data, 28, 2, "little") & 0x3FFF
    raise ValueError


def _jpeg_size(data: bytes) -> Tuple[int, int]:
    """Walk through the segments to the frame header (SOF0 to SOF15, which do not include C4, C8 and CC)."""
    position = 2
    while True:
        if _number(data, position, 1) != 0xFF:
            raise ValueError
        marker = _number(data, position + 1, 1)
        if marker == 0xFF:  # padding
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _number(data, position + 7, 2), _number(data, position + 5, 2)
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these have no length
            position += 2
            continue
        position += 2 + max(2, _number(data, position + 2, 2))


_SIZE = {"image/png": _png_size, "image/gif": _gif_size, "image/webp": _webp_size, "image/jpeg": _jpeg_size}

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_OBJECT_STREAM = re.compile(rb"/ObjStm\b[^>]{0,400}>>\s*stream\r?\n")
_INFLATED_BYTES = 4 * 1024 * 1024


def _pdf(data: bytes, name: str) -> Attachment:
    if b"%%EOF" not in data[-2048:] and b"startxref" not in data[-2048:]:
        raise AttachmentError(f"{name} is a damaged PDF: its end is missing; nothing was sent")
    if re.search(rb"/Encrypt\s*(?:\d+\s+\d+\s+R|<<)", data):
        raise AttachmentError(f"{name} is an encrypted PDF, which the API cannot read; nothing was sent")
    if 4 * -(-len(data) // 3) > MAX_REQUEST_BYTES:
        raise AttachmentError(
            f"{name} is {len(data) / 2**20:.1f} MB, but a request takes at most 32 MB of base64 in all; "
            "split it; nothing was sent"
        )
    return Attachment(name, "application/pdf", data, pages=_pages(data))


def _pages(data: bytes) -> int:
    """Count the page objects, including those in compressed object streams; return 0 if none can be read."""
    count = len(_PAGE.findall(data))
    for match in _OBJECT_STREAM.finditer(data):
        try:
            count += len(_PAGE.findall(zlib.decompressobj().decompress(data[match.end() :], _INFLATED_BYTES)))
        except zlib.error:
            return 0
    return count


def check_blocks(attachments: Sequence[Attachment], *, context_window: Optional[int]) -> None:
    """Check the limits for all attachments of a request together.

    Raises
    ------
    AttachmentError
        If there are more images, pages or bytes than a request may have.
    """
    most = MAX_PARTS_LARGE_CONTEXT if (context_window or 0) >= LARGE_CONTEXT_TOKENS else MAX_PARTS
    images = [each for each in attachments if each.width]
    pages = sum(each.pages for each in attachments)
    size_bytes = sum(4 * -(-len(each.data) // 3) for each in attachments)
    for count, what in ((len(images), "images"), (pages, "PDF pages")):
        if count > most:
            raise AttachmentError(
                f"the prompt has {count} {what}, but this model accepts at most {most} in a request; nothing was sent"
            )
    if size_bytes > MAX_REQUEST_BYTES:
        raise AttachmentError(
            f"the images and documents of the prompt are {size_bytes / 2**20:.1f} MB as base64, "
            "but a request takes at most 32 MB; nothing was sent"
        )
    large = [each for each in images if max(each.width, each.height) > MAX_MANY_IMAGE_PIXELS]
    if len(images) > MANY_IMAGES and large:
        first = large[0]
        raise AttachmentError(
            f"{first.name} is {first.width} x {first.height} pixels, but in a request with more than {MANY_IMAGES} images "
            f"the API takes at most {MAX_MANY_IMAGE_PIXELS} a side; nothing was sent"
        )


def is_image(block: Mapping[str, Any]) -> bool:
    """Return whether a content block contains an image."""
    source = block.get("source")
    return block.get("type") == "image" and isinstance(source, Mapping) and source.get("type") == "base64"


def is_pdf(block: Mapping[str, Any]) -> bool:
    """Return whether a content block contains a PDF, whose number of tokens has no bound in the request."""
    source = block.get("source")
    return block.get("type") == "document" and isinstance(source, Mapping) and source.get("type") == "base64"
