"""The resources of one run that are leased to workers: slots, shares of the rate limit and dollars. Pure; for one thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Dict, Iterable, List, NamedTuple, Optional

from claude_force_nb.messages.usage import EXACT

__all__ = ["DollarLease", "LeaseBook", "SlotLease"]

_ZERO = Decimal(0)
# What is left is lent to each worker in so many portions, ever smaller ones: fewer questions than calls, and yet little that
# lies idle with one worker while another lacks it.
_PORTIONS = 10
_SMALLEST = Decimal("1e-12")


class SlotLease(NamedTuple):
    """What a worker may use until its next report.

    Attributes
    ----------
    slots : int
        Most calls in flight.
    share : float
        Its part of the account's rate limit, 0.0 to 1.0.
    give_back : bool
        True if another worker lacks dollars: what this one does not need now is to be returned.
    stopped : bool
        True if the run was stopped.
    """

    slots: int
    share: float
    give_back: bool
    stopped: bool


class DollarLease(NamedTuple):
    """The answer to a worker that needs money.

    Attributes
    ----------
    granted : Decimal
        US dollars that it may spend in addition; 0 if the amount it needs is not left.
    left : Decimal
        US dollars that nobody holds.
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
        Most calls in flight of all workers together, >= 0; may be changed while they work.
    stopped : bool
        True lends no slot any more, and says so to all.
    budget : Decimal or None
        US dollars that all of them may spend; None for no limit.
    lost : Decimal
        US dollars that dead workers held: they may have been spent, and stay counted.

    Notes
    -----
    A slot is lent to a second worker only after the first one has reported that it uses fewer, so that the sum of calls in
    flight never passes `max_concurrent`. Dollars that were lent are taken from the budget whether they are spent or not, so the
    budget is never passed either.
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
        """Workers that hold something, or have done so and live."""
        return len(self._workers)

    @property
    def left(self) -> Decimal:
        """US dollars that can still be lent; meaningless without a budget."""
        return EXACT.subtract(self.budget or _ZERO, EXACT.add(self.lost, self.lent))

    @property
    def in_flight(self) -> int:
        """Calls in flight of all workers, as they reported them last."""
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
        """Record a worker's report, and return what it may use until the next one.

        Parameters
        ----------
        name : str
            Of the worker.
        wanted : int
            Calls that it has in flight or could begin.
        held : int
            The larger of the slots that it may use by now and those that are in use.
        in_flight : int
            Calls that it has sent and that are not yet answered.
        spent, reserved : Decimal
            US dollars of its settled calls, and those set aside for calls under way.
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
        # What it holds counts from now on; a smaller target is obeyed by the time of its next report.
        slots = min(target, worker.held)
        share = target / whole if whole else 1.0 / len(self._workers)
        return SlotLease(slots, share, self._short, self.stopped)

    def _targets(self) -> Dict[str, int]:
        """Divide the slots evenly among those who want some; what one does not want goes to the others."""
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
        """Lend a worker that has reported before at least `need` US dollars, or nothing."""
        worker = self._workers.setdefault(name, _Worker())
        if self.budget is None:
            return DollarLease(need, need, _ZERO)
        left = max(_ZERO, self.left)
        if need > left:
            others = [other for other in self._workers.values() if other is not worker]
            # What they have reserved may turn out not to be needed; what lies idle with them is asked back.
            unspent = _total(EXACT.subtract(other.dollars, other.spent) for other in others)
            self._short = unspent > _total(other.reserved for other in others)
            return DollarLease(_ZERO, left, max(_ZERO, unspent))
        self._short = False
        portion = EXACT.divide(left, Decimal(_PORTIONS * len(self._workers))).quantize(_SMALLEST, ROUND_DOWN, EXACT)
        granted = max(need, min(left, portion))
        worker.dollars = EXACT.add(worker.dollars, granted)
        return DollarLease(granted, EXACT.subtract(left, granted), _ZERO)

    def take_back(self, name: str, amount: Decimal) -> None:
        """Count as left again what a worker was lent and does not need, in US dollars."""
        worker = self._workers.get(name)
        if worker is not None:
            worker.dollars = max(_ZERO, EXACT.subtract(worker.dollars, amount))

    def leave(self, name: str, *, spent: Optional[Decimal] = None) -> None:
        """End the leases of a worker.

        Parameters
        ----------
        name : str
        spent : Decimal, optional
            US dollars that it has spent, if it ended normally. Everything a dead worker held stays counted.
        """
        worker = self._workers.pop(name, None)
        if worker is not None:
            self.lost = EXACT.add(self.lost, worker.dollars if spent is None else min(spent, worker.dollars))


def _total(amounts: Iterable[Decimal]) -> Decimal:
    total = _ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total
