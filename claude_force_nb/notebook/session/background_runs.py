"""The batches of a session that run in the background. Imports nothing heavy: every session has such a list, mostly empty."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, List, Protocol, Set

if TYPE_CHECKING:
    from claude_force_nb.orchestrator import AsyncAgentOrchestrator

__all__ = ["BackgroundRuns", "BackgroundWork"]

# How long the end of the process waits for cancelled runs to let go of their calls.
_CANCEL_GRACE_SECONDS = 2.0

# Closings under way: a loop keeps only weak references to its tasks.
_CLOSING: Set[asyncio.Task[None]] = set()


class BackgroundWork(Protocol):
    """The part of a run that the list uses."""

    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[None]

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """The task that runs it."""

    def leave(self) -> None:
        """Stop waiting, from any thread; message batches at the API keep running there."""


class BackgroundRuns:
    """The runs of a session that no cell waits for."""

    def __init__(self) -> None:
        self._runs: List[BackgroundWork] = []

    def add(self, run: BackgroundWork) -> None:
        """Keep a run until it ends: a loop keeps only weak references to its tasks."""
        self._runs.append(run)
        run.task.add_done_callback(lambda _: self._runs.remove(run))

    def close_after(self, orchestrator: AsyncAgentOrchestrator) -> None:
        """Close an orchestrator from code that cannot await: on the running loop soon, after the runs that need it, else now."""
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
        """End all of them soon; message batches at the API keep running there."""
        for run in list(self._runs):
            run.leave()

    def cancel_at_exit(self) -> None:
        """End all of them at the end of a process, when their event loop no longer runs."""
        runs = list(self._runs)
        for loop in {run.loop for run in runs}:
            if loop.is_running() or loop.is_closed():
                continue
            tasks = [run.task for run in runs if run.loop is loop]
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=_CANCEL_GRACE_SECONDS))
