"""Decide which answers to cache, and encode them."""

from __future__ import annotations

from typing import Iterable, List, Tuple, Union

from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult

from . import entries
from .fingerprints import fingerprint_of
from .notices import Notices
from .signing import OVERHEAD_BYTES

__all__ = ["encoded"]

# Stop reasons of answers that are not cached: the next run should ask again.
_NOT_CACHED = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn", "refusal"})


def encoded(
    answers: Iterable[Tuple[Union[ClaudeRequest, str], ClaudeResult]], *, max_value_bytes: int, notices: Notices
) -> List[Tuple[str, bytes]]:
    """Return fingerprint and body of each answer to cache; `notices` gets a warning for a good answer that cannot be cached."""
    bodies = ((fingerprint_of(request), _body(result, max_value_bytes, notices)) for request, result in answers)
    return [(fingerprint, body) for fingerprint, body in bodies if body]


def _body(result: ClaudeResult, max_value_bytes: int, notices: Notices) -> bytes:
    """Return the encoded answer; empty if it is not cached."""
    if result.status != "ok" or result.error is not None or result.stop_reason in _NOT_CACHED:
        return b""
    if not result.text.strip():  # an empty answer, or one we could not read: another call may do better
        return b""
    try:
        body = entries.encode(result)
    except (TypeError, ValueError):
        notices.add("record", "an answer cannot be written as JSON and was not cached")
        return b""
    if len(body) + OVERHEAD_BYTES > max_value_bytes:
        notices.add(
            "large",
            f"an answer of {len(body) + OVERHEAD_BYTES:,} bytes was not cached: the limit is"
            f" {max_value_bytes:,} bytes (max_size_mb)",
        )
        return b""
    return body
