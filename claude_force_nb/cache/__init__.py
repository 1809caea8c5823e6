"""The response cache: signed, bounded, exact. Importing it imports neither diskcache nor SQLite."""

from __future__ import annotations

from claude_force_nb.cache.report import CacheStats, VerifyReport
from claude_force_nb.cache.response_cache import ResponseCache

__all__ = ["CacheStats", "ResponseCache", "VerifyReport"]
