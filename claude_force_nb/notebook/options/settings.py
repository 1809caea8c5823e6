"""Looks up settings in %claude_config, traitlets, the environment, pyproject.toml and the user's file, in this order."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Tuple

from claude_force_nb.errors import ClaudeForceWarning, OptionError
from claude_force_nb.storage.user_folders import home_relative
from claude_force_nb.warn import warn

from .project import ProjectFile, read_project
from .reading import is_tighter, read_setting
from .table import SETTINGS
from .trust import TrustStore
from .user_file import read_user_file, user_file_path

if TYPE_CHECKING:
    from traitlets.config import Configurable

__all__ = ["Settings", "folder_of_notebook"]

ENVIRONMENT_PREFIX = "CLAUDE_FORCE_"
# Variables that are older than this package's prefix, or shared with the SDK.
_OTHER_NAMES = {"cache_dir": "CLAUDE_CACHE_DIR", "cache_url": "CLAUDE_CACHE_URL", "base_url": "ANTHROPIC_BASE_URL"}


class Settings:
    """Looks up the values of settings, and where each comes from.

    Parameters
    ----------
    configurable : ClaudeForce, optional
        The traitlets object of the shell.
    environ : mapping
        Environment variables.
    folder : path
        Where the search for pyproject.toml starts.
    trust : TrustStore, optional
        List of project files that the user trusts; the user's own list by default.
    user_file : path, optional
        The user's own settings; `user_file_path` by default.
    """

    def __init__(
        self,
        *,
        configurable: Optional[Configurable],
        environ: Mapping[str, str],
        folder: Path,
        trust: Optional[TrustStore] = None,
        user_file: Optional[Path] = None,
    ) -> None:
        self._configurable = configurable
        self._environ = environ
        self._folder = folder
        self._trust = TrustStore() if trust is None else trust
        self._set: Dict[str, Any] = {}
        self._typed: Dict[str, Any] = {}
        self._user_file = user_file
        self._of_user: Optional[Mapping[str, Any]] = None
        self._project: Optional[ProjectFile] = None

    @property
    def project(self) -> ProjectFile:
        """The nearest project file, read once."""
        if self._project is None:
            self._project = read_project(self._folder, self._trust)
            self._say_what_is_ignored(self._project)
        return self._project

    @staticmethod
    def _say_what_is_ignored(project: ProjectFile) -> None:
        ignored = [name for name in project.values if SETTINGS[name].project == "personal"]
        if ignored and not project.trusted:
            names, are = ", ".join(ignored), "are" if len(ignored) > 1 else "is"
            line = f"{project.path}: {names} {are} ignored, because a project file may not set this; {project.remedy}"
            warn(line, ClaudeForceWarning)

    def trust_project(self, trusted: bool) -> None:
        """Trust the nearest project file as it is now, or stop trusting it.

        Raises
        ------
        OptionError
            If the file does not exist, or can never be trusted.
        ClaudeForceError
            If the user's list cannot be written.
        """
        project = read_project(self._folder, self._trust)
        if project.path is None:
            raise OptionError("there is no pyproject.toml with [tool.claude_force_nb] in this folder or above it")
        if not trusted:
            self._trust.distrust(project.path)
        elif project.foreign:
            raise OptionError(f"{project.path} cannot be trusted: {project.foreign}")
        else:
            self._trust.trust(project.path, project.content)
        self._project = None

    def set(self, name: str, text: Any) -> None:
        """Set a value as ``%claude_config name=text`` does; ``name=default`` removes an earlier one."""
        if name in SETTINGS and text == "default":
            self._set.pop(name, None)
            self._typed.pop(name, None)
        else:
            self._set[name] = read_setting(name, text, where="%claude_config")
            self._typed[name] = text

    @property
    def typed(self) -> Mapping[str, Any]:
        """The values that `set` has set, as given."""
        return dict(self._typed)

    @property
    def folder(self) -> Path:
        """Where the search for pyproject.toml starts."""
        return self._folder

    @property
    def user_file(self) -> Path:
        """Path of the user's own settings file, which need not exist."""
        if self._user_file is None:
            self._user_file = user_file_path(os.environ)
        return self._user_file

    def saved(self, trusted: Optional[Path]) -> None:
        """Read the files again at the next lookup; the user, who changed `trusted`, trusts its new content."""
        self._project = self._of_user = None
        if trusted is not None:
            self.trust_project(True)

    def lookup(self, name: str) -> Tuple[Any, str]:
        """Return the value of a setting and where it came from.

        Raises
        ------
        OptionError
            If the value is invalid; the message says where it was set.
        """
        if name in self._set:
            return self._set[name], "%claude_config"
        trait = getattr(self._configurable, name, None)
        if trait is not None:
            return read_setting(name, trait, where="c.ClaudeForce." + name), "c.ClaudeForce." + name
        for variable in _variables(name):
            text = self._environ.get(variable, "").strip()
            if text:
                return read_setting(name, text, where=variable), variable
        if name in self.project.values and (self.project.trusted or SETTINGS[name].project != "personal"):
            return self._of_project(name, self.project)
        return self._below_project(name)

    def below_project(self, name: str) -> Any:
        """Return the value that a setting would have without a project file."""
        return self._below_project(name)[0]

    def _below_project(self, name: str) -> Tuple[Any, str]:
        if self._of_user is None:
            self._of_user = read_user_file(self.user_file)
        if name not in self._of_user:
            return SETTINGS[name].default, "default"
        where = home_relative(self.user_file)
        return read_setting(name, self._of_user[name], where=where), where

    def _of_project(self, name: str, project: ProjectFile) -> Tuple[Any, str]:
        option, value = SETTINGS[name], project.values[name]
        assert project.path is not None
        if option.path and isinstance(value, str):
            value = str(project.path.parent / os.path.expanduser(value))
        value = read_setting(name, value, where=str(project.path))
        below, source = self._below_project(name)
        if project.trusted or option.project != "tighten" or is_tighter(name, value, below):
            return value, str(project.path)
        line = (
            f"{project.path}: {name}={value} is ignored, because a project file can only make it stricter than {below}"
        )
        warn(f"{line}; {project.remedy}", ClaudeForceWarning)
        return below, source

    def value(self, name: str) -> Any:
        """Return the value of a setting."""
        return self.lookup(name)[0]


@lru_cache(maxsize=None)
def _variables(name: str) -> Tuple[str, ...]:
    """Return the environment variables for a setting."""
    own = ENVIRONMENT_PREFIX + name.upper()
    return (own, _OTHER_NAMES[name]) if name in _OTHER_NAMES else (own,)


def folder_of_notebook() -> Path:
    """Return the working directory, which front ends set to the notebook's folder."""
    try:
        return Path(os.getcwd())
    except FileNotFoundError:
        return Path(os.path.sep)
