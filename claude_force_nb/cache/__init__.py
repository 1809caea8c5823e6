"""The response cache: signed, bounded, exact. Importing it imports neither diskcache nor SQLite."""

from __future__ import annotations

from .report import CacheStats, VerifyReport
from .response_cache import ResponseCache

__all__ = ["CacheStats", "ResponseCache", "VerifyReport"]
