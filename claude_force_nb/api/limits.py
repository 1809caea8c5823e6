"""Rate limits as a client can know them: token buckets kept locally and corrected by the API's headers. Pure.

Sources: API documentation, "Rate limits" (continuous refill, response headers, limits counted in real output tokens rather than
``max_tokens``, cache reads not counted); D.-M. Chiu and R. Jain, "Analysis of the Increase and Decrease Algorithms for
Congestion Avoidance in Computer Networks", 1989 (additive increase, multiplicative decrease).
"""

from __future__ import annotations

import calendar
import math
import time
from email.utils import parsedate_tz
from typing import Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from .bucket import TokenBucket

__all__ = ["FIRST_CALLS", "RAMP_SECONDS", "FamilyLimits", "PacerWait", "Need", "Permit", "parse_time"]

DIMENSIONS = ("requests", "input-tokens", "output-tokens")

# Before the first answer nobody knows what is allowed. A few calls leave at once, then one at a time: fast enough not to
# be felt where answers take seconds, slow enough not to run into a small bucket before its headers are known.
FIRST_CALLS = 4
RAMP_SECONDS = 0.025

# Calls that are added to those in flight leave so far apart. Sent in one burst they would come back in one, be handled in one,
# and leave in one again for the whole of a run, each waiting for all the others every time.
_APART_SECONDS = 0.002
# A call that leaves so soon after one has ended takes its place, and adds nothing.
_REPLACES_SECONDS = 0.02

# After a pause so many leave at first, and so many after the next ones if all were refused again. An API that refuses a number of
# calls is through with them after two pauses; one that refuses for a time costs each call few tries.
_PROBES = (16, 16, 2)

_DECREASE = 0.7
# What a call needs is an estimate; this much more has to be there before it leaves, so that a longer one is not refused.
_MARGIN = 1.25
_FORGET = 0.02


class Need(NamedTuple):
    """What one call needs: one request, and estimates of its tokens."""

    requests: float = 1.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0


class PacerWait(NamedTuple):
    """Why a call is not sent yet.

    Attributes
    ----------
    held : bool
        True while no slot may be taken: see `slots.Slots.hold`.
    ahead : int
        Calls of the same orchestrator that are sent before it.
    seconds : float or None
        Until the rate limit allows the call; 0.0 if it waits only for a slot, None if another call must end first.
    """

    held: bool
    ahead: int
    seconds: Optional[float]


def parse_time(text: str) -> Optional[float]:
    """Return RFC 3339 text such as ``2026-11-01T12:00:00Z`` as Unix seconds; None for any other text."""
    try:
        return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))) if text.endswith("Z") else None
    except ValueError:
        return None


class Permit:
    """One call that was allowed, until it is settled."""

    __slots__ = ("epoch", "levels", "need", "sent_at")

    def __init__(self, need: Need, sent_at: float, epoch: int, levels: Optional[Tuple[float, ...]]) -> None:
        self.need = need
        self.sent_at = sent_at
        self.epoch = epoch
        self.levels = levels


class _Mean:
    """A running mean that slowly forgets old values; None before the first."""

    __slots__ = ("value", "weight")

    def __init__(self) -> None:
        self.value: Optional[float] = None
        self.weight = 1.0

    def add(self, value: float) -> None:
        self.value = value if self.value is None else self.value + (value - self.value) * self.weight
        self.weight = max(_FORGET, self.weight / (1.0 + self.weight))


