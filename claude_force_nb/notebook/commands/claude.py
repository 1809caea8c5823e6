"""%claude and %%claude: one question and its answer."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, replace
from typing import Any, Dict, Mapping, Optional, Union

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.calls.status import CallStatus
from claude_force_nb.costs.bounds import price_bound
from claude_force_nb.costs.days import today
from claude_force_nb.errors import EmptyPromptError, RunInterrupted, SchemaError, StoppedError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.notebook.display.preview import Preview, make_preview, repair_note, secrets_of
from claude_force_nb.notebook.display.screen import Screen, follow, make_screen
from claude_force_nb.notebook.kernel.stopping import interruptible
from claude_force_nb.notebook.kernel.updates import Live
from claude_force_nb.notebook.options.line import parse_line
from claude_force_nb.notebook.options.names import check_target
from claude_force_nb.notebook.options.table import LINE_OPTIONS
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.vocabulary import counted

from .call_arguments import call_arguments, memory_arguments, take_option
from .next_cell import put_code_below
from .reference import Reference

__all__ = ["REFERENCE", "ask"]

REFERENCE = Reference(
    magic="%%claude",
    summary="Asks Claude; options are key=value or --key value. The answer is the value of the cell.",
    options=LINE_OPTIONS,
    examples=(
        ("%claude Why is the sky blue?", "one line"),
        ("%%claude model=haiku into=review", "above a prompt; the answer is in the variable review"),
        ("%%claude agent=reviewer --dry-run", "shows what would be sent, and sends nothing"),
    ),
    page="how-to/ask.md",
)


async def ask(
    session: NotebookSession, line: str, cell: Optional[str], local_names: Mapping[str, Any]
) -> Union[ClaudeResult, Preview, None]:
    """Run ``%%claude``, which has a cell, or ``%claude``, which has none.

    Parameters
    ----------
    session : NotebookSession
    line : str
        The text after the magic's name.
    cell : str or None
        Body of the cell; None for the line form, whose prompt follows the options.
    local_names : mapping
        Names of the calling function, which take precedence over those of the notebook.

    Returns
    -------
    ClaudeResult, Preview or None
        A preview for ``--dry-run``, None for ``--help``, which both send nothing.

    Raises
    ------
    ClaudeForceError
        With a message of one line; see `errors`.
    RunInterrupted
        On Stop.
    """
    invocation = parse_line(line, free_text=cell is None)
    options = dict(invocation.options)
    if options.pop("help", False):
        session.front_end.show(REFERENCE.bundle())
        return None
    prompt = _prompt(invocation.rest, cell)
    into = options.pop("into", None)
    check_target(into, session.front_end.names)
    as_code = options.pop("as", None) == "code"
    dry_run = options.pop("dry-run", False)
    stream = take_option(options, "stream", session.settings)
    live = session.front_end.live(take_option(options, "live", session.settings))
    memory = take_option(options, "memory", session.settings)
    turn = session.front_end.cell_run()
    call = call_arguments(options, session.settings, local_names, session.front_end.names, further=session.recent_cells)
    call.update(memory_arguments(memory, session.settings.value("memory_tokens"), turn))
    if dry_run:
        return _preview(session, prompt, call)
    return await _Question(session, session.orchestrator, prompt, call, stream, live, into, as_code).run()


def _prompt(rest: str, cell: Optional[str]) -> str:
    prompt = rest if cell is None else cell.strip("\n")
    if not prompt.strip():
        where = "after the options" if cell is None else "below the %%claude line"
        raise EmptyPromptError(f"the prompt is empty; write it {where}; nothing was sent")
    return prompt


def _preview(session: NotebookSession, prompt: str, call: Mapping[str, Any]) -> Preview:
    session.previewed()
    preview = preview_call(session.orchestrator, prompt, call)
    session.front_end.show(preview.bundle())
    session.front_end.mark_shown(preview)
    return preview


def preview_call(orchestrator: AsyncAgentOrchestrator, prompt: str, call: Mapping[str, Any]) -> Preview:
    """Return the preview for ``--dry-run``: the request as it would be sent, its maximum cost, whether it is cached.

    Parameters
    ----------
    orchestrator : AsyncAgentOrchestrator
    prompt : str
    call : mapping
        Arguments of `AsyncAgentOrchestrator.run`.
    """
    options = CallOptions.of(call)
    request = orchestrator.request(prompt, **call)
    notes = [*request.notices, *request.adjustments]
    if options.use_memory:
        look = orchestrator.memory.look
        notes.append(str(look(options.conversation, options.turn, limit_tokens=options.memory_tokens)))
    if options.schema is not None:
        notes.append(repair_note(request, orchestrator.prices, on=today()))
    recorded = orchestrator.answers
    cached: Optional[bool] = recorded is not None and recorded.answers(request, reads_cache=options.reads_cache)
    if not cached and (recorded is None or not recorded.frozen):
        cache = None if options.cache == "off" else orchestrator.cache
        cached = None if cache is None else cache.get(request, counted=False) is not None
    return make_preview(
        request,
        most=price_bound(request, orchestrator.prices, on=today()),
        cached=cached,
        secrets=secrets_of(os.environ),
        notes=notes,
    )


@dataclass
class _Question:
    """One prompt in progress, and its display."""

    session: NotebookSession
    orchestrator: AsyncAgentOrchestrator
    prompt: str
    call: Dict[str, Any]
    stream: bool
    live: Live
    into: Optional[str]
    as_code: bool

    def __post_init__(self) -> None:
        self._partial = PartialAnswer() if self.stream else None
        self._status = CallStatus()
        self._screen: Screen = make_screen(self.live, in_kernel=self.session.front_end.in_kernel)

    async def run(self) -> ClaudeResult:
        """Send the prompt, and show the answer as it arrives; ``into=`` receives the result, even a failed one."""
        try:
            result = await interruptible(self._work(), self._describe)
        except (RunInterrupted, StoppedError) as interruption:
            self._screen.leave(self._partial)
            self._keep(self._stopped(interruption))
            raise
        except SchemaError as error:
            if self.stream and error.result is not None:
                self._screen.finish(replace(error.result, error=None))  # the error below the cell says what is wrong
            self._keep(error.result)
            raise
        except BaseException:
            self._screen.leave(self._partial)
            raise
        finally:
            if self.orchestrator.ledger is not None:
                self.orchestrator.ledger.flush()
        notes = [result.notice, self.session.server_note(self.orchestrator.transport.base_url, asked=not result.cached)]
        if self.as_code and not put_code_below(self.session.front_end.shell, result.code):
            notes.append("no code in the answer")
        notice = " · ".join(filter(None, notes))
        if notice != result.notice:
            result = replace(result, notice=notice)
        if self.stream:
            self._screen.finish(result)
            self.session.front_end.mark_shown(result)
        else:
            self._screen.leave()
        self._keep(result)
        return result

    async def _work(self) -> ClaudeResult:
        follower = asyncio.get_running_loop().create_task(
            follow(self._screen, self._partial, self._status.state, time.monotonic)
        )
        try:
            cell = self.session.front_end.cell_id()
            return await self.orchestrator.run(
                self.prompt, partial=self._partial, cell=cell, status=self._status, **self.call
            )
        finally:
            follower.cancel()

    def _describe(self) -> str:
        count = 0 if self._partial is None else len(self._partial.text)
        so_far = f"after {counted(count, 'character')} of the answer" if count else "before any answer arrived"
        return f"stopped {so_far}; run again to ask again"

    def _stopped(self, error: BaseException) -> ClaudeResult:
        """Return the result of a stopped call, with the partial answer. A call that was sent may be billed."""
        text = "" if self._partial is None else self._partial.text
        if not self._status.attempts:
            return ClaudeResult(text=text, status="not_sent", error=error)
        return ClaudeResult(text=text, status="stopped", error=error, cost=None, attempts=self._status.attempts)

    def _keep(self, result: Optional[ClaudeResult]) -> None:
        if self.into:
            self.session.front_end.names[self.into] = result
