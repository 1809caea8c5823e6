"""Upper bounds of a request's tokens and cost, computed without counting its tokens. Pure."""

from __future__ import annotations

import datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Mapping, Optional, Tuple

from claude_force_nb.messages.cache_mark import has_cache_control
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.prompts.attachments import IMAGE_BOUND_TOKENS, is_image, is_pdf

from .pricing import PriceTable

__all__ = [
    "bound_tokens",
    "content_bytes",
    "input_bound_tokens",
    "is_bounded",
    "paced_bytes",
    "price_bound",
    "unbounded_part",
]

# Sizes that pacing assumes for an image and a PDF until answers allow better estimates: an image of about 1,600 tokens
# (the usual maximum in the documentation), and at most 100 pages of 3,000 tokens, at four bytes a token.
_PACED_IMAGE_BYTES = 4 * 1600
_PACED_PDF_BYTES = 4 * 100 * 3000

# Fields of the body that cannot make a call cost more than its size, model and settings imply. A field that the API
# adds later is not on this list, so it counts as unbounded. (Messages API, "Create a Message"; "Pricing" for speed,
# region and tier.)
_BOUNDED_FIELDS = frozenset(
    [
        "cache_control", "context_management", "diagnostics", "inference_geo", "max_tokens", "messages", "metadata", "model",
        "output_config", "output_format", "service_tier", "speed", "stop_sequences", "stream", "system", "temperature",
        "thinking", "tool_choice", "tools", "top_k", "top_p",
    ]
)  # fmt: skip
_BOUNDED_VALUES = {"speed": ("standard", "fast"), "service_tier": ("auto", "standard_only")}
# Context edits that only remove content. Others write a summary, which is billed in addition to the answer.
_BOUNDED_EDITS = ("clear_tool_uses_", "clear_thinking_")
_MESSAGE_FIELDS = frozenset(["role", "content", "output_config"])
# Blocks whose content is in the request itself, not behind a URL or file id and not assembled by the API.
_BOUNDED_BLOCKS = frozenset(
    ["text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result"]
)
_BOUNDED_SOURCES = frozenset(["base64", "text", "content"])


def bound_tokens(request: ClaudeRequest, context_window: Optional[int]) -> Optional[int]:
    """Return an upper bound of the input tokens that the request can be billed for, or None if there is no bound.

    Parameters
    ----------
    request : ClaudeRequest
    context_window : int or None
        Context window of the model in tokens; a longer request is refused and not billed.

    Notes
    -----
    A token of text takes at least one byte of UTF-8. An image has at most `prompts.attachments.IMAGE_BOUND_TOKENS`,
    however few bytes it has: a white page of 600 bytes costs as much as a photograph. The cost of a PDF follows neither
    from its size, since it is compressed, nor from its number of pages, since a page can hold any amount of text; only
    the model's context window bounds it.
    """
    if not is_bounded(request):
        return None
    if _has_pdf(request.body):
        return context_window
    return input_bound_tokens(request)


