"""What a model takes, read from the version in its name. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Optional, Tuple

__all__ = ["model_version", "takes_adaptive_thinking", "takes_schemas"]

_VERSION = re.compile(r"claude-(?:[a-z]+-)?([0-9]{1,2})(?![0-9])(?:[-.]([0-9]{1,2})(?![0-9]))?")


@lru_cache(maxsize=256)
def model_version(model: str) -> Optional[Tuple[int, int]]:
    """Return the version of ``claude-opus-4-5-20251101``, here (4, 5); None for a name without one."""
    found = _VERSION.search(model)
    return None if found is None else (int(found.group(1)), int(found.group(2) or 0))


def takes_schemas(model: str) -> bool:
    """Return whether a model holds its answer to a JSON schema: from 4.5 on ("Structured outputs"); False where unknown."""
    return (model_version(model) or (0, 0)) >= (4, 5)


def takes_adaptive_thinking(model: str) -> bool:
    """Return whether a model decides itself how much to think: from 4.6 on ("Adaptive thinking"); True where unknown."""
    return (model_version(model) or (99, 0)) >= (4, 6)
