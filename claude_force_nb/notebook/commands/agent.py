"""%%claude_agent: defines an agent in the notebook."""

from __future__ import annotations

from typing import Optional

from claude_force_nb.agents import BUILT_IN, Agent, AgentLibrary
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.costs.pricing import PriceTable, resolve_model
from claude_force_nb.errors import ConfigurationError, EmptyPromptError, OptionError
from claude_force_nb.notebook.display.bundles import Bundle, line_bundle
from claude_force_nb.notebook.options.line import parse_line
from claude_force_nb.notebook.options.of_magics import AGENT_OPTIONS
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.vocabulary import is_name

from .reference import Reference, wants_help

__all__ = ["REFERENCE", "agent", "define_agent"]

_USAGE = "%%claude_agent NAME [model=… temperature=… max_tokens=… description=…]"


REFERENCE = Reference(
    magic="%%claude_agent",
    summary=f"Defines an agent in the notebook: {_USAGE} above its system prompt.",
    options=AGENT_OPTIONS,
    examples=(
        ("%%claude_agent terse model=haiku", "above: Answer in five words."),
        ("%claude agent=terse Why is the sky blue?", "uses it"),
    ),
    page="how-to/agents.md",
)


def agent(session: NotebookSession, line: str, body: Optional[str]) -> Bundle:
    """Run ``%%claude_agent``, and return what to show; see `define_agent`."""
    if wants_help(line):
        return REFERENCE.bundle()
    return define_agent(
        session.agents,
        line,
        body,
        cell=session.front_end.cell_run().label,
        base_url=session.orchestrators.base_url,
        prices=session.orchestrators.prices,
    )


def define_agent(
    library: AgentLibrary, line: str, body: Optional[str], *, cell: str, base_url: Optional[str], prices: PriceTable
) -> Bundle:
    """Define the agent that a ``%%claude_agent`` cell describes, and return what to show.

    Parameters
    ----------
    library : AgentLibrary
        Receives the agent.
    line : str
        The text after the magic's name.
    body : str or None
        The system prompt, as typed.
    cell : str
        Cell id, named as the agent's source.
    base_url : str or None
        Address of the server, which determines the models that exist; None is the official API.
    prices : PriceTable
        Known models and their aliases.

    Raises
    ------
    OptionError
        If the name or an option is invalid; nothing is defined then.
    UnknownModelError
        If the model does not exist.
    EmptyPromptError
        If the cell is empty.
    """
    words = line.split(None, 1)
    if not words:
        raise OptionError("write a name: " + _USAGE)
    name = words[0]
    if not is_name(name):
        raise OptionError(f"an agent's name must be letters, digits, - and _, not {name!r}; write {_USAGE}")
    options = dict(parse_line(words[1] if len(words) > 1 else "", allowed=AGENT_OPTIONS).options)
    description = " ".join(str(options.pop("description", "")).split())
    checked = CallOptions(**options)
    if checked.model is not None:
        resolve_model(checked.model, prices, official=base_url is None)
    if not (body and body.strip()):
        raise EmptyPromptError("the agent has no text; write its system prompt below the %%claude_agent line")
    defined = Agent(
        name=name,
        prompt=body.strip(),
        description=description,
        model=checked.model,
        temperature=checked.temperature,
        max_tokens=checked.max_tokens,
        source="this notebook, cell " + cell,
    )
    hidden = _goes_before(library, name)
    library.define(defined)
    return line_bundle(f"agent {name} is defined{hidden}; use it with agent={name}")


def _goes_before(library: AgentLibrary, name: str) -> str:
    try:
        before = library.find(name)
    except ConfigurationError:  # it does not exist, or its file is invalid
        return ""
    if before.source.startswith("this notebook"):
        return " again"
    where = "the built-in one" if before.source == BUILT_IN else before.source
    return f" and takes precedence over {where}"
