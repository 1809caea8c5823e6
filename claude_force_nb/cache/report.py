"""Statistics and check results of a cache."""

from __future__ import annotations

from dataclasses import dataclass

from claude_force_nb.vocabulary import counted

__all__ = ["CacheStats", "SharedStats", "VerifyReport"]


@dataclass(frozen=True)
class CacheStats:
    """Counters of one `ResponseCache` object, and totals of its directory.

    Attributes
    ----------
    hits, misses : int
        How often `get` of this object did and did not find an answer. Look-ups of a dry run, of the estimate for a
        retry and of an audit do not count; equal calls in flight at the same time count once.
    expired : int
        Expired entries found by this object.
    evictions : int
        Entries this object removed to stay under the limit.
    integrity_failures : int
        Entries or whole databases that failed their check and were removed.
    foreign_key : int
        Misses by this object because the entry was signed with a key it does not have.
    entries : int
        Entries in the directory, from all processes and keys.
    size_bytes : int
        Bytes stored in these entries.
    max_size_bytes : int
        Limit for `size_bytes`.
    """

    hits: int = 0
    misses: int = 0
    expired: int = 0
    evictions: int = 0
    integrity_failures: int = 0
    foreign_key: int = 0
    entries: int = 0
    size_bytes: int = 0
    max_size_bytes: int = 0

    @property
    def hit_rate(self) -> float:
        """Hits per counted look-up, 0.0 to 1.0; 0.0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


@dataclass(frozen=True)
class SharedStats:
    """Statistics of the shared tier.

    Attributes
    ----------
    server : str
        Its address, without password.
    available : bool
        Whether the server could be reached.
    entries, size_bytes : int
        Entries on the server, from all users, and their size.
    hits : int
        Answers that this object took from the server.
    integrity_failures, foreign_key : int
        Entries that this object rejected because they were altered or damaged, or signed with another secret.
    """

    server: str
    available: bool
    entries: int = 0
    size_bytes: int = 0
    hits: int = 0
    integrity_failures: int = 0
    foreign_key: int = 0


@dataclass(frozen=True)
class VerifyReport:
    """Result of reading and checking every entry.

    Attributes
    ----------
    intact : int
        Entries signed with one of our keys and not expired.
    expired : int
        Correctly signed, but expired or dated in the future.
    corrupt : int
        Damaged or altered; they were evicted.
    foreign_key : int
        Undamaged, but signed with a key that is not ours; left to their owner.
    size_bytes : int
        Bytes stored in the remaining entries, counted anew.
    available : bool
        False if the cache could not be read at all.
    """

    intact: int = 0
    expired: int = 0
    corrupt: int = 0
    foreign_key: int = 0
    size_bytes: int = 0
    available: bool = True

    @property
    def entries(self) -> int:
        """Number of entries read."""
        return self.intact + self.expired + self.corrupt + self.foreign_key

    @property
    def ok(self) -> bool:
        """Whether the cache could be read and nothing in it was corrupt."""
        return self.available and not self.corrupt

    def __str__(self) -> str:
        if not self.available:
            return "the cache cannot be read"
        return f"{counted(self.entries, 'entry')}: {self.intact:,} intact, {self.expired:,} expired, {self.corrupt:,} corrupt, {self.foreign_key:,} of a foreign key; {counted(self.size_bytes, 'byte')}"
