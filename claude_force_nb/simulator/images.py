"""Checks the images of a request, and refuses them with the API's own messages. Pure.

Only base64 images are checked, and only as far as possible without decoding their pixels.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

from .catalogue import Model
from .failures import ApiFailure, invalid

__all__ = ["Image", "check_images", "decoded_size", "image_type"]

MAX_SIDE_PIXELS = 8000
# In a request with more images than this, each may have at most this many pixels a side.
_MANY_IMAGES = 20
_MAX_SIDE_OF_MANY_PIXELS = 2000
# An image costs one token per square of this many pixels a side ("Vision", "Resolution and token cost").
_SQUARE_PIXELS = 28
_JPEG_SIZES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))


class Image(NamedTuple):
    """An image of a request: its path, its width and height if known, and whether it may be resized."""

    where: str
    size: Optional[Tuple[int, int]]
    resizable: bool


def image_type(raw: bytes) -> Optional[str]:
    """Return the media type of an image by its first bytes; None if it is not an image that the API accepts."""
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if raw.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if raw.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP" else None


def decoded_size(raw: bytes) -> Optional[Tuple[int, int]]:
    """Return width and height in pixels; None if they cannot be found."""
    kind = image_type(raw)
    if kind == "image/png" and len(raw) >= 24:
        return int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    if kind == "image/gif" and len(raw) >= 10:
        return int.from_bytes(raw[6:8], "little"), int.from_bytes(raw[8:10], "little")
    if kind == "image/jpeg":
        return _jpeg_size(raw)
    return _webp_size(raw) if kind == "image/webp" else None


def _jpeg_size(raw: bytes) -> Optional[Tuple[int, int]]:
    """Return the size in the first frame header (ITU T.81, B.2.2)."""
    place = 2
    while place + 9 <= len(raw) and raw[place] == 0xFF:
        marker = raw[place + 1]
        if marker == 0xFF:  # padding
            place += 1
        elif marker in _JPEG_SIZES:
            return int.from_bytes(raw[place + 7 : place + 9], "big"), int.from_bytes(raw[place + 5 : place + 7], "big")
        else:
            place += 2 + int.from_bytes(raw[place + 2 : place + 4], "big")
    return None


def _webp_size(raw: bytes) -> Optional[Tuple[int, int]]:
    """Return the size in the first chunk (WebP Container Specification; RFC 9649)."""
    if len(raw) < 30:
        return None
    if raw[12:16] == b"VP8X":
        return int.from_bytes(raw[24:27], "little") + 1, int.from_bytes(raw[27:30], "little") + 1
    if raw[12:16] == b"VP8L":
        bits = int.from_bytes(raw[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if raw[12:16] == b"VP8 ":
        return int.from_bytes(raw[26:28], "little") & 0x3FFF, int.from_bytes(raw[28:30], "little") & 0x3FFF
    return None


def check_images(images: List[Image], model: Model) -> None:
    """Raise ApiFailure for too many images, for large ones among many, and for too large ones that may not be resized."""
    most = 100 if model.context_window < 1_000_000 else 600
    if len(images) > most:
        raise invalid(f"Too much media: 0 document pages + {len(images)} images > {most}")
    if len(images) > _MANY_IMAGES:
        _check_many(images)
    for image in images:
        if not image.resizable and image.size is not None and not _fits(image.size, model):
            width, height = _largest(image.size, model)
            raise invalid(
                f"{image.where}: image dimensions {image.size[0]}x{image.size[1]} exceed the maximum image size of this model. "
                f"The largest dimensions that fit are {width}x{height}."
            )


def _check_many(images: List[Image]) -> None:
    large = [image.where for image in images if image.size is not None and max(image.size) > _MAX_SIDE_OF_MANY_PIXELS]
    if large:
        raise ApiFailure(
            400,
            f"{large[0]}.source.base64.data: At least one of the image dimensions exceed max allowed size for many-image "
            f"requests: {_MAX_SIDE_OF_MANY_PIXELS} pixels",
            details={
                "error_code": "image_dimensions_too_large",
                "max_side_length_pixels": _MAX_SIDE_OF_MANY_PIXELS,
                "paths": large,
            },
        )


def _fits(size: Tuple[int, int], model: Model) -> bool:
    squares = [-(-side // _SQUARE_PIXELS) for side in size]
    return (
        max(squares) * _SQUARE_PIXELS <= model.most_image_pixels and squares[0] * squares[1] <= model.most_image_tokens
    )


def _largest(size: Tuple[int, int], model: Model) -> Tuple[int, int]:
    """Return the largest size of the same proportions that `model` accepts without resizing."""
    longest = max(size)
    fits, too_long = 1, longest
    found = (1, 1)
    while fits + 1 < too_long:
        side = (fits + too_long) // 2
        tried = (max(1, round(size[0] * side / longest)), max(1, round(size[1] * side / longest)))
        if _fits(tried, model):
            fits, found = side, tried
        else:
            too_long = side
    return found
