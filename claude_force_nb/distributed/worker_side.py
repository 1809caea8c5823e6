"""The worker's side of the leases.

It has a leased budget, a transport that sees its share of the rate limits, and a ledger that forwards to the client.
"""

from __future__ import annotations

import json
from decimal import Decimal
from threading import Lock
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional

from claude_force_nb.api.answer import Answer, PartialAnswer
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.costs.budget import Budget, Reservation
from claude_force_nb.costs.reservation import exceeded
from claude_force_nb.errors import ApiError, BudgetExceededError
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import EXACT

from .leases import DollarLease

__all__ = ["LeasedBudget", "ForwardingLedger", "SharedTransport", "read_results"]

_ZERO = Decimal(0)
_LIMITS = "anthropic-ratelimit-"
_SCALED = ("-limit", "-remaining")


class LeasedBudget(Budget):
    """A worker's share of a run's budget, borrowed in portions.

    Parameters
    ----------
    whole : Decimal or None
        US dollars for the whole run; None for no limit.
    borrow : callable
        Takes the US dollars that are needed, and returns a `DollarLease`. May block for a moment.
    allow_unknown_price : bool
        See `Budget`.
    """

    def __init__(
        self, whole: Optional[Decimal], borrow: Callable[[Decimal], DollarLease], *, allow_unknown_price: bool
    ) -> None:
        super().__init__(None if whole is None else _ZERO, allow_unknown_price=allow_unknown_price, warns=False)
        self._whole = whole
        self._borrow = borrow
        self._borrowing = Lock()

    def reserve(self, amount: Optional[Decimal], *, in_flight: bool = False) -> Reservation:
        """Reserve `amount`, borrowing the difference if necessary; see `Budget.reserve`."""
        try:
            return super().reserve(amount, in_flight=in_flight)
        except BudgetExceededError:
            if amount is None or self._whole is None:
                raise
        with self._borrowing:
            need = EXACT.subtract(amount, self.left or _ZERO)
            lease = self._borrow(need) if need > 0 else None
            if lease is not None and lease.granted <= 0:
                # Other workers may return dollars; so may this worker's own calls if they turn out cheaper.
                mine = EXACT.add(self.reserved, self.left or _ZERO)
                later = EXACT.add(EXACT.add(lease.left, lease.may_return), mine)
                left = EXACT.add(lease.left, self.left or _ZERO)
                raise exceeded(amount, left, self._whole, self.name, self.option, left_if_calls_are_free=later)
            if lease is not None:
                self.limit = EXACT.add(self.limit or _ZERO, lease.granted)
            return super().reserve(amount, in_flight=in_flight)

    def give_back(self) -> Decimal:
        """Remove the US dollars that are neither spent nor reserved from the budget, and return them."""
        with self._borrowing:
            return self.lower_to_used()


class SharedTransport:
    """A transport that shares its rate limits with other workers: it sees only its share of what the headers allow.

    Parameters
    ----------
    inner : ApiTransport
    """

    def __init__(self, inner: ApiTransport) -> None:
        self._inner = inner
        self.base_url = inner.base_url
        self.known_as = inner.known_as
        self.open = inner.open
        self.share = 1.0

    async def send(
        self, request: ClaudeRequest, *, timeout_seconds: float, partial: Optional[PartialAnswer] = None
    ) -> Answer:
        """Send a request once; see `Transport.send`."""
        try:
            answer = await self._inner.send(request, timeout_seconds=timeout_seconds, partial=partial)
        except ApiError as error:
            if error.limits is not None:
                error.limits = self._part(error.limits)
            raise
        return Answer(answer.body, self._part(answer.headers), answer.call_seconds)

    def _part(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        if self.share >= 1.0:
            return headers
        return {name: self._scaled(name, text) for name, text in headers.items()}

    def _scaled(self, name: str, text: str) -> str:
        if not name.startswith(_LIMITS) or not name.endswith(_SCALED):
            return text
        try:
            return f"{float(text) * self.share:.3f}"
        except ValueError:
            return text

    def check(self) -> None:
        """Raise if nothing can be sent; see `Transport.check`."""
        self._inner.check()

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await self._inner.close()

    def close_blocking(self) -> None:
        """Close the connections of loops that do not run."""
        self._inner.close_blocking()


class ForwardingLedger:
    """Replaces a worker's ledger: its entries are sent to the client's ledger."""

    def __init__(self) -> None:
        self._lines: List[str] = []
        self._lock = Lock()

    def append(self, result: ClaudeResult, *, notebook: Optional[str] = None, cell: Optional[str] = None) -> None:
        """Add one answer."""
        self.append_many([result])

    def append_many(
        self, results: Iterable[ClaudeResult], *, notebook: Optional[str] = None, cell: Optional[str] = None
    ) -> None:
        """Add several answers."""
        lines = [_line(result) for result in results]
        with self._lock:
            self._lines += lines

    def take(self) -> List[str]:
        """Return the lines added since the last call."""
        with self._lock:
            lines, self._lines = self._lines, []
        return lines

    def flush(self, *, last: bool = False) -> None:
        """Do nothing: entries are kept in memory."""

    def close(self) -> None:
        """Do nothing: entries can still be taken."""


def _line(result: ClaudeResult) -> str:
    record = {
        "answer": result.to_record(),
        "fingerprint": result.fingerprint,
        "agent": result.agent,
        "status": result.status,
        "cached": result.cached,
        "attempts": result.attempts,
        "duration_seconds": result.duration_seconds,
        "cost": None if result.cost is None else str(result.cost),
        "saved": None if result.saved is None else str(result.saved),
        "prompt_cache_saved": None if result.prompt_cache_saved is None else str(result.prompt_cache_saved),
        "repaired": result.repaired,
        "failed": result.error is not None,
    }
    return json.dumps(record)


def read_results(lines: Iterable[str]) -> Iterable[ClaudeResult]:
    """Return the answers in the lines of a `ForwardingLedger`; a failed answer has lost its error."""
    for line in lines:
        record: Dict[str, Any] = load_json(line)
        plain = ClaudeResult.from_record(record["answer"], fingerprint=record["fingerprint"], age_seconds=0.0)
        yield plain.changed(
            agent=record["agent"],
            status=record["status"],
            cached=record["cached"],
            attempts=record["attempts"],
            duration_seconds=record["duration_seconds"],
            repaired=record["repaired"],
            **{name: _dollars(record[name]) for name in ("cost", "saved", "prompt_cache_saved")},
        )


def _dollars(text: Optional[str]) -> Optional[Decimal]:
    return None if text is None else Decimal(text)
