"""The import of the official SDK: it takes a second or two, nearly all of it for its types."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["import_sdk"]


def import_sdk() -> Any:
    """Return the SDK, importing it if necessary; may be called from any thread."""
    return import_module("anthropic")
