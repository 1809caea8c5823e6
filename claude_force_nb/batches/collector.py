"""Waiting for a batch and taking its results in: every answer once into the cache, the ledger and the budget."""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from decimal import Decimal
from typing import Callable, Dict, List, Optional, Set, Tuple

from claude_force_nb.api.batches import BatchInfo, SdkBatches
from claude_force_nb.cache import ResponseCache
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import sum_dollars

from .outcome import Outcome, missing, read_outcome
from .polling import Pace, Pause, insist
from .store import Job, JobStore, Part

__all__ = ["Collector", "Deliver"]

logger = logging.getLogger("claude_force_nb.batches")

# Takes fingerprint, result, and whether it is paid for here.
Deliver = Callable[[bytes, ClaudeResult, bool], None]

# Answers accounted together; between two of them other work gets its turn.
_AT_ONCE = 200
# A download that ends whole and still lacks rows is made so often.
_DOWNLOADS = 3


class Collector:
    """Waits for batches and takes their results in.

    Parameters
    ----------
    api : SdkBatches
    store : JobStore
    prices : PriceTable
    ledger : Ledger, optional
    pace : Pace
    """

    def __init__(
        self, api: SdkBatches, store: JobStore, prices: PriceTable, ledger: Optional[Ledger], pace: Pace
    ) -> None:
        self._api = api
        self._store = store
        self._prices = prices
        self._ledger = ledger
        self._pace = pace

    async def ended(self, batch_id: str) -> BatchInfo:
        """Wait until a batch has ended."""
        pause = Pause(self._pace)
        what = f"looking at batch {batch_id}"
        while True:
            info = await insist(lambda: self._api.retrieve(batch_id), self._pace, what)
            if info.ended:
                return info
            await pause.wait(info.retry_after_seconds)

    async def account(
        self, part: Part, job: Job, cache: Optional[ResponseCache], deliver: Deliver
    ) -> Optional[Decimal]:
        """Take the results of an ended batch into cache and ledger, and deliver each; return what they cost in all.

        What was accounted before, by a worker that was killed, is delivered and not counted again.
        """
        assert part.batch_id is not None
        left = self._store.requests(part.number)
        recorded = self._recorded(part) if part.state == "collecting" else set()
        if part.state == "sent":
            self._store.collecting(part.number)
        chunk: List[Tuple[bytes, ClaudeResult]] = []
        counts = {"succeeded": 0, "failed": 0, "unanswered": 0}

        def flush() -> None:
            if cache is not None:
                cache.put_many((fingerprint.hex(), result) for fingerprint, result in chunk)
            fresh = []
            for _, result in chunk:
                if (result.fingerprint, result.request_id) not in recorded:
                    fresh.append(result)
            if self._ledger is not None and fresh:
                self._ledger.append_many(fresh, notebook=job.notebook, cell=job.cell)
            total = sum_dollars(result.cost for _, result in chunk)
            self._store.done(part.number, [fingerprint for fingerprint, _ in chunk], total)
            for fingerprint, result in chunk:
                deliver(fingerprint, result, True)
            chunk.clear()

        def take(outcome: Outcome, result: ClaudeResult) -> None:
            accounted = left.pop(outcome.fingerprint)
            if result.status != "ok":
                counts["failed" if result.status == "failed" else "unanswered"] += 1
                deliver(outcome.fingerprint, result, False)
                return
            counts["succeeded"] += 1
            if accounted:
                deliver(outcome.fingerprint, result, False)
            else:
                chunk.append((outcome.fingerprint, result))
                if len(chunk) >= _AT_ONCE:
                    flush()

        await self._read(part.batch_id, job, left, take)
        if chunk:
            flush()
        for fingerprint in left:
            counts["failed"] += 1
            deliver(fingerprint, missing(fingerprint, agent=job.agent, model=job.model), False)
        self._store.collected(part.number, **counts)
        after = self._store.part(part.number)
        return None if after is None else after.cost

    async def read(self, batch_id: str, job: Job, wanted: Set[bytes], deliver: Deliver) -> None:
        """Deliver the results of an ended batch that somebody else has accounted."""
        left = dict.fromkeys(wanted, True)

        def take(outcome: Outcome, result: ClaudeResult) -> None:
            del left[outcome.fingerprint]
            deliver(outcome.fingerprint, result, False)

        await self._read(batch_id, job, left, take)
        for fingerprint in left:
            deliver(fingerprint, missing(fingerprint, agent=job.agent, model=job.model), False)

    async def _read(
        self,
        batch_id: str,
        job: Job,
        left: Dict[bytes, bool],
        take: Callable[[Outcome, ClaudeResult], None],
    ) -> None:
        """Read results until all of `left` were taken: in any order, again where the download breaks, each once.

        An answer is taken at once. A row that failed waits for the end, since another line may yet answer it.
        """
        failed: Dict[bytes, Outcome] = {}
        strangers = 0
        today = datetime.datetime.now(datetime.timezone.utc).date()

        def result_of(outcome: Outcome) -> ClaudeResult:
            return outcome.to_result(agent=job.agent, model=job.model, prices=self._prices, on=today, now=time.time())

        async def download() -> None:
            nonlocal strangers
            strangers = 0
            seen = 0
            lines = self._api.results(batch_id)
            try:
                async for line in lines:
                    outcome = read_outcome(line)
                    if outcome is None or outcome.fingerprint not in left:
                        strangers += 1
                    elif outcome.kind == "succeeded":
                        failed.pop(outcome.fingerprint, None)
                        take(outcome, result_of(outcome))
                    else:
                        failed[outcome.fingerprint] = outcome
                    seen += 1
                    if seen % _AT_ONCE == 0:
                        await asyncio.sleep(0)
            finally:
                await lines.aclose()  # type: ignore[attr-defined]

        what = f"reading the results of batch {batch_id}"
        for attempt in range(_DOWNLOADS):
            await insist(download, self._pace, what)
            if len(failed) == len(left):
                break
            logger.warning("batch %s: %d rows are missing in its results", batch_id, len(left) - len(failed))
            if attempt + 1 < _DOWNLOADS:
                await Pause(self._pace).wait()
        if strangers:
            logger.info("batch %s: %d lines of its results are repeated or of other requests", batch_id, strangers)
        for outcome in failed.values():
            take(outcome, result_of(outcome))

    def _recorded(self, part: Part) -> Set[Tuple[str, Optional[str]]]:
        """Return what the ledger got from a worker that was killed before it could write so here."""
        if self._ledger is None:
            return set()
        return {
            (entry.fingerprint, entry.request_id)
            for entry in self._ledger.entries(since=part.changed - 1.0)
            if not entry.cached and entry.service_tier == "batch"
        }
