"""%claude_agents: lists the agents, or shows one of them."""

from __future__ import annotations

from claude_force_nb.agents import Agent, AgentLibrary
from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.display.answers import answer_bundle
from claude_force_nb.notebook.display.bundles import Bundle
from claude_force_nb.notebook.display.tables import table_bundle

from .reference import Reference, wants_help

__all__ = ["REFERENCE", "agents"]

REFERENCE = Reference(
    magic="%claude_agents",
    summary="Lists the agents of the notebook, the project, the user and the package, or shows one.",
    words=(("NAME", "show this agent's text and settings", "name"),),
    examples=(("%claude_agents", "all agents"), ("%claude_agents reviewer", "the text of one")),
    page="how-to/agents.md",
)


def agents(library: AgentLibrary, line: str) -> Bundle:
    """Return all agents as a table, or one agent's text and source.

    Raises
    ------
    OptionError
        If more than one name is given.
    UnknownAgentError
        If the agent does not exist.
    """
    if wants_help(line):
        return REFERENCE.bundle()
    names = line.split()
    if len(names) > 1:
        raise OptionError(f"%claude_agents takes one name, not {' '.join(names)}")
    if names:
        return _one(library, names[0])
    rows = [(_called(agent), agent.description, agent.model or "", agent.source) for agent in library.list()]
    return table_bundle(("agent", "description", "model", "from"), rows)


def _one(library: AgentLibrary, name: str) -> Bundle:
    agent = library.find(name)
    limits = [
        f"{setting}={value:g}"
        for setting, value in (("temperature", agent.temperature), ("max_tokens", agent.max_tokens))
        if value is not None
    ]
    footer = " · ".join(part for part in (_called(agent), agent.model or "", *limits, agent.source) if part)
    return answer_bundle(agent.prompt, footer=footer)


def _called(agent: Agent) -> str:
    """Return the name by which an agent is used, with the name in its file if that differs."""
    return agent.name if agent.title == agent.name else f"{agent.name} ({agent.title})"
