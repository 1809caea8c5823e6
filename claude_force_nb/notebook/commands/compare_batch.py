"""%%claude_compare over a source of rows: sends each row to several models and agents, and shows how far they agree."""

from __future__ import annotations

import asyncio
import time
from collections import ChainMap
from typing import Any, Dict, List, Mapping, Optional, Sequence

from claude_force_nb.errors import ClaudeForceError, MissingValueError, SourceError
from claude_force_nb.notebook.display.batch_comparison import BatchComparison, ComparedBatch
from claude_force_nb.notebook.display.bundles import line_bundle
from claude_force_nb.notebook.display.progress import LiveLine, Progress
from claude_force_nb.notebook.kernel.stopping import ending_on_stop, interruptible
from claude_force_nb.notebook.options.batch_line import evaluate_source
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.rows.sources import Source

from .call_arguments import call_arguments, hide_columns, how_to_continue, take_option

__all__ = ["compare_rows"]

_STOPPED = "the source was still being prepared; nothing was sent"


class _Column:
    """The run of all rows for one model, agent and sample."""

    def __init__(self, place: Mapping[str, Any], source: Source, arguments: Dict[str, Any]) -> None:
        self.place = place
        self.source = source
        self.arguments = arguments

    async def check(self, orchestrator: AsyncAgentOrchestrator) -> None:
        """Make the first row's request; raise if that fails for a reason that all rows share."""
        own = ("cell", "via", "max_concurrent")
        options = {name: value for name, value in self.arguments.items() if name not in own}
        async for _, request in orchestrator.requests(self.source.only([0]), **options):
            if isinstance(request, ClaudeForceError) and not isinstance(request, MissingValueError):
                raise request

    async def run(self, orchestrator: AsyncAgentOrchestrator, progress: Progress) -> ComparedBatch:
        """Answer the rows."""
        batch: BatchResult = await orchestrator.run_many(
            self.source, on_result=lambda row, result: progress.ended(result), **self.arguments
        )
        return ComparedBatch(self.place.get("model"), self.place.get("agent"), self.place["sample"], batch)


async def compare_rows(
    session: NotebookSession,
    expression: str,
    template: Optional[str],
    options: Dict[str, Any],
    places: Sequence[Mapping[str, Any]],
    local_names: Mapping[str, Any],
) -> BatchComparison:
    """Answer every row with each model, agent and sample, and show how far the answers agree.

    Parameters
    ----------
    session : NotebookSession
    expression : str
        Expression for the source.
    template : str or None
        Prompt of every row; without one the rows are the prompts.
    options : dict
        Options of the line without models, agents and samples.
    places : sequence of mapping
        For each column its ``sample``, and its ``model`` and ``agent`` if given.
    local_names : mapping
        Names of the calling function.

    Raises
    ------
    ClaudeForceError
        With a message of one line; nothing was sent if a name, the source or the template is wrong.
    RunInterrupted
        On Stop; the answers received so far are in the cache.
    """
    columns = await _columns(session, expression, template, options, places, local_names)
    orchestrator = session.orchestrator
    orchestrator.resize(max(orchestrator.max_concurrent, columns[0].arguments["max_concurrent"]))
    for column in columns:
        await column.check(orchestrator)
    sources = [column.source for column in columns]
    progress = Progress(
        total=lambda: None if sources[0].total is None else sources[0].total * len(sources),
        taken=lambda: sum(source.taken for source in sources),
        clock=time.monotonic,
    )
    way = session.front_end.live(session.settings.value("live"))
    live = LiveLine(progress, way, in_kernel=session.front_end.in_kernel)

    def stopped() -> str:
        usual = "the answers received so far are in the cache; run again for the rest"
        return f"{progress.share()}; {how_to_continue(columns[0].arguments, usual)}"

    try:
        compared = await interruptible(_run_all(orchestrator, columns, progress, live), stopped)
    except BaseException:
        live.finish(line_bundle(stopped()))
        raise
    finally:
        if orchestrator.ledger is not None:
            orchestrator.ledger.flush()
    asked = any(result.answered and not result.cached for column in compared for result in column.batch)
    made = BatchComparison(tuple(compared), session.server_note(orchestrator.transport.base_url, asked=asked))
    live.finish(made.bundle())
    return made


async def _columns(
    session: NotebookSession,
    expression: str,
    template: Optional[str],
    options: Dict[str, Any],
    places: Sequence[Mapping[str, Any]],
    local_names: Mapping[str, Any],
) -> List[_Column]:
    settings, names = session.settings, session.front_end.names
    width = take_option(options, "max_concurrent", settings)
    of_source = {name: options.pop(name, None) for name in ("column", "limit")}
    shared = {"via": options.pop("via", "api"), "template": template, "max_concurrent": width}
    columns = []
    async with ending_on_stop(_STOPPED):
        value = evaluate_source(expression, ChainMap(dict(local_names), names))
        for place in places:
            source = open_source(value, name=expression, **of_source)
            if source.is_once:
                raise SourceError(
                    f"{source.name} can be read only once; compare a list of it instead; nothing was sent"
                )
            call = call_arguments({**options, **place, "raw": template is None}, settings, local_names, names)
            source.check(template, call.get("variables"))
            hide_columns(call, source.shadowed)
            if source.is_empty():
                raise SourceError(f"{source.name} is empty; nothing was sent")
            columns.append(_Column(place, source, {**shared, **call, "cell": session.front_end.cell_id()}))
    return columns


async def _run_all(
    orchestrator: AsyncAgentOrchestrator, columns: Sequence[_Column], progress: Progress, live: LiveLine
) -> List[ComparedBatch]:
    tasks = [asyncio.ensure_future(column.run(orchestrator, progress)) for column in columns]
    follower = asyncio.ensure_future(live.follow())
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in (*tasks, follower):
            task.cancel()
        await asyncio.gather(*tasks, follower, return_exceptions=True)
