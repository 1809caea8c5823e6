"""Read and check every entry of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, List, Optional

from . import entries
from .fingerprints import fingerprint_of, is_fingerprint
from .report import VerifyReport
from .rows import Judged, Scanned
from .signing import KeyRing, UnknownKeyError

if TYPE_CHECKING:
    from .shared_tier import SharedTier
    from .store import Store

__all__ = ["verify_shared", "verify_store"]

_EVICTED_TOGETHER = 64


def verify_store(
    store: Store, ring: KeyRing, *, ttl_seconds: Optional[float], clock: Callable[[], float]
) -> VerifyReport:
    """Check every row, evict the corrupt ones and count the size anew; see `ResponseCache.verify`."""
    counts = dict.fromkeys(("intact", "expired", "corrupt", "foreign_key"), 0)
    corrupt: List[Judged] = []
    found = store.scan()
    while found is not None:
        verdict = _judge(found, ring, ttl_seconds, clock())
        counts[verdict] += 1
        if verdict == "corrupt":
            corrupt.append(Judged("rowid", found.rowid, found.row))
        found = store.scan(found.rowid + 1)
        if len(corrupt) == _EVICTED_TOGETHER or (corrupt and found is None):
            store.evict(corrupt)
            corrupt.clear()
    return VerifyReport(
        intact=counts["intact"],
        expired=counts["expired"],
        corrupt=counts["corrupt"],
        foreign_key=counts["foreign_key"],
        size_bytes=store.totals(count_anew=True).size_bytes,
    )


def _judge(found: Scanned, ring: KeyRing, ttl_seconds: Optional[float], now: float) -> str:
    """Return the `VerifyReport` field that counts a row."""
    try:
        if found.raw != 1:
            raise ValueError("not a key of ours")
        fingerprint = fingerprint_of(found.key.decode("ascii"))
        value = entries.value_of(found.row)
    except Exception:
        return "corrupt"
    return _judge_value(fingerprint, value, ring, ttl_seconds, now)


def _judge_value(fingerprint: str, value: bytes, ring: KeyRing, ttl_seconds: Optional[float], now: float) -> str:
    try:
        _, created_ms, ends_ms = ring.unsign(value, fingerprint=bytes.fromhex(fingerprint))
    except UnknownKeyError:
        return "foreign_key"
    except Exception:
        return "corrupt"
    created, ends = entries.lifetime(created_ms, ends_ms, ttl_seconds)
    return "intact" if created - entries.CLOCK_SKEW_SECONDS <= now < ends else "expired"


def verify_shared(
    tier: SharedTier, ring: Optional[KeyRing], *, ttl_seconds: Optional[float], now: float
) -> VerifyReport:
    """Read and check every value of the shared tier, and remove the corrupt ones."""
    counts = dict.fromkeys(("intact", "expired", "corrupt", "foreign_key"), 0)
    corrupt, size = [], 0
    for found in tier.values():
        if found is None or ring is None:
            return VerifyReport(available=False)
        fingerprint, value = found
        verdict = "corrupt"
        if value is not None and is_fingerprint(fingerprint):
            verdict = _judge_value(fingerprint, value, ring, ttl_seconds, now)
        counts[verdict] += 1
        if verdict == "corrupt":
            corrupt.append(fingerprint)
        else:
            size += len(value or b"")
    tier.remove(corrupt)
    return VerifyReport(counts["intact"], counts["expired"], counts["corrupt"], counts["foreign_key"], size_bytes=size)
