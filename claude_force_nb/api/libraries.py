"""Import the libraries that make calls, with the first call: aiohttp takes a fifth of a second, the SDK one or two seconds."""

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
    """Return the SDK, importing it if necessary; may be called from any thread. Most of the import time goes into its types."""
    return _import("anthropic")


def _import(name: str) -> Any:
    try:
        os.getcwd()
    except OSError:
        # The working directory was removed. `pkgutil.extend_path`, which namespace packages call, would fail because of
        # the "" in sys.path; the import system itself never reads this entry.
        sys.path_importer_cache.setdefault("", None)
    return import_module(name)
