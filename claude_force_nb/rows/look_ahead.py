"""Reads ahead in a source and looks up several rows in the cache at once."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, List, Optional, Sequence, Tuple

from claude_force_nb.cache.rows import READ_TOGETHER
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.errors import ClaudeForceError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult

from .run import Rows

__all__ = ["FindTogether", "LookAhead", "TakenRow"]

FindTogether = Callable[[Sequence[Tuple[ClaudeRequest, CallOptions]]], Sequence[Optional[ClaudeResult]]]


class TakenRow:
    """A row taken from its source, with its request, its answer or the error that prevents sending it, once known."""

    __slots__ = ("error", "item", "options", "request", "result", "row")

    def __init__(self, row: int, item: Any) -> None:
        self.row = row
        self.item = item
        self.request: Optional[ClaudeRequest] = None
        self.options: Optional[CallOptions] = None
        self.result: Optional[ClaudeResult] = None
        self.error: Optional[ClaudeForceError] = None


class LookAhead:
    """Takes rows from their source: one at a time normally, several at once as long as the cache answers all of them.

    Reading 16 answers at once takes a quarter of the time of reading them one by one. Rows of a slow source are never read
    ahead.

    Parameters
    ----------
    rows : Rows
    find : callable, optional
        Returns the answers to several requests with their options; None for those that have to be looked up individually.
    """

    def __init__(self, rows: Rows, find: Optional[FindTogether]) -> None:
        self._rows = rows
        self._feed = rows.__aiter__()
        self._find = find
        self._together = 1
        self._waiting: Deque[TakenRow] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    async def take(self) -> TakenRow:
        """Return the next row; raises StopAsyncIteration after the last."""
        if self._waiting:
            return self._waiting.popleft()
        row, item = await self._feed.__anext__()
        first = TakenRow(row, item)
        if self._together > 1:
            # Other workers may have taken rows while this one was awaited, so it starts a group of its own.
            group = [first, *(TakenRow(*pair) for pair in self._rows.more(self._together - 1))]
            try:
                self._look_up(group)
            except BaseException:
                self._waiting.extend(group)  # so that `drain` returns them
                raise
            self._waiting.extend(group[1:])
        return first

    def prepare(self, taken: TakenRow) -> None:
        """Make a row's request, or record why it cannot be sent; do nothing if that has been done."""
        if taken.request is not None or taken.error is not None or self._rows.has_ended(taken.row):
            return
        try:
            taken.request = self._rows.request(taken.row, taken.item)
            taken.options = self._rows.options(taken.item)
        except ClaudeForceError as error:
            taken.error = error

    def note(self, *, found: bool) -> None:
        """Record whether the last lookup found its answers: if so, twice as many rows are looked up at once, else one."""
        self._together = min(2 * self._together, READ_TOGETHER) if found and self._find is not None else 1

    def drain(self) -> List[TakenRow]:
        """Remove and return the rows that were read ahead and not yet returned by `take`."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def _look_up(self, group: Sequence[TakenRow]) -> None:
        for taken in group:
            self.prepare(taken)
        some = [taken for taken in group if taken.options is not None]
        if not some or self._find is None or self._rows.fatal is not None:
            return
        found = self._find([(taken.request, taken.options) for taken in some if taken.request and taken.options])
        for taken, result in zip(some, found):
            taken.result = result
        self.note(found=all(result is not None for result in found))
