"""The client's side: receives the messages of workers, on the client's own event loop."""

from __future__ import annotations

import logging
import pickle
from decimal import Decimal
from typing import Any, Callable, List, Optional, Sequence, Tuple

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import add_dollars
from claude_force_nb.orchestrator import AsyncAgentOrchestrator

from .worker_side import read_results

__all__ = ["ResultReceiver", "RowReceiver"]

logger = logging.getLogger("claude_force_nb")


class ResultReceiver:
    """Records the answers of a run's workers in the client's ledger and cache.

    Parameters
    ----------
    home : AsyncAgentOrchestrator
        The client's orchestrator, whose ledger and cache are used.
    keep : bool
        False writes nothing to the cache.
    cell : str, optional
        Cell id for the ledger.

    Attributes
    ----------
    paid : Decimal
        US dollars of the calls so far, as far as their prices are known.
    """

    def __init__(self, home: AsyncAgentOrchestrator, *, keep: bool, cell: Optional[str] = None) -> None:
        self._home = home
        self._keep = keep
        self._cell = cell
        self.paid = Decimal(0)

    def watch(self, client: Any, topic: str) -> None:
        """Receive the messages of a topic as long as the client lives, or until it unsubscribes."""
        client.subscribe_topic(topic, self._take)

    def _take(self, event: Tuple[float, Sequence[str]]) -> None:
        try:
            results = list(read_results(event[1]))
            for result in results:
                self.paid = add_dollars(self.paid, result.cost or Decimal(0))
            self._home.elsewhere.record(results, keep=self._keep, cell=self._cell)
        except Exception:  # must not propagate into the client's event loop, where it would stop Dask
            logger.exception("answers of the cluster could not be recorded here")


class RowReceiver:
    """Passes on the rows of a run as the workers end them.

    Parameters
    ----------
    take : callable
        Called with row number and result, on the client's event loop. Rows of a lost worker may come twice.
    """

    def __init__(self, take: Callable[[List[Tuple[int, ClaudeResult]]], object]) -> None:
        self._give = take

    def watch(self, client: Any, topic: str) -> None:
        """Receive the messages of a topic until the client unsubscribes."""
        client.subscribe_topic(topic, self._take)

    def _take(self, event: Tuple[float, bytes]) -> None:
        try:
            self._give(pickle.loads(event[1]))
        except Exception:  # as above
            logger.exception("rows of the cluster could not be read here")
