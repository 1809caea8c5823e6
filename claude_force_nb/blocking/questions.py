"""`ask` and `ask_many`: `AsyncAgentOrchestrator` for callers that cannot await."""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any, Optional

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.results import BatchResult

from .loop_thread import LoopThread

__all__ = ["ask", "ask_many"]

_thread = LoopThread()
_lock = threading.Lock()
_orchestrator: Optional[AsyncAgentOrchestrator] = None
_process = 0


def ask(prompt: str, *, orchestrator: Optional[AsyncAgentOrchestrator] = None, **options: Any) -> ClaudeResult:
    """Send a prompt, wait for the answer and return it.

    Parameters
    ----------
    prompt : str
    orchestrator : AsyncAgentOrchestrator, optional
        By default, one that all calls share, created with the defaults and the environment of the first call.
    **options
        Options of `AsyncAgentOrchestrator.run`.

    Raises
    ------
    ClaudeForceError
        Like `AsyncAgentOrchestrator.run`.
    """
    asked = orchestrator or _default()
    return _thread.run(lambda: asked.run(prompt, **options))


def ask_many(prompts: Any, *, orchestrator: Optional[AsyncAgentOrchestrator] = None, **options: Any) -> BatchResult:
    """Answer every row of a source, wait for all answers and return them.

    Parameters
    ----------
    prompts : object
        A list, a table or a file, as for `AsyncAgentOrchestrator.run_many`.
    orchestrator : AsyncAgentOrchestrator, optional
        See `ask`.
    **options
        Options of `AsyncAgentOrchestrator.run_many`.

    Raises
    ------
    ClaudeForceError
        Like `AsyncAgentOrchestrator.run_many`.
    """
    asked = orchestrator or _default()
    return _thread.run(lambda: asked.run_many(prompts, **options))


def _default() -> AsyncAgentOrchestrator:
    global _orchestrator, _process
    with _lock:
        if _orchestrator is None or _process != os.getpid():
            _orchestrator, _process = AsyncAgentOrchestrator(), os.getpid()
            atexit.register(_close, _orchestrator, _process)
        return _orchestrator


def _close(orchestrator: AsyncAgentOrchestrator, process: int) -> None:
    if process == os.getpid():
        _thread.run(orchestrator.close)
