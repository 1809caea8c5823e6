"""Make the requests of one orchestrator."""

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
    """Makes requests from prompts and options.

    Parameters
    ----------
    agents : AgentLibrary
        Finds agents by name.
    prices : PriceTable
        Finds models by alias.
    base_url : str
        Address of the server.
    settings : CallSettings
        Model and token limit for calls and agents that do not set them.
    """

    def __init__(self, agents: AgentLibrary, prices: PriceTable, base_url: str, settings: CallSettings) -> None:
        self._agents = agents
        self._prices = prices
        self._base_url = base_url
        self._settings = settings
        # Kept because calls in a loop usually have the same options.
        self._last: Optional[_LastMaker] = None

    def maker(self, options: CallOptions) -> RequestMaker:
        """Return a maker of requests with these options; their variables do not matter."""
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
        """Return the request for a prompt that follows the earlier `turns` of its conversation; see `RequestMaker.request`."""
        return self.maker(options).request(prompt, options.variables, turns)

    def with_agent(self, options: CallOptions) -> CallOptions:
        """Return the options with the agent looked up, and its cache setting applied unless the caller set one."""
        if options.agent is None:
            return options
        agent = self._agents.find(options.agent) if isinstance(options.agent, str) else options.agent
        return options.changed(agent=agent, cache=options.cache or agent.cache)

    def resolve(self, options: CallOptions) -> CallOptions:
        """Look up agent and model once for a whole run, so that their errors are raised before anything is sent.

        Raises
        ------
        ConfigurationError
        """
        if options.use_memory:
            raise OptionError(
                "a conversation needs its prompts in order, but rows are sent in any order; send the prompts one by one with run"
            )
        options = self.with_agent(options)
        self.maker(options).request("x")
        return options
