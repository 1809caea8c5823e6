"""%claude_batch and %%claude_batch: parse, check everything, then run in the cell or in the background."""

from __future__ import annotations

from collections import ChainMap
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from claude_force_nb.errors import ClaudeForceWarning, EmptyPromptError, OptionError, SourceError
from claude_force_nb.notebook.display.batch_preview import preview_batch
from claude_force_nb.notebook.kernel.stopping import ending_on_stop
from claude_force_nb.notebook.options.batch_line import evaluate_source, is_path, parse_batch_line
from claude_force_nb.notebook.options.names import check_target
from claude_force_nb.notebook.options.of_magics import BATCH_OPTIONS
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.rows.answer_columns import frame_parts
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.sources import Source
from claude_force_nb.warn import warn

from .background_run import BackgroundRun
from .batch_run import BatchOutcome, BatchRun, Plan
from .call_arguments import call_arguments, hide_columns, take_option
from .cluster_route import ClusterRoute, fetch_rows, find_cluster
from .reference import Reference

__all__ = ["REFERENCE", "batch"]

_NAME_CHARACTERS = 40
REFERENCE = Reference(
    magic="%%claude_batch",
    summary=(
        "%claude_batch SOURCE sends every item of SOURCE as a prompt; %%claude_batch SOURCE fills in the prompt below it for every row. "
        "SOURCE is an expression, or a path to .txt, .csv, .tsv, .jsonl or .parquet."
    ),
    options=BATCH_OPTIONS,
    examples=(
        ('%claude_batch ["Name a river.", "Name a lake."]', "each item is a prompt"),
        ("%%claude_batch reviews into=labels model=haiku", "above a prompt with {{ text }}: once for each row"),
        ("%%claude_batch reviews.csv --dry-run", "shows how many rows there are and what they may cost"),
        ("%%claude_batch reviews.csv --dry-run count=estimate", "the same, and no row leaves this machine"),
    ),
    page="how-to/batches.md",
)


async def batch(
    session: NotebookSession, line: str, cell: Optional[str], local_names: Mapping[str, Any]
) -> Union[BatchOutcome, BackgroundRun, None]:
    """Run ``%%claude_batch``, whose cell is the template, or ``%claude_batch``, which has no cell.

    Returns
    -------
    BatchResult, BatchSummary, BackgroundRun or None
        A summary if the rows go to a file; a run with ``--background``; None for ``--help`` and ``--dry-run``, which send nothing.

    Raises
    ------
    ClaudeForceError
        With a message of one line; see `errors`.
    RunInterrupted
        On Stop.
    """
    invocation = parse_batch_line(line)
    options = dict(invocation.options)
    if options.pop("help", False):
        session.front_end.show(REFERENCE.bundle())
        return None
    template = _template(cell)
    background = options.pop("background", False)
    if background and not session.front_end.in_kernel:
        raise OptionError("--background needs a notebook: in a terminal nothing runs between two inputs; leave it out")
    live = take_option(options, "live", session.settings)
    dry_run = options.pop("dry-run", False)
    if not dry_run and "count" in options:
        raise OptionError("count= says how a dry run counts tokens: give it with --dry-run; nothing was sent")
    count = options.pop("count", "api")
    path, into = _target(options.pop("into", None))
    check_target(into, session.front_end.names)
    if path is None and "trust_file" in options:
        raise OptionError("--trust_file needs into= with the name of a file; nothing was sent")
    expression = invocation.rest
    source, client = await _open(session, expression, options, local_names, keep=path is None)
    arguments = await _arguments(session, source, template, options, local_names)
    orchestrator = session.orchestrator
    orchestrator.resize(max(orchestrator.max_concurrent, arguments["max_concurrent"]))
    if dry_run:
        if source.is_once and expression.isidentifier():
            raise SourceError(f"a dry run would use up {source.name}; make a list of it first")
        session.front_end.show(await preview_batch(orchestrator, source, arguments, count=count))
        return None
    parts = frame_parts(arguments.get("schema"))
    # Rows that are written to a file, or sent in message batches, are handled by this process instead of the cluster.
    in_cells = client is not None and path is None and arguments.get("via", "api") == "api"
    cluster = ClusterRoute(client, session, orchestrator) if in_cells else None
    plan = Plan(orchestrator, source, arguments, into, parts, path, live, session.server_note, cluster)
    run = BatchRun(session.front_end, plan, background=background)
    if not background:
        return await run.foreground()
    background_run = BackgroundRun(run)
    session.background.add(background_run)
    session.front_end.mark_shown(background_run)
    return background_run


def _template(cell: Optional[str]) -> Optional[str]:
    template = None if cell is None else cell.strip("\n")
    if template is not None and not template.strip():
        raise EmptyPromptError("the prompt is empty; write it below the %%claude_batch line; nothing was sent")
    return template


def _target(into: Optional[str]) -> Tuple[Optional[str], Optional[str]]:
    """Return the file and the variable that ``into=`` names; at most one of them is set."""
    return (into, None) if into is not None and is_path(into) else (None, into)


async def _open(
    session: NotebookSession, expression: str, options: Dict[str, Any], local_names: Mapping[str, Any], *, keep: bool
) -> Tuple[Source, Any]:
    """Open the source; return it with the client of the Dask cluster that holds its rows, or None.

    The options about rows are removed from `options`.
    """
    name = expression if len(expression) <= _NAME_CHARACTERS else expression[: _NAME_CHARACTERS - 1] + "…"
    names = ChainMap(dict(local_names), session.front_end.names)
    async with ending_on_stop("the source was still being prepared; nothing was sent"):
        value = evaluate_source(expression, names)
    client = find_cluster(value)
    if client is not None:
        value = await fetch_rows(client, value)
    async with ending_on_stop("the source was still being prepared; nothing was sent"):
        source = open_source(
            value,
            name=name,
            column=options.pop("column", None),
            limit=options.pop("limit", None),
            keep=keep,
        )
    source.take_options_from(
        agent_column=options.pop("agent_column", None), model_column=options.pop("model_column", None)
    )
    return source, client


async def _arguments(
    session: NotebookSession,
    source: Source,
    template: Optional[str],
    options: Dict[str, Any],
    local_names: Mapping[str, Any],
) -> Dict[str, Any]:
    """Return the arguments of `AsyncAgentOrchestrator.run_stream`, after checking the first row with them."""
    settings = session.settings
    width = take_option(options, "max_concurrent", settings)
    of_the_run: Tuple[str, ...] = ("via", "trust_file")
    route = {name: options.pop(name) for name in of_the_run if name in options}
    # Without a template the items are the prompts. They are sent as they are: data is never taken for a template.
    call = call_arguments(
        {**options, "raw": template is None},
        settings,
        local_names,
        session.front_end.names,
        further=session.recent_cells.as_of_now(),
    )
    async with ending_on_stop("the first row was still being prepared; nothing was sent"):
        source.check(template, call.get("variables"))
        for name in (each for each in source.shadowed if each in local_names or each in session.front_end.names):
            where = f"{name} in {{{{ }}}} is a column of {source.name}"
            warn(f"{where}; the notebook's variable of that name is not used", ClaudeForceWarning)
        hide_columns(call, source.shadowed)
        if source.is_empty():
            raise SourceError(f"{source.name} is empty; nothing was sent")
    cell = session.front_end.cell_id()
    return {**route, **call, "template": template, "max_concurrent": width, "cell": cell}
