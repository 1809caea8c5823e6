"""A limit on calls in flight, across event loops and threads."""

from __future__ import annotations

from threading import Lock
from typing import List, Protocol

__all__ = ["Slots", "WaitingCalls"]

# Subtracted from the number of free slots while they are held, so that `take` needs to check only one number.
_HELD = 1 << 40


class WaitingCalls(Protocol):
    """Calls that wait for a slot, among other things; see `pacing.FamilyPacer`."""

    def oldest(self, slots: Slots) -> float:
        """Return the position of the call that has waited longest for a slot; infinity if none is waiting."""

    def pump(self) -> None:
        """Admit every call that may be sent."""


class Slots:
    """Allows at most `limit` calls in flight, across event loops and threads.

    A slot is taken only when a call may be sent; a call that waits for a rate limit does not occupy one.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._lock = Lock()
        self._pacers: List[WaitingCalls] = []
        self.paced = 0

    @property
    def free(self) -> int:
        """Number of free slots; below 0 while they are held."""
        return self._free

    @property
    def held(self) -> bool:
        """True between `hold` and `end_hold`."""
        return self._free <= -_HELD // 2

    @property
    def in_flight(self) -> int:
        """Number of slots taken."""
        free = self._free
        return self.limit - (free + _HELD if free <= -_HELD // 2 else free)

    def resize(self, limit: int) -> None:
        """Allow `limit` calls in flight, >= 0, from now on; calls in flight beyond it continue."""
        with self._lock:
            self._free += limit - self.limit
            self.limit = limit
        self.serve()

    def hold(self) -> None:
        """Allow no slot to be taken until `end_hold`; a second call changes nothing."""
        with self._lock:
            if not self.held:
                self._free -= _HELD

    def end_hold(self) -> None:
        """End `hold`."""
        with self._lock:
            if not self.held:
                return
            self._free += _HELD
        self.serve()

    def take(self) -> bool:
        """Take a slot if one is free."""
        with self._lock:
            if self._free <= 0:
                return False
            self._free -= 1
            return True

    def put_back(self) -> None:
        """Release a slot; call `serve` to give it to the next call."""
        with self._lock:
            self._free += 1

    def note_waiting(self, pacer: WaitingCalls, waits: bool) -> None:
        """Record whether any calls of a pacer wait for a slot."""
        with self._lock:
            if waits:
                self._pacers.append(pacer)
            else:
                self._pacers.remove(pacer)

    def serve(self) -> None:
        """Admit calls that wait for a slot, oldest first, of all pacers."""
        if self._pacers:
            with self._lock:
                pacers = list(self._pacers)
            for pacer in sorted(pacers, key=lambda pacer: pacer.oldest(self)) if len(pacers) > 1 else pacers:
                pacer.pump()
