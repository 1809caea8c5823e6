"""The libraries that make calls, imported with the first call: the HTTP library takes a fifth of a second, the SDK one or two."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

__all__ = ["import_http", "import_sdk"]


def import_http() -> Any:
    """Return aiohttp, importing it if necessary; may be called from any thread."""
    return _import("aiohttp")


def import_sdk() -> Any:
    """Return the SDK, importing it if necessary; may be called from any thread. Nearly all of its time goes into types."""
    return _import("anthropic")


def _import(name: str) -> Any:
    try:
        os.getcwd()
    except OSError:
        # The working directory was removed. `pkgutil.extend_path`, which packages spread over several folders call, would fail
        # for the "" in sys.path; the import system itself never reads this entry.
        sys.path_importer_cache.setdefault("", None)
    return import_module(name)
