"""Claude as a first-class part of a notebook you can run again.

``%load_ext claude_force_nb`` provides the magics; the names below are for Python. Each is imported on first use, so
that loading the extension costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Mapping

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .agents import Agent as Agent
    from .agents import AgentLibrary as AgentLibrary
    from .answers import AnswerFile as AnswerFile
    from .blocking import ask as ask
    from .blocking import ask_many as ask_many
    from .cache import CacheStats as CacheStats
    from .cache import ResponseCache as ResponseCache
    from .calls.events import Event as Event
    from .errors import ApiError as ApiError
    from .errors import ClaudeForceError as ClaudeForceError
    from .memory.conversations import Memory as Memory
    from .messages.request import ClaudeRequest as ClaudeRequest
    from .messages.result import ClaudeResult as ClaudeResult
    from .messages.usage import Usage as Usage
    from .orchestrator import AsyncAgentOrchestrator as AsyncAgentOrchestrator
    from .prompts.values import file as file
    from .rows.results import BatchResult as BatchResult
    from .rows.results import BatchSummary as BatchSummary

_LAZY_EXPORTS = {
    "Agent": "agents",
    "AgentLibrary": "agents",
    "AnswerFile": "answers",
    "ApiError": "errors",
    "AsyncAgentOrchestrator": "orchestrator",
    "BatchResult": "rows.results",
    "BatchSummary": "rows.results",
    "CacheStats": "cache",
    "ClaudeForceError": "errors",
    "ClaudeRequest": "messages.request",
    "ClaudeResult": "messages.result",
    "Event": "calls.events",
    "Memory": "memory.conversations",
    "ResponseCache": "cache",
    "Usage": "messages.usage",
    "ask": "blocking",
    "ask_many": "blocking",
    "file": "prompts.values",
}
__all__ = [*sorted(_LAZY_EXPORTS), "load_ipython_extension", "unload_ipython_extension"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY_EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module("." + _LAZY_EXPORTS[name], __name__), name)
    globals()[name] = value
    import_module(".messages.shown", __name__).set_renderer(_render)
    return value


def _render(value: object) -> Mapping[str, str]:
    """Render a value for notebooks. This is here because only the package itself may import every room."""
    from .notebook.display.batch_results import bundle_of

    return bundle_of(value)


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Called by ``%load_ext claude_force_nb``."""
    from .notebook.magics.extension import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Called by ``%unload_ext claude_force_nb``."""
    from .notebook.magics.extension import unload

    unload(shell)
