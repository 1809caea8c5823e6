"""The response cache: answers on disk, signed, bounded and exactly accounted.

`response_cache` has the cache itself, composed of a `store` (diskcache's tables, nothing of the file believed), a `lifecycle` that opens
and mends it, `keys` and `signing`. Others use `ResponseCache`, `CacheStats` and `VerifyReport`. Importing it imports neither diskcache
nor SQLite.
"""

from __future__ import annotations

from .report import CacheStats, VerifyReport
from .response_cache import ResponseCache

__all__ = ["CacheStats", "ResponseCache", "VerifyReport"]
