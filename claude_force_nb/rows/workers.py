"""The workers that answer the rows of a run."""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Callable, Dict, Optional, Sequence
from weakref import WeakSet

from claude_force_nb.calls.call import Call
from claude_force_nb.calls.grace import wait_for_moment
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.calls.prompt_cache import PromptCacheGate
from claude_force_nb.calls.status import STOP_GRACE_SECONDS, CallStatus
from claude_force_nb.errors import ClaudeForceError
from claude_force_nb.messages.cache_mark import CacheMark
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult

from .look_ahead import FindTogether, LookAhead, TakenRow
from .results import BatchSummary
from .run import Rows
from .yielding import LoopYielder

__all__ = ["RowWorkers"]

# How long the first row with a prompt cache mark waits for a second one with the same mark, to share the entry with.
_LONE_SECONDS = 0.25


class RowWorkers:
    """Answers rows concurrently. A row's failure is its result; a failure that would affect all rows ends the run.

    Parameters
    ----------
    rows : Rows
    call : callable
        Makes the call of a request with its options.
    find : callable
        Returns the answer if no call is needed, else None; raises if the row may not be sent.
    find_together : callable, optional
        Returns the answers to several requests, as far as they can be looked up at once; see `LookAhead`.
    answer : callable
        Returns the answer of a call.
    most : int
        Maximum number of rows in progress at once, >= 1.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        call: Callable[[ClaudeRequest, CallOptions], Call],
        find: Callable[[Call], Optional[ClaudeResult]],
        answer: Callable[[Call], Awaitable[ClaudeResult]],
        most: int,
        find_together: Optional[FindTogether] = None,
    ) -> None:
        self._rows = rows
        self._call = call
        self._ahead = LookAhead(rows, find_together)
        self._find = find
        self._answer = answer
        self._most = most
        self._places = asyncio.Semaphore(most)
        self._yielder = LoopYielder()
        self._gate = PromptCacheGate()
        self._lone = _LoneRows()
        self._stopping = False
        self._under_way: Dict[asyncio.Task[Any], CallStatus] = {}

    async def run(self) -> BatchSummary:
        """Answer all rows; on cancellation, answers that are about to arrive are still collected."""
        # A few more workers than places: a row gives its place back when its answer arrives, before it has been stored.
        tasks = [asyncio.ensure_future(self._work()) for _ in range(self._most + 1 + self._most // 4)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            self._stopping = True
            await self._collect_in_flight(tasks)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._end_early()
        return self._rows.summary()

    async def _collect_in_flight(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Cancel waiting rows at once, and those in flight after a grace period: they are billed, and their answers may arrive."""
        coming = []
        for task in tasks:
            status = self._under_way.get(task)
            if status is not None and status.answer_may_come:
                coming.append(task)
            else:
                task.cancel()
        await wait_for_moment(coming, STOP_GRACE_SECONDS)
        for status in self._under_way.values():
            status.abandoned = True

    def _end_early(self) -> None:
        """End the rows that were read ahead and looked up; record the others as interrupted before they were sent."""
        for taken in self._ahead.drain():
            if taken.result is not None:
                self._rows.end(taken.row, taken.result)
            elif taken.error is not None:
                self._rows.fail(taken.row, taken.request, taken.error)
            elif not self._rows.has_ended(taken.row):
                self._rows.interrupted[taken.row] = taken.request, CallStatus()

    async def _work(self) -> None:
        while not self._stopping:
            await self._places.acquire()
            place = _Place(self._places)
            try:
                taken = await self._ahead.take()
            except StopAsyncIteration:
                place.give_back()
                self._lone.no_more()
                return
            try:
                await self._end_row(taken, place)
            finally:
                place.give_back()
            if self._yielder.is_due:
                await self._yielder.turn()

    async def _end_row(self, taken: TakenRow, place: _Place) -> None:
        rows, row = self._rows, taken.row
        if rows.has_ended(row):
            return
        if taken.result is not None:
            rows.end(row, taken.result)
            return
        try:
            self._ahead.prepare(taken)
        except BaseException:  # such as an error of a row's own code: it ends the run
            rows.interrupted[row] = None, CallStatus()
            raise
        request, options = taken.request, taken.options
        if request is None or options is None:
            assert taken.error is not None
            rows.fail(row, request, taken.error)
            return
        if rows.fatal is not None:
            rows.skip(row, request)
            return
        call = self._call(request, options)
        try:
            result = self._find(call)
            self._ahead.note(found=result is not None)
            if result is None:
                # The next row may start as soon as the answer has arrived and only needs to be stored.
                call.on_arrival = place.give_back
                call.gate = self._gate
                call.request = await self._lone.without_mark(
                    request, more=rows.left != 0 or rows.total is None or len(self._ahead) > 0
                )
                result = await self._wait_for(call)
        except ClaudeForceError as error:
            rows.fail(row, request, error, call.status)
        except BaseException:  # a cancellation, or an unexpected error: it ends the run
            rows.interrupted[row] = request, call.status
            raise
        else:
            rows.end(row, result)

    async def _wait_for(self, call: Call) -> ClaudeResult:
        task = asyncio.current_task()
        assert task is not None
        self._under_way[task] = call.status
        try:
            return await self._answer(call)
        finally:
            del self._under_way[task]


class _LoneRows:
    """Removes the prompt cache mark from a row that is alone with it: a write costs extra, and no row would read it."""

    def __init__(self) -> None:
        self._waiting: Dict[CacheMark, asyncio.Future[bool]] = {}
        self._shared: WeakSet[CacheMark] = WeakSet()
        self._ended = False

    async def without_mark(self, request: ClaudeRequest, *, more: bool) -> ClaudeRequest:
        """Return the request as it is to be sent; if more rows may come, wait briefly for one with the same mark."""
        mark = request.cache_mark
        if mark is None or mark in self._shared:
            return request
        if mark in self._waiting:
            self._shared.add(mark)
            waiting = self._waiting.pop(mark)
            if not waiting.done():
                waiting.set_result(True)
            return request
        if self._ended or not more:
            return request.marked(None)
        waiting = self._waiting[mark] = asyncio.get_running_loop().create_future()
        try:
            shared = await asyncio.wait_for(waiting, _LONE_SECONDS)
        except asyncio.TimeoutError:  # a slow source: others may come within the cache entry's lifetime
            shared = True
            self._shared.add(mark)
        finally:
            self._waiting.pop(mark, None)
        return request if shared else request.marked(None)

    def no_more(self) -> None:
        """Record that the source has no more rows."""
        self._ended = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(False)


class _Place:
    """One of the places for rows in progress; giving it back twice has no effect."""

    __slots__ = ("_places",)

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: Optional[asyncio.Semaphore] = places

    def give_back(self) -> None:
        """Allow another row to start."""
        if self._places is not None:
            self._places.release()
            self._places = None
