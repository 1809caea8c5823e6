"""The progress of a batch as one line: counts every row, and updates the display at most ten times a second."""

from __future__ import annotations

import asyncio
from collections import deque
from decimal import Decimal
from html import escape
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional, Tuple

from claude_force_nb.calls.snapshot import Snapshot
from claude_force_nb.costs.report import dollars
from claude_force_nb.messages.result import ClaudeResult, StatusCounts
from claude_force_nb.notebook.kernel.updates import Live
from claude_force_nb.rows.tally import RowTally
from claude_force_nb.text_tables import one_line

from .screen import REFRESH_SECONDS, show_bundle
from .stop_button import StopButton
from .terminal_line import TerminalLine

__all__ = ["LiveLine", "Progress", "duration"]

# Statuses that the live line counts separately.
_SHOWN = ("cached", "cut_off", "refused", "failed", "stopped", "not_sent")
# The rate is averaged over this window, so that it is current but does not jump.
_WINDOW_SECONDS = 10.0


def duration(seconds: float) -> str:
    """Return a duration in readable form: ``40 s``, ``12 min``, ``2.5 h``."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _limit(family: str, seconds: Optional[float]) -> str:
    """Return how long a model family's rate limit delays the next call: ``rate limit of haiku, next call in 23 s``."""
    family = one_line(family)
    if seconds is None:
        return f"{family} is overloaded, fewer at once"
    return f"rate limit of {family}, next call in {duration(max(1.0, seconds))}"


class Progress:
    """Counts a run's rows as they end.

    Parameters
    ----------
    total : callable
        Returns the number of rows, or None while it is unknown.
    taken : callable
        Returns the number of rows that were started.
    clock : callable
        Returns seconds.
    calls : callable, optional
        Returns the state of the orchestrator that makes the calls; without it all started rows count as in flight.
    """

    def __init__(
        self,
        *,
        total: Callable[[], Optional[int]],
        taken: Callable[[], int],
        clock: Callable[[], float],
        calls: Optional[Callable[[], Snapshot]] = None,
    ) -> None:
        self._total = total
        self._taken = taken
        self._clock = clock
        self._calls = calls
        self._started = clock()
        # Time, and number and cost of the rows that had ended by then.
        self._seen: Deque[Tuple[float, int, Decimal]] = deque([(self._started, 0, Decimal(0))])
        self.tally = RowTally()

    def ended(self, result: ClaudeResult) -> None:
        """Count one row."""
        self.tally.add(result)

    @property
    def counts(self) -> StatusCounts:
        """Rows by status."""
        return self.tally.counts

    @property
    def cost(self) -> Decimal:
        """US dollars of the rows whose price is known."""
        return self.tally.known_cost

    @property
    def price_known(self) -> bool:
        """Whether the price of every row is known."""
        return self.tally.cost is not None

    @property
    def total(self) -> Optional[int]:
        """Number of rows; None if unknown."""
        return self._total()

    @property
    def done(self) -> int:
        """Rows that have an answer."""
        return self.counts.complete

    @property
    def ended_rows(self) -> int:
        """Rows that have ended, with an answer or without."""
        return sum(self.counts.values())

    @property
    def fraction(self) -> Optional[float]:
        """Share of the rows that have ended, 0 to 1; None if the number of rows is unknown."""
        total = self.total
        return None if total is None else 1.0 if total == 0 else min(1.0, self.ended_rows / total)

    @property
    def projected_cost(self) -> Optional[Decimal]:
        """Projected cost of the whole run in US dollars, from the rows so far; None if it cannot be estimated yet."""
        total, ended = self.total, self.ended_rows
        if total is None or not ended or not self.price_known:
            return None
        # Extrapolate from the last seconds only: cached rows, which end at once, say little about the rows after them.
        _, before, paid = self._seen[0] if self._seen[0][1] < ended else (0.0, 0, Decimal(0))
        return self.cost + (self.cost - paid) * max(0, total - ended) / (ended - before)

    def rate(self) -> float:
        """Return the number of rows per second over the last seconds."""
        now, ended = self._clock(), self.ended_rows
        self._seen.append((now, ended, self.cost))
        while len(self._seen) > 2 and self._seen[0][0] < now - _WINDOW_SECONDS:
            self._seen.popleft()
        began, before, _ = self._seen[0]
        return (ended - before) / (now - began) if now > began else 0.0

    def share(self) -> str:
        """Return ``132 of 500 done``."""
        total = self.total
        return f"{self.done:,} done" if total is None else f"{self.done:,} of {total:,} done"

    def line(self) -> str:
        """Return the live line."""
        counts, ended, total, rate = self.counts, self.ended_rows, self.total, self.rate()
        parts = [f"{ended:,}" if total is None else f"{ended:,} of {total:,}"]
        parts += [f"{counts[kind]:,} {kind.replace('_', ' ')}" for kind in _SHOWN if counts[kind]]
        calls = None if self._calls is None else self._calls()
        parts += self._under_way(calls, more=total is None or ended < total)
        if not self.price_known:
            parts.append("price unknown")
        elif self.cost or counts.answered_now:
            projected = self.projected_cost
            more = "" if projected is None or ended == total else f", about {dollars(projected)} in all"
            parts.append(dollars(self.cost) + more)
        if rate > 0:
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
            # Until Resume is pressed, nobody knows how long it takes.
            if total is not None and total > ended and not (calls is not None and calls.paused):
                parts.append(duration((total - ended) / rate) + " left")
        return " · ".join(parts)

    def _under_way(self, calls: Optional[Snapshot], *, more: bool) -> List[str]:
        """Return how many rows are in flight, how many are waiting, and for what."""
        begun = max(0, self._taken() - self.ended_rows)
        in_flight = begun if calls is None else min(begun, calls.in_flight)
        parts = []
        if in_flight:
            parts.append(f"{in_flight:,} in flight")
        if begun > in_flight:
            parts.append(f"{begun - in_flight:,} waiting")
        if calls is None or not more:
            return parts
        if calls.paused:
            return [*parts, "paused; resume to continue"]
        return [*parts, *(_limit(family, seconds) for family, seconds in calls.limited_families)]

    def __repr__(self) -> str:
        return f"Progress({self.line()})"

    def __str__(self) -> str:
        return self.line()

    def bundle(self) -> Dict[str, str]:
        """Return the line as plain text and HTML with a bar."""
        line = self.line()
        fraction = self.fraction
        value = "" if fraction is None else f' max="1000" value="{1000 * fraction:.0f}"'
        bar = f'<progress{value} style="width:16em;max-width:100%;vertical-align:middle"></progress> '
        text = escape(line).replace("$", "<span>$</span>")
        ignored = "claude-force mathjax_ignore tex2jax_ignore"
        html = f'<div class="{ignored}">{bar}{text}</div>'
        return {"text/plain": line, "text/html": html}


