"""Where a setting's value comes from: %claude_config, traitlets, the environment, pyproject.toml, or its default."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Tuple

from claude_force_nb.errors import OptionError

from .table import SETTINGS, read_setting

if TYPE_CHECKING:
    from traitlets.config import Configurable

__all__ = ["Settings", "make_configurable"]

ENVIRONMENT_PREFIX = "CLAUDE_FORCE_"
# Names that the environment had before this package, or that it shares with the SDK.
_OTHER_NAMES = {"cache_dir": "CLAUDE_CACHE_DIR", "base_url": "ANTHROPIC_BASE_URL"}


def make_configurable() -> type:
    """Return the traitlets class behind ``c.ClaudeForce.…`` and ``%config ClaudeForce``, one trait for each setting."""
    from traitlets import Any as AnyTrait
    from traitlets.config import Configurable

    traits = {
        name: AnyTrait(None, allow_none=True, help=f"{option.meaning} [{option.takes}]").tag(config=True)
        for name, option in SETTINGS.items()
    }
    return type("ClaudeForce", (Configurable,), {"__doc__": "Settings of claude_force_nb.", **traits})


class Settings:
    """Answers what a setting is, and who said so.

    Parameters
    ----------
    configurable : ClaudeForce, optional
        The traitlets object of the shell.
    environ : mapping
        Environment variables.
    folder : path
        Where the search for pyproject.toml starts.
    """

    def __init__(self, *, configurable: Optional[Configurable], environ: Mapping[str, str], folder: Path) -> None:
        self._configurable = configurable
        self._environ = environ
        self._folder = folder
        self._set: Dict[str, Any] = {}
        self._file: Optional[Tuple[str, Mapping[str, Any]]] = None

    def set(self, name: str, text: Any) -> None:
        """Set a value as ``%claude_config name=text`` does; ``name=default`` takes an earlier one back."""
        if name in SETTINGS and text == "default":
            self._set.pop(name, None)
        else:
            self._set[name] = read_setting(name, text, where="%claude_config")

    def lookup(self, name: str) -> Tuple[Any, str]:
        """Return the value of a setting and where it came from.

        Raises
        ------
        OptionError
            If what was set cannot be used; says where.
        """
        if name in self._set:
            return self._set[name], "%claude_config"
        trait = getattr(self._configurable, name, None)
        if trait is not None:
            return read_setting(name, trait, where="c.ClaudeForce." + name), "c.ClaudeForce." + name
        for variable in (ENVIRONMENT_PREFIX + name.upper(), _OTHER_NAMES.get(name, "")):
            text = self._environ.get(variable, "").strip()
            if text:
                return read_setting(name, text, where=variable), variable
        path, values = self._pyproject()
        if name in values:
            value = values[name]
            if SETTINGS[name].path and isinstance(value, str):
                value = str(Path(path).parent / Path(value).expanduser())
            return read_setting(name, value, where=path), path
        return SETTINGS[name].default, "default"

    def value(self, name: str) -> Any:
        """Return the value of a setting."""
        return self.lookup(name)[0]

    def _pyproject(self) -> Tuple[str, Mapping[str, Any]]:
        """Read ``[tool.claude_force_nb]`` of the nearest pyproject.toml, once."""
        if self._file is None:
            self._file = ("", {})
            for folder in (self._folder, *self._folder.parents):
                path = folder / "pyproject.toml"
                if path.is_file():
                    self._file = (str(path), _table(path))
                    break
        return self._file


def _table(path: Path) -> Mapping[str, Any]:
    text = path.read_bytes()
    if b"claude_force_nb" not in text:  # nothing to parse, and nothing to import for it
        return {}
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        values = tomllib.loads(text.decode("utf-8")).get("tool", {}).get("claude_force_nb", {})
    except (ValueError, AttributeError) as error:
        raise OptionError(f"{path} cannot be read: {error}") from None
    for name in values:
        if name not in SETTINGS:
            read_setting(name, "", where=str(path))  # raises with the nearest name
    return dict(values)


def folder_of_notebook() -> Path:
    """Return the working directory, which front ends set to the notebook's folder."""
    try:
        return Path(os.getcwd())
    except FileNotFoundError:
        return Path(os.path.sep)
