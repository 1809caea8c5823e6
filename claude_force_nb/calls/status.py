"""The state of a call and what it is waiting for, for display. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Optional

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.api.limits import PacerWait
from claude_force_nb.errors import ApiError, CallTimeoutError
from claude_force_nb.messages.tokens import CHARACTERS_PER_TOKEN
from claude_force_nb.vocabulary import counted

__all__ = ["STOP_GRACE_SECONDS", "CallState", "CallStatus"]

# On Stop, wait this long for answers in flight, since the API bills them whether we wait or not. Stop has to end a cell
# within 0.3 s.
STOP_GRACE_SECONDS = 0.25


@dataclass(frozen=True)
class CallState:
    """The state of a call at one moment. ``str(state)`` describes it.

    Attributes
    ----------
    kind : str
        ``starting``, ``importing`` (the SDK, once per process), ``shared`` (waiting for an equal call), ``budget``,
        ``paused``, ``rate_limit``, ``queued`` (for a slot), ``prompt_cache`` (another call writes the prompt),
        ``retry``, ``sent``, ``thinking``, ``writing``, ``recording`` or ``ended``.
    seconds : float or None
        Seconds until it is sent, >= 0, if known.
    ahead : int
        Number of calls that will be sent before it.
    attempt : int
        Number of the current or next attempt, from 1.
    most_attempts : int
        Maximum number of attempts.
    reason : str
        Why the previous attempt failed; "" for the first one.
    thinking_tokens : int
        Estimated number of thinking tokens received so far.
    """

    kind: str
    seconds: Optional[float] = None
    ahead: int = 0
    attempt: int = 1
    most_attempts: int = 1
    reason: str = ""
    thinking_tokens: int = 0

    def __str__(self) -> str:
        words = _WORDS[self.kind]
        if self.kind == "queued" and self.ahead:
            words += f", {self.ahead} before this one"
        elif self.kind == "rate_limit" and self.seconds is not None:
            words += f", sending in {_seconds(self.seconds)}"
        elif self.kind == "thinking" and self.thinking_tokens:
            words += f", about {counted(self.thinking_tokens, 'token')}"
        if self.reason and self.kind in ("retry", "rate_limit", "queued"):
            attempt = f"attempt {self.attempt} of {self.most_attempts}"
            if self.kind != "retry":
                return f"{words}; {attempt}"
            when = "" if self.seconds is None else f" in {_seconds(self.seconds)}"
            return f"{attempt}{when} after: {self.reason}"
        return words


_WORDS = {
    "starting": "starting",
    "importing": "importing libraries",
    "shared": "waiting for the same request, which is in progress",
    "budget": "waiting for calls in progress to free budget",
    "paused": "paused; resume to continue",
    "rate_limit": "rate limit",
    "queued": "queued",
    "retry": "waiting for the next attempt",
    "prompt_cache": "waiting for another call to write the shared prompt to the prompt cache",
    "sent": "waiting for the answer",
    "thinking": "thinking",
    "writing": "writing",
    "recording": "writing the answer to the cache",
    "ended": "done",
}


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"


class CallStatus:
    """The state of a call. The code that makes the call writes it; any thread may read it at any time.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.

    Attributes
    ----------
    attempts : int
        Calls sent so far, including repairs for a schema.
    in_flight : bool
        True while the API has the request and has not answered.
    billing_unknown : bool
        True once a call has been sent of which we do not know whether it was answered and billed.
    failure : ApiError or None
        Why the previous attempt failed.
    abandoned : bool
        Set to True to give a call in flight no grace period when nobody waits for it any more.
    most_attempts : int
        Maximum number of attempts of one call.
    partial : PartialAnswer or None
        The part of a streamed answer received so far.
    """

    __slots__ = (
        "_attempt",
        "_clock",
        "_due",
        "_step",
        "_wait",
        "abandoned",
        "attempts",
        "billing_unknown",
        "failure",
        "in_flight",
        "most_attempts",
        "partial",
    )

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._step = "starting"
        self._wait: Optional[Callable[[], PacerWait]] = None
        self._due: Optional[float] = None
        self._attempt = 1
        self.abandoned = False
        self.attempts = 0
        self.in_flight = False
        self.billing_unknown = False
        self.failure: Optional[ApiError] = None
        self.most_attempts = 1
        self.partial: Optional[PartialAnswer] = None

    def enter(self, step: str) -> None:
        """Set what the call is doing, as one of the kinds of `CallState`."""
        self._step = step

    def begin(self, most_attempts: int) -> None:
        """Note that a call begins: the first one, or a repair."""
        self._attempt, self.most_attempts, self.failure = 1, most_attempts, None

    def wait_for_rate_limit(self, look: Callable[[], PacerWait]) -> None:
        """Note that the call waits for its model's rate limit; `look` returns for how long."""
        self._step, self._wait = "pacer", look

    def retry(self, attempt: int, failure: ApiError, delay_seconds: float) -> None:
        """Note that an attempt failed, with the number of the next one and the seconds until then."""
        self._attempt, self.failure, self._due = attempt, failure, self._clock() + delay_seconds
        self._step = "retry"

    def sent(self) -> None:
        """Note that the request was sent."""
        self.attempts += 1
        self.in_flight = True
        self._step = "sent"

    @property
    def answer_may_come(self) -> bool:
        """True if the API has the request, or the answer has arrived and is being recorded."""
        return self.in_flight or self._step == "recording"

    def stop_grace_seconds(self) -> float:
        """Return how many seconds the call may still take once nobody waits for it."""
        return STOP_GRACE_SECONDS if self.answer_may_come and not self.abandoned else 0.0

    def state(self) -> CallState:
        """Return the current state."""
        kind, seconds, ahead, tokens = self._step, None, 0, 0
        if kind == "pacer" and self._wait is not None:
            wait = self._wait()
            kind = "paused" if wait.held else "queued" if wait.seconds == 0.0 else "rate_limit"
            seconds, ahead = wait.seconds, wait.ahead
        elif kind == "retry" and self._due is not None:
            seconds = max(0.0, self._due - self._clock())
        elif kind == "sent" and self.partial is not None:
            if self.partial.text:
                kind = "writing"
            elif self.partial.thinking:
                # An estimate, since the exact number comes only with the complete answer.
                kind, tokens = "thinking", len(self.partial.thinking) // CHARACTERS_PER_TOKEN
        reason = "" if self.failure is None else " ".join(str(self.failure).split())
        return CallState(kind, seconds, ahead, self._attempt, self.most_attempts, reason, tokens)

    def late(self, timeout_seconds: float) -> Optional[ApiError]:
        """Return a specific error for a call whose time is up; None if there is nothing specific to say.

        The error says why an attempt failed, or what the call was waiting for.
        """
        head = f"no complete answer within {timeout_seconds:g} s"
        if self.failure is None:
            if self.in_flight:
                return None
            return CallTimeoutError(f"{head}, and it was not sent: {self.state()}; raise timeout= or try again")
        if not self.in_flight:
            return self.failure
        error = CallTimeoutError(f"{head}; the previous attempt failed: {self.failure}")
        error.__cause__ = self.failure
        return error
