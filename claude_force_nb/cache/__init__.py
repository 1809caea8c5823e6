"""The response cache: answers on disk, signed, bounded and exactly accounted.

`response_cache` is the cache itself. It is composed of a `store` (diskcache's tables, without trusting the file), a
`lifecycle` that opens and repairs the store, `keys` and `signing`, and `shared_answers` for teams that share a Redis
server. Other rooms use `ResponseCache`, `CacheStats` and `VerifyReport`, and `RecordKeys` to sign records of their own.
Importing this room imports neither diskcache nor SQLite.
"""

from __future__ import annotations

from .keys import record_keys
from .report import CacheStats, SharedStats, VerifyReport
from .response_cache import ResponseCache
from .signing import RecordKeys

__all__ = ["CacheStats", "RecordKeys", "ResponseCache", "SharedStats", "VerifyReport", "record_keys"]
