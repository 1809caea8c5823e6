"""The part of the key that may be shown."""

from __future__ import annotations

from typing import Mapping, NamedTuple

from claude_force_nb.api.credentials import find_credentials
from claude_force_nb.errors import MissingApiKeyError

__all__ = ["KeyDescription", "describe_key"]

# Variables that hold a key, the first before the second.
_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
# Of a key this many characters are shown, and none where that would be a large part of it.
_KEY_END = 4
_SHORTEST_KEY = 20


class KeyDescription(NamedTuple):
    """A masked key.

    Attributes
    ----------
    shown : str
        Its end, ``set`` where that would be a large part of it, what the SDK signs with instead of a key, or ``none``.
    source : str
        Variable that holds it, or whose it is.
    found : bool
        False if no key is found.
    """

    shown: str
    source: str
    found: bool


def describe_key(environ: Mapping[str, str]) -> KeyDescription:
    """Return the masked credentials of calls, and where they come from."""
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
