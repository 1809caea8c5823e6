"""%%claude_compare: sends a prompt, or one for each row of a source, to several models, agents and samples."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from claude_force_nb.calls.status import CallStatus
from claude_force_nb.costs.budget import Budget
from claude_force_nb.errors import ApiError, BudgetExceededError, EmptyPromptError, OptionError, SchemaError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.batch_comparison import BatchComparison
from claude_force_nb.notebook.display.comparison import ComparedAnswer, Comparison
from claude_force_nb.notebook.kernel.stopping import interruptible
from claude_force_nb.notebook.options.batch_line import is_path, parse_batch_line
from claude_force_nb.notebook.options.names import check_target
from claude_force_nb.notebook.options.of_magics import COMPARE_OPTIONS, ROW_OPTIONS
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.orchestrator import AsyncAgentOrchestrator

from .call_arguments import call_arguments, how_to_continue
from .compare_batch import compare_rows
from .reference import Reference

__all__ = ["REFERENCE", "compare"]

_MOST_ANSWERS = 100
REFERENCE = Reference(
    magic="%%claude_compare",
    summary=(
        "Sends one prompt to several models and agents, and shows the answers side by side; the cell's value is a Comparison. "
        "With a SOURCE of rows, as of %%claude_batch, it says how far the columns of answers agree."
    ),
    options=COMPARE_OPTIONS,
    examples=(
        ("%%claude_compare models=haiku,sonnet", "above a prompt"),
        (
            "%%claude_compare models=haiku agents=reviewer,tester samples=2 into=grid",
            "grid.to_frame() has a row for each",
        ),
        ("%%claude_compare reviews models=haiku,sonnet", "above a prompt with {{ text }}: once for each row and model"),
    ),
    page="how-to/compare.md",
)


async def compare(
    session: NotebookSession, line: str, cell: Optional[str], local_names: Mapping[str, Any]
) -> Union[Comparison, BatchComparison, None]:
    """Send the prompts, and return the answers ordered by model, agent and sample, failed ones with their error.

    Returns
    -------
    Comparison, BatchComparison or None
        A `BatchComparison` if the line names a source of rows; None for ``--help``.

    Raises
    ------
    ClaudeForceError
        With a message of one line; nothing was sent if one of the requests cannot be made.
    RunInterrupted
        On Stop; the answers received so far are in the cache.
    """
    invocation = parse_batch_line(line, allowed=COMPARE_OPTIONS)
    options, source = dict(invocation.options), invocation.rest
    if options.pop("help", False):
        session.front_end.show(REFERENCE.bundle())
        return None
    prompt = (cell or "").strip("\n")
    if not prompt.strip() and (cell is not None or not source):
        raise EmptyPromptError("the prompt is empty; write it below the %%claude_compare line; nothing was sent")
    into = options.pop("into", None)
    if into is not None and is_path(into):
        raise OptionError(f"into= of a comparison is a variable, not the file {into}; nothing was sent")
    check_target(into, session.front_end.names)
    places = _places(options)
    if "budget" in options:
        # All answers of the cell share one budget.
        free = session.settings.value("allow_unknown_price")
        options["budget"] = Budget(options["budget"], allow_unknown_price=free)
    made: Union[Comparison, BatchComparison]
    if source:
        if options.pop("raw", False):
            raise OptionError("--raw is for a prompt without rows; leave it out; nothing was sent")
        made = await compare_rows(session, source, prompt or None, options, places, local_names)
    else:
        made = await _compare_prompt(session, prompt, options, places, local_names)
    session.front_end.mark_shown(made)
    if into:
        session.front_end.names[into] = made
    return made


def _places(options: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Remove models, agents and samples from the options; return the model, agent and sample of each answer."""
    models, agents = _names(options.pop("models", None)), _names(options.pop("agents", None))
    samples = options.pop("samples", 1)
    places = [
        {name: value for name, value in (("model", model), ("agent", agent), ("sample", sample)) if value is not None}
        for model in models
        for agent in agents
        for sample in range(1, samples + 1)
    ]
    if not 1 <= len(places) <= _MOST_ANSWERS:
        raise OptionError(f"a comparison has 1 to {_MOST_ANSWERS} answers, not {len(places)}; nothing was sent")
    return places


async def _compare_prompt(
    session: NotebookSession,
    prompt: str,
    options: Mapping[str, Any],
    places: Sequence[Mapping[str, Any]],
    local_names: Mapping[str, Any],
) -> Comparison:
    for name in ROW_OPTIONS:
        if name in options:
            raise OptionError(
                f"{name}= is for rows: name their source, as in %%claude_compare reviews; nothing was sent"
            )
    names = session.front_end.names
    calls = [call_arguments({**options, **place}, session.settings, local_names, names) for place in places]
    orchestrator = session.orchestrator
    for call in calls:
        orchestrator.request(prompt, **call)
    began = time.monotonic()

    def stopped() -> str:
        usual = "the answers received so far are in the cache; run again for the rest"
        return f"stopped after {time.monotonic() - began:.0f} s; {how_to_continue(calls[0], usual)}"

    try:
        results = await interruptible(_ask_all(orchestrator, prompt, calls, session.front_end.cell_id()), stopped)
    finally:
        if orchestrator.ledger is not None:
            orchestrator.ledger.flush()
    answers = tuple(
        ComparedAnswer(place.get("model"), place.get("agent"), place["sample"], result)
        for place, result in zip(places, results)
    )
    asked = any(result.answered and not result.cached for result in results)
    made = Comparison(answers, session.server_note(orchestrator.transport.base_url, asked=asked))
    session.front_end.show(made.bundle())
    return made


def _names(text: Optional[str]) -> Sequence[Optional[str]]:
    """Return the names of a comma-separated list; if it is not given, a single None for the default."""
    if text is None:
        return (None,)
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise OptionError(f"names must be separated by commas, each given once, not {text!r}; nothing was sent")
    return names


async def _ask_all(
    orchestrator: AsyncAgentOrchestrator, prompt: str, calls: Sequence[Mapping[str, Any]], cell: Optional[str]
) -> List[ClaudeResult]:
    async def ask(call: Mapping[str, Any]) -> ClaudeResult:
        status = CallStatus()
        try:
            return await orchestrator.run(prompt, cell=cell, status=status, **call)
        except SchemaError as error:
            return error.result if error.result is not None else _failed(call, error, "failed")
        except ApiError as error:
            return _failed(call, error, "failed")
        except BudgetExceededError as error:
            return _failed(call, error, "not_sent")

    tasks = [asyncio.ensure_future(ask(call)) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _failed(call: Mapping[str, Any], error: Exception, status: str) -> ClaudeResult:
    # A failed call was sent and may have been billed.
    cost = None if status == "failed" else Decimal(0)
    return ClaudeResult(model=call.get("model") or "", agent=call.get("agent"), status=status, error=error, cost=cost)
