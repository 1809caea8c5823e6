"""Agents: named system prompts, kept as Markdown files with YAML front matter, the format that Claude Code uses.

An agent is looked for in ``.claude/agents`` of the notebook's folder and of each folder above it, then in
``~/.claude/agents``, then among those that come with the package. The first that bears the name wins.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple, Union

from claude_force_nb.errors import AgentFileError, AgentFileWarning, OptionError, UnknownAgentError
from claude_force_nb.vocabulary import EFFORTS, did_you_mean, is_name
from claude_force_nb.warn import warn

__all__ = ["Agent", "AgentLibrary", "parse_agent"]

BUILT_IN = "built in"
# The closing line is found without looking at what stands between: YAML is parsed by a YAML parser.
# Claude Code's own agents write `description: Use it when … Examples: …`, which YAML takes for a mapping in a mapping.
_LOOSE_LINE = re.compile(
    r"^([A-Za-z_-]+:[ ]+)([^\s'\"\[{|>&*!%@`#][^\r\n]*?(?::[ ]| #)[^\r\n]*?)[ \t]*(?=\r?$)", re.MULTILINE
)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Agent:
    """A named system prompt with its preferred settings.

    Attributes
    ----------
    name : str
        ``[A-Za-z0-9_-]+``.
    prompt : str
        The system prompt.
    description : str
        One line for lists.
    model : str or None
        Alias or full name.
    temperature : float or None
        0 to 1.
    max_tokens : int or None
        Tokens, >= 1.
    thinking : str, int or None
        ``on``, ``off``, ``adaptive`` or a budget in tokens, >= 1024.
    effort : str or None
        One of `EFFORTS`.
    cache : str or None
        ``off`` where the answers of this agent are not to be kept; nothing else.
    source : str
        Path of its file, ``"built in"`` or ``"this notebook, cell …"``.
    other : mapping
        Front matter keys that mean nothing here, as they were.

    Raises
    ------
    OptionError
        If the name is not ``[A-Za-z0-9_-]+``.
    """

    name: str
    prompt: str
    description: str = ""
    model: Optional[str] = None
    temperature: Optional[float] = None
    max_tokens: Optional[int] = None
    thinking: Union[str, int, None] = None
    effort: Optional[str] = None
    cache: Optional[str] = None
    source: str = BUILT_IN
    other: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise OptionError(f"an agent's name is letters, digits, - and _, not {self.name!r}")


def parse_agent(text: str, *, source: str, default_name: str) -> Agent:
    """Read an agent from Markdown with optional YAML front matter.

    Parameters
    ----------
    text : str
        The whole file.
    source : str
        Named in errors.
    default_name : str
        Used where the front matter gives no name.

    Raises
    ------
    AgentFileError
        If the front matter is not YAML, a value has the wrong type, or there is no prompt. Names file and line.
    """
    text = text[1:] if text.startswith("\ufeff") else text
    match = _FRONT_MATTER.match(text)
    values = _front_matter(match.group(1), source) if match else {}
    if match is None and re.match(r"---[ \t]*\r?\n", text):
        raise AgentFileError(f"{source}, line 1: the front matter has no closing ---")
    prompt = (text[match.end() :] if match else text).strip()
    name = values.pop("name", None)
    name = default_name if name is None else name
    if not is_name(name):
        raise AgentFileError(f"{source}: name must be letters, digits, - and _, not {name!r}")
    if not prompt:
        raise AgentFileError(f"{source}: there is no prompt below the front matter")
    model = values.pop("model", None)
    if model is not None and not (isinstance(model, str) and model.strip()):
        raise AgentFileError(f"{source}: model must be text, not {model!r}")
    model = None if model is None else _model(model)
    temperature = values.pop("temperature", None)
    if temperature is not None and (
        isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 <= temperature <= 1
    ):
        raise AgentFileError(f"{source}: temperature must be a number from 0 to 1, not {temperature!r}")
    max_tokens = values.pop("max_tokens", None)
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise AgentFileError(f"{source}: max_tokens must be a whole number from 1, not {max_tokens!r}")
    thinking = _switch(values.pop("thinking", None))
    if thinking not in (None, "on", "off", "adaptive") and not (type(thinking) is int and thinking >= 1024):
        raise AgentFileError(
            f"{source}: thinking must be on, off, adaptive or a number of tokens from 1024, not {thinking!r}"
        )
    effort = values.pop("effort", None)
    if effort is not None and effort not in EFFORTS:
        raise AgentFileError(f"{source}: effort must be one of {', '.join(EFFORTS)}, not {effort!r}")
    cache = _switch(values.pop("cache", None))
    if cache not in (None, "on", "off"):
        raise AgentFileError(f"{source}: cache must be on or off, not {cache!r}")
    description = values.pop("description", None)
    return Agent(
        name=name,
        prompt=prompt,
        description=" ".join(str(description or "").split()),
        model=model,
        temperature=temperature,
        max_tokens=max_tokens,
        thinking=thinking,
        effort=effort,
        cache=None if cache == "on" else cache,
        source=source,
        other=values,
    )


def _model(name: str) -> Optional[str]:
    """Return the model that one of Claude Code's aliases means here; None for the one in use ("Model configuration")."""
    lowered = name.strip().lower()
    lowered = lowered[: -len("[1m]")] if lowered.endswith("[1m]") else lowered
    if lowered in ("inherit", "default"):
        return None
    return {"best": "fable", "opusplan": "sonnet"}.get(lowered, name.strip()[: len(lowered)])


