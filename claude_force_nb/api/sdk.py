"""The import of the official SDK: it takes a second or two, nearly all of it for its types."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

__all__ = ["import_sdk"]


def import_sdk() -> Any:
    """Return the SDK, importing it if necessary; may be called from any thread."""
    try:
        os.getcwd()
    except OSError:
        # The working directory was removed. `pkgutil.extend_path`, which packages spread over several folders call, would fail
        # for the "" in sys.path; the import system itself never reads this entry.
        sys.path_importer_cache.setdefault("", None)
    return import_module("anthropic")
