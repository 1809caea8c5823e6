"""The client's side: records the workers' results in the client's ledger and cache."""

from __future__ import annotations

import logging
from typing import Any, Sequence, Tuple

from claude_force_nb.orchestrator import AsyncAgentOrchestrator

from .worker_side import read_results

__all__ = ["ResultReceiver"]

logger = logging.getLogger("claude_force_nb")


class ResultReceiver:
    """Receives the results that the workers of a run send to the client.

    Parameters
    ----------
    home : AsyncAgentOrchestrator
        The orchestrator whose ledger and cache record them.
    """

    def __init__(self, home: AsyncAgentOrchestrator) -> None:
        self._home = home

    def watch(self, client: Any, topic: str) -> None:
        """Receive the messages of a topic as long as the client lives."""
        client.subscribe_topic(topic, self._take)

    def _take(self, event: Tuple[float, Sequence[str]]) -> None:
        try:
            results = list(read_results(event[1]))
            if self._home.ledger is not None:
                self._home.ledger.append_many(results)
            if self._home.cache is not None:
                self._home.cache.put_many((result.fingerprint, result) for result in results if not result.cached)
        except Exception:  # raised on the client's own loop, it would end Dask's work there
            logger.exception("answers of the cluster could not be recorded here")
