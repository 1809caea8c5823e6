"""Takes over a part that another worker began: claims it, finds it at the API, waits for it and collects it."""

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

# Is told the number of a part and what it cost in US dollars, None if that is not known.
SettlePart = Callable[[int, Optional[Decimal]], None]


class PartFollower:
    """What a run and `JobRegistry.attach` both do with parts.

    Parameters
    ----------
    store : JobStore
    sender : Sender
    collector : Collector
    schedule : PollSchedule
    owner : str
        Token of the worker that follows.
    settle : callable
        Called with the cost of each part that is recorded here.
    release : callable
        Called with the number of each part that turns out never to have been created.
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
        # Several groups of rows may wait for one part; the first takes it in, the others read.
        self._turns: Dict[int, asyncio.Lock] = {}

    def turn(self, number: int) -> asyncio.Lock:
        """Return the lock that is held while a part is claimed and collected."""
        return self._turns.setdefault(number, asyncio.Lock())

    async def claim(self, number: int, *, on_known: Callable[[], None] = lambda: None) -> bool:
        """Wait until a part's message batch is known and may be collected here; False if it was never created.

        `on_known` is called as soon as its id is known: nothing has to be sent again then.

        Raises
        ------
        JobError
            If it was forgotten, or the API refuses to show the list of batches.
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
        """Wait for a part whose id is known, and deliver its results: accounted here, or read where they are already.

        Raises
        ------
        JobError
            If it was forgotten, or the API refuses to show it.
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
