"""Calls that other processes make for an orchestrator, counted, recorded and reported like its own."""

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
    """Keeps account of the calls that other processes make for an orchestrator.

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
        """Include a run's rows and calls in flight in the counts, and let `stop_all` stop it."""
        return self._controls.under_way(run)

    def reserve(self, most: Optional[Decimal]) -> Reservation:
        """Reserve the most that all calls together may cost; settle the reservation with their actual cost.

        Parameters
        ----------
        most : Decimal or None
            US dollars; None for no limit, in which case the actual cost still counts when the reservation is settled.

        Raises
        ------
        BudgetExceededError
            If less is left of the budgets.
        """
        return BudgetGroup(self._accounts.budgets).reserve(Decimal(0) if most is None else most)

    @property
    def left(self) -> Optional[Decimal]:
        """US dollars that can be reserved in all budgets; None if all are unlimited."""
        return BudgetGroup(self._accounts.budgets).left

    def record(self, results: Iterable[ClaudeResult], *, keep: bool, cell: Optional[str]) -> None:
        """Write answers to the ledger, and to the cache too if `keep` is true."""
        found = list(results)
        if self._accounts.ledger is not None:
            self._accounts.ledger.append_many(found, notebook=self._accounts.notebook, cell=cell)
        if keep and self._accounts.cache is not None:
            self._accounts.cache.put_many((each.fingerprint, each) for each in found if not each.cached)

    def report(self, request: ClaudeRequest, result: ClaudeResult) -> ClaudeResult:
        """Report the result of a request to listeners and to the answer file, if any; return the result to show."""
        if result.error is not None:
            self._emitter.emit_unanswered(request, result.error, status=result.status)
            return result
        answers = self._accounts.answers
        if answers is not None and answers.keep(request, result, replace=not result.cached):
            result = result.changed(recorded=True)
        self._emitter.emit("hit" if result.cached else "done", request, attempt=result.attempts, result=result)
        return result
