"""What a run of message batches works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Union

from claude_force_nb.cache import ResponseCache
from claude_force_nb.calls.events import EventEmitter
from claude_force_nb.costs.budget import Budget, DailyBudget
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.pricing import PriceTable

from .body import MOST_BYTES, MOST_REQUESTS
from .collector import Collector
from .polling import PollSchedule
from .reservations import BatchReservations
from .sender import Sender
from .store import JobStore

__all__ = ["Accounts", "BatchContext", "BatchLimits"]


@dataclass(frozen=True)
class Accounts:
    """Where answers and money are kept: the orchestrator's own.

    Attributes
    ----------
    prices : PriceTable
    ledger : Ledger or None
    cache : ResponseCache or None
    budgets : sequence of Budget, DailyBudget or None
    """

    prices: PriceTable
    ledger: Optional[Ledger]
    cache: Optional[ResponseCache]
    budgets: Sequence[Union[Budget, DailyBudget, None]]


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of one message batch, both >= 1; the API's own by default."""

    most_requests: int = MOST_REQUESTS
    most_bytes: int = MOST_BYTES


@dataclass(frozen=True)
class BatchContext:
    """The collaborators of a run; see `MessageBatches` for each."""

    store: JobStore
    sender: Sender
    collector: Collector
    reservations: BatchReservations
    prices: PriceTable
    emitter: EventEmitter
    notebook: Optional[str]
    schedule: PollSchedule
    limits: BatchLimits
