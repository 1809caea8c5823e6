"""Calls wait here until they may be sent: for an orchestrator's slots and a model family's pacer, across loops and threads."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections import deque
from hashlib import sha256
from threading import Lock, RLock
from typing import Callable, Deque, Dict, Mapping, Optional, Tuple
from weakref import WeakValueDictionary

from .limits import FamilyLimits, Need, PacerWait, Permit
from .slots import Slots

__all__ = ["FamilyPacer", "FamilyPacers", "credential_id", "model_family"]

_order = itertools.count()
# Subtracted from the position of a retry, so that it goes before all calls that were never sent.
_FIRST = 1e12
# A queue shorter than this empties in a moment once the API accepts calls again.
_FAIR_QUEUE = 256


def model_family(model: str) -> str:
    """Return the family whose rate limits a model shares: ``claude-sonnet-5-5`` and ``claude-sonnet-4-6`` are ``sonnet``.

    Each model other than Claude is a family of its own. Source: API documentation, "Rate limits": limits are pooled by
    family.
    """
    _, is_claude, rest = model.lower().rpartition("claude")
    words = re.findall(r"[a-z]{3,}", rest) if is_claude else []
    return words[0] if words else model


def credential_id(secret: str, base_url: str) -> str:
    """Return an id of one account at one server that does not reveal its key: half of a SHA-256."""
    return sha256(f"{base_url}\0{secret}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


class _Waiter:
    __slots__ = ("future", "loop", "need", "order", "paced", "slots", "permit")

    def __init__(self, loop: asyncio.AbstractEventLoop, slots: Slots, need: Callable[[], Need], order: float) -> None:
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()
        self.slots = slots
        self.need = need
        self.order = order
        self.permit: Optional[Permit] = None
        self.paced = False


class FamilyPacer:
    """Decides which call of one model family under one key is sent when.

    Calls are sent in order of arrival; retries go before calls that were never sent. Every call that `enter` has
    admitted must end with `leave`.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = FamilyLimits()
        self._clock = clock
        # Reentrant, since the garbage collector may finalise an abandoned waiter while this thread holds the lock.
        self._lock = RLock()
        self._queues: Dict[Slots, Deque[_Waiter]] = {}
        # Every loop with waiters has its own timer, so that a busy loop does not delay the others.
        self._timers: Dict[asyncio.AbstractEventLoop, Tuple[float, asyncio.TimerHandle]] = {}

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    async def enter(
        self,
        slots: Slots,
        model: str,
        *,
        input_bytes: Callable[[], int],
        max_tokens: int,
        again: bool = False,
        on_wait: Optional[Callable[[Callable[[], PacerWait]], None]] = None,
    ) -> Permit:
        """Wait until a call may be sent, and take a slot for it.

        Parameters
        ----------
        slots : Slots
        model, input_bytes, max_tokens
            See `FamilyLimits.need`.
        again : bool
            Whether the call is a retry.
        on_wait : callable, optional
            Called if the call cannot be sent at once, with a function that returns the current reason whenever it is
            called. An exception ends the wait.
        """

        def estimate() -> Need:
            return self.limits.need(model, input_bytes=input_bytes, max_tokens=max_tokens)

        with self._lock:
            if not self._queues:
                now, need = self._clock(), estimate()
                if self.limits.wait_seconds(need, now) == 0.0 and slots.take():
                    return self.limits.take(need, now)
            order: float = next(_order)
            # While the API refuses everything, let calls take turns, so that none uses up its attempts for the others.
            if again and not (self.limits.probing and len(self) < _FAIR_QUEUE):
                order -= _FIRST
            waiter = _Waiter(asyncio.get_running_loop(), slots, estimate, order)
            self._enqueue(waiter)
            self.pump()
        try:
            if on_wait is not None and waiter.permit is None:
                on_wait(lambda: self._look(waiter))
            await waiter.future
        except BaseException:  # cancelled, or its loop has ended
            with self._lock:
                permit = waiter.permit
                if permit is not None:  # it was admitted just before the wait was cancelled: pass the slot on
                    self.limits.settle(permit, self._clock(), verdict="unsent")
                    slots.put_back()
                else:
                    self._dequeue(waiter)
                    self.pump()
            if permit is not None:
                self._serve(slots)
            raise
        assert waiter.permit is not None
        return waiter.permit

    def leave(
        self,
        permit: Permit,
        slots: Slots,
        *,
        headers: Optional[Mapping[str, str]] = None,
        used: Optional[Tuple[int, int]] = None,
        verdict: str = "ok",
        pause_seconds: float = 0.0,
    ) -> None:
        """End a call and release its slot; for the arguments see `FamilyLimits.settle`.

        `pause_seconds` pauses the whole family for that long, from now.
        """
        with self._lock:
            now = self._clock()
            self.limits.settle(permit, now, headers=headers, used=used, verdict=verdict)
            if pause_seconds > 0:
                self.limits.pause(pause_seconds, now)
            slots.put_back()
        self._serve(slots)

    def _serve(self, slots: Slots) -> None:
        """Admit calls now that one has ended: first the one that has waited longest for its slot, of any family."""
        slots.serve()
        # Skip this if all calls of this family wait for these slots, since `serve` has just checked them.
        if self._queues and (len(self._queues) > 1 or slots not in self._queues):
            self.pump()

    def paused_seconds(self) -> float:
        """Return how much longer the family is paused; 0.0 if it is not."""
        return max(0.0, self.limits.paused_until - self._clock())

    def held_back_seconds(self, slots: Slots) -> Optional[float]:
        """Return how long the rate limit holds back the next call that waits for `slots`.

        Returns
        -------
        float or None
            Seconds; 0.0 if no call waits, or only for a slot. None if the API accepts fewer concurrent calls than there
            are slots, so that another call must end first.
        """
        with self._lock:
            queue = self._queues.get(slots)
            if queue is None or slots.free <= 0:
                return 0.0
            return self.limits.wait_seconds(queue[0].need(), self._clock())

    def _look(self, waiter: _Waiter) -> PacerWait:
        with self._lock:
            queue = self._queues.get(waiter.slots)
            if queue is None or waiter not in queue:
                return PacerWait(False, 0, 0.0)
            seconds = self.limits.wait_seconds(waiter.need(), self._clock())
            return PacerWait(waiter.slots.held, queue.index(waiter), seconds)

    # ------------------------------------------------------------------ the queue

    def _enqueue(self, waiter: _Waiter) -> None:
        queue = self._queues.get(waiter.slots)
        if queue is None:
            queue = self._queues[waiter.slots] = deque()
            waiter.slots.note_waiting(self, True)
        if not queue or queue[-1].order < waiter.order:
            queue.append(waiter)
            return
        place = next(index for index, other in enumerate(queue) if other.order > waiter.order)
        queue.insert(place, waiter)

    def _dequeue(self, waiter: _Waiter) -> None:
        queue = self._queues.get(waiter.slots)
        if queue is None or waiter not in queue:
            return
        if queue[0] is waiter:
            queue.popleft()
        else:
            queue.remove(waiter)
        if not queue:
            del self._queues[waiter.slots]
            waiter.slots.note_waiting(self, False)

    def oldest(self, slots: Slots) -> float:
        """Return the position of the call that has waited longest for a slot; infinity if none is waiting."""
        with self._lock:  # another thread may be about to admit the last one
            queue = self._queues.get(slots)
            return queue[0].order if queue else float("inf")

    def pump(self) -> None:
        """Admit every call that may be sent."""
        with self._lock:
            while self._queues:
                first: Optional[_Waiter] = None
                for slots, queue in list(self._queues.items()):
                    if slots.free > 0 and (first is None or queue[0].order < first.order):
                        first = queue[0]
                if first is None:
                    break  # the next free slot calls `pump` again
                # Estimate again, since calls that ended meanwhile have improved the estimates.
                now, need = self._clock(), first.need()
                wait = self.limits.wait_seconds(need, now)
                if wait != 0.0 and not first.paced:
                    first.paced = True
                    first.slots.paced += 1
                if wait is None:
                    break  # the next call that ends calls `pump` again
                if wait > 0:
                    self._wake_after(wait, now)
                    return
                if first.slots.take():
                    self._dequeue(first)
                    first.permit = self.limits.take(need, now)
                    if not _call_in(first.loop, _wake, first.future):  # its loop is closed, so nobody waits there
                        self.limits.settle(first.permit, now, verdict="unsent")
                        first.slots.put_back()
                        first.permit = None  # so that the coroutine, if finalised later, does not return the slot again
            here = _running_loop()
            timer = self._timers.pop(here, None) if here is not None else None
            if timer is not None:
                timer[1].cancel()

    def _wake_after(self, seconds: float, now: float) -> None:
        due = now + seconds
        for loop in [loop for loop in self._timers if loop.is_closed()]:
            del self._timers[loop]
        for loop in {waiter.loop for queue in self._queues.values() for waiter in itertools.islice(queue, 64)}:
            timer = self._timers.get(loop)
            if timer is None or timer[0] > due + 0.001 or timer[1].cancelled():
                _call_in(loop, self._arm, loop, due)

    def _arm(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        with self._lock:
            timer = self._timers.get(loop)
            if timer is not None:
                if timer[0] <= due:
                    return
                timer[1].cancel()
            # Add a little, since a timer may fire a clock tick early and would have to be set again.
            self._timers[loop] = (due, loop.call_later(max(0.0, due - self._clock()) + 0.0002, self._fire, loop))

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._timers.pop(loop, None)
            self.pump()


class FamilyPacers:
    """The pacers of one credential, shared by every orchestrator of the process that uses it.

    Parameters
    ----------
    scope : callable
        Returns the `credential_id`, or None for pacers that are not shared. Called just before the first call is sent,
        since a key may be set late.
    """

    def __init__(self, scope: Callable[[], Optional[str]]) -> None:
        self._scope = scope
        self._by_model: Dict[str, FamilyPacer] = {}
        self._own: Dict[str, FamilyPacer] = {}

    def known(self) -> Dict[str, FamilyPacer]:
        """Return the existing pacers by family."""
        with _shared_lock:
            return dict(self._own)

    def of(self, model: str) -> FamilyPacer:
        """Return the pacer of a model's family."""
        pacer = self._by_model.get(model)
        if pacer is None:
            scope, family = self._scope(), model_family(model)
            with _shared_lock:
                pacer = self._own.get(family)
                if pacer is None and scope is not None:
                    pacer = _shared.get((scope, family))
                if pacer is None:
                    pacer = FamilyPacer()
                    if scope is not None:
                        _shared[scope, family] = pacer
                self._own[family] = self._by_model[model] = pacer
        return pacer


_shared: WeakValueDictionary[Tuple[str, str], FamilyPacer] = WeakValueDictionary()
_shared_lock = Lock()


def _forget_in_child() -> None:
    """Share no pacer with the parent: its calls in flight never end in the forked child."""
    global _shared_lock
    _shared_lock = Lock()
    _shared.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _running_loop() -> Optional[asyncio.AbstractEventLoop]:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> bool:
    """Call `function` on `loop`, at once if that is the running loop; return False if it is closed."""
    if loop is _running_loop():
        function(*arguments)
        return True
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        return False
    return True


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
