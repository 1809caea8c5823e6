"""An orchestrator's message batches, created when first used."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Optional

from .message_batches import MessageBatches

__all__ = ["LazyBatches"]


class LazyBatches:
    """The message batches of an orchestrator; neither their file nor the client is opened before they are used.

    Parameters
    ----------
    make : callable
        Creates them; raises OptionError if the transport does not support message batches.
    """

    def __init__(self, make: Callable[[], MessageBatches]) -> None:
        self._make = make
        self._made: Optional[MessageBatches] = None

    def open(self) -> MessageBatches:
        """Return the message batches, always the same object."""
        if self._made is None:
            self._made = self._make()
        return self._made

    @property
    def left_running(self) -> str:
        """One line about batches of the last stopped run that keep running at the API, and how to collect them; else ""."""
        return "" if self._made is None else self._made.left_running

    def cancel_run(self, task: asyncio.Task[Any]) -> None:
        """Stop a task that runs many prompts: cancel its batches at the API, or the task itself if it has none."""
        if self._made is None or not self._made.cancel_run(task):
            task.cancel()

    def close(self) -> None:
        """Close the job store."""
        if self._made is not None:
            self._made.store.close()
