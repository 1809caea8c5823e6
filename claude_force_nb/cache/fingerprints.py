"""Fingerprints: the keys of the cache. Pure."""

from __future__ import annotations

import re
from typing import Union

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.vocabulary import shown_value

__all__ = ["fingerprint_of", "is_fingerprint"]

_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")


def is_fingerprint(text: str) -> bool:
    """Return whether `text` is 64 lower-case hexadecimal digits."""
    return _FINGERPRINT.match(text) is not None


def fingerprint_of(request: Union[ClaudeRequest, str]) -> str:
    """Return the fingerprint of a request, or a fingerprint as given; raises OptionError for anything else."""
    if isinstance(request, ClaudeRequest):
        return request.fingerprint
    if isinstance(request, str) and is_fingerprint(request):
        return str(request)
    raise OptionError(
        f"a ClaudeRequest or its fingerprint (64 hexadecimal digits) is needed, not {shown_value(request)}"
    )
