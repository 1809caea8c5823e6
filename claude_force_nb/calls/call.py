"""One request in progress, with everything that belongs to it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import AsyncIterator, Callable, Optional

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.costs.budget import Budget
from claude_force_nb.messages.request import ClaudeRequest

from .options import CallOptions
from .prompt_cache import PromptCacheGate
from .status import CallStatus

__all__ = ["Call", "prompt_cache_turn", "take_mark"]


class Call:
    """One request in progress.

    Parameters
    ----------
    request : ClaudeRequest
        The request; replaced by the repair request if a schema's answer is repaired.
    options : CallOptions
    budget : Budget, optional
        The run's budget, in addition to the orchestrator's.
    partial : PartialAnswer, optional
        If given, the answer is streamed into it.
    cell : str, optional
        Cell id for the ledger.
    status : CallStatus, optional
        If given, it says at any moment what the call is waiting for.
    on_arrival : callable, optional
        Called when the answer has arrived and only needs to be recorded.
    gate : PromptCacheGate, optional
        The run's gate, for requests that are marked for the prompt cache.
    is_cell : bool
        True if the time limit starts with the call and includes repairs for a schema. Otherwise it starts when a
        request is first sent.

    Attributes
    ----------
    ends_at : float or None
        Deadline in monotonic seconds, once the time limit has started.
    """

    __slots__ = (
        "budget",
        "cell",
        "ends_at",
        "gate",
        "is_cell",
        "on_arrival",
        "options",
        "partial",
        "request",
        "status",
    )

    def __init__(
        self,
        request: ClaudeRequest,
        options: CallOptions,
        *,
        budget: Optional[Budget] = None,
        partial: Optional[PartialAnswer] = None,
        cell: Optional[str] = None,
        status: Optional[CallStatus] = None,
        on_arrival: Optional[Callable[[], None]] = None,
        gate: Optional[PromptCacheGate] = None,
        is_cell: bool = False,
    ) -> None:
        self.request = request
        self.options = options
        self.budget = budget
        self.partial = partial
        self.cell = cell
        self.status = status or CallStatus()
        self.on_arrival = on_arrival
        self.gate = gate
        self.is_cell = is_cell
        self.ends_at: Optional[float] = None
        self.status.partial = partial


def take_mark(call: Call) -> None:
    """Give the request the prompt cache mark that its gate chooses now; call this before reserving, as it affects the cost."""
    if call.gate is not None and call.request.cache_mark is not None:
        call.request = call.request.marked(call.gate.choose(call.request.cache_mark))


@asynccontextmanager
async def prompt_cache_turn(call: Call) -> AsyncIterator[Optional[PartialAnswer]]:
    """Wait until a marked request may be sent, and report its outcome to the gate; yield the object to stream the answer into."""
    gate, mark = call.gate, call.request.cache_mark
    if gate is None or mark is None:
        yield call.partial
        return
    call.status.enter("prompt_cache")
    write = await gate.enter(mark)
    left = gate.now()
    partial = call.partial
    if write is not None:  # stream the answer, to notice when it begins
        partial = partial or PartialAnswer()
        partial.tell_begin(write.begin)
    try:
        yield partial
        gate.keep(mark, left, read=write is None)
    finally:
        if write is not None:
            write.end()
