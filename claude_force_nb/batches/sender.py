"""Sending a batch once: its intent is on disk before it leaves, and a lost answer is looked up before anything is sent again."""

from __future__ import annotations

import logging
import time
from typing import List, Optional, Set

from claude_force_nb.api.batches import BatchInfo, BatchPage, SdkBatches
from claude_force_nb.errors import (
    ApiError,
    ClaudeForceWarning,
    JobError,
    MalformedAnswerError,
    NotAnsweredError,
    OverloadedError,
    RateLimitError,
)
from claude_force_nb.warn import warn

from .body import BatchBody
from .outcome import read_outcome
from .polling import Pace, Pause, insist
from .store import JobStore, Part

__all__ = ["Sender"]

logger = logging.getLogger("claude_force_nb.batches")

# The order of a list and the clock of its dates may differ by so much.
_SKEW_SECONDS = 120.0
_PAGE = 100


class Sender:
    """Sends parts.

    Parameters
    ----------
    api : SdkBatches
    store : JobStore
    pace : Pace
    max_retries : int
        Most further creates after one that failed for sure, >= 0.

    Notes
    -----
    The API gives a batch neither a name nor an idempotency key, so a create whose answer is lost is found by what is certain:
    it is newer than the newest batch seen just before (`anchor`), has as many requests, is no other known batch, and, once
    it has ended, its results carry our fingerprints. Until that can be seen nothing is sent.
    """

    def __init__(self, api: SdkBatches, store: JobStore, pace: Pace, *, max_retries: int) -> None:
        self._api = api
        self._store = store
        self._pace = pace
        self._max_retries = max_retries

    async def send(self, part: Part, parcel: BatchBody) -> str:
        """Send a planned part and return its batch's id.

        Raises
        ------
        ApiError
            Where it was refused, or not taken after `max_retries`; it was not made then, and the part is dropped.
        NotAnsweredError
            Where it was cancelled before it left.
        """
        pause = Pause(self._pace)
        tries = 0
        while True:
            failure: Optional[ApiError] = None
            try:
                newest = await self._api.recent(limit=1)
            except ApiError as error:
                failure = error
            if failure is None:
                anchor = newest.batches[0].id if newest.batches else None
                if not self._store.sending(part.number, anchor=anchor, asked=newest.now):
                    self._store.drop(part.number)
                    raise NotAnsweredError("the job was cancelled before this row was sent")
                try:
                    info = await self._api.create(parcel.body(), api_version=parcel.api_version, betas=parcel.betas)
                    await self._made(part, info.id)
                    return info.id
                except ApiError as error:
                    failure = error
                if _unclear(failure):
                    logger.warning("the answer to a create was lost, looking for the batch: %s", failure)
                    found = await self.find(part.number)
                    if found is not None:
                        return found
            tries += 1
            if tries > self._max_retries or not (failure.retryable or _unclear(failure)):
                self._store.drop(part.number)
                raise failure
            await pause.wait(failure.retry_after_seconds)

    async def find(self, number: int) -> Optional[str]:
        """Look for a part whose create may have been lost; return its batch's id, None where it was never made.

        Raises
        ------
        JobError
            Where the API refuses to show the list.
        """
        until = time.monotonic() + self._pace.lookup_seconds
        pause = Pause(self._pace)
        rejected: Set[str] = set()
        told = False
        while True:
            part = self._store.part(number)
            if part is None or not part.open:
                raise JobError("the job was forgotten while its batch was looked for")
            candidates = await self._candidates(part, rejected)
            waiting = [info for info in candidates if not info.ended]
            for info in candidates:
                if info.ended:
                    if await self._is_ours(info.id, number):
                        await self._made(part, info.id)
                        return info.id
                    rejected.add(info.id)
            if not waiting and time.monotonic() >= until:
                return None
            if waiting and not told:
                told = True
                message = (
                    "job {}: the answer to a create was lost; {} may be it, and nothing is sent again before it ends"
                )
                warn(message.format(part.job, ", ".join(info.id for info in waiting)), ClaudeForceWarning)
            await pause.wait()

    async def cancel(self, batch_id: str) -> bool:
        """Ask the API to end a batch; False where it refuses, as for one that has ended."""
        try:
            await insist(lambda: self._api.cancel(batch_id), self._pace, f"cancelling batch {batch_id}")
        except JobError as error:
            logger.warning("%s", error)
            return False
        return True

    async def _made(self, part: Part, batch_id: str) -> None:
        if self._store.sent(part.number, batch_id):
            await self.cancel(batch_id)

    async def _candidates(self, part: Part, rejected: Set[str]) -> List[BatchInfo]:
        known = set(self._store.batch_ids()) | rejected
        found: List[BatchInfo] = []
        after: Optional[str] = None
        while True:
            page = await self._page(after)
            for info in page.batches:
                old = part.asked is not None and info.created < part.asked - _SKEW_SECONDS
                if info.id == part.anchor or old:
                    return found
                if info.requests == part.requests and info.id not in known:
                    found.append(info)
            if not page.more:
                return found
            after = page.batches[-1].id

    async def _page(self, after: Optional[str]) -> BatchPage:
        return await insist(
            lambda: self._api.recent(limit=_PAGE, after_id=after), self._pace, "looking through the list of batches"
        )

    async def _is_ours(self, batch_id: str, number: int) -> bool:
        """Return whether the results of a batch that has ended begin with a request of the part."""
        ours = self._store.requests(number)

        async def look() -> bool:
            lines = self._api.results(batch_id)
            try:
                async for line in lines:
                    outcome = read_outcome(line)
                    return outcome is not None and outcome.fingerprint in ours
                return False
            finally:
                await lines.aclose()  # type: ignore[attr-defined]

        try:
            return await insist(look, self._pace, f"looking into batch {batch_id}")
        except JobError as error:
            logger.warning("batch %s has no results to look at: %s", batch_id, error)
            return False


def _unclear(error: ApiError) -> bool:
    """Return whether a create may have made a batch all the same."""
    if error.never_left or isinstance(error, (RateLimitError, OverloadedError)):
        return False
    return (
        error.status is None
        or error.status in (200, 408, 409)
        or error.status >= 500
        or isinstance(error, MalformedAnswerError)
    )
