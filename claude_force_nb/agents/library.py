"""Find agents: Markdown files with YAML front matter, the format of Claude Code.

An agent is searched for in ``.claude/agents`` of the notebook's folder and of each folder above it, then in
``~/.claude/agents``, then among the built-in ones. The first one with the name wins.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Dict, List, Optional, Set, Tuple

from claude_force_nb.errors import AgentFileWarning, UnknownAgentError
from claude_force_nb.storage.user_folders import absolute_path
from claude_force_nb.vocabulary import did_you_mean, is_name, shown_value
from claude_force_nb.warn import warn

from .agent import BUILT_IN, Agent, slug
from .folders import AgentFolder, FolderContents

__all__ = ["AgentLibrary"]


@lru_cache(maxsize=1)
def _built_in() -> FolderContents:
    """Return the built-in agents, which are read once, since nobody edits them."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "builtin")
    return AgentFolder(folder, BUILT_IN, trusted=True).load()


def _search_path(folder: str, home: str) -> List[Tuple[str, bool]]:
    """Return the folders to search, each with whether it is the user's own, in which links are followed."""
    own = os.path.join(home, ".claude", "agents")
    paths = {}
    while folder:
        path = os.path.join(folder, ".claude", "agents")
        paths[path] = path == own
        parent = os.path.dirname(folder)
        folder = parent if parent != folder else ""
    paths.setdefault(own, True)
    return list(paths.items())


class AgentLibrary:
    """Finds agents by name.

    Parameters
    ----------
    folder : path, optional
        Folder of the notebook, where the search starts. Default: the working directory at the time of each search.
    home : path, optional
        The user's home folder. Default: that of the environment when the library is created.

    Notes
    -----
    Files are read when first needed, and again when they change. A repository is not trusted: links out of its agent
    folder are not followed, while links in the user's own home folder are.
    """

    def __init__(self, folder: Optional[os.PathLike[str]] = None, *, home: Optional[os.PathLike[str]] = None) -> None:
        # If the working directory has been removed, keep the relative path: nothing is found there.
        self._start = None if folder is None else str(absolute_path(folder) or os.fspath(folder))
        self._home = os.path.expanduser("~") if home is None else os.fspath(home)
        self._folders: Dict[Tuple[str, bool], AgentFolder] = {}
        self._path: List[AgentFolder] = []
        self._searched: Optional[str] = None
        self._own: Dict[str, Agent] = {}
        self._warned: Set[str] = set()

    def define(self, agent: Agent) -> None:
        """Add an agent that takes precedence over files with the same name and replaces one defined earlier."""
        self._own[agent.name] = agent

    def _load(self) -> List[FolderContents]:
        try:
            start = self._start or os.getcwd()
        except FileNotFoundError:  # the working directory has been removed
            start = ""
        if start != self._searched:
            self._path = [
                self._folders.setdefault((path, trusted), AgentFolder(path, trusted=trusted))
                for path, trusted in _search_path(start, self._home)
            ]
            self._searched = start
        return [*(folder.load() for folder in self._path), _built_in()]

    def find(self, name: str) -> Agent:
        """Return the agent with this name or title; case and punctuation are ignored if nothing else matches.

        Raises
        ------
        AgentFileError
            If the agent's file cannot be read as an agent.
        UnknownAgentError
            If no agent has this name; the message suggests the nearest one.
        """
        if name in self._own:
            return self._own[name]
        loaded = self._load()
        for contents in loaded:
            found = contents.agents.get(name) or _titled(contents, name) if contents.agents else None
            if found is not None:
                return found
            if name in contents.errors:
                raise contents.errors[name].with_traceback(None)
        like = slug(name).lower()
        for contents in loaded:
            for agent in contents.agents.values():
                if like and agent.name.lower() == like:
                    return agent
        known = self.names()
        if not is_name(name) and not like:
            raise UnknownAgentError(f"an agent's name must be letters, digits, - and _, not {shown_value(name)}")
        near = did_you_mean(name, known)
        raise UnknownAgentError(f"unknown agent {shown_value(name)}{near} (known: {', '.join(known)})")

    def names(self) -> List[str]:
        """Return the names that `find` accepts, sorted; does not warn about files that cannot be read."""
        return sorted({*self._own, *(each for contents in self._load() for each in contents.agents)})

    def list(self) -> List[Agent]:
        """Return all agents that `find` would return, by name; warn once about each file that cannot be read."""
        found = dict(self._own)
        for contents in self._load():
            for agent in contents.agents.values():
                found.setdefault(agent.name, agent)
            for error in (*contents.errors.values(), *contents.remarks):
                if str(error) not in self._warned:
                    self._warned.add(str(error))
                    warn(str(error), AgentFileWarning)
        return [found[name] for name in sorted(found)]


def _titled(contents: FolderContents, title: str) -> Optional[Agent]:
    return next((agent for agent in contents.agents.values() if agent.title == title), None)
