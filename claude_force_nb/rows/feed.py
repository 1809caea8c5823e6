"""Hands out the prompts of a source to concurrent workers."""

from __future__ import annotations

import asyncio
import time
from typing import Any, AsyncIterable, Iterable, List, Optional, Tuple, Union

from claude_force_nb.errors import ClaudeForceError

__all__ = ["BrokenRow", "NumberedRows", "Feed", "OwnOptions", "Prompts"]

# A source that takes longer than this for a row is slow: reading several rows at once would block the event loop.
_SLOW_SECONDS = 0.02

Prompts = Union[Iterable[Any], AsyncIterable[Any]]


class BrokenRow:
    """Placeholder in a source for a row that cannot be read; that row fails with `error`, the others continue."""

    def __init__(self, error: ClaudeForceError) -> None:
        self.error = error


class OwnOptions:
    """A row with an agent or model of its own; None means that of the run."""

    __slots__ = ("agent", "item", "model")

    def __init__(self, item: Any, agent: Any, model: Any) -> None:
        self.item = item
        self.agent = agent
        self.model = model


class NumberedRows:
    """Pairs of row number and item, for a run over some rows of a source."""

    def __init__(self, pairs: Iterable[Tuple[int, Any]]) -> None:
        self._pairs = pairs

    def __iter__(self) -> Any:
        return iter(self._pairs)


class Feed:
    """Hands each prompt to exactly one of several workers, numbered in the order of the source."""

    def __init__(self, prompts: Prompts) -> None:
        self._row = -1
        self._taken = 0
        self._ended = False
        self._is_slow = False
        self._error: Optional[BaseException] = None
        self._asking: Optional[Tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = None
        self._numbered = isinstance(prompts, NumberedRows)
        self._sync = None if isinstance(prompts, AsyncIterable) else iter(prompts)
        self._async = prompts.__aiter__() if isinstance(prompts, AsyncIterable) else None
        # An asynchronous source may be asked for one item at a time only. On Python 3.8 and 3.9 a lock belongs to the
        # event loop that is running when it is created, so a feed is created inside the loop that uses it.
        self._lock = asyncio.Lock()

    def __aiter__(self) -> Feed:
        return self

    @property
    def taken(self) -> int:
        """Prompts handed out so far."""
        return self._taken

    def end(self) -> None:
        """Stop handing out prompts, from any thread; also stops waiting for the source."""
        self._ended = True
        asking = self._asking
        if asking is not None:
            loop, task = asking
            loop.call_soon_threadsafe(self._interrupt, task)

    def _interrupt(self, task: asyncio.Task[Any]) -> None:
        if self._asking is not None and self._asking[1] is task:
            task.cancel()

    async def __anext__(self) -> Tuple[int, Any]:
        if self._ended:
            raise StopAsyncIteration
        if self._sync is not None:
            if not self._is_slow:
                return self._next()
            # One row per iteration of the event loop, so that a stop waits for one row, not for one row of every worker.
            async with self._lock:
                await asyncio.sleep(0)
                if self._ended:
                    raise StopAsyncIteration
                return self._next()
        assert self._async is not None
        async with self._lock:
            if self._ended:
                raise StopAsyncIteration
            task = asyncio.current_task()
            assert task is not None
            self._asking = (asyncio.get_running_loop(), task)
            try:
                prompt = await self._async.__anext__()
            except asyncio.CancelledError:
                if self._ended:
                    raise StopAsyncIteration from None
                raise
            finally:
                self._asking = None
            self._row += 1
            self._taken += 1
            return self._row, prompt

    def more(self, most: int) -> List[Tuple[int, Any]]:
        """Return up to `most` further prompts with their numbers; fewer, or none, of a slow or asynchronous source."""
        taken: List[Tuple[int, Any]] = []
        while len(taken) < most and self._sync is not None and not (self._ended or self._is_slow):
            try:
                taken.append(self._next())
            except StopAsyncIteration:
                break
            except BaseException as error:  # of the source: raised once the rows before it have been handed out
                self._error = error
                break
        return taken

    def _next(self) -> Tuple[int, Any]:
        assert self._sync is not None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        began = time.perf_counter()
        for prompt in self._sync:
            self._is_slow = time.perf_counter() - began > _SLOW_SECONDS
            self._taken += 1
            if self._numbered:
                row, prompt = prompt
                return row, prompt
            self._row += 1
            return self._row, prompt
        raise StopAsyncIteration