class FamilyLimits:
    """What is known about the rate limits of one model family under one key: when the next call may be sent.

    Every method takes `now`, monotonic seconds that never go back. For each call ask `wait_seconds`, begin it with `take` and
    end it with exactly one `settle`.
    """

    def __init__(self) -> None:
        self.buckets: Dict[str, TokenBucket] = {}
        self.in_flight = 0
        self.paused_until = -math.inf
        self.window: Optional[float] = None
        self._held_output = 0.0
        self._ramp_from: Optional[float] = None
        self._ramp_calls = FIRST_CALLS
        self._ramp_sent = 0
        self._ramping = True
        self._probes = 0
        self._pauses = 0
        self._next_added = -math.inf
        self._ended = 0
        self._ended_at = -math.inf
        self._epoch = 0
        # Share of a request that each one is counted for in addition: a bucket that holds hardly more than one loses what
        # refills while a call is late, and no header tells.
        self._lateness = 0.0
        self._output: Dict[str, _Mean] = {}
        self._tokens_per_byte = _Mean()

    @property
    def probing(self) -> bool:
        """True from a pause until a call is answered."""
        return self._probes > 0

    # ------------------------------------------------------------------ what a call needs

    def need(self, model: str, *, input_bytes: Callable[[], int], max_tokens: int) -> Need:
        """Estimate a call from what earlier ones turned out to need.

        Parameters
        ----------
        model : str
        input_bytes : callable
            Gives the length of the request; called only if tokens are limited.
        max_tokens : int
            The answer's bound. Only tokens actually written count against the limit, so the mean of real answers is reserved.
        """
        if not self.buckets:
            return _PLAIN
        known = self._output.get(model)
        # The fewer answers there were, the less they say of the next one.
        output = 512.0 if known is None or known.value is None else known.value * (1.0 + math.sqrt(known.weight))
        ratio = self._tokens_per_byte.value
        return Need(1.0, input_bytes() * (0.35 if ratio is None else ratio), min(float(max_tokens), output))

    def learn(self, model: str, *, input_bytes: Callable[[], int], input_tokens: int, output_tokens: int) -> None:
        """Learn from what a call really needed; `input_tokens` excludes reads from the prompt cache."""
        if not self.buckets:
            return
        sent = input_bytes()
        if sent > 0 and input_tokens > 0:
            self._tokens_per_byte.add(input_tokens / sent)
        mean = self._output.get(model)
        if mean is None:
            mean = self._output[model] = _Mean()
        mean.add(float(output_tokens))

    # ------------------------------------------------------------------ leaving

    def wait_seconds(self, need: Need, now: float) -> Optional[float]:
        """Return 0.0 if a call may be sent now, else the seconds after which to ask again, or None to ask when a call has ended."""
        if now < self.paused_until:
            return self.paused_until - now
        if self.window is not None and self.in_flight >= max(1, self._probes, int(self.window)):
            return None
        wait = 0.0
        if self._ramping:
            if self._ramp_from is None:
                self._ramp_from = now
            # Of these, the n-th leaves n ramp steps after the start, whatever became of those before.
            step = self._ramp_sent - self._ramp_calls + 1
            wait = self._ramp_from + step * RAMP_SECONDS - now if step > 0 else 0.0
        elif now < self._next_added and not self._replaces(now):
            wait = self._next_added - now
        for name, bucket in self.buckets.items():
            bucket.refill(now)
            if name == "requests":
                seconds = bucket.wait_seconds(1.0)
            elif name == "input-tokens":
                seconds = bucket.wait_seconds(need.input_tokens * _MARGIN)
            else:
                seconds = bucket.wait_seconds(max(1.0, need.output_tokens))
                if seconds > 0.0 and bucket.level >= 1.0 and self.in_flight == 0:
                    seconds = 0.0  # an estimate must not keep out a call that the API itself would take
            if seconds > wait:
                wait = seconds
        return wait if wait > 0.0 else 0.0

    def take(self, need: Need, now: float) -> Permit:
        """Begin a call."""
        self.in_flight += 1
        if self._ramping:
            self._ramp_sent += 1
        if self._replaces(now):
            self._ended -= 1
        else:
            # Timers are late by a millisecond or two; what they missed leaves together.
            self._next_added = max(self._next_added, now - 2 * _APART_SECONDS) + _APART_SECONDS
        if not self.buckets:
            return Permit(need, now, self._epoch, None)
        self._held_output += need.output_tokens
        levels = [0.0, 0.0, 0.0]
        recent = [0.0, 0.0, 0.0]
        for index, name in enumerate(DIMENSIONS):
            bucket = self.buckets.get(name)
            if bucket is None:
                continue
            bucket.refill(now)
            recent[index] = bucket.take(need[index] + (self._lateness if index == 0 else 0.0))
            levels[index] = bucket.level - bucket.correction
        return Permit(need, now, self._epoch, (*levels, *recent))

    def _replaces(self, now: float) -> bool:
        return self._ended > 0 and now - self._ended_at < _REPLACES_SECONDS

    # ------------------------------------------------------------------ coming back

    def settle(
        self,
        permit: Permit,
        now: float,
        *,
        headers: Optional[Mapping[str, str]] = None,
        used: Optional[Tuple[int, int]] = None,
        verdict: str = "ok",
    ) -> None:
        """End a call.

        Parameters
        ----------
        permit : Permit
            What `take` gave.
        headers : mapping, optional
            Of the answer, names in lower case.
        used : tuple of int, optional
            Real input and output tokens, if known.
        verdict : str
            ``ok``, ``limited`` (429: nothing was taken from the buckets), ``overloaded`` (529), ``unsent``, or ``failed``
            (anything else: the amount used is not known).
        """
        self.in_flight -= 1
        self._ended = self._ended + 1 if now - self._ended_at < _REPLACES_SECONDS else 1
        self._ended_at = now
        need = permit.need
        known = permit.levels is not None
        if known:
            self._held_output = max(0.0, self._held_output - need.output_tokens)
        refused = verdict in ("limited", "unsent")
        real_input, real_output = (0.0, 0.0) if refused else used or (need.input_tokens, 0.0)
        for name, bucket in self.buckets.items():
            bucket.refill(now)
            if name == "requests":
                bucket.level += 1.0 if refused and known else 0.0
            elif name == "input-tokens":
                bucket.level += need.input_tokens - real_input if known else 0.0
            else:
                bucket.level += (need.output_tokens if known else 0.0) - real_output
        # While it pauses and probes, the API itself says when calls may leave.
        if verdict == "overloaded" or (verdict == "limited" and not self.buckets and not self.probing):
            self._shrink(permit)
        if verdict == "limited":
            self._lateness = min(0.05, max(0.03, 2.0 * self._lateness))
        elif verdict == "ok":
            self._ramping = False
            self._probes = self._pauses = 0
            self._lateness *= 0.995
            if self.window is not None and self.in_flight + 1 >= int(self.window):
                self.window += 1.0 / self.window
        elif verdict == "unsent" and self._ramping:
            self._ramp_sent = max(0, self._ramp_sent - 1)
        if headers is not None:
            self._read(permit, headers, now, used=(real_input, real_output), limited=verdict == "limited")

    def _shrink(self, permit: Permit) -> None:
        # Calls sent before the last decrease tell of the same jam once more.
        if permit.epoch == self._epoch:
            self._epoch += 1
            self.window = max(1.0, min(self.window or math.inf, self.in_flight + 1.0) * _DECREASE)

    def pause(self, seconds: float, now: float) -> None:
        """Let no call go for `seconds`; never shortens a pause. After it a few go ahead of the others until one was answered."""
        if now >= self.paused_until:  # else it belongs to the burst that made the pause
            self._probes = _PROBES[min(self._pauses, len(_PROBES) - 1)]
            self._pauses += 1
        until = now + seconds
        if until > self.paused_until:
            self.paused_until = until
        self._ramping, self._ramp_from, self._ramp_sent, self._ramp_calls = True, self.paused_until, 0, self._probes

    def _read(
        self, permit: Permit, headers: Mapping[str, str], now: float, *, used: Tuple[float, float], limited: bool
    ) -> None:
        for index, name in enumerate(DIMENSIONS):
            remaining_text = headers.get(_REMAINING[index])
            if remaining_text is None:
                continue
            limit, remaining = _number(headers.get(_LIMIT[index])), _number(remaining_text)
            if limit is None or remaining is None:
                continue
            # Tokens are rounded to thousands, and 0 may mean any debt.
            rounded = index > 0 and remaining % 1000 == 0
            below, above = (500.0, 500.0) if rounded else (0.0, 1.0)
            lower = max(0.0, remaining - below)
            capacity = max(lower, _capacity(limit, remaining, _RESET[index], headers))
            bucket = self.buckets.get(name)
            if bucket is None:
                # Calls still under way left before there were books, and may not be in this header.
                under_way = (1.0, used[0], 0.0)[index] * self.in_flight
                least = 1.0 if index == 0 else 0.0
                bucket = self.buckets[name] = TokenBucket(limit, lower - under_way, max(least, capacity), now)
                bucket.said = remaining
                continue
            bucket.limit = limit
            bucket.said = remaining
            bucket.capacity = max(bucket.capacity, capacity)
            if limited and lower < max(1.0, permit.need[index]):
                bucket.lower(remaining)
            elif permit.levels is not None:  # else it left before there were books, and its header may be older too
                here = bucket.level
                there = permit.levels[index] + bucket.correction
                # Before each call that waited the level had risen to what it needs.
                highest = max(there + permit.levels[index + 3], here) + _MARGIN * bucket.largest
                if index == 2:  # the API counts what is written when it is written, our books when the call leaves
                    highest += self._held_output + permit.need.output_tokens
                bucket.correct(remaining, lowest=min(here, there), highest=highest, below=below, above=above)


_LIMIT, _REMAINING, _RESET = (
    tuple(f"anthropic-ratelimit-{name}-{what}" for name in DIMENSIONS) for what in ("limit", "remaining", "reset")
)


def _number(text: Optional[str]) -> Optional[float]:
    try:
        value = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return value if 0.0 <= value < 1e15 else None


def _capacity(limit: float, remaining: float, reset_name: str, headers: Mapping[str, str]) -> float:
    """Return what the bucket holds at least, by the time at which it is to be full again; 0.0 if that says nothing."""
    reset = parse_time(headers.get(reset_name, ""))
    # By the server's own clock: ours may be wrong.
    date = parsedate_tz(headers.get("date", "")) if reset is not None else None
    if reset is None or date is None:
        return 0.0
    # Both are whole seconds, each up to one off.
    seconds = reset - calendar.timegm(date[:9]) + (date[9] or 0) - 2.0
    return min(limit, remaining + min(60.0, seconds) * limit / 60.0) if seconds > 0 else 0.0


_PLAIN = Need()
