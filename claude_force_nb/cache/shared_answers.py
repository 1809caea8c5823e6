"""The answers that a team shares on a Redis server, trusted only if their signature is valid."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import AsyncIterator, Callable, Iterable, List, Optional, Sequence, Tuple, Union

from claude_force_nb.errors import CacheIntegrityWarning, CacheSecretWarning, SecretError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult

from . import entries
from .fingerprints import fingerprint_of
from .notices import Notices
from .report import SharedStats, VerifyReport
from .shared_tier import SharedTier
from .signing import KeyRing, UnknownKeyError
from .verification import verify_shared

__all__ = ["SharedAnswers"]


class SharedAnswers:
    """The shared tier behind a `ResponseCache`: signed entries on a Redis server, for everybody who has the same secret.

    Parameters
    ----------
    url : str
        See `RedisConnection`.
    secret_is_given : bool
        False if the key is a random one that no other machine has.
    make_ring : callable
        Returns the keys; raises SecretError if there are none.
    keep : callable
        Called with a fingerprint, its signed value and its expiry (seconds since 1970 UTC, None for no expiry), to
        store a copy on this machine.
    max_value_bytes : int
    ttl_seconds : float or None
    notices : Notices
    clock : callable
        Seconds since 1970 UTC.
    """

    def __init__(
        self,
        url: str,
        *,
        secret_is_given: bool,
        make_ring: Callable[[], Optional[KeyRing]],
        keep: Callable[[str, bytes, Optional[float]], object],
        max_value_bytes: int,
        ttl_seconds: Optional[float],
        notices: Notices,
        clock: Callable[[], float],
    ) -> None:
        self._tier = SharedTier(url, max_value_bytes=max_value_bytes, notices=notices)
        self._make_ring = make_ring
        self._keep = keep
        self._ttl_seconds = ttl_seconds
        self._notices = notices
        self._clock = clock
        if not secret_is_given:
            notices.add(
                "shared secret",
                f"the shared cache {self.name} is not shared with anybody yet: this machine signs with its own random key;"
                " set the same CLAUDE_CACHE_SECRET on every machine that uses it",
                CacheSecretWarning,
            )
        self._hits = self._corrupt = self._foreign_key = 0

    def __repr__(self) -> str:
        return f"SharedAnswers({self.name!r})"

    @property
    def name(self) -> str:
        """Address of the server, without password."""
        return self._tier.name

    def close(self) -> None:
        """Send queued writes, for at most two seconds, and close the connections. Any later call opens them again."""
        self._tier.close()
        self._notices.emit()

    def put(self, values: Iterable[Tuple[str, bytes]]) -> None:
        """Queue signed values to be sent to the server in the background."""
        self._tier.put(values, ttl_seconds=self._ttl_seconds)

    def get(self, request: Union[ClaudeRequest, str]) -> Optional[ClaudeResult]:
        """Return the answer to a request or fingerprint; blocks for a few seconds at most."""
        fingerprint = fingerprint_of(request)
        return self._accepted(fingerprint, self._tier.get([fingerprint])[0])

    async def get_many(self, requests: Sequence[ClaudeRequest]) -> List[Optional[ClaudeResult]]:
        """Return the answers to several requests, None for each unknown one; does not wait for other machines that are asking."""
        fingerprints = [fingerprint_of(request) for request in requests]
        values = await self._tier.get_soon(fingerprints)
        return [self._accepted(fingerprint, value) for fingerprint, value in zip(fingerprints, values)]

    @asynccontextmanager
    async def answer(
        self, request: ClaudeRequest, *, waiting: Callable[[], None]
    ) -> AsyncIterator[Optional[ClaudeResult]]:
        """Yield the answer that others have stored; None if the caller has to send the request inside the block.

        While the block runs, other machines with the same request wait; see `SharedTier.find_or_wait`. An answer stored
        with `ResponseCache.put` inside the block is there when they look again.

        Parameters
        ----------
        request : ClaudeRequest
        waiting : callable
            Called if another machine holds the lease and we have to wait for it.
        """
        fingerprint = fingerprint_of(request)
        found = await self._tier.find_or_wait(fingerprint, waiting=waiting)
        try:
            yield self._accepted(fingerprint, found.value)
        finally:
            if found.is_leased:
                self._tier.release(fingerprint)

    def stats(self) -> SharedStats:
        """Return the statistics; scans all keys on the server."""
        available, there, size_bytes = self._tier.totals()
        self._notices.emit()
        return SharedStats(self.name, available, there, size_bytes, self._hits, self._corrupt, self._foreign_key)

    def verify(self) -> VerifyReport:
        """Read and check every entry like `ResponseCache.verify`, and remove corrupt ones from the server."""
        try:
            ring = self._make_ring()
        except SecretError:
            ring = None
        report = verify_shared(self._tier, ring, ttl_seconds=self._ttl_seconds, now=self._clock())
        self._corrupt += report.corrupt
        self._notices.emit()
        return report

    def clear(self) -> Optional[int]:
        """Remove every entry of all users; return how many there were, None if the server is unavailable."""
        removed = self._tier.clear()
        self._notices.emit()
        return removed

    def _accepted(self, fingerprint: str, value: Optional[bytes]) -> Optional[ClaudeResult]:
        """Return the answer in a value and store a copy on this machine; None if it cannot be trusted or has expired."""
        answer = None
        try:
            ring = self._make_ring() if value is not None else None
            if value is not None and ring is not None:
                answer = self._read(ring, fingerprint, value)
        except SecretError:
            pass  # the tier of this machine warns about it
        except UnknownKeyError:
            self._foreign_key += 1
            self._warn(
                "foreign",
                "was signed with another secret: every machine that uses the cache needs the same CLAUDE_CACHE_SECRET",
            )
        except Exception:  # the server may return anything
            self._corrupt += 1
            self._warn("corrupt", "failed its check; further ones are only counted")
        self._hits += answer is not None
        self._notices.emit()
        return answer

    def _read(self, ring: KeyRing, fingerprint: str, value: bytes) -> Optional[ClaudeResult]:
        entry = entries.read(ring, fingerprint, value, self._ttl_seconds)
        now = self._clock()
        if not entry.created - entries.CLOCK_SKEW_SECONDS <= now < entry.ends:
            return None
        self._keep(fingerprint, value, None if entry.ends == float("inf") else entry.ends)
        return entries.answer_of(entry, now)

    def _warn(self, topic: str, what: str) -> None:
        self._notices.add(f"shared {topic}", f"an entry of the shared cache {self.name} {what}", CacheIntegrityWarning)
