"""How many tokens a request can have at the most, before anybody has counted them. Pure."""

from __future__ import annotations

import datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Mapping, Optional

from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.prompts.attachments import IMAGE_BOUND_TOKENS, is_image, is_pdf

from .pricing import PriceTable

__all__ = ["bound_tokens", "content_bytes", "input_bound_tokens", "is_bounded", "paced_bytes", "price_bound"]

# What pacing takes an image and a PDF for, until the answers have taught it better: about 1,600 tokens an image (the
# documentation's usual largest), and at most 100 pages of 3,000 tokens, each of four bytes.
_PACED_IMAGE_BYTES = 4 * 1600
_PACED_PDF_BYTES = 4 * 100 * 3000

# Fields of a body with which more is read, written or dearer than the body says.
_NOT_IN_THE_REQUEST = ("mcp_servers", "container", "thread", "compaction", "fallbacks")


def bound_tokens(request: ClaudeRequest, context_window: Optional[int]) -> Optional[int]:
    """Return more tokens than the request can be billed for as input, or None where nothing bounds them.

    Parameters
    ----------
    request : ClaudeRequest
    context_window : int or None
        Tokens that the model takes; a longer request is refused and not billed.

    Notes
    -----
    A token of text is at least a byte of UTF-8. An image has at most `data.attachments.IMAGE_BOUND_TOKENS`, however few bytes it has: a
    white page of 600 bytes costs as much as a photograph. What a PDF costs cannot be told from its bytes, which are compressed,
    nor from its pages, which may hold any amount of text; only the model's context bounds it.
    """
    if not is_bounded(request):
        return None
    if _has_pdf(request.body):
        return context_window
    return input_bound_tokens(request)


def price_bound(
    request: ClaudeRequest, prices: PriceTable, *, on: datetime.date, batch: bool = False
) -> Optional[Decimal]:
    """Return the most that the request can cost in US dollars, or None where that is unknown.

    Parameters
    ----------
    on : datetime.date
        Day of sending, UTC.
    batch : bool
        True where it goes as part of a message batch.
    """
    input_tokens = bound_tokens(request, prices.context_window(request.model))
    if input_tokens is None:
        return None
    return prices.bound(
        request.model,
        input_tokens=input_tokens,
        max_tokens=request.max_tokens,
        on=on,
        batch=batch,
        prompt_caching="cache_control" in repr(request.body),
        fast=request.body.get("speed") == "fast",
        inference_geo=str(request.body.get("inference_geo") or "global"),
    )


def input_bound_tokens(request: ClaudeRequest) -> int:
    """Return more tokens than the text and the images of a request can have: see `bound_tokens`, also for what it leaves out."""
    return _bytes_in(request.body, IMAGE_BOUND_TOKENS, 0) + _added_by_the_api(request.body)


def paced_bytes(request: ClaudeRequest) -> int:
    """Return a size from which pacing guesses tokens: bytes of text, and what stands for images and documents."""
    return _bytes_in(request.body, _PACED_IMAGE_BYTES, _PACED_PDF_BYTES) + _added_by_the_api(request.body)


def content_bytes(request: ClaudeRequest) -> int:
    """Return the bytes of a request's content, which its tokens go with: without what the API adds of its own."""
    return _bytes_in(request.body, _PACED_IMAGE_BYTES, _PACED_PDF_BYTES)


def _added_by_the_api(body: Mapping[str, Any]) -> int:
    """Return a bound of what stands around messages, and in the system prompt that comes with tools or a schema."""
    return 1024 if "tools" in body or "format" in (body.get("output_config") or ()) else 512


def is_bounded(request: ClaudeRequest) -> bool:
    """Return whether all that the API reads is in the request.

    It is not for content given by address or file id, for tools that run at the API (search, fetch, code), for MCP, for turns
    that the API holds, for what it summarises beside the answer, and where another model may answer.
    """
    body = request.body
    if any(body.get(name) for name in _NOT_IN_THE_REQUEST):
        return False
    managed = body.get("context_management")
    edits = managed.get("edits") if isinstance(managed, dict) else None
    if any(not isinstance(edit, dict) or "compact" in str(edit.get("type")) for edit in edits or ()):
        return False
    tools = body.get("tools") or ()
    if any(not isinstance(tool, dict) or tool.get("type") not in (None, "custom") for tool in tools):
        return False
    return not _has_reference(body["messages"]) and not _has_reference(body.get("system"))


def _has_reference(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("type") in ("url", "file") or any(_has_reference(item) for item in value.values())
    return isinstance(value, list) and any(_has_reference(item) for item in value)


def _has_pdf(value: Any) -> bool:
    if isinstance(value, dict):
        return is_pdf(value) or any(_has_pdf(item) for item in value.values() if isinstance(item, (dict, list)))
    return isinstance(value, list) and any(_has_pdf(item) for item in value if isinstance(item, (dict, list)))


def _bytes_in(value: Any, image: int, pdf: int) -> int:
    """Return the bytes of the JSON form, which is how the model reads tools and what they were called with."""
    if isinstance(value, str):
        text = encode_basestring(value)
        return 1 + (len(text) if text.isascii() else len(text.encode("utf-8")))
    if isinstance(value, dict):
        if is_image(value):
            return image
        if pdf and is_pdf(value):
            return min(pdf, len(value["source"].get("data") or ""))
        return 3 + sum(_bytes_in(key, image, pdf) + _bytes_in(item, image, pdf) for key, item in value.items())
    if isinstance(value, list):
        return 3 + sum(_bytes_in(item, image, pdf) for item in value)
    return 1 + len(repr(value))
