"""Many prompts for few workers."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterable, Coroutine, Iterable, Tuple, Union

__all__ = ["Feed", "Prompts", "all_done"]

Prompts = Union[Iterable[str], AsyncIterable[str]]


class Feed:
    """Hands prompts to several workers, each once, numbered in the order of the source."""

    def __init__(self, prompts: Prompts) -> None:
        self._row = -1
        self._sync = None if isinstance(prompts, AsyncIterable) else iter(prompts)
        self._async = prompts.__aiter__() if isinstance(prompts, AsyncIterable) else None
        # Made inside the running loop: an asynchronous source cannot be asked by two workers at once.
        self._lock = asyncio.Lock()

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Tuple[int, str]:
        if self._sync is not None:
            for prompt in self._sync:
                self._row += 1
                return self._row, prompt
            raise StopAsyncIteration
        assert self._async is not None
        async with self._lock:
            prompt = await self._async.__anext__()
            self._row += 1
            return self._row, prompt


async def all_done(workers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all workers; when one fails, or the wait is cancelled, end the others first."""
    tasks = [asyncio.ensure_future(worker) for worker in workers]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
