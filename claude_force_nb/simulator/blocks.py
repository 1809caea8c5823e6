"""Checks the images and documents of a request, and refuses them with the API's own messages. Pure."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any, Iterator, Mapping, Optional, Tuple

from .images import MAX_SIDE_PIXELS, Image, decoded_size, image_type

__all__ = ["images_in", "media_in", "refusal_of"]

_IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_MAX_IMAGE_BYTES = 10 * 1024 * 1024


def refusal_of(block: Mapping[str, Any], where: str) -> Optional[str]:
    """Return the message with which the API refuses a content block, or None if it accepts it.

    Only base64 sources are checked, and only as far as possible without decoding the image or document.
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
    found = image_type(raw)
    if found is None:
        return "Could not process image"
    if found != media_type:
        return (
            f"{place}.data: The image was specified using the {media_type} media type, "
            f"but the image appears to be a {found} image"
        )
    size = decoded_size(raw)
    if size is not None and max(size) > MAX_SIDE_PIXELS:
        return f"{place}.data: At least one of the image dimensions exceed max allowed size: {MAX_SIDE_PIXELS} pixels"
    return None


def media_in(block: Mapping[str, Any], where: str) -> Iterator[Tuple[Mapping[str, Any], str]]:
    """Yield images and documents with their paths: the block itself, and those inside a tool result or a document."""
    kind = block["type"]
    if kind in ("image", "document"):
        yield block, where
    source = block.get("source")
    inner = source.get("content") if kind == "document" and isinstance(source, Mapping) else None
    path = f"{where}.document.source.content"
    if kind == "tool_result":
        inner, path = block.get("content"), f"{where}.tool_result.content"
    for place, part in enumerate(inner if isinstance(inner, list) else ()):
        yield from media_in(part, f"{path}.{place}")


def images_in(block: Mapping[str, Any], where: str) -> Iterator[Image]:
    """Yield the images of a valid content block.

    Screenshots of the toolsets are not resized, nor are images that ask not to be.
    """
    screenshots = block["type"] == "tool_result" and bool(block.get("toolset_name"))
    for part, place in media_in(block, where):
        if part["type"] == "image":
            source = part["source"]
            raw = _decoded(source["data"]) if source["type"] == "base64" else None
            kept = (part.get("transformations") or {}).get("oversized_image") == "error"
            yield Image(f"{place}.image", None if raw is None else decoded_size(raw), not (kept or screenshots))


def _decoded(data: str) -> Optional[bytes]:
    try:
        return b64decode(data, validate=True)
    except (Base64Error, ValueError):
        return None
