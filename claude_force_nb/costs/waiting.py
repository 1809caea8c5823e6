"""Waiting until a budget has room: first come, first served, across event loops and threads."""

from __future__ import annotations

import asyncio
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Deque, Optional

if TYPE_CHECKING:
    from decimal import Decimal

    from .budget import BudgetGroup
    from .reservation import Reservation

__all__ = ["Line", "reserve_in_turn"]


class _Place:
    """One who waits: an event of its own loop that any thread can set."""

    __slots__ = ("_event", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def call(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # its loop is closed, and it has left or never will
            pass

    @property
    def lives(self) -> bool:
        return not self._loop.is_closed()

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()


class Line:
    """Those who wait for one budget, the first of them in front."""

    def __init__(self) -> None:
        self._places: Deque[_Place] = deque()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._places)

    def join(self) -> _Place:
        """Stand at the end of the line."""
        place = _Place()
        with self._lock:
            self._places.append(place)
        return place

    def leave(self, place: _Place) -> None:
        """Leave the line; the next one looks whether there is room for it too."""
        with self._lock:
            if place in self._places:
                self._places.remove(place)
        self.call()

    def is_first(self, place: _Place) -> bool:
        """Return whether nobody is in front of `place`."""
        with self._lock:
            while self._places and not self._places[0].lives:
                self._places.popleft()
            return bool(self._places) and self._places[0] is place

    def call(self) -> None:
        """Tell the first one to look again: money came back, or the limit changed."""
        if not self._places:
            return
        with self._lock:
            while self._places and not self._places[0].lives:
                self._places.popleft()
            if self._places:
                self._places[0].call()


async def reserve_in_turn(budgets: BudgetGroup, amount: Optional[Decimal]) -> Reservation:
    """Set `amount` aside, waiting while it may fit once calls under way have been settled.

    Such calls are those of this process that were reserved here too. Who came first is served first, so that a dear call
    is not passed by cheap ones for ever.

    Raises
    ------
    BudgetExceededError
        As `Budget.reserve`, when it does not fit even if the calls under way turn out to cost nothing.
    """
    line = budgets.line_ahead()
    if line is None:
        reservation, line = budgets.reserve_or_line(amount)
    else:
        reservation = None
    while reservation is None:
        assert line is not None
        here = line
        place = here.join()
        try:
            while True:
                # Looked at only after joining: what is settled from now on calls.
                if here.is_first(place):
                    reservation, line = budgets.reserve_or_line(amount)
                    if line is not here:
                        break
                await place.wait()
        finally:
            here.leave(place)
    return reservation
