"""The collaborators of a run of message batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from claude_force_nb.calls.events import EventEmitter
from claude_force_nb.costs.pricing import PriceTable

from .body import MOST_BYTES, MOST_REQUESTS
from .collector import Collector
from .polling import PollSchedule
from .reservations import BatchReservations
from .sender import Sender
from .store import JobStore

__all__ = ["BatchContext", "BatchLimits"]


@dataclass(frozen=True)
class BatchLimits:
    """Maximum size of one message batch, both >= 1; the API's limits by default."""

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
    server: str
    schedule: PollSchedule
    limits: BatchLimits
