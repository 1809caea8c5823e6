"""The rows of one run: numbered, made into requests, answered by few workers, counted. Nothing is kept of them here."""

from __future__ import annotations

import asyncio
import time
from collections import ChainMap
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, List, Optional, Tuple

from claude_force_nb.calls.caller import unanswered
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.errors import ApiError, ClaudeForceError, SpendLimitError, StoppedError, TransportClosedError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import add_dollars
from claude_force_nb.rows.results import BatchResult, BatchSummary

from .feed import BrokenRow, Feed, Prompts, all_done
from .sources import Source

__all__ = ["ResultCollector", "OnResult", "Rows", "answer_rows"]

OnResult = Callable[[int, ClaudeResult], None]

# How long a run that finds every answer in the cache may keep the event loop to itself.
_YIELD_SECONDS = 0.02


class Rows:
    """One run's rows, taken from their source one by one; every row ends once, in `end`.

    Parameters
    ----------
    items : iterable or asynchronous iterable
        Prompts; with `template` mappings of variables, or plain values, which the template knows as ``item``.
    call : CallOptions
        Of all rows; its ``variables`` lie below those of a row.
    compose : callable
        Makes the request of a prompt and its options.
    template : str, optional
        Prompt of every row.
    on_result : callable, optional
        Called with row number and result as each row ends.
    total : int, optional
        How many items there are, where that is known.
    """

    def __init__(
        self,
        items: Prompts,
        call: CallOptions,
        compose: Callable[[str, CallOptions], ClaudeRequest],
        *,
        template: Optional[str] = None,
        on_result: Optional[OnResult] = None,
        total: Optional[int] = None,
    ) -> None:
        self.call = call
        self._total = total
        self._feed = Feed(items)
        self._compose = compose
        self._template = template
        self._on_result = on_result
        self._started = time.perf_counter()
        self._counts = {"ok": 0, "cached": 0, "failed": 0, "not_sent": 0}
        self._cost: Optional[Decimal] = Decimal(0)
        self._saved: Optional[Decimal] = Decimal(0)
        self._usage: List[int] = [0, 0]
        self._fatal: Optional[BaseException] = None

    def __aiter__(self) -> AsyncIterator[Tuple[int, Any]]:
        """Give row number and item; several workers may iterate at once, and each row goes to one of them."""
        return self._feed

    def request(self, row: int, item: Any) -> ClaudeRequest:
        """Return the request of a row.

        Raises
        ------
        ClaudeForceError
            Where it cannot be made; its message begins with the row's number.
        """
        try:
            if isinstance(item, BrokenRow):
                raise item.error
            if self._template is None:
                return self._compose(item, self.call)
            variables = item if type(item) is dict or isinstance(item, Mapping) else {"item": item}
            if self.call.variables:
                variables = ChainMap(variables, self.call.variables)  # type: ignore[arg-type]
            return self._compose(self._template, self.call.with_variables(variables))
        except ClaudeForceError as error:
            raise type(error)(f"row {row}: {error}") from error.__cause__

    @property
    def left(self) -> int:
        """Rows that nobody has begun; 0 where the source does not tell."""
        return 0 if self._total is None else max(0, self._total - self._feed.taken)

    def stop(self, error: ClaudeForceError) -> None:
        """Send no further row, from any thread. Rows of a list are skipped; of any other source no more are taken."""
        self._fatal = self._fatal or error
        if self._total is None:
            self._feed.end()

    @property
    def fatal(self) -> Optional[BaseException]:
        """The failure that every further row would meet, once there is one."""
        return self._fatal

    def fail(self, row: int, request: Optional[ClaudeRequest], error: ClaudeForceError) -> None:
        """End a row with its error: ``failed`` where its prompt cannot be made or its call failed, else ``not_sent``."""
        if isinstance(error, (SpendLimitError, TransportClosedError)) or getattr(error, "status", None) == 401:
            self._fatal = self._fatal or error
        status = "failed" if request is None or isinstance(error, (ApiError, StoppedError)) else "not_sent"
        self.end(row, unanswered(request, error, status))

    def skip(self, row: int, request: ClaudeRequest) -> None:
        """End a row that is not sent because of `fatal`."""
        assert self._fatal is not None
        self.end(row, unanswered(request, self._fatal, "not_sent"))

    def end(self, row: int, result: ClaudeResult) -> None:
        """Count a row's result and report it."""
        self._counts[result.status] += 1
        if result.cost is None or self._cost is None:
            self._cost = None
        elif result.cost:
            self._cost = add_dollars(self._cost, result.cost)
        if result.saved is None or self._saved is None:
            self._saved = None
        elif result.saved:
            self._saved = add_dollars(self._saved, result.saved)
        self._usage[0] += result.usage.total_input_tokens
        self._usage[1] += result.usage.output_tokens
        if self._on_result is not None:
            self._on_result(row, result)

    def summary(self) -> BatchSummary:
        """Return the counts and sums of the rows that have ended."""
        return BatchSummary(
            counts=dict(self._counts),
            cost=self._cost,
            saved=self._saved,
            input_tokens=self._usage[0],
            output_tokens=self._usage[1],
            duration_seconds=time.perf_counter() - self._started,
        )


