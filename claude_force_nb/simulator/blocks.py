"""What the API refuses in images and documents that a request carries, with its own words. Pure."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any, Mapping, Optional, Sequence, Tuple

from .failures import ApiFailure, invalid

__all__ = ["check_images", "refusal_of"]

_IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_MAX_IMAGE_BYTES = 10 * 1024 * 1024
_MAX_SIDE_PIXELS = 8000
# With more images than this each of them may be this large only.
_MANY_IMAGES = 20
_MAX_SIDE_OF_MANY_PIXELS = 2000


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
    size = _size(raw)
    if size is not None and max(size) > _MAX_SIDE_PIXELS:
        return f"{place}.data: At least one of the image dimensions exceed max allowed size: {_MAX_SIDE_PIXELS} pixels"
    return None


def check_images(images: Sequence[Mapping[str, Any]], *, most: int) -> None:
    """Raise ApiFailure for more images than `most`, and for large ones where there are many."""
    if len(images) > most:
        raise invalid(f"messages: too many images and documents: {len(images)} > {most}")
    if len(images) <= _MANY_IMAGES:
        return
    for image in images:
        source = image["source"]
        size = _size(_decoded(source["data"]) or b"") if source["type"] == "base64" else None
        if size is not None and max(size) > _MAX_SIDE_OF_MANY_PIXELS:
            raise ApiFailure(
                400,
                "At least one of the image dimensions exceed max allowed size for many-image requests: "
                f"{_MAX_SIDE_OF_MANY_PIXELS} pixels",
                details={
                    "error_code": "image_dimensions_too_large",
                    "max_side_length_pixels": _MAX_SIDE_OF_MANY_PIXELS,
                },
            )


def _size(raw: bytes) -> Optional[Tuple[int, int]]:
    """Return width and height of a PNG or a GIF; None for other images."""
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and len(raw) >= 24:
        return int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    if raw[:4] == b"GIF8" and len(raw) >= 10:
        return int.from_bytes(raw[6:8], "little"), int.from_bytes(raw[8:10], "little")
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
