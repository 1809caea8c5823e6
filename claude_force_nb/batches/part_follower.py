"""Takes over a part that another worker started: claims it, finds it at the API, waits for it and collects it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Callable, Dict, Optional, Set

from claude_force_nb.cache import ResponseCache
from claude_force_nb.errors import JobError

from .accounting import Deliver
from .collector import Collector
from .polling import Backoff, PollSchedule
from .sender import Sender
from .store import JobStore

__all__ = ["PartFollower", "SettlePart"]

# Called with the number of a part and its cost in US dollars; None if unknown.
SettlePart = Callable[[int, Optional[Decimal]], None]


class PartFollower:
    """Claims and collects parts, for a run and for `JobRegistry.attach`.

    Parameters
    ----------
    store : JobStore
    sender : Sender
    collector : Collector
    schedule : PollSchedule
    owner : str
        Token of the worker that follows the parts.
    settle : callable
        Called with the cost of each part that is accounted here.
    release : callable
        Called with the number of each part that was never created.
    """

    def __init__(
        self,
        store: JobStore,
        sender: Sender,
        collector: Collector,
        schedule: PollSchedule,
        owner: str,
        *,
        settle: SettlePart,
        release: Callable[[int], None],
    ) -> None:
        self._store = store
        self._sender = sender
        self._collector = collector
        self._schedule = schedule
        self._owner = owner
        self._settle = settle
        self._release = release
        # Several groups of rows may wait for one part. The first accounts for its results, the others only read them.
        self._turns: Dict[int, asyncio.Lock] = {}

    def turn(self, number: int) -> asyncio.Lock:
        """Return the lock to hold while a part is claimed and collected."""
        return self._turns.setdefault(number, asyncio.Lock())

    async def claim(self, number: int, *, on_known: Callable[[], None] = lambda: None) -> bool:
        """Wait until a part's message batch is known and may be collected here; return False if it was never created.

        `on_known` is called as soon as the batch's id is known, so that its rows need not be sent again.

        Raises
        ------
        JobError
            If the part was forgotten, or the API refuses to list the batches.
        """
        backoff = Backoff(self._schedule.local)
        while True:
            part = self._store.part(number)
            if part is None or part.state == "dropped":
                return False
            if part.batch_id is not None:
                on_known()
            if part.state == "closed":
                return True
            if self._store.claim(number, self._owner):
                break
            await backoff.wait()
        part = self._store.part(number)
        if part is not None and part.batch_id is not None:
            return True
        if part is not None and part.state == "sending" and await self._sender.find(number) is not None:
            return True
        self._store.drop(number)
        self._release(number)
        return False

    async def take_in(
        self, number: int, wanted: Set[bytes], *, cache: Optional[ResponseCache], deliver: Deliver
    ) -> None:
        """Wait for a part whose batch id is known, and deliver its results; account for them unless that has been done.

        Raises
        ------
        JobError
            If the part was forgotten, or the API refuses to show its batch.
        """
        part = self._store.part(number)
        job = None if part is None else self._store.job(part.job)
        if part is None or job is None or part.batch_id is None:
            raise JobError("the job of this row was forgotten while it was under way")
        if part.state == "sent":
            await self._collector.wait_until_ended(part.batch_id)
        if part.state in ("sent", "collecting"):
            self._settle(number, await self._collector.account(part, job, cache, deliver))
        else:
            await self._collector.read(part.batch_id, job, wanted, deliver)
