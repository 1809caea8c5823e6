"""What ``%claude_batch`` and ``%%claude_batch`` do: parse, check everything, then run in the cell or in the background."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Union

from claude_force_nb.errors import EmptyPromptError, OptionError, SourceError
from claude_force_nb.notebook.display.batch_preview import preview_batch
from claude_force_nb.notebook.display.render import table_bundle
from claude_force_nb.notebook.magics.awaiting import ending_on_stop
from claude_force_nb.notebook.options.batch_line import evaluate_source, is_path, parse_batch_line
from claude_force_nb.notebook.options.table import BATCH_OPTIONS, help_rows
from claude_force_nb.rows.results import frame_parts
from claude_force_nb.rows.sources import open_source

from .background import BackgroundRun, BatchOutcome, BatchRun, Plan

if TYPE_CHECKING:
    from claude_force_nb.notebook.session import NotebookSession

__all__ = ["batch_help", "run_batch"]

_NAME_CHARACTERS = 40


def batch_help() -> Dict[str, str]:
    """Return the reference of the magics."""
    footer = (
        "%claude_batch SOURCE asks for every item of SOURCE; %%claude_batch SOURCE fills the prompt below it in for every row. "
        "SOURCE is an expression, or a path to .txt, .csv or .jsonl."
    )
    return table_bundle(("option", "meaning", "takes"), help_rows(BATCH_OPTIONS), footer=footer)


async def run_batch(
    session: NotebookSession, line: str, cell: Optional[str], local_names: Mapping[str, Any]
) -> Union[BatchOutcome, BackgroundRun, None]:
    """Do what ``%%claude_batch`` (with a cell, the template) and ``%claude_batch`` (without) do.

    Returns
    -------
    BatchResult, BatchSummary, BackgroundRun or None
        Sums where the rows go to a file; a job with ``--background``; None for ``--help`` and ``--dry-run``, which send nothing.

    Raises
    ------
    ClaudeForceError
        One line; see `errors`.
    RunInterrupted
        On Stop.
    """
    invocation = parse_batch_line(line)
    options = dict(invocation.options)
    if options.pop("help", False):
        session.show_bundle(batch_help())
        return None
    template = None if cell is None else cell.strip("\n")
    if template is not None and not template.strip():
        raise EmptyPromptError("the prompt is empty; write it below the %%claude_batch line; nothing was sent")
    names = ChainMap(dict(local_names), session.shell.user_ns)
    background = options.pop("background", False)
    if background and not session.in_kernel:
        raise OptionError("--background needs a notebook: in a terminal nothing runs between two inputs; leave it out")
    dry_run = options.pop("dry-run", False)
    into = options.pop("into", None)
    path, into = (into, None) if into is not None and is_path(into) else (None, into)
    expression = invocation.rest
    name = expression if len(expression) <= _NAME_CHARACTERS else expression[: _NAME_CHARACTERS - 1] + "…"
    async with ending_on_stop("the source was still being made; nothing was sent"):
        source = open_source(
            evaluate_source(expression, names),
            name=name,
            column=options.pop("column", None),
            limit=options.pop("limit", None),
            keep=path is None,
        )
    arguments: Dict[str, Any] = {name: options.pop(name) for name in ("via",) if name in options}
    width = options.pop("max_concurrent", None)
    width = session.settings.value("max_concurrent") if width is None else width
    # An item that is a prompt is sent as it is: data is never a template.
    call = session.call_options({**options, "raw": template is None}, local_names)
    async with ending_on_stop("the first row was still being made; nothing was sent"):
        source.check(template, call.get("variables"))
        if source.is_empty():
            raise SourceError(f"{name} is empty; nothing was sent")
    orchestrator = session.orchestrator
    orchestrator.widen(width)
    arguments.update(call, template=template, max_concurrent=width, cell=session.cell_id())
    if dry_run:
        if source.is_once and expression.isidentifier():
            raise SourceError(f"a dry run would use up {name}; make a list of it first")
        session.show_bundle(await preview_batch(orchestrator, source, arguments))
        return None
    run = BatchRun(
        session,
        Plan(orchestrator, source, arguments, into, frame_parts(call.get("schema")), path),
        background=background,
    )
    if background:
        job = BackgroundRun(run)
        session.jobs.add(job)
        session.mark_shown(job)
        return job
    return await run.foreground()
