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
    """Return the answer to a prompt, and wait for it.

    Parameters
    ----------
    prompt : str
    orchestrator : AsyncAgentOrchestrator, optional
        One with the defaults and the environment of the first call by default, which all calls share.
    **options
        Of `AsyncAgentOrchestrator.run`.

    Raises
    ------
    ClaudeForceError
        As `AsyncAgentOrchestrator.run` does.
    """
    asked = orchestrator or _default()
    return _thread.run(lambda: asked.run(prompt, **options))


def ask_many(prompts: Any, *, orchestrator: Optional[AsyncAgentOrchestrator] = None, **options: Any) -> BatchResult:
    """Return the answers for every row of a source, and wait for all of them.

    Parameters
    ----------
    prompts : object
        A list, a table, a file, as for `AsyncAgentOrchestrator.run_many`.
    orchestrator : AsyncAgentOrchestrator, optional
        See `ask`.
    **options
        Of `AsyncAgentOrchestrator.run_many`.

    Raises
    ------
    ClaudeForceError
        As `AsyncAgentOrchestrator.run_many` does.
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
