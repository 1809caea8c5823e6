"""What an orchestrator tells while it works. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from threading import Lock
from typing import Callable, Optional, Protocol, Tuple

from claude_force_nb.messages.result import ClaudeResult

__all__ = ["RequestInfo", "Event", "Listener", "EventEmitter"]

logger = logging.getLogger("claude_force_nb")


Listener = Callable[["Event"], None]


class RequestInfo(Protocol):
    """What is known of a request for as long as its answer is awaited; a `ClaudeRequest` is one."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal digits."""

    @property
    def model(self) -> str:
        """Full name."""

    @property
    def agent(self) -> Optional[str]:
        """Name of the agent."""


@dataclass(frozen=True)
class Event:
    """One step of one request.

    Attributes
    ----------
    kind : str
        ``queued``, ``hit``, ``sent``, ``retry``, ``paused``, ``done``, ``failed`` or ``cancelled``.
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
    request : RequestInfo or None
        What was asked; the whole request but for rows of message batches.
    """

    kind: str
    fingerprint: str
    model: str
    at_seconds: float
    attempt: int = 0
    delay_seconds: float = 0.0
    error: Optional[BaseException] = None
    result: Optional[ClaudeResult] = None
    request: Optional[RequestInfo] = field(default=None, repr=False, compare=False)


class EventEmitter:
    """Tells events to whoever listens; what a listener raises is logged and stops nothing.

    Parameters
    ----------
    clock : callable
        Gives monotonic seconds.
    listener : callable, optional
        Takes each `Event`.
    """

    def __init__(self, clock: Callable[[], float], listener: Optional[Listener] = None) -> None:
        self._clock = clock
        self._lock = Lock()
        self._listener = listener
        self._added: Tuple[Listener, ...] = ()
        # All of them; looked at before an event is made.
        self.listeners: Tuple[Listener, ...] = ()
        self._listen()

    @property
    def listener(self) -> Optional[Listener]:
        """What was given as `listener`; may be set anew."""
        return self._listener

    @listener.setter
    def listener(self, listener: Optional[Listener]) -> None:
        with self._lock:
            self._listener = listener
            self._listen()

    def add(self, listener: Listener) -> Callable[[], None]:
        """Tell another listener too, until the function that is returned is called."""
        # A wrapper, so that the same callable added twice is two listeners.
        entry: Listener = lambda event: listener(event)  # noqa: E731
        with self._lock:
            self._added = (*self._added, entry)
            self._listen()

        def remove() -> None:
            with self._lock:
                self._added = tuple(each for each in self._added if each is not entry)
                self._listen()

        return remove

    def _listen(self) -> None:
        self.listeners = self._added if self._listener is None else (self._listener, *self._added)

    def emit(
        self,
        kind: str,
        request: RequestInfo,
        *,
        attempt: int = 0,
        delay: float = 0.0,
        error: Optional[BaseException] = None,
        result: Optional[ClaudeResult] = None,
    ) -> None:
        """Make an event of one step and tell it; costs nothing where nobody listens."""
        listeners = self.listeners
        if not listeners:
            return
        event = Event(kind, request.fingerprint, request.model, self._clock(), attempt, delay, error, result, request)
        for listener in listeners:
            try:
                listener(event)
            except Exception:
                logger.exception("on_event, or another listener, failed")
