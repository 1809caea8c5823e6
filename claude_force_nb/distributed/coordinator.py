"""The coordinator: a scheduler plugin that keeps the lease book of a run."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Dict, Optional, Set

from distributed.diagnostics.plugin import SchedulerPlugin

from .leases import LeaseBook

__all__ = ["Coordinator", "handler_name"]


def handler_name(run: str) -> str:
    """Return the name of the scheduler's handler for messages about a run."""
    return f"claude_force_{run}"


class Coordinator(SchedulerPlugin):  # type: ignore[misc]
    """Answers the messages of the workers of one run; see `leases.LeaseBook`.

    Amounts are sent as text, so that only plain values cross the network.

    Parameters
    ----------
    run : str
    max_concurrent : int
    budget : str or None
        US dollars.
    """

    def __init__(self, run: str, max_concurrent: int, budget: Optional[str]) -> None:
        self.name = handler_name(run)
        self._book = LeaseBook(max_concurrent, None if budget is None else Decimal(budget))
        # Numbers of the rows that have ended, so that they are not answered again after their worker is lost.
        self._ended: Set[int] = set()

    async def start(self, scheduler: Any) -> None:
        """Start answering messages."""
        self._scheduler = scheduler
        scheduler.handlers[self.name] = self.handle

    async def close(self) -> None:
        """Do nothing: the coordinator ends with the scheduler."""

    def remove_worker(self, scheduler: Any, worker: str, **more: Any) -> None:
        """Take back the leases of a worker that has ended or died; dollars that it may have spent stay counted."""
        self._book.leave(worker)

    async def handle(self, *, act: str, worker: str = "", **arguments: Any) -> Dict[str, Any]:
        """Handle a message of a worker or the client.

        `act` is ``report``, ``ended``, ``lend``, ``give_back``, ``resize``, ``stop``, ``look`` or ``end``.
        """
        book = self._book
        if act == "report":
            spent, reserved = Decimal(arguments["spent"]), Decimal(arguments["reserved"])
            counts = {name: arguments[name] for name in ("wanted", "held", "in_flight")}
            lease = book.report(worker, spent=spent, reserved=reserved, **counts)
            self._ended.update(arguments["ended"])
            return lease._asdict()
        if act == "lend":
            loan = book.lend(worker, Decimal(arguments["need"]))
            return {name: str(value) for name, value in loan._asdict().items()}
        if act == "ended":
            return {"ended": [row for row in arguments["rows"] if row in self._ended]}
        if act == "give_back":
            book.take_back(worker, Decimal(arguments["amount"]))
        elif act == "resize":
            book.max_concurrent = arguments["max_concurrent"]
        elif act == "stop":
            book.stopped = True
        elif act == "end":
            del self._scheduler.handlers[self.name]
            self._scheduler.remove_plugin(self.name)
        return {"lent": str(book.lent), "lost": str(book.lost), "workers": book.workers, "in_flight": book.in_flight}
