"""%claude_jobs: lists, collects and cancels the message batches of all kernels."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import List, Optional

from claude_force_nb.batches.registry import JobState
from claude_force_nb.costs.report import dollars
from claude_force_nb.errors import OptionError, RunInterrupted
from claude_force_nb.notebook.display.batch_results import summary_line
from claude_force_nb.notebook.display.bundles import Bundle, line_bundle
from claude_force_nb.notebook.display.progress import LiveLine, Progress, duration
from claude_force_nb.notebook.display.tables import table_bundle
from claude_force_nb.notebook.kernel.stopping import interruptible
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.vocabulary import JOB_ACTIONS, did_you_mean

from .reference import Reference, wants_help

__all__ = ["REFERENCE", "jobs", "jobs_bundle"]

_MEANINGS = {
    "lost": "attach finds out whether the batch was created",
    "interrupted": "attach, or run the cell again",
}


REFERENCE = Reference(
    magic="%claude_jobs",
    summary="Lists the message batches of all kernels, or attaches to, cancels or forgets one.",
    words=(
        ("list", "every job; this is the default", ""),
        ("attach", "wait for a job and collect its answers", "id"),
        ("cancel", "ask the API to end it; answered requests are billed", "id"),
        ("forget", "take it off the list", "id"),
    ),
    examples=(
        ("%%claude_batch rows via=batches", "makes a job"),
        ("%claude_jobs", "the jobs and their states"),
        ("%claude_jobs attach 3f9a2c", "collects one"),
    ),
    page="how-to/half-price.md#stop-and-come-back",
)


async def jobs(session: NotebookSession, line: str, *, now: float) -> Optional[Bundle]:
    """Run ``%claude_jobs [cancel|attach|forget ID]``, and return a bundle to show, if any.

    Raises
    ------
    OptionError
        If a word is unknown.
    UnknownJobError, JobError
        With a message of one line; see `JobRegistry`.
    RunInterrupted
        On Stop while attached; the job keeps running.
    """
    if wants_help(line):
        return REFERENCE.bundle()
    action, *names = line.split() or ["list"]
    if action not in JOB_ACTIONS:
        near = did_you_mean(action, JOB_ACTIONS)
        raise OptionError(f"%claude_jobs takes {', '.join(JOB_ACTIONS)}, not {action!r}{near}")
    batches = session.orchestrator.message_batches
    if action == "list":
        if names:
            raise OptionError(f"%claude_jobs list takes no other words, not {' '.join(names)!r}")
        return jobs_bundle(batches.all(), now=now)
    if len(names) != 1:
        raise OptionError(f"%claude_jobs {action} takes the id of one job; %claude_jobs lists them")
    if action == "attach":
        await _attach(session, names[0])
        return None
    if action == "forget":
        state = batches.forget(names[0])
        running = state.state in ("in progress", "cancelling", "lost")
        note = "; its batch keeps running at the API and is billed" if running else ""
        return line_bundle(f"job {state.job.id} is forgotten{note}")
    state = await batches.cancel(names[0])
    name = state.job.id
    if state.state == "not sent":
        return line_bundle(f"job {name} is cancelled; nothing was sent")
    collect = f"answered requests are billed and can be collected with %claude_jobs attach {name}"
    return line_bundle(f"job {name} is being cancelled: {collect}")


async def _attach(session: NotebookSession, name: str) -> None:
    orchestrator = session.orchestrator
    state = orchestrator.message_batches.registry.find(name)
    progress = Progress(total=lambda: state.requests, taken=lambda: state.requests, clock=time.monotonic)
    live = LiveLine(
        progress, session.front_end.live(session.settings.value("live")), in_kernel=session.front_end.in_kernel
    )

    def describe() -> str:
        return f"job {name} keeps running at the API; %claude_jobs attach {name} again to collect it"

    async def work() -> Bundle:
        follower = asyncio.get_running_loop().create_task(live.follow())
        try:
            batch = await orchestrator.message_batches.attach(name, on_result=progress.ended)
        finally:
            follower.cancel()
            if orchestrator.ledger is not None:
                orchestrator.ledger.flush()
        line = f"job {state.job.id} · {summary_line(batch)}; run its cell to get the answers"
        return line_bundle(line)

    try:
        shown = await interruptible(work(), describe)
    except RunInterrupted:
        live.finish(line_bundle(describe()))
        raise
    except Exception as error:
        live.finish(line_bundle(str(error)))
        raise
    live.finish(shown)


def jobs_bundle(states: List[JobState], *, now: float) -> Bundle:
    """Return the table of jobs.

    Parameters
    ----------
    states : list of JobState
    now : float
        Unix seconds.
    """
    if not states:
        return line_bundle("no batch jobs; via=batches in %%claude_batch makes one")
    rows = [
        (
            state.job.id,
            state.state,
            duration(max(0.0, now - state.job.created)),
            f"{state.answered:,} of {state.requests:,}",
            _cost(state),
            state.job.model,
            state.job.notebook or "",
            ", ".join(state.batch_ids),
        )
        for state in states
    ]
    header = ("job", "state", "age", "answered", "cost", "model", "notebook", "batches")
    return table_bundle(header, rows, footer=_advice(states))


def _cost(state: JobState) -> str:
    if state.state in ("done", "collected", "not sent"):
        return dollars(state.cost)
    bounds = [part.bound for part in state.parts if part.state != "dropped"]
    known = [bound for bound in bounds if bound is not None]
    if not bounds or len(known) < len(bounds):
        return "not known yet"
    return "at most " + dollars(sum(known, Decimal(0)))


def _advice(states: List[JobState]) -> str:
    found: Optional[str] = next((state.state for state in states if state.state in _MEANINGS), None)
    actions = "%claude_jobs attach ID, cancel ID, forget ID"
    return actions if found is None else f"{actions}; {found}: {_MEANINGS[found]}"
