"""Makes the requests of one orchestrator: `compose` with what all of its calls share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Sequence

from claude_force_nb.agents.library import AgentLibrary
from claude_force_nb.costs.days import today
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.errors import OptionError
from claude_force_nb.memory.conversations import Turn
from claude_force_nb.messages.request import ClaudeRequest

from .compose import compose
from .options import CallOptions
from .settings import CallSettings

__all__ = ["Composer"]


@dataclass(frozen=True)
class Composer:
    """Makes requests of prompts and options.

    Attributes
    ----------
    agents : AgentLibrary
        Where agents are found by name.
    prices : PriceTable
        Where models are found by alias.
    base_url : str
        The server.
    settings : CallSettings
        Model and tokens of calls and agents that name none.
    """

    agents: AgentLibrary
    prices: PriceTable
    base_url: str
    settings: CallSettings

    def request(self, prompt: str, options: CallOptions, turns: Sequence[Turn] = ()) -> ClaudeRequest:
        """Return the request for a prompt; see `compose`."""
        return compose(
            prompt,
            options,
            agents=self.agents,
            prices=self.prices,
            base_url=self.base_url,
            default_model=self.settings.default_model,
            default_max_tokens=self.settings.default_max_tokens,
            turns=turns,
            today=today(),
        )

    def with_agent(self, options: CallOptions) -> CallOptions:
        """Return the options with their agent looked up, and with its wish not to be cached where the caller said nothing of it."""
        if options.agent is None:
            return options
        agent = self.agents.find(options.agent) if isinstance(options.agent, str) else options.agent
        return replace(options, agent=agent, cache=options.cache or agent.cache)

    def resolve(self, options: CallOptions) -> CallOptions:
        """Look agent and model up once for a whole run: what is wrong with them is wrong before anything is sent.

        Raises
        ------
        ConfigurationError
        """
        if options.use_memory:
            raise OptionError("a conversation has an order and the rows of a run have none; ask with run, one by one")
        options = self.with_agent(options)
        self.request("x", replace(options, variables=None))
        return options
