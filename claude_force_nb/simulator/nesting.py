"""Measure how deeply JSON is nested before it is parsed.

Parsers written in C overflow the stack where the recursion limit was raised.
"""

from __future__ import annotations

import json
import re
from typing import Any, Union

__all__ = ["is_too_deep", "load_body"]

_MOST_LEVELS = 256
# The closing quotation mark is optional, so that an unclosed string is scanned only once.
_SIGNS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)


def is_too_deep(text: str, start: int = 0) -> bool:
    """Return whether the JSON value that begins at `start` is nested more than 256 levels deep."""
    if text.count("[", start) + text.count("{", start) <= _MOST_LEVELS:
        return False
    depth = 0
    for match in _SIGNS.finditer(text, start):
        sign = match.group()
        depth += (sign in ("[", "{")) - (sign in ("]", "}"))
        if depth > _MOST_LEVELS:
            return True
        if depth <= 0:
            return False
    return False


def load_body(raw: Union[str, bytes]) -> Any:
    """Return the JSON of a request's body; raises ValueError if it is not valid, or is nested too deeply."""
    text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw), "surrogatepass")
    if is_too_deep(text):
        raise ValueError(f"nested more than {_MOST_LEVELS} levels deep")
    return json.loads(text)
