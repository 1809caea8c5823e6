"""Read the agent files of a folder, and report errors for those that cannot be read."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, replace
from typing import Dict, Iterator, List, Optional, Tuple

from claude_force_nb.errors import AgentFileError
from claude_force_nb.storage.regular_file import read_regular

from .agent import Agent, parse_agent, slug

__all__ = ["AgentFolder", "FolderContents"]

# Size limit of an agent file; the longest known ones have 100 KB.
_LARGEST_BYTES = 1024 * 1024
_MOST_FILES = 2000
_DEEPEST = 8
# Common files in agent folders that are not agents.
_NO_AGENTS = ("readme", "contributing", "license", "changelog")


@dataclass
class FolderContents:
    """The content of an agent folder.

    Attributes
    ----------
    agents : dict of str to Agent
        Agents by name.
    errors : dict of str to AgentFileError
        Errors for files that cannot be read, by the name that the agent would have.
    remarks : list of AgentFileError
        Other problems to report.
    """

    agents: Dict[str, Agent] = field(default_factory=dict)
    errors: Dict[str, AgentFileError] = field(default_factory=dict)
    remarks: List[AgentFileError] = field(default_factory=list)

    def add(self, agent: Agent) -> None:
        """Add an agent. Skip it if its title is taken; append a number if only its name is taken."""
        taken = self.agents.get(agent.name)
        if taken is not None and taken.title == agent.title:
            message = f"{agent.source}: skipped, because {taken.source} is also called {agent.title}"
            self.remarks.append(AgentFileError(message))
            return
        number, name = 2, agent.name
        while name in self.agents:
            name, number = f"{agent.name}-{number}", number + 1
        self.agents[name] = replace(agent, name=name)


@dataclass(frozen=True)
class _File:
    path: str
    changed_ns: int
    size: int


class AgentFolder:
    """The agents of one folder and its subfolders, read again when a file changes.

    Parameters
    ----------
    path : str
    label : str, optional
        Used in `Agent.source` instead of the path.
    trusted : bool
        False for a repository's folder, out of which links are not followed.
    """

    def __init__(self, path: str, label: Optional[str] = None, *, trusted: bool = False) -> None:
        self._path = path
        self._label = label
        self._trusted = trusted
        self._files: Optional[Tuple[_File, ...]] = None
        self._contents = FolderContents()

    def load(self) -> FolderContents:
        """Return the folder's current content; problems with files do not raise."""
        files = self._scan()
        if files != self._files:
            self._contents, self._files = self._read(files), files
        return self._contents

    def _scan(self) -> Tuple[_File, ...]:
        try:
            if not os.access(self._path, os.F_OK):  # the usual case, and checking is cheaper than an exception
                return ()
        except ValueError:  # an impossible name, such as one with a null character
            return ()
        # Files of the folder itself come before those of its subfolders.
        found = sorted(_files(self._path, 0), key=lambda file: (file.path.count(os.sep), file.path))
        return tuple(found[: _MOST_FILES + 1])

    def _read(self, files: Tuple[_File, ...]) -> FolderContents:
        contents = FolderContents()
        if not files:
            return contents
        home = os.path.realpath(self._path)
        if not self._trusted and home != _unlinked(self._path):
            message = f"{self._path}: skipped, because it is a link to another folder; put the files themselves there"
            contents.remarks.append(AgentFileError(message))
            return contents
        if len(files) > _MOST_FILES:
            message = f"{self._path}: has more than {_MOST_FILES} agents; the rest are skipped"
            contents.remarks.append(AgentFileError(message))
        for file in files[:_MOST_FILES]:
            stem = os.path.basename(file.path)[: -len(".md")]
            try:
                text = _text(file, None if self._trusted else home)
                if stem.lower() in _NO_AGENTS and not text.startswith("---"):
                    continue
                contents.add(parse_agent(text, source=self._label or file.path, default_name=stem))
            except AgentFileError as error:
                contents.errors.setdefault(slug(stem) or stem, error)
        return contents


def _files(folder: str, depth: int) -> Iterator[_File]:
    """Yield files with the names of agents; skip folders, and pipes, which might never end."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if depth < _DEEPEST and not entry.name.startswith("."):
                            yield from _files(entry.path, depth + 1)
                    elif entry.name.endswith(".md"):
                        status = entry.stat()
                        if stat.S_ISREG(status.st_mode):
                            yield _File(entry.path, status.st_mtime_ns, status.st_size)
                except OSError:
                    continue
    except OSError:
        return


def _unlinked(path: str) -> str:
    """Return the path of ``.claude/agents`` with links resolved above these two folders, but not in them."""
    claude, agents = os.path.split(os.path.abspath(path))
    base, name = os.path.split(claude)
    return os.path.join(os.path.realpath(base), name, agents)


def _text(file: _File, home: Optional[str]) -> str:
    """Return the text of a file.

    Raises
    ------
    AgentFileError
        If the file is too large, leads out of `home` through a link, is not UTF-8, or cannot be opened.
    """
    try:
        data = read_regular(file.path, max_bytes=_LARGEST_BYTES, within=home)
    except OSError as error:
        raise AgentFileError(f"{file.path}: skipped, because {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AgentFileError(f"{file.path}, line {line}: not UTF-8 text; save it as UTF-8") from None
