"""Sends each message batch exactly once.

The intent is written to disk first. If the answer is lost, the batch is looked up before anything is sent again.
"""

from __future__ import annotations

import logging
import time
from typing import List, Optional, Set

from claude_force_nb.api.batches import ApiBatches, BatchInfo, BatchPage
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
from .polling import Backoff, PollSchedule, retry_until_answered
from .records import Part
from .result_line import read_line
from .store import JobStore

__all__ = ["Sender"]

logger = logging.getLogger("claude_force_nb.batches")

# Tolerance between the order of the API's list and the dates in it.
_SKEW_SECONDS = 120.0
_PAGE = 100


class Sender:
    """Sends the parts of jobs.

    Parameters
    ----------
    api : ApiBatches
    store : JobStore
    schedule : PollSchedule
    max_retries : int
        Maximum number of retries of a create request that certainly failed, >= 0.

    Notes
    -----
    The API supports neither a name nor an idempotency key for a message batch. A batch whose create request got no answer
    is therefore identified by its properties: it is newer than the newest batch seen just before (`Part.newest_before`),
    has the same number of requests, is not another known batch, and, once it has ended, its results contain our
    fingerprints. Nothing is sent again before that can be decided.
    """

    def __init__(self, api: ApiBatches, store: JobStore, schedule: PollSchedule, *, max_retries: int) -> None:
        self._api = api
        self._store = store
        self._schedule = schedule
        self._max_retries = max_retries

    async def send(self, part: Part, body: BatchBody) -> str:
        """Send a planned part and return its message batch's id.

        Raises
        ------
        ApiError
            If the batch was refused, or still failed after `max_retries`; it was not created, and the part is dropped.
        NotAnsweredError
            If the job was cancelled before the part was sent.
        """
        backoff = Backoff(self._schedule)
        tries = 0
        while True:
            try:
                return await self._create(part, body)
            except NotAnsweredError:
                raise
            except ApiError as error:
                failure = error
            tries += 1
            if tries > self._max_retries or not (failure.retryable or _may_have_been_made(failure)):
                self._store.drop(part.number)
                raise failure
            await backoff.wait(failure.retry_after_seconds)

    async def _create(self, part: Part, body: BatchBody) -> str:
        """Create the batch once; raises ApiError if nothing was created."""
        newest = await self._api.recent(limit=1)
        newest_before = newest.batches[0].id if newest.batches else None
        if not self._store.mark_sending(part.number, newest_before=newest_before, listed_at=newest.now):
            self._store.drop(part.number)
            raise NotAnsweredError("the job was cancelled before this row was sent")
        try:
            info = await self._api.create(body.body(), api_version=body.api_version, betas=body.betas)
        except ApiError as error:
            if not _may_have_been_made(error):
                raise
            logger.warning("the answer to a create was lost, looking for the batch: %s", error)
            found = await self.find(part.number)
            if found is None:
                raise
            return found
        await self._record_id(part, info.id)
        return info.id

    async def find(self, number: int) -> Optional[str]:
        """Find the batch of a part whose create request got no answer; return its id, or None if it was never created.

        Raises
        ------
        JobError
            If the API refuses to list the batches.
        """
        until = time.monotonic() + self._schedule.lookup_seconds
        backoff = Backoff(self._schedule)
        rejected: Set[str] = set()
        warned = False
        while True:
            part = self._store.part(number)
            if part is None or not part.is_open:
                raise JobError("the job was forgotten while its batch was looked for")
            candidates = await self._candidates(part, rejected)
            running = [info for info in candidates if not info.ended]
            for info in candidates:
                if info.ended:
                    if await self._is_ours(info.id, number):
                        await self._record_id(part, info.id)
                        return info.id
                    rejected.add(info.id)
            if not running and time.monotonic() >= until:
                return None
            if running and not warned:
                warned = True
                ids = ", ".join(info.id for info in running)
                warn(
                    f"job {part.job}: the response to its creation was lost; it may be {ids}, so nothing is sent again until that has ended",
                    ClaudeForceWarning,
                )
            await backoff.wait()

    async def cancel(self, batch_id: str) -> bool:
        """Ask the API to cancel a message batch; return False if it refuses, as for one that has ended."""
        try:
            await retry_until_answered(
                lambda: self._api.cancel(batch_id), self._schedule, f"cancelling batch {batch_id}"
            )
        except JobError as error:
            logger.warning("%s", error)
            return False
        return True

    async def _record_id(self, part: Part, batch_id: str) -> None:
        if self._store.mark_sent(part.number, batch_id):
            await self.cancel(batch_id)

    async def _candidates(self, part: Part, rejected: Set[str]) -> List[BatchInfo]:
        known = set(self._store.batch_ids()) | rejected
        found: List[BatchInfo] = []
        after: Optional[str] = None
        while True:
            page = await self._page(after)
            for info in page.batches:
                old = part.listed_at is not None and info.created < part.listed_at - _SKEW_SECONDS
                if info.id == part.newest_before or old:
                    return found
                if info.requests == part.requests and info.id not in known:
                    found.append(info)
            if not page.more:
                return found
            after = page.batches[-1].id

    async def _page(self, after: Optional[str]) -> BatchPage:
        return await retry_until_answered(
            lambda: self._api.recent(limit=_PAGE, after_id=after), self._schedule, "looking through the list of batches"
        )

    async def _is_ours(self, batch_id: str, number: int) -> bool:
        """Return whether the results of an ended message batch begin with a request of the part."""
        ours = self._store.requests(number)

        async def first_line_is_ours() -> bool:
            lines = self._api.results(batch_id)
            try:
                async for data in lines:
                    line = read_line(data)
                    return line is not None and line.fingerprint in ours
                return False
            finally:
                await lines.aclose()

        try:
            return await retry_until_answered(first_line_is_ours, self._schedule, f"looking into batch {batch_id}")
        except JobError as error:
            logger.warning("batch %s has no results to look at: %s", batch_id, error)
            return False


def _may_have_been_made(error: ApiError) -> bool:
    """Return whether a failed create request may have created a message batch nevertheless."""
    if error.never_left or isinstance(error, (RateLimitError, OverloadedError)):
        return False
    return (
        error.status is None
        or error.status in (408, 409)
        or error.status >= 500
        or isinstance(error, MalformedAnswerError)
    )
