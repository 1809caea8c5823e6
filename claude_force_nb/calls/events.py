"""The events that an orchestrator reports while it works. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from threading import Lock
from typing import Callable, Optional, Protocol, Tuple

from claude_force_nb.errors import StoppedError
from claude_force_nb.messages.result import ClaudeResult

__all__ = ["RequestInfo", "Event", "Listener", "EventEmitter"]

logger = logging.getLogger("claude_force_nb")


Listener = Callable[["Event"], None]


class RequestInfo(Protocol):
    """What is known about a request while its answer is pending; a `ClaudeRequest` has these attributes too."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal."""

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
        Fingerprint of the request.
    model : str
        Full name.
    at_seconds : float
        When it happened, by the monotonic clock.
    attempt : int
        Calls sent so far for this request.
    delay_seconds : float
        For ``retry`` and ``paused``: seconds until the next attempt.
    error : Exception or None
        For ``retry`` and ``failed``, and for ``cancelled`` if everything was stopped.
    result : ClaudeResult or None
        For ``hit`` and ``done``.
    request : RequestInfo or None
        The whole request; for rows of message batches, only what `RequestInfo` has.
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
    """Reports events to listeners. An exception in a listener is logged and has no other effect.

    Parameters
    ----------
    clock : callable
        Returns monotonic seconds.
    listener : callable, optional
        Called with each `Event`.
    """

    def __init__(self, clock: Callable[[], float], listener: Optional[Listener] = None) -> None:
        self._clock = clock
        self._lock = Lock()
        self._listener = listener
        self._added: Tuple[Listener, ...] = ()
        # All listeners. While there are none, no event is created.
        self.listeners: Tuple[Listener, ...] = ()
        self._listen()

    @property
    def listener(self) -> Optional[Listener]:
        """The `listener` of the constructor; may be replaced."""
        return self._listener

    @listener.setter
    def listener(self, listener: Optional[Listener]) -> None:
        with self._lock:
            self._listener = listener
            self._listen()

    def add(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; return a function that removes it."""
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
        """Create an event and report it; costs nothing if there are no listeners."""
        listeners = self.listeners
        if not listeners:
            return
        event = Event(kind, request.fingerprint, request.model, self._clock(), attempt, delay, error, result, request)
        for listener in listeners:
            try:
                listener(event)
            except Exception:
                logger.exception("on_event, or another listener, failed")

    def emit_unanswered(self, request: RequestInfo, error: Optional[BaseException], *, status: str = "failed") -> None:
        """Report that a request ended without an answer: ``cancelled`` if it was stopped, else ``failed``."""
        stopped = status == "stopped" or isinstance(error, StoppedError)
        self.emit("cancelled" if stopped else "failed", request, error=error)