def _switch(value: Any) -> Any:
    """Return ``on`` and ``off`` for what YAML takes for truth values."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


# Far more than any front matter has.
_DEEPEST = 50


def _check_depth(text: str) -> None:
    """Raise ValueError where brackets or blocks are nested too deeply: the parser recurses, and may end the process."""
    import yaml

    depth = 0
    try:
        for token in yaml.scan(text):  # the scanner does not recurse
            kind = type(token).__name__
            if kind.startswith(("Flow", "Block")) and kind.endswith(("StartToken", "EndToken")):
                depth += 1 if kind.endswith("StartToken") else -1
                if depth > _DEEPEST:
                    raise ValueError("nested too deeply")
    except yaml.YAMLError:
        return  # the parser says it better, and stops there too


def _front_matter(text: str, source: str) -> Dict[str, Any]:
    import yaml

    try:
        _check_depth(text)
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError:
            quoted = _LOOSE_LINE.sub(lambda match: match.group(1) + json.dumps(match.group(2)), text)
            if quoted == text:
                raise
            values = yaml.safe_load(quoted)
    except ValueError as error:  # a date such as 2026-02-30; brackets without end
        raise AgentFileError(f"{source}: the front matter cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # The front matter starts on the file's second line, and marks count from 0.
        line = f", line {mark.line + 2}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise AgentFileError(f"{source}{line}: {problem}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise AgentFileError(f"{source}, line 2: the front matter must be `key: value` lines")
    return {str(key): value for key, value in values.items()}


_Signature = Tuple[Tuple[str, int, int], ...]


class _Folder:
    """The agents of one folder, read again when a file in it changes."""

    def __init__(self, path: str, label: Optional[str] = None) -> None:
        self.path = path
        self.label = label
        self._signature: Optional[_Signature] = None
        self._agents: Dict[str, Agent] = {}
        self._errors: Dict[str, AgentFileError] = {}

    def _scan(self) -> _Signature:
        if not os.path.isdir(self.path):  # mostly so, and cheaper to ask than to fail
            return ()
        try:
            with os.scandir(self.path) as entries:
                found = []
                for entry in entries:
                    if entry.name.endswith(".md"):
                        try:
                            status = entry.stat()
                        except OSError:
                            continue
                        # A pipe would never end, and a folder is no agent.
                        if not stat.S_ISREG(status.st_mode):
                            continue
                        found.append((entry.name, status.st_mtime_ns, status.st_size))
                return tuple(sorted(found))
        except OSError:
            return ()

    def load(self) -> Tuple[Dict[str, Agent], Dict[str, AgentFileError]]:
        signature = self._scan()
        if signature != self._signature:
            agents: Dict[str, Agent] = {}
            errors: Dict[str, AgentFileError] = {}
            for name, _, _ in signature:
                path = os.path.join(self.path, name)
                stem = name[: -len(".md")]
                try:
                    agent = parse_agent(_read(path), source=self.label or path, default_name=stem)
                except AgentFileError as error:
                    errors[stem] = error
                else:
                    agents.setdefault(agent.name, agent)
            self._agents, self._errors, self._signature = agents, errors, signature
        return self._agents, self._errors


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise AgentFileError(f"{path}: cannot be read: {reason}") from None


@lru_cache(maxsize=1)
def _built_in() -> Tuple[Dict[str, Agent], Dict[str, AgentFileError]]:
    """Return what comes with the package: read once, since nobody edits it."""
    return _Folder(os.path.join(os.path.dirname(os.path.abspath(__file__)), "builtin"), BUILT_IN).load()


def _search_path(folder: str, home: str) -> List[str]:
    paths = []
    while folder:
        paths.append(os.path.join(folder, ".claude", "agents"))
        parent = os.path.dirname(folder)
        folder = parent if parent != folder else ""
    paths.append(os.path.join(home, ".claude", "agents"))
    return list(dict.fromkeys(paths))


class AgentLibrary:
    """Finds agents by name.

    Parameters
    ----------
    folder : path, optional
        Folder of the notebook, where the search starts; the working directory of the process at each search by default.
    home : path, optional
        The user's home; from the environment by default.

    Notes
    -----
    Files are read when first needed and again when they change.
    """

    def __init__(self, folder: Optional[os.PathLike] = None, *, home: Optional[os.PathLike] = None) -> None:  # type: ignore[type-arg]
        self._start = None if folder is None else os.path.abspath(os.fspath(folder))
        self._home = None if home is None else os.fspath(home)
        self._folders: Dict[str, _Folder] = {}
        self._path: List[_Folder] = []
        self._searched: Optional[Tuple[str, str]] = None
        self._own: Dict[str, Agent] = {}
        self._warned: Set[str] = set()

    def define(self, agent: Agent) -> None:
        """Add an agent that goes before every file of that name, or replaces an earlier one so defined."""
        self._own[agent.name] = agent

    def _load(self) -> List[Tuple[Dict[str, Agent], Dict[str, AgentFileError]]]:
        try:
            start = self._start or os.getcwd()
        except FileNotFoundError:  # the working directory has been removed
            start = ""
        home = self._home or os.path.expanduser("~")
        if (start, home) != self._searched:
            self._path = [self._folders.setdefault(path, _Folder(path)) for path in _search_path(start, home)]
            self._searched = (start, home)
        return [*(folder.load() for folder in self._path), _built_in()]

    def find(self, name: str) -> Agent:
        """Return the agent of this name.

        Raises
        ------
        AgentFileError
            If the file that should hold it cannot be read as an agent.
        UnknownAgentError
            If there is none; the nearest name is in the message.
        """
        if name in self._own:
            return self._own[name]
        loaded = self._load()
        for agents, errors in loaded:
            if name in agents:
                return agents[name]
            if name in errors:
                raise errors[name].with_traceback(None)
        if not is_name(name):
            raise UnknownAgentError(f"an agent's name is letters, digits, - and _, not {name!r}")
        known = self.names()
        near = did_you_mean(name, known)
        raise UnknownAgentError("unknown agent {!r}{} (known: {})".format(name, near, ", ".join(known)))

    def names(self) -> List[str]:
        """Return the names that `find` knows, sorted; says nothing of files that cannot be read."""
        return sorted({*self._own, *(each for agents, _ in self._load() for each in agents)})

    def list(self) -> List[Agent]:
        """Return all agents that `find` would return, by name; warns once of each file that cannot be read."""
        found = dict(self._own)
        for agents, errors in self._load():
            for agent in agents.values():
                found.setdefault(agent.name, agent)
            for error in errors.values():
                if str(error) not in self._warned:
                    self._warned.add(str(error))
                    warn(str(error), AgentFileWarning)
        return [found[name] for name in sorted(found)]
