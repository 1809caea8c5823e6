"""The tables that %claude_agents, %claude_cache and %claude_config show."""

from __future__ import annotations

from typing import Any, Dict

from claude_force_nb.agents import Agent, AgentLibrary
from claude_force_nb.cache import ResponseCache
from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.display.render import bundle, table_bundle
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.notebook.options.table import SETTINGS
from claude_force_nb.vocabulary import did_you_mean

__all__ = ["agents_view", "cache_view", "config_view"]

CACHE_ACTIONS = ("stats", "verify", "clear", "path")


def agents_view(library: AgentLibrary, name: str = "") -> Dict[str, str]:
    """Return all agents as a table, or one agent's text and source."""
    if name:
        agent = library.find(name)
        from claude_force_nb.notebook.display.render import answer_bundle

        limits = [
            f"{name}={value:g}"
            for name, value in (("temperature", agent.temperature), ("max_tokens", agent.max_tokens))
            if value is not None
        ]
        footer = " · ".join(part for part in (_called(agent), agent.model or "", *limits, agent.source) if part)
        return answer_bundle(agent.prompt, footer=footer)
    rows = [(_called(agent), agent.description, agent.model or "", agent.source) for agent in library.list()]
    return table_bundle(("agent", "description", "model", "from"), rows)


def _called(agent: Agent) -> str:
    """Return the name that an agent is used by, and the one that its file writes where that is another."""
    return agent.name if agent.title == agent.name else f"{agent.name} ({agent.title})"


def config_view(settings: Settings) -> Dict[str, str]:
    """Return every setting with its value and where it came from."""
    rows = []
    for name in SETTINGS:
        value, source = settings.lookup(name)
        shown = "" if value is None else ("on" if value else "off") if isinstance(value, bool) else str(value)
        rows.append((name, shown, source, SETTINGS[name].meaning))
    return table_bundle(("setting", "value", "from", "meaning"), rows)


def cache_view(cache: ResponseCache, action: str) -> Dict[str, str]:
    """Do one of ``stats``, ``verify``, ``clear`` and ``path``, and return what to show."""
    if action not in CACHE_ACTIONS:
        near = did_you_mean(action, CACHE_ACTIONS)
        raise OptionError("%claude_cache knows {}, not {!r}{}".format(", ".join(CACHE_ACTIONS), action, near))
    if action == "path":
        return _plain(str(cache.directory))
    if action == "clear":
        entries = len(cache)
        cache.clear()
        return _plain(f"cleared {entries} entries")
    report: Any = cache.stats() if action == "stats" else cache.verify()
    rows = [(name.replace("_", " "), f"{value:,}") for name, value in vars(report).items() if type(value) is int]
    return table_bundle(("cache", "value"), rows, footer=str(cache.directory))


def _plain(text: str) -> Dict[str, str]:
    from html import escape

    return bundle(text, f"`{text}`", escape(text))
