"""The response cache: answers on diskcache, each one signed.

`response_cache` is what others use, with the statistics in `report`. Below it `signing` and `secret` decide what is trusted, `disk` and `database` store
bytes, `entries` reads them. Importing the room imports neither diskcache nor SQLite.
"""

from __future__ import annotations

from .report import CacheStats, VerifyReport
from .response_cache import ResponseCache

__all__ = ["CacheStats", "ResponseCache", "VerifyReport"]
