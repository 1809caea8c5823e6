"""The credentials of calls: a key, a token, or those of the SDK's own credential chain."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional

from claude_force_nb.errors import ApiError, AuthenticationError, ConfigurationError, MissingApiKeyError, ServerError

from .failures import shown_text
from .notebook_secrets import hosted_key, how_to_add_a_key

__all__ = ["Credentials", "TokenProvider", "find_credentials", "open_chain"]

_KEY, _TOKEN = "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"
_PROFILE, _FOLDER = "ANTHROPIC_PROFILE", "ANTHROPIC_CONFIG_DIR"
_FEDERATION = ("ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_ORGANIZATION_ID")
_IDENTITY = ("ANTHROPIC_IDENTITY_TOKEN_FILE", "ANTHROPIC_IDENTITY_TOKEN")


@dataclass(frozen=True)
class Credentials:
    """The credentials that authenticate calls.

    Attributes
    ----------
    arguments : mapping of str to str
        ``api_key`` or ``auth_token`` for the SDK's client; empty if the SDK's own chain provides the credentials.
    chain : str
        What that chain will find: ``profile work`` or ``workload identity``; "" for a key or token.
    source : str
        Name of the hosted notebook service whose secrets contain the key; "" if it is from elsewhere.
    """

    arguments: Mapping[str, str] = field(repr=False)
    chain: str = ""
    source: str = ""

    @property
    def identity(self) -> str:
        """A string that identifies these credentials. It contains secrets: hash it, never show it."""
        return self.chain or "".join(self.arguments.values())


def find_credentials(api_key: Optional[str], environ: Mapping[str, str], base_url: str) -> Credentials:
    """Return the first credentials found for calls to a server, without importing the SDK or reading secret files.

    The order is the SDK's ("Authentication", section "Credential precedence"): `api_key`, ``ANTHROPIC_API_KEY``,
    ``ANTHROPIC_AUTH_TOKEN``, the profile named by ``ANTHROPIC_PROFILE``, workload identity, the active profile of
    ``ant auth login``, and finally the secrets of Colab or Kaggle. All but the first three are searched only if
    `environ` is the environment of this process.

    Raises
    ------
    MissingApiKeyError
        If there are none; the message names the places that were searched.
    """
    key = (api_key or environ.get(_KEY) or "").strip()
    token = "" if key else (environ.get(_TOKEN) or "").strip()
    if key or token:
        _check_characters(key or token)
        return Credentials({"api_key": key} if key else {"auth_token": token})
    chain = _in_chain(environ) if environ is os.environ else ""
    if not chain:
        hosted = hosted_key() if environ is os.environ else None
        if hosted is not None:
            _check_characters(hosted.key)
            return Credentials({"api_key": hosted.key}, source=hosted.source)
        hint = "" if "api.anthropic.com" in base_url else " (any text will do if the server needs no key)"
        way = how_to_add_a_key() if environ is os.environ else ""
        way = way or f"set {_KEY} in the environment{hint}"
        ways = f"{way}, or in a notebook with %env {_KEY}=…, or try without one: %claude_config base_url=simulator"
        also = f"{_TOKEN}, a profile of `ant auth login` and workload identity were not found either"
        raise MissingApiKeyError(f"no API key: {ways} ({also}; nothing was sent)")
    if not _sdk_has_chain():
        raise MissingApiKeyError(
            f"the installed anthropic package cannot use the {chain}: upgrade it, or set {_KEY}; nothing was sent"
        )
    return Credentials({}, chain)


def _check_characters(secret: str) -> None:
    if not secret.isascii() or not secret.isprintable():
        raise MissingApiKeyError("the API key contains invalid characters; copy it again; nothing was sent")


def _in_chain(environ: Mapping[str, str]) -> str:
    """Return what the SDK's chain will find in an environment without key and token; "" for nothing."""
    named = environ.get(_PROFILE)
    if named:
        return f"profile {named}"
    if all(environ.get(name) for name in _FEDERATION) and any(environ.get(name) for name in _IDENTITY):
        return "workload identity"
    folder = _config_folder(environ)
    if folder is None:
        return ""
    try:
        pointer = (folder / "active_config").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        pointer = ""
    name = pointer or "default"
    try:
        found = bool(pointer) or (folder / "configs" / f"{name}.json").is_file()
    except OSError:
        found = False
    return f"profile {name}" if found else ""


