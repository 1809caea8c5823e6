"""Turn rows of the store into answers, and keep verified answers in memory."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, Dict, NamedTuple, Optional, Set, Tuple, Union

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage

from .rows import Row
from .signing import NEVER, KeyRing, UnknownKeyError

__all__ = [
    "CLOCK_SKEW_SECONDS",
    "VERIFIED_BYTES",
    "Entry",
    "Verified",
    "answer_of",
    "check",
    "encode",
    "lifetime",
    "read",
    "value_of",
]

CLOCK_SKEW_SECONDS = 300.0
"""An entry dated further in the future than this is a miss, since its age is unknown."""

VERIFIED_BYTES = 16 * 2**20
"""Size limit of `Verified`."""

_OVERHEAD_BYTES = 2048
# The set of fingerprints that were read once is cleared when it reaches this size: about 2 MB.
_MOST_READ_ONCE = 16_384
_MOST_USAGES = 4096
# Usage objects by record, so that equal records share one. Equal records also have equal types, since we signed them.
_usages: Dict[Tuple[Tuple[str, Any], ...], Usage] = {}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder().raw_decode

_EMPTY_RECORD: Dict[str, Any] = {
    "text": "",
    "model": "",
    "usage": {},
    "stop_reason": None,
    "request_id": None,
    "call_seconds": 0.0,
}
_CACHED = ClaudeResult.from_record(_EMPTY_RECORD, fingerprint="", age_seconds=0.0).__dict__
_NO_USAGE = Usage().__dict__
_new_result = ClaudeResult.__new__
_new_usage = Usage.__new__
_set = object.__setattr__


class Entry(NamedTuple):
    """A verified entry: its stored value, the fields of its answer, creation and expiry in seconds since 1970 UTC."""

    value: bytes
    fields: Dict[str, Any]
    created: float
    ends: float


def encode(result: ClaudeResult) -> bytes:
    """Return the JSON of `result` to store; raises TypeError or ValueError if it cannot be written as JSON."""
    # Model output can contain half of a surrogate pair.
    return _encode(result.to_record()).encode("utf-8", "surrogatepass")


def value_of(row: Row) -> bytes:
    """Return the stored value of a row; raises ValueError if we could not have written the row."""
    if row.mode != 1 or row.filename is not None or type(row.value) is not bytes:
        raise ValueError("not a row of ours")
    return row.value


def lifetime(created_ms: int, ends_ms: int, ttl_seconds: Optional[float]) -> Tuple[float, float]:
    """Return creation and expiry of an entry; it expires at its signed end or after `ttl_seconds`, whichever is earlier."""
    created = created_ms / 1000
    ends = float("inf") if ends_ms == NEVER else ends_ms / 1000
    return created, ends if ttl_seconds is None else min(ends, created + ttl_seconds)


def read(ring: KeyRing, fingerprint: str, value: bytes, ttl_seconds: Optional[float]) -> Entry:
    """Verify and decode a stored value.

    Raises
    ------
    UnknownKeyError
        If it was signed with a key that is not on the ring.
    Exception
        Any other exception means that we did not sign it, or that it is not a record of this version.
    """
    body, created_ms, ends_ms = ring.unsign(value, fingerprint=bytes.fromhex(fingerprint))
    # The depth need not be checked again: the signature proves that `encode` wrote this, and the answer's depth was
    # checked when it arrived. The check would take a tenth of the time of a cache hit.
    record = _decode(body.decode("utf-8", "surrogatepass"))[0]
    # This does the same as ClaudeResult.from_record in a quarter of the time; a test checks that both agree.
    fields = {**_CACHED, **record, "usage": _usage(record["usage"]), "fingerprint": fingerprint}
    if len(fields) != len(_CACHED):
        raise TypeError("a record of another version")
    return Entry(value, fields, *lifetime(created_ms, ends_ms, ttl_seconds))


def _usage(told: Dict[str, Any]) -> Usage:
    """Return the usage of a record. Rows of a run often have equal usage; they share one object, which saves time and memory."""
    key: Any = tuple(told.items())
    try:
        known = _usages.get(key)
    except TypeError:  # not hashable: the record contains counters by model name
        key = known = None
    if known is not None:
        return known
    usage = _new_usage(Usage)
    if "other_models" in told:
        told = Usage.from_record(told).__dict__
    _set(usage, "__dict__", {**_NO_USAGE, **told})
    if len(usage.__dict__) != len(_NO_USAGE):
        raise TypeError("a record of another version")
    if key is not None:
        if len(_usages) >= _MOST_USAGES:
            _usages.clear()
        _usages[key] = usage
    return usage


def check(ring: Optional[KeyRing], fingerprint: str, value: bytes, ttl_seconds: Optional[float]) -> Union[Entry, str]:
    """Return the entry, or why the value cannot be used: ``foreign`` if it was signed with another key, else ``corrupt``."""
    if ring is None:  # this machine never had a key
        return "foreign"
    try:
        return read(ring, fingerprint, value, ttl_seconds)
    except UnknownKeyError:
        return "foreign"
    except Exception:
        return "corrupt"


def answer_of(entry: Entry, now: float) -> ClaudeResult:
    """Return a new result for an entry."""
    fields = entry.fields.copy()
    fields["age_seconds"] = now - entry.created if now > entry.created else 0.0
    result = _new_result(ClaudeResult)
    _set(result, "__dict__", fields)
    return result


class Verified(OrderedDict):  # type: ignore[type-arg]
    """Verified entries by fingerprint, least recently used first, in bounded memory. The owner does the locking.

    An entry is kept when it is read for the second time. Most are read only once, in a notebook that is run again or in
    a batch of 100,000 rows. Keeping those would cost a fresh page of memory each and push out the entries that are read
    often.
    """

    size_bytes = 0

    def __init__(self) -> None:
        super().__init__()
        self._read_once: Set[str] = set()

    def entry(
        self, ring: Optional[KeyRing], fingerprint: str, value: bytes, ttl_seconds: Optional[float]
    ) -> Union[Entry, str]:
        """Return the same as `check` for a stored value, without verifying an entry again that is kept here and unchanged."""
        found: Union[Entry, str, None] = self.get(fingerprint)
        if type(found) is Entry and found.value == value:
            self.move_to_end(fingerprint)
            return found
        found = check(ring, fingerprint, value, ttl_seconds)
        if type(found) is Entry:
            if fingerprint in self._read_once:
                self.remember(fingerprint, found)
            else:
                self._note_read(fingerprint)
        return found

    def _note_read(self, fingerprint: str) -> None:
        if len(self._read_once) >= _MOST_READ_ONCE:
            self._read_once.clear()
        self._read_once.add(fingerprint)

    def remember(self, fingerprint: str, entry: Entry) -> None:
        """Keep `entry` and drop the oldest ones over the limit; `entry` itself stays, however large, until the next comes."""
        if fingerprint in self:
            self.forget(fingerprint)
        self[fingerprint] = entry
        self.size_bytes += 2 * len(entry.value) + _OVERHEAD_BYTES
        while self.size_bytes > VERIFIED_BYTES and len(self) > 1:
            self.forget(next(iter(self)))

    def forget(self, fingerprint: str) -> None:
        """Drop the entry of `fingerprint`, if any."""
        entry = self.pop(fingerprint, None)
        if entry is not None:
            self.size_bytes -= 2 * len(entry.value) + _OVERHEAD_BYTES

    def forget_all(self) -> None:
        """Drop all entries."""
        self.clear()
        self.size_bytes = 0
