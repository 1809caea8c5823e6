"""The state that the parts of a server share: counters, limits, faults, caches and the log."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Callable, Deque, Dict, Mapping, Set, Tuple

from .counters import CounterBook
from .diagnostics import PromptRecords
from .faults import FaultScript
from .limits import RateLimits
from .models import ModelTable
from .options import SimulatorOptions
from .prices import TokenUsage
from .prompt_cache import CacheUse, PromptCache
from .validation import CheckedRequest, Validator

__all__ = ["ServerState"]


class ServerState:
    """The state of one server, changed only on its event loop.

    Parameters
    ----------
    options : SimulatorOptions
    clock : callable
        Returns seconds, for the prompt cache.
    """

    def __init__(self, options: SimulatorOptions, clock: Callable[[], float]) -> None:
        self.options = options
        self.book = CounterBook(grace_seconds=options.retry_after_grace_seconds)
        self.faults = FaultScript()
        self.limits = RateLimits(options)
        self.models = ModelTable(options.extra_models, accept_any=options.accept_any_model)
        self.validator = Validator(self.models, context_window=options.context_window, new_account=options.new_account)
        self.prompt_cache = PromptCache()
        self.prompts = PromptRecords()
        self.log: Deque[Tuple[str, str, Mapping[str, str], Any, str]] = deque(maxlen=options.log_size)
        # Connection -> future of the call that waits on it: True lets the call continue, False means that the client has
        # disconnected or the server is stopping.
        self.waiters: Dict[Any, asyncio.Future[bool]] = {}
        # The futures of calls that a fault delays.
        self.slowed: Set[asyncio.Future[bool]] = set()
        self.stopping = False
        self.port = 0
        # "localhost" may resolve to two addresses, for which port 0 would pick two different ports.
        self.host = "127.0.0.1" if options.host == "localhost" else options.host
        self._clock = clock
        self._ids = 0

    @property
    def url(self) -> str:
        """Base URL for clients."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def next_id(self, prefix: str) -> str:
        """Return a new id, such as ``req_sim000000000000000001``."""
        self._ids += 1
        return f"{prefix}_sim{self._ids:018d}"

    def look_up(self, checked: CheckedRequest) -> CacheUse:
        """Return the prompt cache's part in a request; it has none in a request without breakpoints."""
        if checked.cache is None:
            return CacheUse(TokenUsage(checked.input_tokens), [], 0.0)
        return self.prompt_cache.look_up(checked.cache, checked.model, self._clock())

    def heal(self) -> None:
        """Forget all scripted faults; calls that one of them makes late are answered now."""
        self.faults.clear()
        for waiter in self.slowed:
            if not waiter.done():
                waiter.set_result(True)

    def reset(self) -> None:
        """Forget faults, counters, log, prompt cache and the use of the rate limits."""
        self.heal()
        self.book.reset()
        self.limits.reset()
        self.prompt_cache.reset()
        self.prompts.reset()
        self.log.clear()
