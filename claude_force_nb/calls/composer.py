"""Makes the requests of one orchestrator."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple, Optional, Sequence, Tuple

from claude_force_nb.agents.library import AgentLibrary
from claude_force_nb.costs.days import today
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.errors import OptionError
from claude_force_nb.memory.conversations import Turn
from claude_force_nb.messages.request import ClaudeRequest

from .compose import RequestMaker
from .options import CallOptions
from .settings import CallSettings

__all__ = ["Composer"]


class _LastMaker(NamedTuple):
    values: Tuple[Any, ...]
    day: datetime.date
    maker: RequestMaker


class Composer:
    """Makes requests of prompts and options.

    Parameters
    ----------
    agents : AgentLibrary
        Where agents are found by name.
    prices : PriceTable
        Where models are found by alias.
    base_url : str
        The server.
    settings : CallSettings
        Model and token limit for calls and agents that do not set them.
    """

    def __init__(self, agents: AgentLibrary, prices: PriceTable, base_url: str, settings: CallSettings) -> None:
        self._agents = agents
        self._prices = prices
        self._base_url = base_url
        self._settings = settings
        # Kept, because calls in a loop have the same options again and again.
        self._last: Optional[_LastMaker] = None

    def maker(self, options: CallOptions) -> RequestMaker:
        """Return a maker of requests with these options, whatever their variables."""
        last, day = self._last, today()
        if last is not None and last.day == day and options.has_values(last.values):
            return last.maker
        maker = RequestMaker(
            options,
            agents=self._agents,
            prices=self._prices,
            base_url=self._base_url,
            default_model=self._settings.default_model,
            default_max_tokens=self._settings.default_max_tokens,
            today=day,
        )
        # An agent given by name is looked up again for the next call, since its file may change.
        values = None if isinstance(options.agent, str) else options.shared_values()
        self._last = None if values is None else _LastMaker(values, day, maker)
        return maker

    def request(self, prompt: str, options: CallOptions, turns: Sequence[Turn] = ()) -> ClaudeRequest:
        """Return the request for a prompt, below earlier `turns` of its conversation; see `RequestMaker.request`."""
        return self.maker(options).request(prompt, options.variables, turns)

    def with_agent(self, options: CallOptions) -> CallOptions:
        """Return the options with their agent looked up, and its cache setting applied unless the caller set one."""
        if options.agent is None:
            return options
        agent = self._agents.find(options.agent) if isinstance(options.agent, str) else options.agent
        return options.changed(agent=agent, cache=options.cache or agent.cache)

    def resolve(self, options: CallOptions) -> CallOptions:
        """Look up agent and model once for a whole run, so that errors in them are raised before anything is sent.

        Raises
        ------
        ConfigurationError
        """
        if options.use_memory:
            raise OptionError(
                "a conversation needs an order, but the rows of a run have none; send the prompts with run, one by one"
            )
        options = self.with_agent(options)
        self.maker(options).request("x")
        return options
