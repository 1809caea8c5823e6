"""The background batches of a session. Imports nothing heavy: every session has such a list, most of them empty."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, List, Set

if TYPE_CHECKING:
    from claude_force_nb.orchestrator import AsyncAgentOrchestrator

    from .background import BackgroundRun

__all__ = ["Jobs"]

# How long the end of the process waits for cancelled jobs to let go of their calls.
_EXIT_SECONDS = 2.0

# Closings under way: a loop keeps only weak references to its tasks.
_CLOSING: Set[asyncio.Task[None]] = set()


class Jobs:
    """The background batches of a session."""

    def __init__(self) -> None:
        self._jobs: List[BackgroundRun] = []

    def add(self, job: BackgroundRun) -> None:
        """Keep a job until it ends: a loop keeps only weak references to its tasks."""
        self._jobs.append(job)
        job.task.add_done_callback(lambda _: self._jobs.remove(job))

    def using(self, orchestrator: AsyncAgentOrchestrator) -> List[BackgroundRun]:
        """Return the running jobs of an orchestrator."""
        return [job for job in self._jobs if job.orchestrator is orchestrator]

    def close_after(self, orchestrator: AsyncAgentOrchestrator) -> None:
        """Close an orchestrator from code that cannot await: on the running loop soon, after the jobs that need it, else now."""
        jobs = [job.task for job in self.using(orchestrator)]

        async def close() -> None:
            if jobs:
                await asyncio.wait(jobs)
            await orchestrator.close()

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            orchestrator.close_blocking()
        else:
            task = loop.create_task(close())
            _CLOSING.add(task)
            task.add_done_callback(_CLOSING.discard)

    def cancel(self) -> None:
        """End all of them soon."""
        for job in list(self._jobs):
            job.leave()

    def cancel_at_exit(self) -> None:
        """End all of them at the end of a process, where their loop runs no more."""
        jobs = list(self._jobs)
        for loop in {job.loop for job in jobs}:
            if loop.is_running() or loop.is_closed():
                continue
            tasks = [job.task for job in jobs if job.loop is loop]
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=_EXIT_SECONDS))
