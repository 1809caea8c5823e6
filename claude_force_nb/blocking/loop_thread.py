"""An event loop in a thread of its own, for callers that cannot await."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from typing import Any, Callable, Coroutine, Optional, TypeVar

from claude_force_nb.errors import ClaudeForceError

__all__ = ["LoopThread"]

T = TypeVar("T")
# Poll, since a wait without a timeout cannot be interrupted on Windows.
_POLL_SECONDS = 0.5
# How long interrupted work may take to store answers that are already paid for.
_CANCEL_GRACE_SECONDS = 1.0


class LoopThread:
    """Runs coroutines in a thread of its own, which starts with the first one and ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._process = 0

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` and return its result; Ctrl+C and Stop cancel it.

        Raises
        ------
        ClaudeForceError
            If called in this very thread, for example by a listener, since it would wait for itself.
        """
        loop = self._running_loop()
        try:
            inside = asyncio.get_running_loop() is loop
        except RuntimeError:
            inside = False
        if inside:
            raise ClaudeForceError(
                "ask() cannot wait for an answer inside a callback of ask(); await AsyncAgentOrchestrator.run there"
            )
        future = asyncio.run_coroutine_threadsafe(work(), loop)
        try:
            return _wait(future)
        except BaseException:
            if not future.done():
                future.cancel()
                concurrent.futures.wait([future], timeout=_CANCEL_GRACE_SECONDS)
            raise

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked process inherits the loop, but not the thread.
            if self._loop is None or self._process != os.getpid():
                self._loop, self._process = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=self._loop.run_forever, name="claude-force-blocking", daemon=True).start()
            return self._loop


def _wait(future: concurrent.futures.Future[T]) -> T:
    while True:
        try:
            return future.result(timeout=_POLL_SECONDS)
        except concurrent.futures.TimeoutError:
            if future.done():  # the work itself raised the error
                raise
