"""Claude as a first-class part of a notebook you can run again.

``%load_ext claude_force_nb`` gives the magics; the names below are for Python. Each is imported when it is first used, so
that loading the extension costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .agents import Agent as Agent
    from .agents import AgentLibrary as AgentLibrary
    from .cache import CacheStats as CacheStats
    from .cache import ResponseCache as ResponseCache
    from .data.values import file as file
    from .errors import ApiError as ApiError
    from .errors import ClaudeForceError as ClaudeForceError
    from .events import Event as Event
    from .memory import Memory as Memory
    from .orchestrator import AsyncAgentOrchestrator as AsyncAgentOrchestrator
    from .request import ClaudeRequest as ClaudeRequest
    from .result import BatchResult as BatchResult
    from .result import BatchSummary as BatchSummary
    from .result import ClaudeResult as ClaudeResult
    from .result import Usage as Usage

_ROOMS = {
    "Agent": "agents",
    "AgentLibrary": "agents",
    "ApiError": "errors",
    "AsyncAgentOrchestrator": "orchestrator",
    "BatchResult": "result",
    "BatchSummary": "result",
    "CacheStats": "cache",
    "ClaudeForceError": "errors",
    "ClaudeRequest": "request",
    "ClaudeResult": "result",
    "Event": "events",
    "Memory": "memory",
    "ResponseCache": "cache",
    "Usage": "result",
    "file": "data.values",
}
__all__ = [*sorted(_ROOMS), "load_ipython_extension", "unload_ipython_extension"]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
    from importlib import import_module

    value = getattr(import_module("." + _ROOMS[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Called by ``%load_ext claude_force_nb``."""
    from .notebook.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Called by ``%unload_ext claude_force_nb``."""
    from .notebook.magics import unload

    unload(shell)