def _config_folder(environ: Mapping[str, str]) -> Optional[Path]:
    """Return the folder where ``ant auth login`` keeps its profiles; None if there is no home folder."""
    if environ.get(_FOLDER):
        return Path(environ[_FOLDER])
    try:
        if sys.platform == "win32":
            roaming = environ.get("APPDATA")
            return (Path(roaming) if roaming else Path.home() / "AppData" / "Roaming") / "Anthropic"
        return Path.home() / ".config" / "anthropic"
    except (RuntimeError, KeyError):
        return None


def _sdk_has_chain() -> bool:
    found = find_spec("anthropic")
    places = (found.submodule_search_locations if found is not None else None) or ()
    return any((Path(place) / "lib" / "credentials" / "_chain.py").is_file() for place in places)


class TokenProvider:
    """Wraps a token provider of the SDK: passes each token to `on_secret`, and fails with a one-line error.

    Parameters
    ----------
    provider : callable
    chain : str
        See `Credentials`.
    on_secret : callable
        Called with each token.
    """

    def __init__(self, provider: Any, chain: str, on_secret: Callable[[str], None]) -> None:
        self._provider = provider
        self._chain = chain
        self._on_secret = on_secret
        self._renewing = False

    def renew(self) -> None:
        """Discard the cached token, so that the next call gets a new one."""
        self._renewing = True

    def __call__(self, *, force_refresh: bool = False) -> Any:
        from anthropic import AnthropicError

        try:
            token = self._provider(force_refresh=force_refresh or self._renewing)
        except (AnthropicError, OSError, ValueError) as error:
            raise self._failure(error) from None
        self._renewing = False
        self._on_secret(token.token)
        return token

    def _failure(self, error: Exception) -> ApiError:
        status = getattr(error, "status_code", 0)
        text = f"the {self._chain} did not give a token: {shown_text(str(error))}"
        # None if the token endpoint was not reached.
        if status is None or status == 429 or status >= 500:
            return ServerError(text, status=status)
        return AuthenticationError(f"{text}; log in again with `ant auth login`, or set {_KEY}", status=401)

    def close(self) -> None:
        """Close the provider's connections."""
        close = getattr(self._provider, "close", None)
        if close is not None:
            close()


def open_chain(server: str, chain: str, on_secret: Callable[[str], None]) -> Dict[str, Any]:
    """Return arguments that make the SDK's client authenticate each call and renew its tokens.

    Parameters
    ----------
    server : str
        Address of the server.
    chain : str
        See `Credentials`.
    on_secret : callable
        Called with each token before a call uses it.

    Raises
    ------
    ConfigurationError
        If the profile cannot be read, or belongs to another server.
    """
    from anthropic import AnthropicError
    from anthropic.lib.credentials import default_credentials

    try:
        found = default_credentials(base_url=server)
    except (AnthropicError, OSError, ValueError) as error:
        raise ConfigurationError(f"the {chain} cannot be used: {error}; nothing was sent") from None
    if found is None:
        raise MissingApiKeyError(f"the {chain} cannot be read; log in again, or set {_KEY}; nothing was sent")
    if found.base_url is not None and found.base_url.rstrip("/") != server.rstrip("/"):
        raise ConfigurationError(
            f"the {chain} is for {found.base_url}, but calls go to {server}: set base_url; nothing was sent"
        )
    return {"credentials": TokenProvider(found.provider, chain, on_secret), "default_headers": found.extra_headers}
