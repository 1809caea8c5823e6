"""An orchestrator's message batches, created when first used."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Optional

from .message_batches import MessageBatches

__all__ = ["LazyBatches"]


class LazyBatches:
    """The message batches of an orchestrator; neither file nor client is touched before they are used.

    Parameters
    ----------
    make : callable
        Creates them; raises OptionError if the transport has none.
    """

    def __init__(self, make: Callable[[], MessageBatches]) -> None:
        self._make = make
        self._made: Optional[MessageBatches] = None

    def open(self) -> MessageBatches:
        """Return the message batches, the same ones each time."""
        if self._made is None:
            self._made = self._make()
        return self._made

    @property
    def left_running(self) -> str:
        """Which batches of the run that was stopped last keep running at the API, and how to collect them; "" if none do."""
        return "" if self._made is None else self._made.left_running

    def cancel_run(self, task: asyncio.Task[Any]) -> None:
        """End a task that runs many prompts: its batches at the API, where it has some, else the task itself."""
        if self._made is None or not self._made.cancel_run(task):
            task.cancel()

    def close(self) -> None:
        """Close the file of jobs."""
        if self._made is not None:
            self._made.store.close()
