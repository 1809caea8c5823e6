"""The client's end: what the workers paid for comes into its ledger, and into its cache."""

from __future__ import annotations

import logging
from typing import Any, Sequence, Tuple

from claude_force_nb.orchestrator import AsyncAgentOrchestrator

from .borrowing import read_results

__all__ = ["Homecoming"]

logger = logging.getLogger("claude_force_nb")


class Homecoming:
    """Takes what the workers of a run send home.

    Parameters
    ----------
    home : AsyncAgentOrchestrator
        Whose ledger and cache they come into.
    """

    def __init__(self, home: AsyncAgentOrchestrator) -> None:
        self._home = home

    def watch(self, client: Any, topic: str) -> None:
        """Take what comes under a topic as long as the client lives."""
        client.subscribe_topic(topic, self._take)

    def _take(self, event: Tuple[float, Sequence[str]]) -> None:
        try:
            results = list(read_results(event[1]))
            if self._home.ledger is not None:
                self._home.ledger.append_many(results)
            if self._home.cache is not None:
                self._home.cache.put_many((result.fingerprint, result) for result in results if not result.cached)
        except Exception:  # on the client's own loop, where it would end what Dask does there
            logger.exception("answers of the cluster could not be written down here")
