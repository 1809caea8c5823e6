"""Calls that other processes make for an orchestrator: counted, recorded and reported with its own."""

from __future__ import annotations

from decimal import Decimal
from typing import ContextManager, Iterable, Optional

from claude_force_nb.costs.budget import BudgetGroup, Reservation
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult

from .controls import Controls, StoppableRun
from .events import EventEmitter
from .settings import Accounts

__all__ = ["CallsElsewhere"]


class CallsElsewhere:
    """Takes note of what other processes do for an orchestrator.

    Parameters
    ----------
    accounts : Accounts
    emitter : EventEmitter
    controls : Controls
    """

    def __init__(self, accounts: Accounts, emitter: EventEmitter, controls: Controls) -> None:
        self._accounts = accounts
        self._emitter = emitter
        self._controls = controls

    def under_way(self, run: StoppableRun) -> ContextManager[None]:
        """Count a run's rows and its calls in flight, and let `stop_all` reach it."""
        return self._controls.under_way(run)

    def reserve(self, most: Optional[Decimal]) -> Reservation:
        """Set aside what the calls may cost together, in US dollars; to be settled with their actual cost.

        Parameters
        ----------
        most : Decimal or None
            None without a limit; the actual cost is still recorded when the reservation is settled.

        Raises
        ------
        BudgetExceededError
            If the budgets do not have that much left.
        """
        return BudgetGroup(self._accounts.budgets).reserve(Decimal(0) if most is None else most)

    @property
    def left(self) -> Optional[Decimal]:
        """US dollars that can be reserved in all budgets; None if all are unlimited."""
        return BudgetGroup(self._accounts.budgets).left

    def record(self, results: Iterable[ClaudeResult], *, keep: bool, cell: Optional[str]) -> None:
        """Write answers to the ledger, and where `keep` is true to the cache."""
        found = list(results)
        if self._accounts.ledger is not None:
            self._accounts.ledger.append_many(found, notebook=self._accounts.notebook, cell=cell)
        if keep and self._accounts.cache is not None:
            self._accounts.cache.put_many((each.fingerprint, each) for each in found if not each.cached)

    def report(self, request: ClaudeRequest, result: ClaudeResult) -> ClaudeResult:
        """Tell listeners, and the answer file where there is one, what became of a request; return the result as it is shown."""
        if result.error is not None:
            self._emitter.emit_unanswered(request, result.error, status=result.status)
            return result
        answers = self._accounts.answers
        if answers is not None and answers.keep(request, result, replace=not result.cached):
            result = result.changed(recorded=True)
        self._emitter.emit("hit" if result.cached else "done", request, attempt=result.attempts, result=result)
        return result
