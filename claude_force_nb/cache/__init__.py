"""The response cache: answers on disk, signed, bounded and exactly accounted.

`response_cache` is the cache itself, composed of a `store` (diskcache's tables, without trusting the file), a `lifecycle` that opens and
repairs it, `keys` and `signing`, and of `shared_answers` where a team has a Redis server. Others use `ResponseCache`, `CacheStats` and `VerifyReport`, and `RecordKeys` to sign what they keep
themselves. Importing it imports neither diskcache nor SQLite.
"""

from __future__ import annotations

from .keys import record_keys
from .report import CacheStats, SharedStats, VerifyReport
from .response_cache import ResponseCache
from .signing import RecordKeys

__all__ = ["CacheStats", "RecordKeys", "ResponseCache", "SharedStats", "VerifyReport", "record_keys"]
