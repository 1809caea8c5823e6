"""The shared tier of the cache: signed entries on a Redis server, and leases on requests in flight.

Nothing from the server is trusted here: values are opaque bytes until `SharedAnswers` has checked their signature.
Somebody who can write to the server can remove answers, but not forge them.
"""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from .notices import Notices
from .redis_connection import RedisConnection

__all__ = ["LEASE_SECONDS", "Found", "SharedTier"]

LEASE_SECONDS = 10.0
"""Lifetime of a lease. A live holder renews it; the lease of one that died ends after this time."""

_LONGEST_WAIT_SECONDS = 60.0
_PREFIX = "claude_force_nb:1:"
_PAGE = 200
_MOST_QUEUED_BYTES = 64 * 2**20
_CLOSE_SECONDS = 2.0

# KEYS: value, lease. ARGV: token, lifetime of the lease in milliseconds, size limit of the value. Returns the value; 1
# if the lease is now ours; 0 if somebody else holds it; -1 if waiting is pointless: the value is too long, or the lease
# has an expiry that we would never have set.
_FIND = """
local length = redis.call('STRLEN', KEYS[1])
if length > tonumber(ARGV[3]) then return -1 end
if length > 0 then return redis.call('GET', KEYS[1]) end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
local left = redis.call('PTTL', KEYS[2])
if left < 0 or left > 2 * tonumber(ARGV[2]) then return -1 end
return 0
"""
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

_live: weakref.WeakSet[SharedTier] = weakref.WeakSet()


@dataclass(frozen=True)
class Found:
    """The result of a look-up: a value, or else whether we hold the lease (`is_leased`) or somebody else does (`is_awaited`)."""

    value: Optional[bytes] = None
    is_leased: bool = False
    is_awaited: bool = False


