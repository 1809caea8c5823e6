"""Answers the rows of a Dask collection on the workers of its cluster, with the display of any other batch."""

from __future__ import annotations

import os
import sys
from typing import Any, Mapping, Optional

from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.kernel.stopping import interruptible
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.notebook.session.simulator import SIMULATOR_KEY
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.run import ResultCollector
from claude_force_nb.rows.sources import Source

__all__ = ["ClusterRoute", "fetch_rows", "find_cluster"]

# Modules that define Dask's frames, series and bags.
_DASK = ("dask", "dask_expr")
# Arguments of a batch that are not options of its calls.
_OF_THE_BATCH = ("cell", "max_concurrent", "template", "trust_file", "via")
# Settings that the workers' orchestrators share with the session's.
_SHARED_SETTINGS = (
    "allow_http",
    "allow_unknown_price",
    "cache_dir",
    "cache_max_size_mb",
    "cache_ttl_hours",
    "cache_url",
    "max_retries",
)


def find_cluster(value: Any) -> Any:
    """Return the current Dask client if `value` is a Dask collection and there is one, else None. Does not import Dask."""
    if type(value).__module__.partition(".")[0] not in _DASK or "distributed" not in sys.modules:
        return None
    from claude_force_nb.distributed.cluster import client_of

    try:
        return client_of(None)
    except OptionError:
        return None


async def fetch_rows(client: Any, value: Any) -> Any:
    """Return the rows of a Dask collection, which the notebook shows and returns with their answers."""
    from claude_force_nb.distributed.cluster import compute

    return await interruptible(compute(client, value), lambda: "the frame was still being read; nothing was sent")


class ClusterRoute:
    """The route of a batch's rows through a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    session : NotebookSession
    orchestrator : AsyncAgentOrchestrator
        The orchestrator of the batch.

    Attributes
    ----------
    note : str
        Note about the cluster, shown at the end of the batch.
    """

    def __init__(self, client: Any, session: NotebookSession, orchestrator: AsyncAgentOrchestrator) -> None:
        self._client = client
        self._session = session
        self._orchestrator = orchestrator
        self.note = ""

    async def answer(self, source: Source, arguments: Mapping[str, Any], collected: ResultCollector) -> None:
        """Answer all rows; `arguments` are those of `AsyncAgentOrchestrator.run_stream`."""
        from claude_force_nb.distributed.row_run import RowRun

        settings = self._settings(arguments["max_concurrent"])
        run = RowRun(self._client, self._orchestrator, settings, collected, cell=arguments.get("cell"))
        collected.watch(run)
        options = {name: value for name, value in arguments.items() if name not in _OF_THE_BATCH}
        try:
            await run.answer(source, arguments.get("template"), options)
        finally:
            if run.workers:
                self.note = f"on {run.workers} Dask worker{'s' if run.workers > 1 else ''}"

    def _settings(self, max_concurrent: int) -> Any:
        from claude_force_nb.distributed.cluster import addresses
        from claude_force_nb.distributed.settings import ClusterSettings, check_secrets_may_travel, may_travel

        session, orchestrator = self._session, self._orchestrator
        shared = {name: session.settings.value(name) for name in _SHARED_SETTINGS}
        base_url = orchestrator.transport.base_url
        key: Optional[str] = SIMULATOR_KEY if session.simulator.is_at(base_url) else None
        if key is None and may_travel(addresses(self._client)):
            key = os.environ.get("ANTHROPIC_API_KEY") or None  # else workers use their own
        settings = ClusterSettings(
            **shared,
            max_concurrent=max_concurrent,
            enable_cache=orchestrator.cache is not None,
            base_url=base_url,
            api_key=key,
            prices=orchestrator.prices,
        )
        check_secrets_may_travel(settings, addresses(self._client))
        return settings