class LiveLine:
    """Shows progress: updated in place in a notebook, on one line in a terminal, and only the final line elsewhere.

    Parameters
    ----------
    progress : Progress
    live : Live
    in_kernel : bool
    button : StopButton, optional
        Shown only where it can be removed afterwards.
    """

    def __init__(self, progress: Progress, live: Live, *, in_kernel: bool, button: Optional[StopButton] = None) -> None:
        self._progress = progress
        self._live = live
        self._button = button if live is Live.IN_PLACE else None
        self._in_kernel = in_kernel
        # The console of a kernel is a terminal, although the kernel cannot see that.
        self._terminal_line = TerminalLine(in_kernel=in_kernel) if live is Live.TEXT else None
        self._handle: Any = None
        self._line = ""
        self._last: Mapping[str, str] = {}

    async def follow(self) -> None:
        """Update the line until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            self.update()
            if self._button is not None:
                self._button.offer()

    def update(self) -> None:
        """Show the current progress, if it has changed."""
        if self._live is Live.IN_PLACE:
            bundle = self._progress.bundle()
            if bundle["text/plain"] != self._line:
                self._line = bundle["text/plain"]
                self._put(bundle)
        elif self._terminal_line is not None:
            self._terminal_line.show(self._progress.line())

    def finish(self, bundle: Mapping[str, str]) -> None:
        """Replace the line by the result."""
        if self._button is not None:
            self._button.close()
        if self._live is Live.IN_PLACE:
            self._put(bundle)
            return
        if self._terminal_line is not None:
            self._terminal_line.clear()
        if self._in_kernel:
            show_bundle(bundle)
        else:
            print(bundle["text/plain"])

    def begin(self) -> None:
        """Show the line of a background run at once, since its cell ends without waiting for it."""
        if self._live is Live.AT_END and self._in_kernel:
            show_bundle(self._progress.bundle())
        else:
            self.update()

    def repeat(self) -> None:
        """Show the result once more: a front end that runs a whole notebook only receives output of the running cell."""
        if self._handle is not None:
            self._handle.update(self._last, raw=True)

    def _put(self, bundle: Mapping[str, str]) -> None:
        self._last = bundle
        if self._handle is None:
            self._handle = show_bundle(bundle, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
