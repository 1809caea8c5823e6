"""Describes the API key without revealing it."""

from __future__ import annotations

from typing import Mapping, NamedTuple

from claude_force_nb.api.credentials import find_credentials
from claude_force_nb.errors import MissingApiKeyError

__all__ = ["KeyDescription", "describe_key"]

# Variables that may hold a key, in order of precedence.
_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
# This many characters at the end of a key are shown; none of a key shorter than _SHORTEST_KEY.
_KEY_END = 4
_SHORTEST_KEY = 20


class KeyDescription(NamedTuple):
    """A masked key.

    Attributes
    ----------
    shown : str
        The end of the key, ``set`` for a short one, the credentials that the SDK uses instead of a key, or ``none``.
    source : str
        Variable that holds the key, or the origin of the credentials.
    found : bool
        False if there are no credentials.
    """

    shown: str
    source: str
    found: bool


def describe_key(environ: Mapping[str, str]) -> KeyDescription:
    """Return a description of the credentials for calls, masked, and where they come from."""
    for name in _KEYS:
        key = environ.get(name, "").strip()
        if key:
            return KeyDescription(_masked(key), name, True)
    try:
        found = find_credentials(None, environ, "")
    except MissingApiKeyError:
        return KeyDescription("none", "ANTHROPIC_API_KEY", False)
    if found.source:
        return KeyDescription(_masked(found.identity), found.source, True)
    return KeyDescription(found.chain, "the SDK's own", True)


def _masked(key: str) -> str:
    return "…" + key[-_KEY_END:] if len(key) >= _SHORTEST_KEY else "set"
