"""A client's model of the API's rate limits: local token buckets, corrected by the API's headers. Pure.

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

# Until the first answer, the limits are unknown. So a few calls are sent at once, and then one at a time: fast enough
# to be unnoticeable when answers take seconds, slow enough not to exhaust a small bucket before its headers are known.
FIRST_CALLS = 4
RAMP_SECONDS = 0.025

# Interval between calls that add to those in flight. Calls sent in one burst would return in one burst, be processed
# together and be sent together again, for the whole run, each time waiting for one another.
_APART_SECONDS = 0.002
# A call sent this soon after another has ended takes its place and does not add to those in flight.
_REPLACES_SECONDS = 0.02

# Calls sent at first after a pause; the next numbers apply after further pauses, if all of them were refused again. If
# the API refuses a certain number of calls, that is over after two pauses; if it refuses for some time, each call loses
# few attempts.
_PROBES = (16, 16, 2)

_DECREASE = 0.7
# Safety factor on the estimated tokens of a call, so that one with more tokens than estimated is not refused.
_MARGIN = 1.25
_FORGET = 0.02


class Need(NamedTuple):
    """The units that one call needs: one request, and its estimated tokens."""

    requests: float = 1.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0


class PacerWait(NamedTuple):
    """Why a call has not been sent yet.

    Attributes
    ----------
    held : bool
        True while no slot may be taken: see `slots.Slots.hold`.
    ahead : int
        Number of calls of the same orchestrator that will be sent before it.
    seconds : float or None
        Seconds until the rate limit allows the call; 0.0 if it waits only for a slot, None if another call must end
        first.
    """

    held: bool
    ahead: int
    seconds: Optional[float]


def parse_time(text: str) -> Optional[float]:
    """Convert RFC 3339 text such as ``2026-11-01T12:00:00Z`` to Unix seconds; return None for any other text."""
    try:
        return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))) if text.endswith("Z") else None
    except ValueError:
        return None


class Permit:
    """One admitted call, until it is settled."""

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
    """Estimates the rate limits of one model family under one key, and decides when the next call may be sent.

    `now` is always in monotonic seconds and never goes back. For each call, ask `wait_seconds`, begin the call with
    `take` and end it with exactly one `settle`.
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
        # Fraction of a request by which each request counts for more than one. A bucket with a capacity of about one is
        # full while a call is late, so that refill is lost, and no header shows it.
        self._lateness = 0.0
        self._output: Dict[str, _Mean] = {}
        self._tokens_per_byte = _Mean()

    @property
    def probing(self) -> bool:
        """Whether no call has been answered since the last pause."""
        return self._probes > 0

    # ------------------------------------------------------------------ what a call needs

    def need(self, model: str, *, input_bytes: Callable[[], int], max_tokens: int) -> Need:
        """Estimate the needs of a call from the actual needs of earlier ones.

        Parameters
        ----------
        model : str
        input_bytes : callable
            Returns the size of the request; called only if tokens are limited.
        max_tokens : int
            Upper bound of the answer. Only tokens actually written count against the limit, so the mean of earlier
            answers is reserved.
        """
        if not self.buckets:
            return _PLAIN
        known = self._output.get(model)
        # Add a margin that shrinks with the number of answers seen so far.
        output = 512.0 if known is None or known.value is None else known.value * (1.0 + math.sqrt(known.weight))
        ratio = self._tokens_per_byte.value
        return Need(1.0, input_bytes() * (0.35 if ratio is None else ratio), min(float(max_tokens), output))

    def learn(self, model: str, *, input_bytes: Callable[[], int], input_tokens: int, output_tokens: int) -> None:
        """Update the estimates with the actual tokens of a call; `input_tokens` excludes reads from the prompt cache."""
        if not self.buckets:
            return
        sent = input_bytes()
        if sent > 0 and input_tokens > 0:
            self._tokens_per_byte.add(input_tokens / sent)
        mean = self._output.get(model)
        if mean is None:
            mean = self._output[model] = _Mean()
        mean.add(float(output_tokens))

    # ------------------------------------------------------------------ sending a call

    def wait_seconds(self, need: Need, now: float) -> Optional[float]:
        """Return 0.0 if a call may be sent now, else the seconds after which to ask again; None means: when a call has ended."""
        if now < self.paused_until:
            return self.paused_until - now
        if self.window is not None and self.in_flight >= max(1, self._probes, int(self.window)):
            return None
        wait = 0.0
        if self._ramping:
            if self._ramp_from is None:
                self._ramp_from = now
            # After the first calls, the n-th is sent n ramp steps after the start, however the ones before it ended.
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
                    seconds = 0.0  # a mere estimate must not hold back a call that the API might accept
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
            # Timers are late by a millisecond or two; calls that became due meanwhile may be sent together.
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

    # ------------------------------------------------------------------ ending a call

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
            The result of `take`.
        headers : mapping, optional
            Headers of the response, with names in lower case.
        used : tuple of int, optional
            Actual input and output tokens, if known.
        verdict : str
            ``ok``, ``limited`` (429: nothing was taken from the buckets), ``overloaded`` (529), ``unsent``, or ``failed``
            (anything else: the amount used is unknown).
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
        # Do not shrink for a 429 while pausing or probing: then the API's retry-after decides when calls may be sent.
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
        # Calls sent before the last decrease report the same congestion once more.
        if permit.epoch == self._epoch:
            self._epoch += 1
            self.window = max(1.0, min(self.window or math.inf, self.in_flight + 1.0) * _DECREASE)

    def pause(self, seconds: float, now: float) -> None:
        """Send no call for `seconds`; never shorten a pause. After it, only a few calls are sent until one is answered."""
        if now >= self.paused_until:  # otherwise the refused call belongs to the burst that caused the current pause
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
            # The API rounds tokens to thousands, and 0 may mean any negative level.
            rounded = index > 0 and remaining % 1000 == 0
            below, above = (500.0, 500.0) if rounded else (0.0, 1.0)
            lower = max(0.0, remaining - below)
            capacity = max(lower, _capacity(limit, remaining, _RESET[index], headers))
            bucket = self.buckets.get(name)
            if bucket is None:
                # Calls still in flight were sent before this bucket existed, and the header may not include them.
                under_way = (1.0, used[0], 0.0)[index] * self.in_flight
                least = 1.0 if index == 0 else 0.0
                bucket = self.buckets[name] = TokenBucket(limit, lower - under_way, max(least, capacity), now)
                bucket.reported_remaining = remaining
                continue
            bucket.limit = limit
            bucket.reported_remaining = remaining
            bucket.capacity = max(bucket.capacity, capacity)
            if limited and lower < max(1.0, permit.need[index]):
                bucket.lower(remaining)
            elif permit.levels is not None:  # otherwise sent before the bucket existed: its header may be outdated
                here = bucket.level
                there = permit.levels[index] + bucket.correction
                # Before a call that had to wait was sent, the level had risen to what it needs.
                highest = max(there + permit.levels[index + 3], here) + _MARGIN * bucket.largest
                if index == 2:  # the API counts output tokens as they are written, we count them when sending
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
    """Return a lower bound of the bucket's capacity, from the time at which it will be full; 0.0 if that is unknown."""
    reset = parse_time(headers.get(reset_name, ""))
    # Use the server's clock, since ours may be wrong.
    date = parsedate_tz(headers.get("date", "")) if reset is not None else None
    if reset is None or date is None:
        return 0.0
    try:
        sent = calendar.timegm(date[:9]) - (date[9] or 0)
    except ValueError:  # a year after 9999
        return 0.0
    # Both times are in whole seconds, so each may be off by up to one.
    seconds = reset - sent - 2.0
    return min(limit, remaining + min(60.0, seconds) * limit / 60.0) if seconds > 0 else 0.0


_PLAIN = Need()