class SharedTier:
    """Values by fingerprint on a Redis server, safe for all threads and event loops.

    Look-ups made in the same iteration of an event loop are sent together and do not block the loop. A background
    thread sends writes, lease renewals and lease releases, in order. Errors of the server never raise.

    Parameters
    ----------
    url : str
        See `RedisConnection`.
    max_value_bytes : int
        Longer values are not read.
    notices : Notices
    """

    def __init__(self, url: str, *, max_value_bytes: int, notices: Notices) -> None:
        self._connection = RedisConnection(url, notices)
        self._max_value_bytes = max_value_bytes
        self._token = secrets.token_hex(16)
        self._reset()
        _live.add(self)

    def _reset(self) -> None:
        self._condition = Condition()
        self._queue: List[Tuple[Callable[[Any], None], int]] = []
        self._queued_bytes = 0
        self._sending = False
        self._held: Dict[str, float] = {}
        self._thread: Optional[Thread] = None
        self._pool: Optional[ThreadPoolExecutor] = None
        self._asking: Dict[asyncio.AbstractEventLoop, List[Tuple[str, asyncio.Future[Found]]]] = {}

    def __repr__(self) -> str:
        return f"SharedTier({self.name!r})"

    @property
    def name(self) -> str:
        """Address of the server, without password."""
        return self._connection.name

    # ------------------------------------------------------------------ reading

    def get(self, fingerprints: Sequence[str]) -> List[Optional[bytes]]:
        """Return the values of fingerprints; blocks, and takes no lease."""

        def fill(pipeline: Any) -> None:
            for fingerprint in fingerprints:
                pipeline.getrange(_key(fingerprint), 0, self._max_value_bytes)

        answers = self._connection.execute(fill) or [None] * len(fingerprints)
        return [
            value if type(value) is bytes and 0 < len(value) <= self._max_value_bytes else None for value in answers
        ]

    async def get_soon(self, fingerprints: Sequence[str]) -> List[Optional[bytes]]:
        """Return the same as `get`, without blocking the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads(), self.get, fingerprints)

    async def find(self, fingerprint: str) -> Found:
        """Return the value of a fingerprint, or take the lease on it.

        Calls made in the same iteration of the event loop are sent together.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()
        waiting = self._asking.get(loop)
        if waiting is None:
            self._asking[loop] = [(fingerprint, future)]
            loop.call_soon(self._ask, loop)
        else:
            waiting.append((fingerprint, future))
        return await future

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        asked = self._asking.pop(loop, [])
        for begin in range(0, len(asked), _PAGE):
            page = asked[begin : begin + _PAGE]
            work = loop.run_in_executor(self._threads(), self._look_up, [fingerprint for fingerprint, _ in page])
            work.add_done_callback(functools.partial(self._deliver, page))

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(4, "claude_force_nb-shared-cache")
        return self._pool

    def _deliver(self, page: Sequence[Tuple[str, asyncio.Future[Found]]], done: asyncio.Future[List[Found]]) -> None:
        found = [Found()] * len(page) if done.cancelled() or done.exception() else done.result()
        for (fingerprint, future), each in zip(page, found):
            if not future.done():
                future.set_result(each)
            elif each.is_leased:  # the caller was cancelled and will not send the request
                self.release(fingerprint)

    def _look_up(self, fingerprints: Sequence[str]) -> List[Found]:
        def fill(pipeline: Any) -> None:
            for fingerprint in fingerprints:
                milliseconds = int(LEASE_SECONDS * 1000)
                pipeline.eval(
                    _FIND, 2, _key(fingerprint), _lease(fingerprint), self._token, milliseconds, self._max_value_bytes
                )

        answers = self._connection.execute(fill)
        if answers is None:
            return [Found()] * len(fingerprints)
        found = []
        for fingerprint, answer in zip(fingerprints, answers):
            if type(answer) is int and answer == 1:
                self._hold(fingerprint)
            found.append(
                Found(answer)
                if type(answer) is bytes
                else Found(is_leased=answer == 1, is_awaited=answer == 0)
                if type(answer) is int
                else Found()
            )
        return found

    async def find_or_wait(self, fingerprint: str, *, waiting: Callable[[], None]) -> Found:
        """Return the same as `find`, but wait while another machine is asking: until its lease ends, and at most 60 s.

        Parameters
        ----------
        fingerprint : str
        waiting : callable
            Called once if another machine holds the lease and we have to wait for it.
        """
        found = await self.find(fingerprint)
        if not found.is_awaited:
            return found
        waiting()
        ends, pause = time.monotonic() + _LONGEST_WAIT_SECONDS, 0.05
        while found.is_awaited and time.monotonic() < ends:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)
            found = await self.find(fingerprint)
        return found

    # ------------------------------------------------------------------ writing

    def put(self, values: Iterable[Tuple[str, bytes]], *, ttl_seconds: Optional[float]) -> None:
        """Queue values to be stored until they expire. If 64 MiB are queued already because the server is slow, drop them."""
        milliseconds = None if ttl_seconds is None else max(1, int(ttl_seconds * 1000))
        for fingerprint, value in values:

            def fill(pipeline: Any, key: str = _key(fingerprint), value: bytes = value) -> None:
                pipeline.set(key, value, px=milliseconds)

            self._send(fill, len(value))

    def release(self, fingerprint: str) -> None:
        """Release the lease on a fingerprint, after the writes that are queued now."""
        with self._condition:
            if self._held.pop(fingerprint, None) is None:
                return
        self._send(lambda pipeline: pipeline.eval(_RELEASE, 1, _lease(fingerprint), self._token), 0)

    def _hold(self, fingerprint: str) -> None:
        with self._condition:
            self._held[fingerprint] = time.monotonic() + LEASE_SECONDS / 3
            self._start()
            self._condition.notify_all()

    def _send(self, fill: Callable[[Any], None], size: int) -> None:
        with self._condition:
            if size and self._queued_bytes + size > _MOST_QUEUED_BYTES:
                return
            self._queue.append((fill, size))
            self._queued_bytes += size
            self._start()
            self._condition.notify_all()

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            reference = weakref.ref(self)
            self._thread = Thread(
                target=_work, args=(reference, self._condition), name="claude_force_nb-shared-writes", daemon=True
            )
            self._thread.start()

    def send_next(self) -> None:
        """Send queued writes and renew leases; waits up to a second for work. Only the background thread calls this."""
        with self._condition:
            if not self._queue:
                self._condition.wait(1.0)
            now = time.monotonic()
            queue, self._queue = self._queue[:_PAGE], self._queue[_PAGE:]
            self._queued_bytes -= sum(size for _, size in queue)
            renewed = [fingerprint for fingerprint, at in self._held.items() if at <= now]
            for fingerprint in renewed:
                self._held[fingerprint] = now + LEASE_SECONDS / 3
            self._sending = bool(queue or renewed)
        if not self._sending:
            return

        def fill(pipeline: Any) -> None:
            for fingerprint in renewed:
                pipeline.eval(_RENEW, 1, _lease(fingerprint), self._token, int(LEASE_SECONDS * 1000))
            for command, _ in queue:
                command(pipeline)

        try:
            self._connection.execute(fill)
        finally:
            with self._condition:
                self._sending = False
                self._condition.notify_all()

    def flush(self, seconds: float = _CLOSE_SECONDS) -> bool:
        """Wait until everything is sent, for at most `seconds`; return whether it was."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._queue and not self._sending, seconds)

    def close(self) -> None:
        """Send queued writes, for at most two seconds, and close the connections. Any later call opens them again."""
        self.flush()
        with self._condition:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)
        self._connection.close()

    def _after_fork(self) -> None:
        self._reset()
        self._token = secrets.token_hex(16)
        self._connection.after_fork()

    # ------------------------------------------------------------------ all entries

    def totals(self) -> Tuple[bool, int, int]:
        """Return whether the server is available, its number of values and their bytes; scans all keys."""
        entries = size = 0
        for page in self._pages():
            lengths = None if page is None else self._each(page, lambda pipeline, key: pipeline.strlen(key))
            if lengths is None:
                return False, 0, 0
            whole = [each for each in lengths if type(each) is int and each > 0]
            entries, size = entries + len(whole), size + sum(whole)
        return True, entries, size

    def values(self) -> Iterator[Optional[Tuple[str, Optional[bytes]]]]:
        """Yield each fingerprint with its value, or None if it cannot be one of our values.

        If the server becomes unavailable, yield None in place of the pair, and stop.
        """
        for page in self._pages():
            answers = None
            if page is not None:
                answers = self._each(page, lambda pipeline, key: pipeline.getrange(key, 0, self._max_value_bytes))
            if page is None or answers is None:
                yield None
                return
            for key, answer in zip(page, answers):
                if answer != b"":  # otherwise it has expired or been removed meanwhile
                    yield _fingerprint(key), answer if type(answer) is bytes else None

    def remove(self, fingerprints: Iterable[str]) -> int:
        """Remove values; return how many there were."""
        keys = [_key(fingerprint).encode("ascii") for fingerprint in fingerprints]
        removed = 0
        for begin in range(0, len(keys), _PAGE):
            answers = self._each(keys[begin : begin + _PAGE], lambda pipeline, key: pipeline.delete(key))
            removed += sum(each for each in answers or () if type(each) is int)
        return removed

    def _each(self, keys: Sequence[bytes], command: Callable[[Any, bytes], Any]) -> Optional[List[Any]]:
        def fill(pipeline: Any) -> None:
            for key in keys:
                command(pipeline, key)

        return self._connection.execute(fill, insist=True) if keys else []

    def clear(self) -> Optional[int]:
        """Remove every value of this package, whatever key signed it; return how many, None if the server is unavailable."""
        removed = 0
        for page in self._pages():
            if page is None:
                return None
            removed += self.remove(map(_fingerprint, page))
        return removed

    def _pages(self) -> Iterator[Optional[List[bytes]]]:
        """Yield the keys of values, a page at a time; None if the server is unavailable."""
        cursor = 0
        while True:
            answers = self._connection.execute(functools.partial(_scan, cursor), insist=True)
            if not answers or isinstance(answers[0], Exception):
                yield None
                return
            cursor, keys = answers[0]
            yield [key for key in keys if _is_key(key)]
            if not cursor:
                return


def _scan(cursor: int, pipeline: Any) -> None:
    pipeline.scan(cursor, _PREFIX + "{*}", _PAGE)


def _key(fingerprint: str) -> str:
    # The braces make a hash tag: a Redis cluster keeps the value and its lease on the same node.
    return f"{_PREFIX}{{{fingerprint}}}"


def _lease(fingerprint: str) -> str:
    return _key(fingerprint) + ":lease"


def _is_key(key: Any) -> bool:
    return type(key) is bytes and len(key) == len(_PREFIX) + 66 and key.endswith(b"}") and key.isascii()


def _fingerprint(key: bytes) -> str:
    return key[len(_PREFIX) + 1 : -1].decode("ascii")


def _work(reference: weakref.ref[SharedTier], condition: Condition) -> None:
    """Send the queued writes of a tier, for as long as the tier exists."""
    while True:
        tier = reference()
        if tier is None or tier._condition is not condition:
            return
        tier.send_next()
        del tier


def _after_fork() -> None:
    for tier in list(_live):
        tier._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
