"""The resources of one run that are leased to workers: slots, shares of the rate limit, dollars. Pure; not thread-safe."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Dict, Iterable, List, NamedTuple, Optional

from claude_force_nb.messages.usage import EXACT

__all__ = ["DollarLease", "LeaseBook", "SlotLease"]

_ZERO = Decimal(0)
# The remaining budget is lent in this many portions per worker, ever smaller ones. That takes fewer messages than calls, and
# leaves little money idle with one worker while another needs it.
_PORTIONS = 10
_SMALLEST = Decimal("1e-12")


class SlotLease(NamedTuple):
    """The resources that a worker may use until its next report.

    Attributes
    ----------
    slots : int
        Maximum number of calls in flight.
    share : float
        Its share of the account's rate limit, 0.0 to 1.0.
    give_back : bool
        True if another worker needs dollars, so that this one should return those that it does not need now.
    stopped : bool
        True if the run was stopped.
    """

    slots: int
    share: float
    give_back: bool
    stopped: bool


class DollarLease(NamedTuple):
    """The answer to a worker that asks for dollars.

    Attributes
    ----------
    granted : Decimal
        US dollars that it may spend in addition; 0 if the amount that it needs is not left.
    left : Decimal
        US dollars that are not lent to any worker.
    may_return : Decimal
        US dollars that other workers hold and may not need.
    """

    granted: Decimal
    left: Decimal
    may_return: Decimal


@dataclass
class _Worker:
    held: int = 0
    wanted: int = 0
    in_flight: int = 0
    dollars: Decimal = _ZERO
    spent: Decimal = _ZERO
    reserved: Decimal = _ZERO


@dataclass
class LeaseBook:
    """The leases of one run.

    Attributes
    ----------
    max_concurrent : int
        Maximum number of calls in flight of all workers together, >= 0; may be changed during the run.
    stopped : bool
        True lends no more slots, and tells all workers so.
    budget : Decimal or None
        US dollars that all workers together may spend; None for no limit.
    lost : Decimal
        US dollars that dead workers held. They may have been spent, and stay counted.

    Notes
    -----
    A slot is lent to a second worker only after the first one has reported that it uses fewer, so that the total of calls in
    flight never exceeds `max_concurrent`. Dollars count as soon as they are lent, whether they are spent or not, so that the
    budget is never exceeded either.
    """

    max_concurrent: int
    budget: Optional[Decimal] = None
    lost: Decimal = _ZERO
    stopped: bool = False
    _workers: Dict[str, _Worker] = field(default_factory=dict)
    _short: bool = False

    @property
    def lent(self) -> Decimal:
        """US dollars that workers hold, spent or not."""
        return _total(worker.dollars for worker in self._workers.values())

    @property
    def workers(self) -> int:
        """Number of workers that are alive and have taken part."""
        return len(self._workers)

    @property
    def left(self) -> Decimal:
        """US dollars that can still be lent; only meaningful with a budget."""
        return EXACT.subtract(self.budget or _ZERO, EXACT.add(self.lost, self.lent))

    @property
    def in_flight(self) -> int:
        """Number of calls in flight of all workers, by their last reports."""
        return sum(worker.in_flight for worker in self._workers.values())

    def report(
        self,
        name: str,
        *,
        wanted: int,
        held: int,
        in_flight: int = 0,
        spent: Decimal = _ZERO,
        reserved: Decimal = _ZERO,
    ) -> SlotLease:
        """Record a worker's report, and return the resources that it may use until the next one.

        Parameters
        ----------
        name : str
            Name of the worker.
        wanted : int
            Number of calls that it has in flight or could start.
        held : int
            Number of slots that it may use at present, or that are in use if those are more.
        in_flight : int
            Number of calls sent and not yet answered.
        spent, reserved : Decimal
            US dollars of its settled calls, and those reserved for calls in progress.
        """
        worker = self._workers.setdefault(name, _Worker())
        worker.held, worker.wanted = max(0, held), max(0, wanted)
        worker.in_flight, worker.spent, worker.reserved = in_flight, spent, reserved
        targets = self._targets()
        target = targets[name]
        if target > worker.held:
            free = self.max_concurrent - sum(each.held for each in self._workers.values())
            worker.held += max(0, min(target - worker.held, free))
        whole = sum(targets.values())
        # The slots that it holds now count; it obeys a smaller target by its next report.
        slots = min(target, worker.held)
        share = target / whole if whole else 1.0 / len(self._workers)
        return SlotLease(slots, share, self._short, self.stopped)

    def _targets(self) -> Dict[str, int]:
        """Divide the slots evenly among the workers that want some; unwanted ones go to the others."""
        targets = dict.fromkeys(self._workers, 0)
        left = 0 if self.stopped else self.max_concurrent
        open_names: List[str] = [name for name, worker in self._workers.items() if worker.wanted > 0]
        while left and open_names:
            each = max(1, left // len(open_names))
            for name in list(open_names):
                more = min(each, self._workers[name].wanted - targets[name], left)
                targets[name] += more
                left -= more
                if targets[name] >= self._workers[name].wanted:
                    open_names.remove(name)
                if not left:
                    break
        return targets

    def lend(self, name: str, need: Decimal) -> DollarLease:
        """Lend at least `need` US dollars, or nothing, to a worker that has reported before."""
        worker = self._workers.setdefault(name, _Worker())
        if self.budget is None:
            return DollarLease(need, need, _ZERO)
        left = max(_ZERO, self.left)
        if need > left:
            others = [other for other in self._workers.values() if other is not worker]
            # Dollars that the others have reserved may not be needed in the end; those that are idle are asked back.
            unspent = _total(EXACT.subtract(other.dollars, other.spent) for other in others)
            self._short = unspent > _total(other.reserved for other in others)
            return DollarLease(_ZERO, left, max(_ZERO, unspent))
        self._short = False
        portion = EXACT.divide(left, Decimal(_PORTIONS * len(self._workers))).quantize(_SMALLEST, ROUND_DOWN, EXACT)
        granted = max(need, min(left, portion))
        worker.dollars = EXACT.add(worker.dollars, granted)
        return DollarLease(granted, EXACT.subtract(left, granted), _ZERO)

    def take_back(self, name: str, amount: Decimal) -> None:
        """Take back US dollars that a worker was lent and does not need."""
        worker = self._workers.get(name)
        if worker is not None:
            worker.dollars = max(_ZERO, EXACT.subtract(worker.dollars, amount))

    def leave(self, name: str, *, spent: Optional[Decimal] = None) -> None:
        """End the leases of a worker.

        Parameters
        ----------
        name : str
        spent : Decimal, optional
            US dollars that it has spent, if it ended normally. By default the worker is dead, and all that it held stays
            counted.
        """
        worker = self._workers.pop(name, None)
        if worker is not None:
            self.lost = EXACT.add(self.lost, worker.dollars if spent is None else min(spent, worker.dollars))


def _total(amounts: Iterable[Decimal]) -> Decimal:
    total = _ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total
