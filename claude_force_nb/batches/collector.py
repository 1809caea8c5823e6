"""Waits for message batches and reads their results, despite interruptions."""

from __future__ import annotations

import asyncio
import logging
import time
from decimal import Decimal
from typing import Callable, Dict, Optional, Set

from claude_force_nb.api.batches import ApiBatches, BatchInfo
from claude_force_nb.cache import ResponseCache
from claude_force_nb.costs.days import today
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.errors import CallTimeoutError, JobError, MalformedAnswerError
from claude_force_nb.messages.result import ClaudeResult

from .accounting import Deliver, PartAccounting
from .polling import Backoff, PollSchedule, retry_until_answered
from .records import Job, Part
from .result_line import ResultLine, missing_result, read_line
from .store import JobStore

__all__ = ["Collector"]

logger = logging.getLogger("claude_force_nb.batches")

Take = Callable[[ResultLine, ClaudeResult], None]

# Lines read before control returns to the event loop.
_YIELD_LINES = 200
# Maximum number of complete downloads while rows are missing, and of consecutive failed ones that bring no further row.
_DOWNLOADS = 3


class Collector:
    """Waits for message batches and processes their results.

    Parameters
    ----------
    api : ApiBatches
    store : JobStore
    prices : PriceTable
    ledger : Ledger, optional
    schedule : PollSchedule
    """

    def __init__(
        self, api: ApiBatches, store: JobStore, prices: PriceTable, ledger: Optional[Ledger], schedule: PollSchedule
    ) -> None:
        self._api = api
        self._store = store
        self._prices = prices
        self._ledger = ledger
        self._schedule = schedule

    async def wait_until_ended(self, batch_id: str) -> BatchInfo:
        """Wait until a message batch has ended."""
        backoff = Backoff(self._schedule)
        what = f"looking at batch {batch_id}"
        while True:
            info = await retry_until_answered(
                lambda: self._api.retrieve(batch_id), self._schedule, what, remedy=_remedy(batch_id)
            )
            if info.ended:
                return info
            await backoff.wait(info.retry_after_seconds)

    async def account(
        self, part: Part, job: Job, cache: Optional[ResponseCache], deliver: Deliver
    ) -> Optional[Decimal]:
        """Record the results of an ended batch in cache and ledger, and deliver each; return their total cost.

        Results that a killed worker has recorded are delivered, but not counted again.
        """
        assert part.batch_id is not None
        accounting = PartAccounting(part, job, store=self._store, ledger=self._ledger, cache=cache, deliver=deliver)
        await self._read_results(part.batch_id, job, accounting.left, accounting.take)
        return accounting.finish()

    async def read(self, batch_id: str, job: Job, wanted: Set[bytes], deliver: Deliver) -> None:
        """Deliver the results of an ended batch that another worker has recorded."""
        left = dict.fromkeys(wanted, True)

        def take(line: ResultLine, result: ClaudeResult) -> None:
            del left[line.fingerprint]
            deliver(line.fingerprint, result, False)

        await self._read_results(batch_id, job, left, take)
        for fingerprint in left:
            deliver(fingerprint, missing_result(fingerprint, agent=job.agent, model=job.model), False)

    async def _read_results(self, batch_id: str, job: Job, left: Dict[bytes, bool], take: Take) -> None:
        """Pass each result of `left` to `take` once, in any order, resuming if the download breaks.

        An answer is passed on at once. A failed row waits for the end of the download, since a later line may answer it.

        Raises
        ------
        JobError
            If several downloads in a row were too slow or unreadable and brought no further row, or if the API refuses them.
        """
        failed: Dict[bytes, ResultLine] = {}
        fruitless = 0
        day = today()

        def take_line(line: ResultLine) -> None:
            take(line, line.to_result(agent=job.agent, model=job.model, prices=self._prices, on=day, now=time.time()))

        async def download() -> None:
            nonlocal fruitless
            before = (len(left), len(failed))
            try:
                await self._download(batch_id, left, failed, take_line)
            except (CallTimeoutError, MalformedAnswerError) as error:
                if not left:
                    return
                fruitless = 0 if (len(left), len(failed)) != before else fruitless + 1
                if fruitless >= _DOWNLOADS:
                    raise JobError(f"{what}: {error}; its job is kept, run again to collect it") from error
                raise

        what = f"reading the results of batch {batch_id}"
        for attempt in range(_DOWNLOADS):
            await retry_until_answered(download, self._schedule, what, remedy=_remedy(batch_id))
            if len(failed) == len(left):
                break
            logger.warning("batch %s: rows without a line in its results: %d", batch_id, len(left) - len(failed))
            if attempt + 1 < _DOWNLOADS:
                await Backoff(self._schedule).wait()
        for line in failed.values():
            take_line(line)

    async def _download(
        self,
        batch_id: str,
        left: Dict[bytes, bool],
        failed: Dict[bytes, ResultLine],
        take_line: Callable[[ResultLine], None],
    ) -> None:
        """Download the results once: pass on the answers to `left`, and add the rows without one to `failed`."""
        strangers = seen = 0
        lines = self._api.results(batch_id)
        try:
            async for data in lines:
                line = read_line(data)
                if line is None or line.fingerprint not in left:
                    strangers += 1
                elif line.is_billed:
                    failed.pop(line.fingerprint, None)
                    take_line(line)
                else:
                    failed[line.fingerprint] = line
                seen += 1
                if seen % _YIELD_LINES == 0:
                    await asyncio.sleep(0)
        finally:
            await lines.aclose()
        if strangers:
            logger.info(
                "batch %s: lines of its results that are repeated or of other requests: %d", batch_id, strangers
            )


def _remedy(batch_id: str) -> str:
    """Return what to do about a batch that the API does not show: that of another workspace, of a revoked key, or one that is gone."""
    return (
        "; the rows were sent and may be billed: run again with a key of the workspace that sent them to collect the answers,"
        f" or %claude_jobs forget {batch_id} and run again to resend them"
    )
