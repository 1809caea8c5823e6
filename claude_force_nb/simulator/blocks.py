"""What the API refuses in images and documents that a request carries, with its own words. Pure."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any, Mapping, Optional

__all__ = ["refusal_of"]

_IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_MAX_IMAGE_BYTES = 10 * 1024 * 1024


def refusal_of(block: Mapping[str, Any], where: str) -> Optional[str]:
    """Return the message with which the API refuses a content block, or None where it takes it.

    Only sources in base64 are looked at, and of these what can be told without drawing them.
    """
    source = block.get("source")
    kind = block.get("type")
    if kind not in ("image", "document"):
        return None
    if not isinstance(source, Mapping) or not isinstance(source.get("type"), str):
        return f"{where}.{kind}.source: Field required"
    if source["type"] != "base64":
        return None
    place = f"{where}.{kind}.source.base64"
    media_type, data = source.get("media_type"), source.get("data")
    if not isinstance(data, str) or not data:
        return place + ".data: Field required"
    if kind == "document":
        if media_type != "application/pdf":
            return place + ".media_type: Input should be 'application/pdf'"
        raw = _decoded(data)
        return (
            None if raw is not None and raw.startswith(b"%PDF") else place + ".data: The PDF specified was not valid."
        )
    if media_type not in _IMAGE_TYPES:
        return place + ".media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
    if len(data) > _MAX_IMAGE_BYTES:
        return f"{place}: image exceeds 10 MB maximum: {len(data)} bytes > {_MAX_IMAGE_BYTES} bytes"
    raw = _decoded(data)
    if raw is None:
        return place + ".data: Invalid base64 data"
    found = _image_type(raw)
    if found is None:
        return "Could not process image"
    if found != media_type:
        message = "{}: The image was specified using the {} media type, but the image appears to be a {} image"
        return message.format(place + ".data", media_type, found)
    return None


def _decoded(data: str) -> Optional[bytes]:
    try:
        return b64decode(data, validate=True)
    except (Base64Error, ValueError):
        return None


def _image_type(raw: bytes) -> Optional[str]:
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if raw.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if raw.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP" else None