async def answer_rows(
    rows: Rows, answer: Callable[[ClaudeRequest, Callable[[], None]], Awaitable[ClaudeResult]], *, workers: int
) -> BatchSummary:
    """Answer all rows, `workers` at a time; a row's failure is its result, and one that all would meet ends the sending.

    `answer` calls its second argument when the answer is there and only has to be put away: meanwhile the next row may begin.
    """
    places = asyncio.Semaphore(workers)
    feed = rows.__aiter__()
    loop = asyncio.get_running_loop()
    # When the loop last turned, for all workers: each by itself would keep it as long.
    turned_at = time.perf_counter()
    turning = False

    def turned() -> None:
        nonlocal turned_at, turning
        turned_at, turning = time.perf_counter(), False

    async def work() -> None:
        nonlocal turning
        while True:
            await places.acquire()
            place = _Place(places)
            try:
                row, item = await feed.__anext__()
            except StopAsyncIteration:
                place()
                return
            request = None
            try:
                request = rows.request(row, item)
                if rows.fatal is not None:
                    rows.skip(row, request)
                    continue
                result = await answer(request, place)
            except ClaudeForceError as error:
                rows.fail(row, request, error)
            else:
                rows.end(row, result)
            finally:
                place()
            if time.perf_counter() - turned_at > _YIELD_SECONDS:
                if not turning:
                    turning = True
                    loop.call_soon(turned)
                await asyncio.sleep(0)

    # A few more than there are places, for the rows whose answers are being put away.
    await all_done(work() for _ in range(workers + 1 + workers // 4))
    return rows.summary()


class _Place:
    """One of the places for rows under way, given back once however often that is said."""

    __slots__ = ("_places",)

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: Optional[asyncio.Semaphore] = places

    def __call__(self) -> None:
        if self._places is not None:
            self._places.release()
            self._places = None


class ResultCollector:
    """The results of a run by row number: the whole once it has ended, a part at any time before.

    Parameters
    ----------
    source : Source
        The rows, which the batch keeps for its frame.
    on_result : callable, optional
        Called with row number and result as each row ends.
    """

    def __init__(self, source: Source, on_result: Optional[OnResult] = None) -> None:
        self.results: Dict[int, ClaudeResult] = {}
        self._source = source
        self._on_result = on_result

    def __call__(self, row: int, result: ClaudeResult) -> None:
        self.results[row] = result
        if self._on_result is not None:
            self._on_result(row, result)

    def batch(self, *, stopped: Optional[BaseException] = None, **more: Any) -> BatchResult:
        """Return what is there as a `BatchResult`, whose further arguments are `more`.

        Parameters
        ----------
        stopped : Exception, optional
            Why there is not more: the error of the rows that had not ended. Those under way are ``failed``, since their calls
            may have been answered and billed; those that are known and had not begun are ``not_sent``.
        """
        rows: Dict[int, ClaudeResult] = dict(self.results)
        if stopped is not None:
            for row in range(max(self._source.total or 0, self._source.taken)):
                status = "failed" if row < self._source.taken else "not_sent"
                rows.setdefault(row, ClaudeResult(status=status, error=stopped))
        numbers = sorted(rows)
        return BatchResult([rows[row] for row in numbers], numbers=numbers, source=self._source, **more)
