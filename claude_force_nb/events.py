"""What an orchestrator tells while it works. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .result import ClaudeResult

__all__ = ["Event"]


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
