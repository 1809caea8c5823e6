"""What an orchestrator tells while it works. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Callable, Optional

from .request import ClaudeRequest
from .result import ClaudeResult

__all__ = ["Event", "Teller"]

logger = logging.getLogger("claude_force_nb")


@dataclass(frozen=True)
class Event:
    """One step of one request.

    Attributes
    ----------
    kind : str
        ``queued``, ``hit``, ``sent``, ``retry``, ``paused``, ``done`` or ``failed``.
    fingerprint : str
        Of the request.
    model : str
        Full name.
    at_seconds : float
        Monotonic clock.
    attempt : int
        Calls sent so far for this request.
    delay_seconds : float
        For ``retry`` and ``paused``: how long until the next try.
    error : Exception or None
        For ``retry`` and ``failed``.
    result : ClaudeResult or None
        For ``hit`` and ``done``.
    """

    kind: str
    fingerprint: str
    model: str
    at_seconds: float
    attempt: int = 0
    delay_seconds: float = 0.0
    error: Optional[BaseException] = None
    result: Optional[ClaudeResult] = None


class Teller:
    """Tells events to whoever listens; what a listener raises is logged and stops nothing.

    Parameters
    ----------
    clock : callable
        Gives monotonic seconds.
    listener : callable, optional
        Takes each `Event`.
    """

    def __init__(self, clock: Callable[[], float], listener: Optional[Callable[[Event], None]] = None) -> None:
        self._clock = clock
        self.listener = listener

    def emit(
        self,
        kind: str,
        request: ClaudeRequest,
        *,
        attempt: int = 0,
        delay: float = 0.0,
        error: Optional[BaseException] = None,
        result: Optional[ClaudeResult] = None,
    ) -> None:
        """Make an event of one step and tell it; costs nothing where nobody listens."""
        if self.listener is None:
            return
        event = Event(kind, request.fingerprint, request.model, self._clock(), attempt, delay, error, result)
        try:
            self.listener(event)
        except Exception:
            logger.exception("on_event failed")