def price_bound(
    request: ClaudeRequest, prices: PriceTable, *, on: datetime.date, batch: bool = False
) -> Optional[Decimal]:
    """Return the most that the request can cost in US dollars, or None if unknown.

    Parameters
    ----------
    on : datetime.date
        Day of sending, UTC.
    batch : bool
        Whether the request is sent as part of a message batch.
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
        cache_ttl=_cache_ttl(request),
        fast=request.body.get("speed") == "fast",
        inference_geo=str(request.body.get("inference_geo") or "global"),
    )


def _cache_ttl(request: ClaudeRequest) -> Optional[str]:
    """Return the longest lifetime with which the prompt may be written to the prompt cache; None if nothing is marked."""
    if has_cache_control(request.body):
        return "1h"
    return None if request.cache_mark is None else request.cache_mark.ttl


def input_bound_tokens(request: ClaudeRequest) -> int:
    """Return an upper bound of the tokens in the text and images of a request; PDFs are left out, see `bound_tokens`."""
    return _bytes_in(request.body, IMAGE_BOUND_TOKENS, 0) + _added_by_the_api(request.body)


def paced_bytes(request: ClaudeRequest) -> int:
    """Return the size from which pacing estimates tokens: bytes of text, plus fixed sizes for images and documents."""
    return _bytes_in(request.body, _PACED_IMAGE_BYTES, _PACED_PDF_BYTES) + _added_by_the_api(request.body)


_READ_BY_THE_MODEL = ("system", "messages", "tools", "output_format")


def content_bytes(request: ClaudeRequest) -> int:
    """Return the bytes of a request that the model reads, to which its tokens are proportional.

    Not included are settings such as ``thinking``, ``effort`` or the model's name, which cost no tokens, and tokens
    that the API adds.
    """
    body = request.body
    read = {name: body[name] for name in _READ_BY_THE_MODEL if name in body}
    if "format" in (body.get("output_config") or ()):
        read["output_config"] = {"format": body["output_config"]["format"]}
    return _bytes_in(read, _PACED_IMAGE_BYTES, _PACED_PDF_BYTES)


def _added_by_the_api(body: Mapping[str, Any]) -> int:
    """Return a bound of the tokens that the API adds: around messages, and as a system prompt for tools or a schema."""
    return 1024 if "tools" in body or "format" in (body.get("output_config") or ()) else 512


def is_bounded(request: ClaudeRequest) -> bool:
    """Return whether everything that the API reads and bills is in the request itself; see `unbounded_part`."""
    return unbounded_part(request) is None


def unbounded_part(request: ClaudeRequest) -> Optional[str]:
    """Return the name of a field that may make the request cost more than its size suggests; None if there is none.

    Everything counts that is not known to be bounded: content behind a URL or file id, tools that run at the API
    (search, fetch, code), MCP, turns stored by the API, summaries that it writes in addition to the answer, another
    model that may answer, and every field newer than this list.
    """
    body = request.body
    for name, value in body.items():
        if name not in _BOUNDED_FIELDS and value not in _EMPTY:
            return str(name)
        if name in _BOUNDED_VALUES and value is not None and value not in _BOUNDED_VALUES[name]:
            return name
    if not _is_bounded_editing(body.get("context_management")):
        return "context_management"
    for tool in body.get("tools") or ():
        if not isinstance(tool, dict) or tool.get("type") not in (None, "custom"):
            return "tools"
    if not _is_bounded_content(body.get("system")):
        return "system"
    for message in body["messages"]:
        if not isinstance(message, dict) or set(message) - _MESSAGE_FIELDS:
            return "messages"
        if not _is_bounded_content(message.get("content")):
            return "messages"
    return None


# Values that mean that a field is not set.
_EMPTY: Tuple[Any, ...] = (None, False, "", [], {})


def _is_bounded_editing(managed: Any) -> bool:
    if managed in _EMPTY:
        return True
    if not isinstance(managed, dict) or set(managed) - {"edits"}:
        return False
    edits = managed.get("edits") or ()
    return all(isinstance(edit, dict) and str(edit.get("type")).startswith(_BOUNDED_EDITS) for edit in edits)


def _is_bounded_content(content: Any) -> bool:
    """Return whether content is text, or consists of blocks that are complete in the request, at every level."""
    if content is None or isinstance(content, str):
        return True
    return isinstance(content, list) and all(_is_bounded_block(block) for block in content)


def _is_bounded_block(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") not in _BOUNDED_BLOCKS:
        return False
    if block["type"] in ("image", "document"):
        source = block.get("source")
        if not isinstance(source, dict) or source.get("type") not in _BOUNDED_SOURCES:
            return False
        return source["type"] != "content" or _is_bounded_content(source.get("content"))
    return block["type"] not in ("tool_result", "search_result") or _is_bounded_content(block.get("content"))


def _has_pdf(value: Any) -> bool:
    if isinstance(value, dict):
        return is_pdf(value) or any(_has_pdf(item) for item in value.values() if isinstance(item, (dict, list)))
    return isinstance(value, list) and any(_has_pdf(item) for item in value if isinstance(item, (dict, list)))


def _bytes_in(value: Any, image: int, pdf: int) -> int:
    """Return the bytes of the JSON form, since the model reads tools and their input as JSON."""
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
