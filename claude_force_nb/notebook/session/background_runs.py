"""The background runs of a session. Imports nothing heavy, since every session has such a list, mostly an empty one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, List, Protocol, Set

if TYPE_CHECKING:
    from claude_force_nb.orchestrator import AsyncAgentOrchestrator

__all__ = ["BackgroundRuns", "BackgroundWork"]

# How long the process waits at its end for cancelled runs to release their calls.
_CANCEL_GRACE_SECONDS = 2.0

# Pending close operations, kept here because an event loop has only weak references to its tasks.
_CLOSING: Set[asyncio.Task[None]] = set()


class BackgroundWork(Protocol):
    """The interface of a run that the list needs."""

    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[None]

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """The orchestrator that answers the rows."""

    def leave(self) -> None:
        """Stop waiting for the run; message batches at the API keep running. May be called from any thread."""


class BackgroundRuns:
    """The background runs of a session."""

    def __init__(self) -> None:
        self._runs: List[BackgroundWork] = []

    def add(self, run: BackgroundWork) -> None:
        """Keep a run until it ends, since an event loop has only weak references to its tasks."""
        self._runs.append(run)
        run.task.add_done_callback(lambda _: self._runs.remove(run))

    def close_after(self, orchestrator: AsyncAgentOrchestrator) -> None:
        """Close an orchestrator without awaiting: on the running loop after the runs that use it, or now without a loop."""
        tasks = [run.task for run in self._runs if run.orchestrator is orchestrator]

        async def close() -> None:
            if tasks:
                await asyncio.wait(tasks)
            await orchestrator.close()

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            orchestrator.close_blocking()
        else:
            closing = loop.create_task(close())
            _CLOSING.add(closing)
            closing.add_done_callback(_CLOSING.discard)

    def leave(self) -> None:
        """Stop waiting for all runs; message batches at the API keep running."""
        for run in list(self._runs):
            run.leave()

    def cancel_at_exit(self) -> None:
        """Cancel all runs at the end of the process, when their event loop no longer runs."""
        runs = list(self._runs)
        for loop in {run.loop for run in runs}:
            if loop.is_running() or loop.is_closed():
                continue
            tasks = [run.task for run in runs if run.loop is loop]
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=_CANCEL_GRACE_SECONDS))
