"""The settings that a cluster receives once per run: how calls are made, and where answers are kept."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Dict, Iterable, Mapping, Optional, Tuple, Union
from urllib.parse import urlsplit

from claude_force_nb.agents import Agent, AgentLibrary
from claude_force_nb.costs.budget import Budget
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.errors import OptionError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.vocabulary import DEFAULT_MAX_TOKENS, DEFAULT_MODEL

__all__ = ["ClusterSettings", "RunSetup", "check_secrets_may_travel", "may_travel"]

_VARIABLES = {
    "api_key": "ANTHROPIC_API_KEY",
    "cache_secret": "CLAUDE_CACHE_SECRET",
    "cache_url": "CLAUDE_CACHE_URL",
}
_PRIVATE_SCHEMES = ("tls", "wss", "inproc")


@dataclass(frozen=True)
class ClusterSettings:
    """Settings of a cluster's orchestrators; each is a parameter of `AsyncAgentOrchestrator` with the same name.

    Attributes
    ----------
    max_concurrent : int
        Maximum number of calls in flight of all workers together, >= 1.
    budget : Decimal, float, str or None
        US dollars that all workers together may spend in one run.
    api_key : str, optional
        By default each worker uses the credentials of its own environment; so does the client, if that is on this machine.
    cache_secret : str, optional
        By default each machine signs its entries with its own secret.
    cache_url : str, optional
        A Redis server on which workers and client share answers; by default each uses ``CLAUDE_CACHE_URL`` of its own
        environment.
    ledger : Ledger, None or "default"
        The ledger in which the client records the answers of all workers.
    """

    max_concurrent: int = 10
    timeout_seconds: float = 120.0
    enable_cache: bool = True
    cache_ttl_hours: float = 24.0
    cache_max_size_mb: float = 500.0
    cache_dir: Optional[Union[str, os.PathLike[str]]] = None
    cache_secret: Optional[str] = field(default=None, repr=False)
    cache_url: Optional[str] = field(default=None, repr=False)
    api_key: Optional[str] = field(default=None, repr=False)
    base_url: Optional[str] = None
    allow_http: bool = False
    max_retries: int = 4
    budget: Union[Decimal, float, str, None] = None
    allow_unknown_price: bool = False
    agents: Optional[AgentLibrary] = None
    prices: Optional[PriceTable] = None
    ledger: Union[Ledger, str, None] = "default"
    default_model: str = DEFAULT_MODEL
    default_max_tokens: int = DEFAULT_MAX_TOKENS
    notebook: Optional[str] = None

    def at_home(self) -> AsyncAgentOrchestrator:
        """Return the client's own orchestrator, which checks options and holds the cache and the ledger."""
        return AsyncAgentOrchestrator(
            budget=self.budget, ledger=self.ledger, agents=self.agents, notebook=self.notebook, **self._shared()
        )

    def on_worker(self, budget: Budget, transport: Any, ledger: Any, agents: Iterable[Agent]) -> AsyncAgentOrchestrator:
        """Return a worker's orchestrator, which spends from `budget`, writes to `ledger` and knows the client's agents."""
        library = AgentLibrary()
        for agent in agents:
            library.define(agent)
        return AsyncAgentOrchestrator(
            budget=budget, transport=transport, ledger=ledger, agents=library, **self._shared()
        )

    def travelling(self) -> ClusterSettings:
        """Return the settings for workers, without those that concern only the client."""
        return replace(self, ledger=None, agents=None, notebook=None, budget=None)

    def _shared(self) -> Dict[str, Any]:
        names = (
            "max_concurrent", "timeout_seconds", "enable_cache", "cache_ttl_hours", "cache_max_size_mb", "cache_dir",
            "cache_secret", "cache_url", "api_key", "base_url", "allow_http", "max_retries", "allow_unknown_price", "prices", "default_model",
            "default_max_tokens",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class RunSetup:
    """The description of a run that each worker receives once.

    Attributes
    ----------
    run : str
        Id of the run, the only part of it in the task graph.
    settings : ClusterSettings
        Settings for workers; see `ClusterSettings.travelling`.
    budget : Decimal or None
        US dollars for the whole run.
    template : str or None
    options : mapping
        Options of `run_many`.
    agents : tuple of Agent
        Agents that a column of the rows may name.
    known_as : str or None
        Name of the server in requests, if that is not its address.
    """

    run: str
    settings: ClusterSettings
    budget: Optional[Decimal]
    template: Optional[str]
    options: Mapping[str, Any] = field(repr=False)
    agents: Tuple[Agent, ...] = ()
    known_as: Optional[str] = None


def check_secrets_may_travel(settings: ClusterSettings, addresses: Iterable[str]) -> None:
    """Raise OptionError if a key or secret in the settings would be sent over a connection that others can read.

    Parameters
    ----------
    settings : ClusterSettings
    addresses : iterable of str
        Addresses of scheduler and workers, such as ``tcp://10.0.0.1:8786``.
    """
    given = [name for name in ("api_key", "cache_secret") if getattr(settings, name)]
    if settings.cache_url is not None and urlsplit(settings.cache_url).password:
        given.append("cache_url")
    for address in addresses:
        if given and not _is_private(address):
            raise OptionError(
                f"{' and '.join(given)} would go to {address} unencrypted; start the cluster with TLS, or leave it out and set"
                f" {_VARIABLES[given[0]]} in the environment of the workers"
            )


def may_travel(addresses: Iterable[str]) -> bool:
    """Return whether connections to these addresses cannot be read by others."""
    return all(map(_is_private, addresses))


def _is_private(address: str) -> bool:
    parts = urlsplit(address)
    if parts.scheme in _PRIVATE_SCHEMES:
        return True
    try:
        return parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
